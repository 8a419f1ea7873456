"""What administrators see before they sign, what their signature is over, and what is refused."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.admin.change_file import Change, make_change, parse_change, read_change
from cli.admin.differences import differences
from cli.admin.drafts import pending_hash
from cli.admin.rosters import changed_roster
from cli.admin.sentences import sentences
from cli.connection import whole_status
from cli.identities import CARD, KEY, PersonCard
from cli.main import invoke, main
from cli.results import Misuse
from custody.client import CustodyClient
from policy.encoding import Json, canonical, document_hash
from policy.entries import make_entry
from policy.errors import MalformedError, OperationalError
from policy.log.merkle import leaf_hash
from signer_nodes.api.card import Card
from signer_nodes.api.issuing import make_identity_certificate
from tests.simulation.world import ORIGIN, PAIR, Book, World, identity_key, public_key, signatures

WORLD = World()
BODIES: dict[str, Json] = {
    "veto": {"origin": ORIGIN, "target": "ab" * 32, "reason": "not agreed"},
    "freeze": {"origin": ORIGIN, "target": "cd" * 32, "reason": "a stolen laptop"},
    "unfreeze": {"origin": ORIGIN, "target": "ef" * 32, "reason": "found"},
    "address": {
        "origin": ORIGIN,
        "policy": document_hash("policy", WORLD.policy()).hex(),
        "list": "customers",
        "action": "add",
        "address": "0x" + "ef" * 20,
        "label": "Acme",
        "nonce": "45" * 32,
    },
    "version": {"origin": ORIGIN, "rules": 2},
    "fork": {"origin": ORIGIN, "size": 7, "root": "01" * 32, "abandoned": ["23" * 32]},
}


def burns(job: str) -> list[Json]:
    body: Json = {"origin": ORIGIN, "job": job}
    return [{"job": job, "signatures": signatures("burn", body, PAIR)}]


def change(kind: str, **changed: Any) -> Change:
    """A change of each kind, against the world's genesis."""
    if kind in BODIES:
        return make_change(kind, BODIES[kind], burns=burns("23" * 32) if kind == "fork" else "")
    old = WORLD.policy() if kind == "policy" else WORLD.roster()
    new = {**old, **changed}
    body: Json = {"origin": ORIGIN, kind: new, "previous": document_hash(kind, old).hex()}
    return make_change(kind, body, replaces=old)


ALL = {
    "policy": change("policy", name="second", rules=[]),
    "roster": change("roster", policy_delay_ms=5),
    **{kind: change(kind) for kind in BODIES},
}


