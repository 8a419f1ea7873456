"""Whatever is changed in a good log, of every kind of entry, by whoever holds which keys: the audit names it.

The log is the one of the specification, with every kind of entry. Three attackers: one who can write files;
one who has the log's key and makes tiles and checkpoint anew; and one with whom all cosigners collude. None
has the keys of backends, of people and of shares.
"""

import importlib.util
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from policy.audit import AuditReport, audit
from policy.entries import parse_entry
from policy.errors import ProtocolError
from policy.ledger import fold, initial
from policy.log.checkpoint import (
    Checkpoint,
    Note,
    cosignature,
    cosignature_message,
    log_signature,
    log_signature_message,
)
from policy.log.merkle import Frontier, leaf_hash
from policy.log.tiles import increment
from policy.replay import Step

SPEC = Path(__file__).parents[2] / "docs" / "spec" / "make_examples.py"
COSIGNERS = ("node-a", "node-b", "witness-a")
COORDINATORS_OWN = frozenset({"observation", "signature"})


@cache
def spec() -> Any:
    """The program that writes the specification's examples."""
    found = importlib.util.spec_from_file_location("make_examples", SPEC)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@cache
def good() -> tuple[bytes, ...]:
    return tuple(example.entry for example in spec().write_log().examples)


def kinds() -> dict[str, int]:
    """The first entry of each kind that has an effect."""
    found: dict[str, int] = {}
    for index, example in enumerate(spec().write_log().examples):
        if example.outcome.accepted:
            found.setdefault(parse_entry(example.entry).kind, index)
    return found


def changed(entry: bytes) -> bytes:
    """The entry with one place of its body changed, so that it can still be read."""
    document = json.loads(entry)
    paths = _texts(document["body"])
    for path in sorted(paths, key=lambda path: isinstance(_at(document["body"], path), int)):
        for other in ("0", "1", "a", "b", "z"):
            candidate = json.loads(entry)
            _put(candidate["body"], path, other)
            data = json.dumps(candidate, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
            if data != entry and _readable(data):
                return data
    raise AssertionError("nothing of this entry can be changed")


def _texts(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where texts and numbers are, the last of the document first."""
    if isinstance(value, dict):
        return [found for key in sorted(value, reverse=True) for found in _texts(value[key], (*path, key))]
    if isinstance(value, list):
        return [found for at, one in enumerate(value) for found in _texts(one, (*path, at))]
    return [path] if isinstance(value, str | int) and not isinstance(value, bool) else []


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _put(value: Any, path: tuple[Any, ...], character: str) -> None:
    value, old = _at(value, path[:-1]), _at(value, path)
    value[path[-1]] = old[:-1] + character if isinstance(old, str) else old + 1


def _readable(data: bytes) -> bool:
    try:
        parse_entry(data)
    except (ProtocolError, ValueError):
        return False
    return True


def published(entries: tuple[bytes, ...], *, cosigners: tuple[str, ...] = COSIGNERS) -> dict[str, bytes]:
    """The files of a log, made anew by whoever has the log's key and these cosigners'."""
    made, frontier, state = spec(), Frontier(), initial()
    for entry in entries:
        state, _ = fold(state, entry)
        frontier = frontier.append(leaf_hash(entry))
    body = Checkpoint(made.ORIGIN, frontier.size, frontier.root(), state.digest).body()
    signature = made.identity("log").sign(log_signature_message(body))
    note = Note(body).with_signatures(log_signature(made.ORIGIN, made.public("log"), signature=signature))
    message = cosignature_message(body, time_s=1)
    for name in cosigners:
        line = cosignature(name, made.public(name), time_s=1, signature=made.identity(name).sign(message))
        note = note.with_signatures(line)
    return {**dict(increment(lambda path: None, Frontier(), entries=entries)), "checkpoint": note.to_bytes()}


def checked(
    files: dict[str, bytes], *older: bytes, watch: Callable[[Step], None] | None = None
) -> AuditReport:
    return audit(files.get, trust=None, progress=lambda done, total: None, older=older, watch=watch)


def with_change(index: int) -> tuple[bytes, ...]:
    return (*good()[:index], changed(good()[index]), *good()[index + 1 :])


KINDS = sorted(kinds())


@cache
def inert() -> int:
    return checked(published(good())).inert


def test_the_log_has_every_kind_of_entry_and_is_good() -> None:
    assert len(KINDS) >= 20
    assert checked(published(good())).ok


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_file_is_named_by_its_entry(kind: str) -> None:
    index, files = kinds()[kind], published(good())
    path = next(one for one in files if one.startswith("tile/entries/"))
    files[path] = published(with_change(index))[path]
    report = checked(files)

    assert report.first_bad is not None
    assert report.first_bad[0] == index
    assert "the entry was changed" in report.first_bad[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_logs_key_alone_makes_no_other_log(kind: str) -> None:
    report = checked(published(with_change(kinds()[kind]), cosigners=()))

    assert not report.ok
    assert report.first_bad is not None
    if report.first_bad[0] == len(good()):
        assert "need cosignatures" in report.first_bad[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_entry_of_others_has_no_effect_though_all_cosigners_collude(kind: str) -> None:
    index, steps = kinds()[kind], list[Step]()
    report = checked(published(with_change(index)), watch=steps.append)
    accepted = {step.index for step in steps if step.outcome.accepted}

    if report.first_bad is not None and report.first_bad[0] <= index:
        return  # named at the entry itself
    if kind not in COORDINATORS_OWN or kind == "signature":
        assert index not in accepted
        assert report.inert > inert()


@pytest.mark.parametrize("kind", KINDS)
def test_who_kept_a_checkpoint_sees_any_change_though_all_cosigners_collude(kind: str) -> None:
    index = kinds()[kind]
    kept = published(good()[: index + 1])["checkpoint"]
    report = checked(published(with_change(index)), kept)

    assert report.first_bad is not None
    assert report.first_bad[0] <= index
    if report.first_bad[0] == index:
        assert any(word in report.first_bad[1] for word in ("forked", "claims allow", "has no effect"))


def test_a_changed_transaction_is_named_where_consent_was_claimed_for_it() -> None:
    index = kinds()["reserve"]
    report = checked(published(with_change(index)))

    assert report.first_bad is not None
    assert report.first_bad[0] == index
    assert "claims allow" in report.first_bad[1]
