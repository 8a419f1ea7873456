"""The command ``quorumkeep``: reads the arguments, runs one command, says what came of it."""

import importlib
import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn, cast

from cli.parser import build_parser
from cli.results import DONE, REFUSED, Result, show, show_error
from policy.errors import OperationalError, QuorumkeepError


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    arguments = build_parser().parse_args(argv)
    try:
        return show(run(arguments), as_json=arguments.json)
    except QuorumkeepError as error:
        return show_error(error, as_json=arguments.json)
    except KeyboardInterrupt:
        print("quorumkeep: interrupted", file=sys.stderr)
        return REFUSED
    except BrokenPipeError:
        # Whoever read our output has enough; the interpreter must not complain on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        failed = OperationalError(f"{error}; see to the file, folder or address, and try again")
        return show_error(failed, as_json=arguments.json)


def invoke(*argv: str) -> Result:
    """Run a command inside this process, as the demo does. Raises what the command raises."""
    return run(build_parser().parse_args(argv))


def run(arguments: Namespace) -> Result:
    """Load and run the function that the parser chose: commands import what they need only when run."""
    module, function = arguments.function.split(":")
    command = getattr(importlib.import_module(module), function)
    return cast("Callable[[Namespace], Result]", command)(arguments)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    """SIGTERM ends a command as Ctrl-C does, so that what it started is stopped."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
