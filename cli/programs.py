"""Commands that are another program: a node's, which has the token, and the coordinator's."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import NoReturn

from cli.results import Result

NODE = "signer_nodes.main"
COORDINATOR = "custody.main"
ITSELF = "cli.main"


def program(module: str, *arguments: str) -> list[str]:
    """The command line of a program of ours in this very installation."""
    return [sys.executable, "-P", "-m", module, *arguments]


def run_node(arguments: Namespace) -> Result:
    """``node``, ``key backup``, ``key recover``: become ``quorumkeep-node`` with the same arguments."""
    rest = [*arguments.rest, *(["--json"] if arguments.json else [])]
    become(program(NODE, arguments.action, *rest))


def run_bench(arguments: Namespace) -> Result:
    """``bench engine``: become ``quorumkeep-node bench`` with the same arguments."""
    rest = ["--batch", str(arguments.batch), "--repeat", str(arguments.repeat)]
    flags = [f"--{name}" for name in ("quick", "json") if getattr(arguments, name)]
    become(program(NODE, "bench", *rest, *flags))


def run_coordinator(arguments: Namespace) -> Result:
    """``coordinator run``: become the coordinator's program."""
    flags = ["--json"] if arguments.json else []
    become(program(COORDINATOR, "--config", arguments.config, *flags))


def verify_log(arguments: Namespace) -> Result:
    """``audit verify``: check a published log and replay every verdict."""
    from cli.audit import verify

    done = verify(
        arguments.log,
        trust=Path(arguments.trust) if arguments.trust else None,
        since=[*map(Path, arguments.since)],
        state=Path(arguments.state) if arguments.state else None,
        processes=arguments.processes,
        json_output=arguments.json,
    )
    sys.exit(done)


def become(command: list[str]) -> NoReturn:
    """Be another program from here on."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 - a list of arguments, as S603 has it
