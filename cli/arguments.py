"""What the arguments of commands have in common. It imports what takes no time, as ``cli.parser`` does."""

import argparse
import re
from argparse import ArgumentParser
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[ArgumentParser]"
CLIENT_HELP = "the deployment's client.json ($QUORUMKEEP_CLIENT)"
LIMIT_MAX = 10_000
SECONDS_MAX = 24 * 3600


def limit(text: str) -> int:
    """How many at most."""
    if not (text.isascii() and text.isdecimal() and 0 < len(text) < 6 and 0 < int(text) <= LIMIT_MAX):
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number from 1 to {LIMIT_MAX}")
    return int(text)


def seconds(text: str) -> float:
    """How long to wait."""
    if not re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,3})?", text, re.ASCII) or float(text) > SECONDS_MAX:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is no number of seconds from 0 to {SECONDS_MAX}")
    return float(text)


def new_command(
    commands: Commands, name: str, *, function: str, what: str, example: str, add_help: bool = True
) -> ArgumentParser:
    """A command that runs ``function`` of a module, ``module:function``; every one explains itself."""
    command = commands.add_parser(
        name, help=what, description=f"{what}.", epilog=f"example: {example}", add_help=add_help
    )
    command.set_defaults(function=function, json=False)
    if add_help:
        command.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    return command


def new_group(commands: Commands, name: str, *, what: str) -> Commands:
    """Commands under one word."""
    group = commands.add_parser(name, help=what, description=f"{what}.")
    return group.add_subparsers(title="commands", metavar="COMMAND", required=True)


def show_examples(parser: ArgumentParser) -> str:
    """Give every group of commands the example of its first command; the one that ``parser`` has then."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            examples = [show_examples(command) for command in action.choices.values()]
            parser.epilog = parser.epilog or examples[0]
    return parser.epilog or ""


def needs_dir(command: ArgumentParser) -> None:
    """It works in a folder."""
    command.add_argument("--dir", required=True, help="the folder")


def needs_card(command: ArgumentParser) -> None:
    """It takes somebody's card, by its fingerprint."""
    command.add_argument("card", help="the card's file")
    command.add_argument("--fingerprint", required=True, help="as its owner said it to you")
    needs_dir(command)


def needs_identity(command: ArgumentParser, who: str) -> None:
    """Somebody asks the coordinator."""
    command.add_argument("--as", dest="identity", required=True, metavar="DIR", help=f"the folder of {who}")
    command.add_argument("--client", default="", help=CLIENT_HELP)


def needs_trust(command: ArgumentParser) -> None:
    """It checks a log, of somebody whose keys are pinned."""
    command.add_argument(
        "--trust", default="", help="whose log it is, as you were told: the trust.json of genesis sign"
    )


def passed_on(
    commands: Commands, action: str, *, what: str, example: str, function: str = "cli.programs:run_node"
) -> None:
    """A command that becomes ``quorumkeep-node`` with all its arguments."""
    command = new_command(
        commands,
        action,
        function=function,
        what=what,
        example=f"{example}    (all arguments go to quorumkeep-node {action})",
        add_help=False,
    )
    command.set_defaults(action=action, rest=[])
    command.prefix_chars = "\0"  # whatever is given, also --json and --help, is the node program's
    command.add_argument("rest", nargs=argparse.REMAINDER)
