"""``policy print``, ``policy check`` and ``policy schema``: what an author of policies needs at the desk."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.files import read_document
from cli.policies.faults import START, Fault
from cli.policies.lint import lint_groups
from cli.policies.reading import Examined, document, examine, read_policy
from cli.policies.schema import policy_schema
from cli.results import DONE, REFUSED, Result
from policy.coherence import check_coherent
from policy.document import policy_hash
from policy.errors import MalformedError
from policy.roster import parse_roster
from policy.words.language import LANGUAGES
from policy.words.sentences import sections


def print_(arguments: Namespace) -> Result:
    """``policy print``: the policy in plain sentences."""
    read = read_policy(Path(arguments.file))
    parts = sections(read.policy, LANGUAGES[arguments.language])
    found: dict[str, Any] = {
        "name": read.policy.name,
        "hash": policy_hash(read.body).hex(),
        **{part.key: [{"name": one.name, "text": one.text} for one in part.sentences] for part in parts},
    }
    lines = [f"The policy {read.policy.name}."]
    for part in parts:
        lines += ["", part.heading, *(f"  {one.text}" for one in part.sentences)]
    return Result(found, tuple(lines))


def check(arguments: Namespace) -> Result:
    """``policy check``: every mistake of a policy with its place; refused when there is one."""
    examined = examine(Path(arguments.file))
    if arguments.roster:
        examined = _with_roster(examined, Path(arguments.roster))
    errors, warnings = len(examined.faults), len(examined.warnings)
    lines = [fault.at(examined.path) for fault in examined.faults]
    lines += [
        fault._replace(message=f"warning: {fault.message}").at(examined.path) for fault in examined.warnings
    ]
    told = f"{examined.path}: {_count(errors, 'error')}, {_count(warnings, 'warning')}"
    return Result(document(examined), (*lines, told), REFUSED if errors else DONE)


def schema(arguments: Namespace) -> Result:
    """``policy schema``: the JSON Schema of the form in YAML, or of the canonical one."""
    found = policy_schema(canonical=arguments.canonical)
    return Result(found, (json.dumps(found, indent=2),))


def _with_roster(examined: Examined, path: Path) -> Examined:
    """The same with what only a roster can show: people who are missing, groups that nobody needs."""
    if examined.read is None:
        return examined
    policy = examined.read.policy
    try:
        roster = parse_roster(read_document(path, "the roster"))
        check_coherent(roster, policy)
    except MalformedError as error:
        return replace(examined, read=None, faults=(Fault(START, f"with the roster {path}: {error}"),))
    found = (Fault(START, remark.message) for remark in lint_groups(policy, roster))
    return replace(examined, warnings=(*examined.warnings, *found))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
