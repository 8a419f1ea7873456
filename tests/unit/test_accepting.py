"""A cosigner accepts a change that its owner has compared, of its own log, and no rules that it lacks."""

from pathlib import Path

import pytest

from policy.encoding import Json, canonical
from policy.errors import MalformedError, OperationalError
from policy.governance import change_hash
from signer_nodes.provisioning import Pinned, acceptable
from tests.simulation.world import ORIGIN, World

ROSTER: Json = {"origin": ORIGIN, "roster": World().roster(), "previous": "00" * 32}
SECOND: Json = {"origin": ORIGIN, "rules": 2}


def change(folder: Path, kind: str, body: Json, *, fingerprint: str = "") -> Pinned:
    path = folder / "change.json"
    path.write_bytes(canonical({"kind": kind, "body": body, "signatures": [], "replaces": "shown only"}))
    return Pinned(path, fingerprint or change_hash(kind, body).hex())


def test_a_roster_is_accepted_with_what_its_numbers_give(tmp_path: Path) -> None:
    body, sentence = acceptable("roster", change(tmp_path, "roster", ROSTER), origin=ORIGIN)

    assert body == ROSTER
    assert "node-1" in sentence and "limits are exact" in sentence


def test_rules_that_the_program_has_are_accepted(tmp_path: Path) -> None:
    first: Json = {"origin": ORIGIN, "rules": 1}

    assert acceptable("ready", change(tmp_path, "version", first), origin=ORIGIN) == (first, "rules 1")


def test_no_node_says_that_it_is_ready_for_rules_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="has rules 1, not 2: upgrade it first"):
        acceptable("ready", change(tmp_path, "version", SECOND), origin=ORIGIN)


@pytest.mark.parametrize(
    ("accepted", "kind", "body", "why"),
    [
        (
            "roster",
            "roster",
            {"origin": "log.example.com/other", "roster": {}, "previous": "00" * 32},
            "is for",
        ),
        ("roster", "roster", {"origin": ORIGIN, "roster": {}, "previous": "00" * 32}, "missing"),
        ("roster", "version", SECOND, "must be one of roster"),
        ("ready", "roster", ROSTER, "must be one of version"),
        ("ready", "version", {"origin": ORIGIN, "rules": 1, "more": 1}, "unknown field"),
    ],
)
def test_what_is_no_change_of_this_kind_and_log_is_not_accepted(
    tmp_path: Path, accepted: str, kind: str, body: Json, why: str
) -> None:
    with pytest.raises((OperationalError, MalformedError), match=why):
        acceptable(accepted, change(tmp_path, kind, body), origin=ORIGIN)


@pytest.mark.parametrize("fingerprint", ["00" * 32, "no hex"])
def test_another_fingerprint_than_people_compared_is_refused(tmp_path: Path, fingerprint: str) -> None:
    with pytest.raises(OperationalError, match="fingerprint"):
        acceptable("roster", change(tmp_path, "roster", ROSTER, fingerprint=fingerprint), origin=ORIGIN)
