"""What people in front of a ceremony read, and how they sign that they were there."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli.cold_checklist import checklist, lines, next_step
from cli.identities import load_identity
from cli.main import invoke
from cli.statements import Statement, read_statements, write_statements
from policy.approval import parse_assertion, verify_assertion
from policy.ceremony import ceremony_digest
from policy.encoding import Json
from policy.errors import OperationalError

NODES = ["cold-a", "cold-b"]


def report(stage: str, **changed: Any) -> dict[str, Any]:
    made = {
        "ceremony": "ab" * 32,
        "stage": stage,
        "outcome": "",
        "passes": 3,
        "request": "cd" * 32,
        "purpose": "payment",
        "key": "vault",
        "job": "",
        "nodes": NODES,
        "waits_for": NODES,
        "hellos": [],
    }
    return {**made, **changed}


def test_before_a_ceremony_the_next_step_is_hellos_and_then_to_begin() -> None:
    nothing: dict[str, Any] = {"stage": "none", "outcome": "", "hellos": []}

    assert "start quorumkeep cold sign on each machine" in next_step(nothing)
    assert "begins a ceremony" in next_step({**nothing, "hellos": ["cold-a"]})


@pytest.mark.parametrize(
    ("files", "waits_for", "wanted"),
    [
        (["stick/a.letter"], NODES, "carry each file to its machine"),
        ([], ["cold-b"], "import the answers of cold-b too"),
        ([], NODES, "quorumkeep cold export --out FOLDER"),
    ],
)
def test_in_a_pass_letters_are_written_carried_and_answered(
    files: list[str], waits_for: list[str], wanted: str
) -> None:
    assert next_step(report("presigning", waits_for=waits_for), files).startswith(wanted)


def test_before_they_sign_people_are_told_to_compare_the_screens() -> None:
    assert "Read both screens and compare" in next_step(report("signing"), ["stick/a.letter"])
    assert "screens" not in next_step(report("presigning"), ["stick/a.letter"])


def test_the_checklist_has_what_is_done_and_what_is_not() -> None:
    begun, done = checklist(report("presigning")), checklist(report("done", outcome="signed: 00"))

    assert [item.done for item in begun] == [True, True, False, False, False]
    assert (
        begun[2].text == "pass 3: the machines prepare the signature; answers of cold-a, cold-b are to come"
    )
    assert [item.done for item in done] == [True, True, True, False]


def test_a_failure_is_told_with_its_reason_and_is_no_mark_of_success() -> None:
    failed = report("failed", outcome="cold-a declined: stale", waits_for=[])

    text = "\n".join(lines(failed))

    assert "[ ] it failed: cold-a declined: stale" in text
    assert "No money has moved" in text and "record signed" not in text


@pytest.mark.parametrize("purpose", ["payment", "cancel", "generate", "refresh", "reshare"])
def test_the_title_says_what_a_ceremony_is_held_for(purpose: str) -> None:
    title = lines(report("signing", purpose=purpose))[0]

    assert title.startswith("Ceremony abababab to ")
    assert ("cd" * 32 in title) == (purpose in ("payment", "cancel"))


def test_an_operator_signs_the_record_by_passkey_in_place_of_the_key(tmp_path: Path) -> None:
    home, path = tmp_path / "bob", tmp_path / "record.json"
    invoke("identity", "create", "operator", "bob", "--dir", str(home))
    credential = load_identity(home).authenticator().credential()
    body: dict[str, Json] = {
        "origin": "log.example.com/test",
        "ceremony": "ce" * 32,
        "key": "vault",
        "nodes": [*NODES],
        "began_ms": 0,
        "ended_ms": 1,
        "outcome": "made",
        "checklist": ["the seals were whole"],
        "witnesses": [{"name": "bob", "role": "witness"}, {"name": "anna", "role": "conductor"}],
    }
    write_statements(path, [Statement("ceremony", body, {})])

    invoke("cold", "witness", str(path), "--as", str(home))
    by_key = read_statements(path)[0]
    result = invoke("cold", "witness", str(path), "--passkey", "--as", str(home))
    (by_passkey,) = read_statements(path)

    assert (list(by_key.signatures), by_key.assertions) == (["bob"], {})
    assert by_passkey.signatures == {} and result.document["missing"] == ["anna (conductor)"]
    assertion = parse_assertion(by_passkey.assertions["bob"])
    assert verify_assertion(assertion, credential=credential, challenge=ceremony_digest(body)) >= 0


def test_only_a_ceremony_is_signed_by_passkey(tmp_path: Path) -> None:
    price: dict[str, Json] = {
        "origin": "log.example.com/test",
        "asset": "eth",
        "unit": "usd/8",
        "price": "1",
        "observed_ms": 1,
    }
    path = tmp_path / "prices.json"
    assertion = {"authenticator_data": "", "client_data": "", "signature": ""}
    document = {
        "kind": "price",
        "body": price,
        "signatures": [],
        "assertions": [{"name": "bob", "assertion": assertion}],
    }
    path.write_text(json.dumps({"statements": [document]}))

    with pytest.raises(OperationalError, match="assertions"):
        read_statements(path)