def person(folder: Path, name: str, kind: str = "administrator") -> Path:
    """An identity of the world in a folder of its own."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    home = folder / name
    home.mkdir()
    pem = identity_key(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (home / KEY).write_bytes(pem)
    (home / KEY).chmod(0o600)
    (home / CARD).write_bytes(canonical(PersonCard(kind, name, public_key(name), None).body()))
    return home


def written(folder: Path, kind: str) -> Path:
    path = folder / "change.json"
    ALL[kind].write(path)
    return path


# The file.


@pytest.mark.parametrize("kind", ALL)
def test_a_change_is_read_as_it_was_written(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path, kind)

    assert read_change(path) == ALL[kind]
    assert json.loads(path.read_bytes())["body"] == ALL[kind].body


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d | {"more": 1},
        lambda d: d | {"kind": "genesis"},
        lambda d: d | {"replaces": WORLD.policy(name="another")},
        lambda d: d | {"body": d["body"] | {"policy": {}}},
        lambda d: d | {"signatures": [{"name": "ada", "signature": "00"}]},
        lambda d: d["body"],
    ],
)
def test_what_is_no_change_is_refused(spoil: Callable[[Any], Any]) -> None:
    change = {"kind": "policy", "body": ALL["policy"].body, "signatures": [], "replaces": WORLD.policy()}
    parse_change(canonical(change))  # it would be read but for the spoiling

    with pytest.raises(MalformedError):
        parse_change(canonical(spoil(change)))


def test_a_change_that_fits_into_no_entry_is_not_drawn_up() -> None:
    addresses: list[Json] = [f"0x{number:040x}" for number in range(1500)]
    lists = {"customers": addresses, "sanctioned": []}

    with pytest.raises(MalformedError, match="at most 65535 are accepted"):
        change("policy", lists=lists)


# What people read.


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("policy", ["'second'", "rules.small: taken out", "one administrator can veto", "quorum"]),
        ("roster", ["policy_delay_ms: ", "becomes 5", "limits are exact", "It needs 2 of ada, adam, agnes."]),
        ("veto", ["ab" * 32, "never takes effect", "One administrator is enough", "not agreed"]),
        ("freeze", ["no node signs anything", "One administrator is enough", "a stolen laptop"]),
        ("unfreeze", ["ef" * 32, "signing goes on", "quorum"]),
        ("address", ["of 'Acme', is put on the list customers", "as many administrators", "can veto it"]),
        ("version", ["rules 2", "This program has rules 1", "no administrator's signature"]),
        ("fork", ["7 entries", "01" * 32, "23" * 32, "1 jobs are abandoned"]),
    ],
)
def test_each_change_says_what_signing_it_would_do(kind: str, said: list[str]) -> None:
    text = "\n".join(sentences(ALL[kind]))

    assert ORIGIN in text and "Signed by nobody so far" in text
    assert [words for words in said if words not in text] == [], text


def test_a_change_of_cosigners_says_that_it_needs_them() -> None:
    roster: Any = WORLD.roster()
    cosigners = [*roster["cosigners"][:-1], {**roster["cosigners"][-1], "name": "successor"}]

    text = "\n".join(sentences(change("roster", cosigners=cosigners)))
    assert "3 of the old and 3 of the new cosigners" in text
    assert "cosigners.successor: added" in text


DOCUMENTS = st.recursive(
    st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


@given(DOCUMENTS, DOCUMENTS)
def test_nothing_differs_only_between_equal_documents(old: Json, new: Json) -> None:
    assert (differences(old, new) == []) == (canonical(old) == canonical(new))


def test_the_order_of_rules_is_a_difference() -> None:
    one: Json = {"name": "one"}
    two: Json = {"name": "two"}

    assert differences({"rules": [one, two]}, {"rules": [two, one]}) == ["rules: another order, now two, one"]
    assert "rules: the order is now two, one" in differences({"rules": [one]}, {"rules": [two, one]})


# Signing.


@pytest.mark.parametrize("kind", ["policy", "roster", "address", "veto", "freeze", "unfreeze", "fork"])
def test_a_signature_is_what_the_log_counts(tmp_path: Path, kind: str) -> None:
    path, said = written(tmp_path, kind), ALL[kind].fingerprint
    for name in ("ada", "adam"):
        invoke("admin", "sign", str(path), "--as", str(person(tmp_path, name)), "--fingerprint", said)
    signed = read_change(path)
    book = Book(WORLD)
    if kind == "unfreeze":
        book.order("freeze", bytes(32))
    while book.state.size < 7:
        book.idle()
    entry = make_entry(kind, book.now_ms, body=signed.body, **signed.proof())

    assert sorted(signed.signatures) == ["ada", "adam"]
    outcome = book.append(entry)
    expected = ("no pending change", "the unfreeze does not name", "the policy has no list customers with")
    assert outcome.accepted or outcome.reason.startswith(expected)
    assert leaf_hash(entry)


def test_another_fingerprint_is_not_signed(tmp_path: Path) -> None:
    path = written(tmp_path, "policy")
    before = path.read_bytes()
    home = str(person(tmp_path, "ada"))

    with pytest.raises(OperationalError, match="do not sign it"):
        invoke("admin", "sign", str(path), "--as", home, "--fingerprint", ALL["freeze"].fingerprint)
    assert path.read_bytes() == before


def test_without_anybody_to_ask_nothing_is_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, home = written(tmp_path, "policy"), str(person(tmp_path, "ada"))
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115 - closed with the process
    before = path.read_bytes()

    assert main(["admin", "sign", str(path), "--as", home]) == 2
    assert path.read_bytes() == before


def test_only_administrators_sign_and_nobody_of_them_a_version(tmp_path: Path) -> None:
    path = written(tmp_path, "version")
    for name, kind, why in (
        ("ada", "administrator", "signed by cosigners"),
        ("alice", "backend", "no admin"),
    ):
        home = str(person(tmp_path, name, kind))
        with pytest.raises(Misuse, match=why):
            invoke("admin", "sign", str(path), "--as", home, "--fingerprint", ALL["version"].fingerprint)


def test_signed_copies_and_acceptances_are_brought_together(tmp_path: Path) -> None:
    path, said = written(tmp_path, "roster"), ALL["roster"].fingerprint
    copy = tmp_path / "copy.json"
    copy.write_bytes(path.read_bytes())
    invoke("admin", "sign", str(copy), "--as", str(person(tmp_path, "adam")), "--fingerprint", said)
    accepted = tmp_path / "accepted.json"
    accepted.write_text(
        json.dumps({"name": "node-1", "accepts": "so", "fingerprint": said, "signature": "11" * 64})
    )
    merged = invoke("admin", "merge", str(path), str(copy), str(accepted)).document

    assert merged["signed_by"] == ["adam", "node-1"]
    assert sorted(read_change(path).signatures) == ["adam", "node-1"]


@pytest.mark.parametrize("other", ["copy", "acceptance", "nonsense"])
def test_a_signature_over_another_change_is_not_merged(tmp_path: Path, other: str) -> None:
    path = written(tmp_path, "policy")
    foreign = tmp_path / "other.json"
    acceptance = {"name": "node-1", "accepts": "", "fingerprint": "00" * 32, "signature": "11" * 64}
    texts = {"acceptance": json.dumps(acceptance), "nonsense": "{}", "copy": ""}
    foreign.write_text(texts[other])
    if other == "copy":
        ALL["veto"].write(foreign)

    with pytest.raises(OperationalError, match=r"sign the same file|neither a change nor"):
        invoke("admin", "merge", str(path), str(foreign))
    assert read_change(path).signatures == {}


# Drawing up.


def roster_arguments(**given: Any) -> Namespace:
    return Namespace(**{"document": "", "replace": "", "remove": [], "fingerprint": "", **given})


def test_a_lost_cosigner_is_replaced_by_the_card_whose_fingerprint_was_told(tmp_path: Path) -> None:
    key = identity_key("successor")
    certificate = make_identity_certificate("successor", public_key("successor"), sign=key.sign)
    card = Card("successor", "witness", ORIGIN, public_key("successor"), certificate)
    (tmp_path / "card.json").write_bytes(card.to_bytes())
    given = {"replace": f"witness-1={tmp_path / 'card.json'}"}
    new: Any = changed_roster(roster_arguments(**given, fingerprint=card.fingerprint), WORLD.roster())

    assert [one["name"] for one in new["cosigners"]] == ["node-1", "node-2", "node-3", "successor"]
    with pytest.raises(OperationalError, match="do not enrol it"):
        changed_roster(roster_arguments(**given, fingerprint="00" * 32), WORLD.roster())
    with pytest.raises(Misuse, match="--fingerprint"):
        changed_roster(roster_arguments(**given), WORLD.roster())
    with pytest.raises(OperationalError, match="'nobody' is no cosigner"):
        other = roster_arguments(replace=f"nobody={tmp_path / 'card.json'}", fingerprint=card.fingerprint)
        changed_roster(other, WORLD.roster())


def test_who_is_removed_is_nowhere_in_the_roster_any_more() -> None:
    new = changed_roster(roster_arguments(remove=["alice", "adam"]), WORLD.roster())

    assert "alice" in json.dumps(WORLD.roster()) and "alice" not in json.dumps(new)
    assert "adam" not in json.dumps(new)
    with pytest.raises(OperationalError, match="names nobody 'nobody'"):
        changed_roster(roster_arguments(remove=["nobody"]), WORLD.roster())


@pytest.mark.parametrize("given", [{}, {"document": "roster.json", "remove": ["alice"]}])
def test_a_roster_is_drawn_up_in_one_way_at_a_time(given: dict[str, Any]) -> None:
    with pytest.raises(Misuse, match="say what changes"):
        changed_roster(roster_arguments(**given), WORLD.roster())


def test_a_pending_change_is_named_by_the_beginning_of_its_hash() -> None:
    status = {"pending": [{"hash": "abcdef01" + "00" * 28}, {"hash": "abcdef01" + "11" * 28}]}

    assert pending_hash(status, "ABCDEF0100") == "abcdef01" + "00" * 28
    with pytest.raises(OperationalError, match="2 pending changes begin with abcdef01"):
        pending_hash(status, "abcdef01")
    with pytest.raises(OperationalError, match="0 pending"):
        pending_hash(status, "00000000")
    for short in ("abcdef0", "no-hex-00", ""):
        with pytest.raises(Misuse, match="at least its first 8"):
            pending_hash(status, short)


def test_a_backend_that_asks_for_what_people_are_shown_is_told_so() -> None:
    client = cast("CustodyClient", SimpleNamespace(status=lambda: {"frozen": False, "requests": {}}))

    with pytest.raises(Misuse, match="folder of a person"):
        whole_status(client)
