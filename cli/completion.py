"""Completion of the command line in shells, generated from the parser itself.

What a shell completes is asked of the shell alone: no command runs for it, and starting one loads nothing of
this module.
"""

import argparse
from argparse import ArgumentParser, Namespace
from typing import Final

from cli.results import Result

FOLDERS: Final = frozenset({"dir", "identity", "log", "log_dir", "images"})
FILES: Final = frozenset(
    {
        *(
            "card",
            "change",
            "check",
            "client",
            "config",
            "document",
            "file",
            "files",
            "invariants",
            "new",
            "old",
        ),
        *(
            "module",
            "out",
            "pin_file",
            "policy",
            "record",
            "roster",
            "series",
            "service",
            "services",
            "since",
        ),
        *("statement", "there", "trust"),
    }
)


def completion(arguments: Namespace) -> Result:
    """``completion``: print the shell's script."""
    import shtab

    from cli.parser import build_parser

    parser = build_parser()
    _mark(parser)
    script = shtab.complete(parser, shell=arguments.shell)
    return Result({"shell": arguments.shell, "script": script}, (script,))


def _mark(parser: ArgumentParser) -> None:
    """Say of every argument that names a file or folder that it does."""
    import shtab

    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _mark(command)
        elif action.dest in FOLDERS or action.dest in FILES:
            kind = shtab.DIRECTORY if action.dest in FOLDERS else shtab.FILE
            setattr(action, "complete", kind)  # noqa: B010 - where shtab looks for it
