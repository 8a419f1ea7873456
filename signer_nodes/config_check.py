"""``quorumkeep-node check``: all that keeps a node from starting, said without starting and without its PIN.

It may be run beside the node itself. What only the token knows is what ``doctor`` says.
"""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from policy.settings import ConfigError
from signer_nodes.api.health import NotServing, ask
from signer_nodes.config import read_to_check

WrongWith: TypeAlias = Callable[[Path, bytes], str]


def add_check(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", *, wrong_with: WrongWith
) -> None:
    """The command and its arguments."""
    command = commands.add_parser("check", help="say all that keeps it from starting, without starting")
    command.add_argument("--config", type=Path, required=True)
    command.add_argument("--json", action="store_true", help="print one JSON object")
    command.set_defaults(command=partial(_check, wrong_with))


def _check(wrong_with: WrongWith, options: argparse.Namespace) -> int:
    found = check(options.config, wrong_with=wrong_with)
    problems = [f"line {one['line']}: {one['problem']}" for one in found["problems"]]
    counted = f"{len(problems) or 'no'} problem{'s' * (len(problems) != 1)}"
    runs = ["it runs, so its port was not looked at"] if found["running"] else []
    lines = (f"{options.config}: {counted}", *problems, *runs)
    sys.stdout.write((json.dumps(found) if options.json else "\n  ".join(lines)) + "\n")
    return 0 if found["ok"] else 1


def check(path: Path, *, wrong_with: WrongWith) -> dict[str, Any]:
    """Every problem of a configuration and of what it names."""
    runs = False
    try:
        problems, runs = read_to_check(path, runs=_answers, wrong_with=wrong_with)
    except ConfigError as error:  # no file, or not TOML: there is nothing more to read in it
        problems = error.problems
    said = [{"line": one.line, "key": one.key, "problem": f"{one.key} {one.text}"} for one in problems]
    return {"ok": not said, "problems": said, "running": runs}


def _answers(data_dir: Path) -> bool:
    """Whether a node runs on this folder, so that its port is taken by itself."""
    try:
        ask(data_dir)
    except NotServing:
        return False
    return True
