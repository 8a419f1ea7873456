"""How every program of ours reads its arguments. Imports nothing of ours."""

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any, NoReturn

DESCRIPTOR_DIGITS_MAX = 6


class Parser(ArgumentParser):
    """Tells a script of misuse as of everything else: by one object, where it asked for one.

    Options are written out: ``--jso`` would be read as ``--json`` by argparse alone, and not here.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        """End with 2."""
        if "--json" in sys.argv:
            told = {"ok": False, "code": "Misuse", "error": f"{self.prog}: {message}"}
            sys.stdout.write(json.dumps(told) + "\n")
        super().error(message)


def descriptor(text: str) -> int:
    """The type of an argument that is an inherited file descriptor."""
    if not text.isascii() or not text.isdigit() or len(text) > DESCRIPTOR_DIGITS_MAX:
        raise ArgumentTypeError("a file descriptor is a number such as 3, opened by 3<FILE")
    return int(text)
