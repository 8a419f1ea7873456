"""Policy files: YAML as people write it, or canonical JSON. Everything that takes a policy takes both."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.files import read_bytes
from cli.policies.authoring import Written, as_written, convert
from cli.policies.faults import START, Fault, FaultyError, Place
from cli.policies.lint import lint
from cli.policies.mistakes import mistakes
from cli.policies.yaml_reader import read_places, read_yaml
from policy.document import normalise_document
from policy.encoding import Json
from policy.errors import OperationalError
from policy.model import Policy

VERSION = 1
YAML_ENDINGS = (".yaml", ".yml")
_FIELD = re.compile(r"field '([^']*)' must|unknown field '([^']*)'|^[^:]*: '([^']*)' is not a name")


@dataclass(frozen=True, slots=True)
class Examined:
    """A policy file after every check that it takes alone; ``read`` is what it says, without faults."""

    path: Path
    read: "ReadPolicy | None"
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class ReadPolicy:
    """A policy without a fault: the canonical document, and what it says."""

    body: Json
    policy: Policy


def read_policy(path: Path) -> ReadPolicy:
    """The policy in a file. Raises ``OperationalError`` with the first of its faults."""
    examined = examine(path)
    if examined.read is None:
        first, more = examined.faults[0].at(path), len(examined.faults) - 1
        rest = f" (and {more} more: run quorumkeep policy check {path})" if more else ""
        raise OperationalError(f"{first}{rest}; correct it")
    return examined.read


def examine(path: Path) -> Examined:
    """Read a policy file and find everything that is wrong with it. ``OperationalError``: no file."""
    try:
        text = _text(read_bytes(path, "the policy"))
        written = convert(read_yaml(text)) if is_yaml(path, text) else _json(text)
    except FaultyError as error:
        return Examined(path, None, error.faults, ())
    if later := _later(written):
        return Examined(path, None, (later,), ())
    policy, found = mistakes(written.body, broken=written.broken)
    faults = [*written.faults, *(Fault(_place(written, m.path, m.message), m.message) for m in found)]
    if policy is None:
        faults = faults or [Fault(START, "this is no policy")]
        return Examined(path, None, tuple(sorted(faults)), ())
    remarks = [(r.error, Fault(_place(written, r.path, ""), f"{r.path}: {r.message}")) for r in lint(policy)]
    errors = tuple(sorted(fault for error, fault in remarks if error))
    warnings = tuple(sorted(fault for error, fault in remarks if not error))
    read = None if errors else ReadPolicy(normalise_document(written.body), policy)
    return Examined(path, read, errors, warnings)


def _later(written: Written) -> Fault | None:
    """What a later program wrote has no mistakes that this one could name."""
    version = written.body.get("version") if isinstance(written.body, dict) else None
    if type(version) is not int or version <= VERSION:
        return None
    place = _place(written, "", "field 'version' must")
    return Fault(
        place, f"version {version} of policies is a later program's, this one has {VERSION}: install that"
    )


def is_yaml(path: Path, text: str) -> bool:
    """Whether a file is in the form of people: by its ending, or else by not beginning as JSON does."""
    if path.suffix in YAML_ENDINGS or path.suffix == ".json":
        return path.suffix in YAML_ENDINGS
    return not text.lstrip().startswith("{")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start]
        place = Place(before.count(b"\n") + 1, error.start - before.rfind(b"\n"))
        raise FaultyError([Fault(place, "this is not UTF-8 text")]) from error


def _json(text: str) -> Written:
    try:
        body: Json = json.loads(text, object_pairs_hook=_distinct, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        place = Place(error.lineno, error.colno)
        raise FaultyError([Fault(place, f"this is not JSON: {error.msg}")]) from error
    except (ValueError, RecursionError) as error:
        raise FaultyError([Fault(START, f"this is not JSON: {error}")]) from error
    try:
        written = as_written(read_places(text))
    except FaultyError:
        written = Written()  # a form of JSON that YAML lacks: the places are not known
    return Written(body, written.places, written.names)


def _distinct(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice[:64]!r} is there twice in one object")
    return found


def _no_constant(text: str) -> Json:
    raise ValueError(f"{text} is no number")


def _place(written: Written, path: str, message: str) -> Place:
    """Where a path of an error is in the file, or else the part that it is in."""
    field = _FIELD.search(message)
    if field is not None:
        inner = next(name for name in field.groups() if name is not None)
        place = written.names.get(f"{path}.{inner}" if path else inner)
        if place is not None:
            return place
    return next((written.places[p] for p in _outwards(path) if p in written.places), START)


def _outwards(path: str) -> Iterator[str]:
    """A path, the one it is inside, and so on to the whole document."""
    while path:
        yield path
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    yield ""


def document(examined: Examined) -> dict[str, object]:
    """What ``--json`` prints of a check."""

    def listed(faults: tuple[Fault, ...]) -> list[dict[str, object]]:
        return [{"line": f.place.line, "column": f.place.column, "message": f.message} for f in faults]

    return {
        "ok": not examined.faults,
        "file": str(examined.path),
        "errors": listed(examined.faults),
        "warnings": listed(examined.warnings),
    }
