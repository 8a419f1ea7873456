"""What administrators sign reaches a running coordinator, and takes effect when it is due."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from custody.api.errors import CallRefused
from custody.enacting import SWEEP_S, Signed, enact
from custody.records import RequestRecord
from custody.replication import NOT_IN_ROSTER, UNCONFIGURED
from policy.encoding import Json, canonical, document_hash, parse_canonical, statement
from policy.entries import ENTRY_BYTES_MAX, parse_entry, signature_list
from tests.unit.custody_cluster import (
    COSIGNERS,
    ETHER,
    NODES,
    ORIGIN,
    FakeNode,
    complete_approval,
    identity,
    make_request,
    policy_document,
    public,
    roster_document,
)
from tests.unit.custody_dealer import Dealer
from tests.unit.custody_house import Clock, House, Running
from tests.waiting import found, until

ADMINISTRATORS: Json = {
    "quorum": 2,
    "members": [{"name": name, "key": public(name).hex()} for name in ("admin", "second", "third")],
}
BOTH = ("admin", "second")
DELAY_MS = 60_000


def house_with(folder: Path, **changed: Json) -> House:
    given: dict[str, Json] = {"administrators": ADMINISTRATORS, "policy_delay_ms": DELAY_MS, **changed}
    return House(folder, roster=roster_document(**given))


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with house_with(tmp_path).running() as made:
        yield made


@pytest.fixture
async def paying(tmp_path: Path) -> AsyncIterator[Running]:
    async with house_with(tmp_path).with_key() as made:
        yield made


def by(kind: str, body: Json, *names: str, tag: str = "") -> Signed:
    message = statement(tag or kind, body)
    signatures = signature_list({name: identity(name).sign(message) for name in names})
    return Signed(kind, canonical(body), canonical({"signatures": signatures}))


def change(running: Running, kind: str, document: Json, *names: str) -> Signed:
    state = running.parts.sequencer.state
    previous = state.policy_hash if kind == "policy" else state.roster_hash
    return by(kind, {"origin": ORIGIN, kind: document, "previous": previous.hex()}, *names)


def order(kind: str, target: str, *names: str) -> Signed:
    return by(kind, {"origin": ORIGIN, "target": target, "reason": "a test"}, *names)


def stricter() -> dict[str, Json]:
    """A policy under which nothing is paid without a person."""
    rules = policy_document()["rules"]
    assert isinstance(rules, list)
    return {**policy_document(), "name": "stricter", "rules": rules[1:]}


async def refusal(running: Running, signed: Signed) -> CallRefused:
    before = running.parts.sequencer.state.size
    with pytest.raises(CallRefused) as refused:
        await enact(running.parts, signed)
    assert running.parts.sequencer.state.size == before, "what is refused is not logged"
    return refused.value


async def pay(running: Running, name: str, *, amount: int = 5) -> bytes:
    _, body, signature = make_request(name, amount=amount, now_ms=running.parts.now_ms())
    return (await running.service.submit(body, signature)).request


async def delay_over(running: Running) -> None:
    """Let the delay of what is pending be over, and wait until nothing is pending any more."""
    clock = running.parts.now_ms
    assert isinstance(clock, Clock)
    clock.ahead_ms += DELAY_MS
    await until(lambda: not running.parts.sequencer.state.pending)


async def until_said(running: Running, request: bytes, word: str) -> RequestRecord:
    """The request once its error has ``word`` in it."""
    return await found(lambda: running.service.get(request), lambda record: word in record.error)


# Policies.


async def test_a_policy_takes_effect_after_its_delay_while_nothing_else_is_logged(running: Running) -> None:
    new = stricter()
    outcome = await enact(running.parts, change(running, "policy", new, *BOTH))
    state = running.parts.sequencer.state
    waited = state.policy_hash
    await delay_over(running)

    assert outcome["effective_ms"] == state.pending[0].effective_ms == state.time_ms + DELAY_MS
    assert outcome["cosigned"] is True
    assert waited == document_hash("policy", policy_document())
    assert running.parts.now_ms() >= state.pending[0].effective_ms
    assert running.parts.sequencer.state.policy_document == new


async def test_one_administrators_veto_stops_a_change_of_the_quorum(tmp_path: Path) -> None:
    async with house_with(tmp_path).running() as running:
        outcome = await enact(running.parts, change(running, "policy", stricter(), *BOTH))
        await enact(running.parts, order("veto", str(outcome["subject"]), "third"))
        await delay_over(running)
        await enact(running.parts, order("freeze", "00" * 32, "third"))

        assert running.parts.sequencer.state.time_ms > int(str(outcome["effective_ms"]))
        assert running.parts.sequencer.state.policy_hash == document_hash("policy", policy_document())
        assert (
            "taken in before" in (await refusal(running, change(running, "policy", stricter(), *BOTH))).reason
        )


async def test_below_the_quorum_or_signed_by_strangers_nothing_is_logged(running: Running) -> None:
    few = await refusal(running, change(running, "policy", stricter(), "admin"))
    stranger = await refusal(running, change(running, "policy", stricter(), "admin", "olga"))
    nobody = await refusal(running, order("freeze", "00" * 32))
    alone = await refusal(running, order("unfreeze", "00" * 32, "admin"))

    assert {one.code for one in (few, stranger, nobody, alone)} == {"change-refused"}
    assert "need 2 administrators, got 1" in few.reason
    assert "olga" in stranger.reason


async def test_what_is_done_already_is_answered_as_done(tmp_path: Path) -> None:
    async with house_with(tmp_path).running() as running:
        signed = change(running, "policy", stricter(), *BOTH)
        first = await enact(running.parts, signed)
        size = running.parts.sequencer.state.size
        second = await enact(running.parts, signed)
        frozen = await enact(running.parts, order("freeze", "00" * 32, "admin"))
        thawed = order("unfreeze", str(frozen["subject"]), *BOTH)
        ended, again = await enact(running.parts, thawed), await enact(running.parts, thawed)

        assert (first["was_done"], second["was_done"]) == (False, True)
        assert {**first, "was_done": True} == second
        assert (ended["was_done"], again["was_done"]) == (False, True)
        assert running.parts.sequencer.state.size == size + 2


async def test_a_policy_that_drops_a_wallet_leaves_its_requests_waiting_and_the_coordinator_running(
    tmp_path: Path,
) -> None:
    house = house_with(tmp_path)
    async with house.with_key() as running:
        waiting = await pay(running, "large", amount=5 * ETHER)
        await running.until(waiting, "waiting")
        for node in house.nodes.values():
            node.mute = True
        reserved = await pay(running, "small")
        await running.until(reserved, "reserved", "ready")
        without: Json = {**policy_document(), "wallets": {}, "keys": {}, "limits": []}
        await enact(running.parts, change(running, "policy", without, *BOTH))
        await delay_over(running)
        await running.until(reserved, "denied")
        await until_said(running, waiting, "no wallet")

        assert not running.task.done()
        assert [len(await running.service.pending(name)) for name in ("otto", "clerk")] == [1, 0]


# Freezing.


async def test_a_freeze_stops_payments_and_says_so_and_the_quorums_unfreeze_lets_them_go_on(
    paying: Running,
) -> None:
    before = await pay(paying, "before")
    await paying.until(before, "settled")
    frozen = await enact(paying.parts, order("freeze", "ab" * 32, "third"))
    request = await pay(paying, "during")
    held = await until_said(paying, request, "frozen")
    status = await paying.service.status()
    assert isinstance(status, dict)
    wrong = await refusal(paying, order("unfreeze", "ab" * 32, *BOTH))
    await enact(paying.parts, order("unfreeze", str(status["freeze"]), *BOTH))

    assert (held.state, held.job) == ("ready", b"")
    assert "until the administrators' quorum unfreezes it" in held.error
    assert (status["frozen"], status["freeze"]) == (True, frozen["subject"])
    assert "does not name the freeze that is in force" in wrong.reason
    await paying.until(request, "settled")


async def test_what_was_approved_during_a_freeze_is_paid_after_it(paying: Running) -> None:
    request = await pay(paying, "large", amount=5 * ETHER)
    await paying.until(request, "waiting")
    frozen = await enact(paying.parts, order("freeze", "00" * 32, "admin"))
    (draft,) = await paying.service.pending("otto")
    await paying.service.approve(*complete_approval(parse_canonical(draft, bytes_max=10_000), "otto"))
    held = await until_said(paying, request, "frozen")
    await enact(paying.parts, order("unfreeze", str(frozen["subject"]), *BOTH))

    assert (held.state, held.approvals) == ("waiting", 1)
    await paying.until(request, "settled")


# Rosters.


async def test_who_leaves_the_roster_is_sent_nothing_more_and_who_enters_without_an_address_is_named(
    tmp_path: Path,
) -> None:
    house = house_with(tmp_path)
    async with house.running() as running:
        await until(lambda: len(house.nodes["witness"].log) == 1)
        await enact(running.parts, change(running, "roster", successor("witness-2"), *BOTH, *NODES))
        await delay_over(running)
        await until(lambda: running.parts.replication.followers["witness"].problem == NOT_IN_ROSTER)
        told = len(house.nodes["witness"].log)
        await pay(running, "after")
        await until(lambda: running.parts.replication.quorum.size > told + 1)
        problems = await _problems(running)

        assert len(house.nodes["witness"].log) == told
        assert problems["witness"] == NOT_IN_ROSTER
        assert problems["witness-2"] == UNCONFIGURED
        assert [problems[name] for name in NODES] == ["", "", ""]


async def test_a_new_cosigner_is_served_from_its_configuration_and_counts(tmp_path: Path) -> None:
    house = house_with(tmp_path)
    async with house.running() as running:
        await enact(running.parts, change(running, "roster", successor("witness-2"), *BOTH, *NODES))
        await delay_over(running)
        logged = running.parts.sequencer.state.size
    house.nodes["witness-2"] = FakeNode("witness-2", Dealer())
    house.nodes["node-c"].down = True
    async with house.running() as running:
        await pay(running, "after")
        await until(lambda: running.parts.replication.quorum.size > logged)
        await until(lambda: house.nodes["witness-2"].log == house.nodes["node-a"].log)

        assert len(house.nodes["witness-2"].log) > logged
        assert house.nodes["witness"].log == house.nodes["node-a"].log[: len(house.nodes["witness"].log)]


async def test_without_a_database_most_cosigners_may_be_others_than_at_first(tmp_path: Path) -> None:
    house = house_with(tmp_path)
    names = ("node-a", "node-b", "node-d", "witness-2")
    async with house.running() as running:
        newcomers = (*BOTH, *NODES, "node-d", "witness-2")
        policy: Json = {**policy_document(), "wallets": {}, "keys": {}, "limits": []}
        await enact(running.parts, change(running, "policy", policy, *BOTH))
        await delay_over(running)
        await enact(running.parts, change(running, "roster", roster_of(*names), *newcomers))
        await delay_over(running)
        logged = running.parts.sequencer.state.size
        await until(lambda: len(house.nodes["node-a"].log) == logged)
    for name in ("node-c", "witness"):
        del house.nodes[name]
    house.nodes |= {name: FakeNode(name, Dealer()) for name in names[2:]}
    (tmp_path / "custody.db").rename(tmp_path / "lost.db")
    async with house.running() as running:
        await until(lambda: running.parts.replication.quorum.size >= logged)

        assert sorted(running.parts.sequencer.state.roster.cosigners) == sorted(names)


async def test_before_it_is_in_the_roster_a_configured_cosigner_is_sent_nothing(tmp_path: Path) -> None:
    house = house_with(tmp_path)
    house.nodes["witness-2"] = newcomer = FakeNode("witness-2", Dealer())
    async with house.running() as running:
        await pay(running, "before")
        await until(lambda: running.parts.replication.quorum.size == 2)
        early = list(newcomer.log)
        await enact(running.parts, change(running, "roster", successor("witness-2"), *BOTH, *NODES))
        await delay_over(running)
        await until(lambda: running.parts.replication.followers["witness-2"].live)

        assert early == []
        await until(lambda: newcomer.log == house.nodes["node-a"].log)


async def test_a_lost_signer_leaves_the_policy_first_then_the_roster_and_the_others_sign(
    tmp_path: Path,
) -> None:
    house = house_with(tmp_path)
    async with house.with_key() as running:
        house.nodes["node-c"].down = True
        shorter: Any = policy_document()
        shorter["keys"]["hot"]["participants"] = list(NODES[:2])
        new = roster_of("node-a", "node-b", "node-d", "witness")
        acceptances = ("node-a", "node-b", "witness")
        early = await refusal(running, change(running, "roster", new, *BOTH, *acceptances))
        await enact(running.parts, change(running, "policy", shorter, *BOTH))
        await delay_over(running)
        await enact(running.parts, change(running, "roster", new, *BOTH, *acceptances))
        await delay_over(running)
        request = await pay(running, "after")
        record = await running.until(request, "settled")
        signers = running.parts.sequencer.state.jobs[record.job].signers

    assert "node-c is no node of the roster" in early.reason
    assert signers == ("node-a", "node-b")


async def test_a_change_of_cosigners_needs_w_of_the_old_and_of_the_new_ones(running: Running) -> None:
    new = successor("witness-2")
    few = await refusal(running, change(running, "roster", new, *BOTH, *NODES[:2]))
    old = await refusal(running, change(running, "roster", new, *BOTH, *NODES[:2], "witness-2"))

    assert "needs 3 of the old ones, got 2" in few.reason
    assert "needs 3 of the old ones, got 2" in old.reason


async def test_a_change_of_the_logs_key_is_refused_here(running: Running) -> None:
    new = roster_document(administrators=ADMINISTRATORS, log_key=public("another").hex())

    assert (
        "log's key cannot be changed"
        in (await refusal(running, change(running, "roster", new, *BOTH, *COSIGNERS))).reason
    )


# Versions, forms, documents.


async def test_a_version_that_this_program_lacks_is_refused(running: Running) -> None:
    body: Json = {"origin": ORIGIN, "rules": 2}
    refused = await refusal(running, by("version", body, *COSIGNERS, tag="ready"))
    known = await enact(running.parts, by("version", {"origin": ORIGIN, "rules": 1}))

    assert "has rules 1, not 2: upgrade it first" in refused.reason
    assert known["was_done"] is True


FREEZE = canonical({"origin": ORIGIN, "reason": "b", "target": "00" * 32})
NO_ENTRIES = [
    ("genesis", b"{}", b'{"signatures":[]}'),
    ("observation", b"{}", b'{"signatures":[]}'),
    ("policy", b"{", b'{"signatures":[]}'),
    ("freeze", b"{}", b'{"signatures":[]}'),
    ("freeze", FREEZE, b"[]"),
    ("freeze", FREEZE, b"{}"),
    ("freeze", FREEZE, b'{"kind":"burn","signatures":[]}'),
    ("policy", b'"' + b"a" * ENTRY_BYTES_MAX + b'"', b'{"signatures":[]}'),
    ("fork", b"{}", b'{"signatures":[]}'),
]


async def test_what_is_no_entry_is_malformed(running: Running) -> None:
    codes = [(await refusal(running, Signed(*given))).code for given in NO_ENTRIES]

    assert codes == ["malformed"] * len(NO_ENTRIES)


async def test_an_entry_of_another_log_is_refused(running: Running) -> None:
    body: Json = {"origin": "log.example.com/other", "target": "00" * 32, "reason": "a test"}

    assert "log.example.com/other" in (await refusal(running, by("freeze", body, "admin"))).reason


async def test_documents_in_force_and_pending_are_shown_by_their_hash(tmp_path: Path) -> None:
    async with house_with(tmp_path).running() as running:
        await enact(running.parts, change(running, "policy", stricter(), *BOTH))
        status = await running.service.status()
        assert isinstance(status, dict) and isinstance(status["pending"], list)
        (pending,) = status["pending"]
        assert isinstance(pending, dict)

        def shown(wanted: Json) -> tuple[str, bytes]:
            return running.service.document("admin", bytes.fromhex(str(wanted)))

        assert shown(status["policy"]) == ("policy", canonical(policy_document()))
        assert shown(status["roster"])[0] == "roster"
        assert (pending["kind"], shown(pending["hash"])) == ("policy", ("policy", canonical(stricter())))
        with pytest.raises(CallRefused, match="unknown-document"):
            running.service.document("admin", bytes(32))
        with pytest.raises(CallRefused, match="forbidden"):
            running.service.document("shop", bytes(32))


async def test_the_entry_that_moves_time_is_inert_and_written_once_a_change(running: Running) -> None:
    await enact(running.parts, change(running, "policy", stricter(), *BOTH))
    await delay_over(running)
    await until(lambda: running.parts.sequencer.state.size > 2)
    await asyncio.sleep(2 * SWEEP_S)
    size = running.parts.sequencer.state.size
    entries = await running.parts.database.entries(0, size)
    kinds = [parse_entry(entry).kind for entry in entries]

    assert kinds == ["genesis", "policy", "veto"]


def successor(name: str) -> dict[str, Json]:
    """The roster with another witness."""
    return roster_of(*NODES, name)


def roster_of(*names: str) -> dict[str, Json]:
    """A roster of these cosigners."""
    cosigners: list[Json] = [
        {"name": one, "key": public(one).hex(), "role": one.partition("-")[0]} for one in names
    ]
    return roster_document(administrators=ADMINISTRATORS, policy_delay_ms=DELAY_MS, cosigners=cosigners)


async def _problems(running: Running) -> dict[str, str]:
    status = await running.service.status()
    assert isinstance(status, dict) and isinstance(status["nodes"], list)
    return {str(one["name"]): str(one["problem"]) for one in status["nodes"] if isinstance(one, dict)}
