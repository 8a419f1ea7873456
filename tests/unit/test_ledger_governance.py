"""How the rules change: who must sign, the delay, the veto, and that no signature serves twice."""

from typing import Any

import pytest

from policy.errors import MalformedError
from policy.evaluate import Outcome as Answer
from policy.ledger import UnknownVersion, fold, initial, judge
from tests.simulation.world import (
    ADMINISTRATORS,
    CUSTOMER,
    DAY_MS,
    ORIGIN,
    Book,
    World,
    authenticator,
    cosigner_of,
    key_of,
    limit,
    public_key,
    signatures,
)

WORLD = World()
FREEZE = bytes(31) + b"\x01"


@pytest.fixture
def book() -> Book:
    return Book(WORLD)


def after_delay(book: Book) -> Book:
    """The log once the delay of what is pending has passed."""
    book.advance(DAY_MS)
    book.idle()
    return book


def rule_of(book: Book) -> str:
    assert book.last.verdict is not None
    return book.last.verdict.rule


# Genesis.


def test_a_log_begins_with_its_genesis_entry(book: Book) -> None:
    assert book.state.origin == ORIGIN
    assert book.outcomes[0].accepted

    book.genesis()

    assert not book.last.accepted


@pytest.mark.parametrize("by", [[], ["ada"], ["ada", "node-1"], ["desk", "backend"]])
def test_a_genesis_entry_needs_the_administrators_it_names(by: list[str]) -> None:
    book = Book(WORLD, start=False)
    book.genesis(by=by)

    assert not book.last.accepted


def test_nothing_follows_a_genesis_entry_without_effect() -> None:
    good = Book(WORLD)
    good.request(100)
    for first in (b"garbage", good.entries[1]):
        book = Book(WORLD, start=False)
        for entry in (first, *good.entries):
            book.append(entry)

        assert not any(outcome.accepted for outcome in book.outcomes)


@pytest.mark.parametrize(
    ("roster", "policy", "why"),
    [
        (
            {"initiators": [{**key_of("backend"), "people": []}]},
            {"limits": [limit("l", "eth", 1, initiators=["desk"])]},
            "no initiator desk",
        ),
        ({"initiators": [], "operators": []}, {}, "has 0 members"),
        ({"cosigners": [cosigner_of(n, "witness") for n in WORLD.cosigners]}, {}, "no node of the roster"),
    ],
)
def test_a_policy_its_roster_cannot_carry_out_is_refused(roster: Any, policy: Any, why: str) -> None:
    book = Book(WORLD, start=False)
    book.genesis(roster=WORLD.roster(**roster), policy=WORLD.policy(**policy))

    assert not book.last.accepted
    assert why in book.last.reason


# Policies.


def test_a_policy_takes_effect_after_its_delay_to_the_millisecond(book: Book) -> None:
    new = book.change("policy", WORLD.policy(name="second"))
    old = book.state.policy_hash
    book.advance(DAY_MS - 1)
    book.idle()
    assert book.state.policy_hash == old
    book.advance(1)
    book.idle()

    assert book.state.policy_hash == new


def test_a_verdict_asked_for_later_sees_what_will_be_in_force(book: Book) -> None:
    body = book.asked(100).body()
    book.change("policy", WORLD.policy(rules=[]))

    assert judge(book.state, "request", body=body, time_ms=book.now_ms).outcome is Answer.ALLOW
    assert judge(book.state, "request", body=body, time_ms=book.now_ms + DAY_MS).rule == "request-expired"
    later = book.asked(100, expires_ms=book.now_ms + 2 * DAY_MS).body()
    assert judge(book.state, "request", body=later, time_ms=book.now_ms + DAY_MS).rule == "no-rule-matches"


@pytest.mark.parametrize("kind", ["policy", "roster"])
@pytest.mark.parametrize("by", [[], ["ada"], ["ada", "node-1"], ["ada", "eve"], ["node-1", "node-2"]])
def test_a_change_needs_the_administrators_quorum(book: Book, kind: str, by: list[str]) -> None:
    document = WORLD.policy(name="second") if kind == "policy" else WORLD.roster(policy_delay_ms=1)
    book.change(kind, document, by=by)

    assert not book.last.accepted
    assert not book.state.pending


def test_one_administrator_can_veto_while_the_delay_runs(book: Book) -> None:
    old = book.state.policy_hash
    change = book.change("policy", WORLD.policy(name="second"))
    book.order("veto", change, by=["agnes"])
    assert book.last.accepted

    assert after_delay(book).state.policy_hash == old


@pytest.mark.parametrize("by", [[], ["node-1"], ["desk"], ["coordinator"]])
def test_nobody_else_can_veto_or_freeze(book: Book, by: list[str]) -> None:
    change = book.change("policy", WORLD.policy(name="second"))
    for kind in ("veto", "freeze"):
        book.order(kind, change, by=by)

        assert not book.last.accepted


def test_a_veto_after_the_delay_is_too_late(book: Book) -> None:
    change = book.change("policy", WORLD.policy(name="second"))
    book.advance(DAY_MS)
    book.order("veto", change)

    assert not book.last.accepted
    assert book.state.policy_hash == change


def test_a_vetoed_change_cannot_be_logged_again(book: Book) -> None:
    change = book.change("policy", WORLD.policy(name="second"))
    signed = book.entries[-1]
    book.order("veto", change)
    book.append(signed)

    assert not book.last.accepted
    assert not book.state.pending


def test_a_change_that_was_taken_back_cannot_be_logged_again(book: Book) -> None:
    first = WORLD.policy()
    book.change("policy", WORLD.policy(name="second"))
    signed = book.entries[-1]
    after_delay(book)
    book.change("policy", first)
    after_delay(book)
    time_ms = str(book.now_ms).encode()
    book.append(signed.replace(str(book.now_ms - 2 * DAY_MS).encode(), time_ms))

    assert book.last.kind == "policy"
    assert not book.last.accepted


def test_of_two_changes_to_one_version_only_the_first_takes_effect(book: Book) -> None:
    first = book.change("policy", WORLD.policy(name="first-change"))
    book.change("policy", WORLD.policy(name="second-change"))

    assert book.last.accepted
    assert after_delay(book).state.policy_hash == first
    assert not book.state.pending


def test_a_change_names_the_version_it_replaces(book: Book) -> None:
    body = {"origin": ORIGIN, "policy": WORLD.policy(name="second"), "previous": "00" * 32}
    book.write("policy", body, signatures=signatures("policy", body, ADMINISTRATORS[:2]))

    assert not book.last.accepted


def test_a_policy_change_voids_pending_approvals(book: Book) -> None:
    request = book.request(700, expires_ms=book.now_ms + 9 * DAY_MS)
    for operator in ("alice", "bob"):
        book.approve(request, operator, nonce=0, expires_ms=book.now_ms + 9 * DAY_MS)
    first = WORLD.policy()
    for document in (WORLD.policy(name="second"), first):
        book.change("policy", document)
        after_delay(book)
        book.reserve(request)

        assert not book.last.accepted

    for operator in ("alice", "bob"):
        book.approve(request, operator, nonce=0)
    book.reserve(request)

    assert book.last.accepted


def test_a_policy_change_rebuilds_every_window(book: Book) -> None:
    signed = book.pay(290, nonce=0)
    book.reserve(book.request(190), nonce=1)
    book.advance(DAY_MS // 2)
    book.change("policy", WORLD.policy(limits=[limit("weekly", "eth", 2000, window_ms=7 * DAY_MS)]))
    after_delay(book)

    assert book.used("weekly") == 500

    book.advance(6 * DAY_MS)

    assert book.state.jobs[signed].signed_ms < book.now_ms - 7 * DAY_MS
    assert book.used("weekly") == 200


def test_a_lower_limit_counts_what_was_used_before(book: Book) -> None:
    book.reserve(book.request(590), nonce=0)
    book.change("policy", WORLD.policy(limits=[limit("daily", "eth", 650)]))
    after_delay(book)
    book.request(1, fee_ceiling=50)

    assert rule_of(book) == "daily"

    book.request(1, fee_ceiling=49)

    assert book.last.accepted


def test_a_policy_that_is_malformed_is_inert(book: Book) -> None:
    chains = {"evm:9999999999999999": {"native": "eth", "fee_ceiling": "1"}}
    documents: list[Any] = [{}, [], WORLD.policy(chains=chains)]
    for document in documents:
        book.change("policy", document)

        assert not book.last.accepted


# Freezing.


def test_one_administrator_freezes_and_the_quorum_unfreezes(book: Book) -> None:
    request = book.request(100)
    book.order("freeze", FREEZE, by=["agnes"])
    frozen = book.last.subject
    book.reserve(request)
    assert rule_of(book) == "frozen"
    book.order("unfreeze", frozen, by=["agnes"])
    assert not book.last.accepted
    book.order("unfreeze", frozen, by=["ada", "agnes"])
    assert book.last.accepted
    book.reserve(request)

    assert book.last.accepted


def test_an_old_unfreeze_does_not_end_a_new_freeze(book: Book) -> None:
    book.order("freeze", FREEZE)
    freeze, frozen = book.entries[-1], book.last.subject
    book.order("unfreeze", frozen, by=["ada", "adam"])
    unfreeze = book.entries[-1]
    for again in (unfreeze, freeze, unfreeze):
        book.append(again)

    assert book.state.frozen
    assert not book.last.accepted


# Rosters.


def renamed(**changed: Any) -> dict[str, Any]:
    """A roster in which node-4 takes the witness's place."""
    cosigners = [cosigner_of(f"node-{i}", "node") for i in range(1, 5)]
    return WORLD.roster(cosigners=cosigners, **changed)


@pytest.mark.parametrize(
    ("by", "accepted"),
    [
        (["node-1", "node-2", "node-3"], True),
        (["node-1", "node-2", "witness-1"], False),
        (["node-1", "node-2", "node-4"], False),
        (["node-1", "node-2", "witness-1", "node-4"], True),
        (["node-1", "node-2", "node-3", "node-4"], True),
        (["node-1", "node-2"], False),
        ([], False),
    ],
)
def test_new_cosigners_need_w_of_the_old_and_w_of_the_new(book: Book, by: list[str], accepted: bool) -> None:
    book.change("roster", renamed(), by=["ada", "adam", *by])

    assert book.last.accepted == accepted
    assert (set(after_delay(book).state.roster.cosigners) == {*WORLD.nodes, "node-4"}) == accepted


@pytest.mark.parametrize("changed", [{"w": 4}, {"f": 0}, {"log_key": public_key("other").hex()}])
def test_other_numbers_of_cosigners_need_their_word_too(book: Book, changed: dict[str, Any]) -> None:
    book.change("roster", WORLD.roster(**changed))

    assert not book.last.accepted


def test_people_change_by_the_administrators_alone(book: Book) -> None:
    book.change("roster", WORLD.roster(initiators=[{**key_of("desk"), "people": []}]))
    after_delay(book)
    book.request(100, initiator="backend")

    assert rule_of(book) == "initiator-unknown"


def test_a_roster_drawn_up_against_a_replaced_one_is_dropped(book: Book) -> None:
    everyone = ["ada", "adam", *WORLD.cosigners]
    book.change("roster", renamed(), by=["ada", "adam", *WORLD.nodes])
    book.change("roster", WORLD.roster(f=0), by=everyone)

    assert book.last.accepted
    assert after_delay(book).state.roster.f == 1


def test_an_identity_keeps_its_key_for_ever(book: Book) -> None:
    without = WORLD.roster(cosigners=[cosigner_of(n, "node") for n in WORLD.nodes], w=3, f=1)
    other = {"name": "witness-1", "key": public_key("impostor").hex(), "role": "witness"}
    cosigners = [cosigner_of(n, "node") for n in WORLD.nodes]
    everyone = ["ada", "adam", *WORLD.nodes]
    book.change("roster", WORLD.roster(cosigners=[*cosigners, other]), by=everyone)
    assert not book.last.accepted
    book.change("roster", without, by=everyone)
    after_delay(book)
    assert book.state.roster.c == 3
    book.change("roster", WORLD.roster(cosigners=[*cosigners, other]), by=everyone)

    assert not book.last.accepted
    assert "new identity needs a new name" in book.last.reason


def test_an_administrators_signature_is_no_cosigners(book: Book) -> None:
    cosigners = [cosigner_of(n, "node") for n in (*WORLD.nodes, "ada")]
    administrators = {"quorum": 2, "members": [key_of("adam"), key_of("agnes")]}
    document = WORLD.roster(cosigners=cosigners, administrators=administrators)
    book.change("roster", document, by=["ada", "adam", "node-1", "node-2", "witness-1"])

    assert not book.last.accepted


def test_a_replaced_passkey_voids_its_pending_approvals(book: Book) -> None:
    request = book.request(700, expires_ms=book.now_ms + 9 * DAY_MS)
    for operator in ("alice", "bob"):
        book.approve(request, operator, nonce=0, expires_ms=book.now_ms + 9 * DAY_MS)
    document: Any = WORLD.roster()
    document["operators"][0]["credential"]["public_key"] = authenticator("erin").credential().public_key.hex()
    book.change("roster", document)
    after_delay(book)

    assert [a.operator for a in book.state.requests[request].approvals] == ["bob"]


# Versions.


@pytest.mark.parametrize(
    ("by", "accepted"),
    [
        (["node-1", "node-2", "node-3"], True),
        (["node-1", "node-2", "witness-1"], True),
        (["node-1", "node-2"], False),
        ([], False),
        (["ada", "adam", "agnes"], False),
    ],
)
def test_a_version_needs_readiness_of_w_cosigners(book: Book, by: list[str], accepted: bool) -> None:
    book.version(2, by=by)

    assert book.last.accepted == accepted


def test_a_version_needs_the_nodes_of_every_key() -> None:
    book = Book(World(nodes=3, witnesses=4, w=5, f=1))
    ready = ["node-1", *book.world.witnesses]
    book.version(2, by=ready)

    assert not book.last.accepted
    assert "needs 2 ready nodes, has 1" in book.last.reason

    book.version(2, by=[*ready, "node-2"])

    assert book.last.accepted


@pytest.mark.parametrize("rules", [1, 3])
def test_versions_follow_one_another(book: Book, rules: int) -> None:
    book.version(rules, by=WORLD.cosigners)

    assert not book.last.accepted


def test_a_program_without_the_version_in_force_stops(book: Book) -> None:
    book.version(2, by=WORLD.cosigners)
    for entry in (b"anything", book.entries[-1]):
        with pytest.raises(UnknownVersion, match="upgrade it"):
            fold(book.state, entry)


def test_a_log_that_starts_under_an_unknown_version_is_not_folded() -> None:
    good = Book(WORLD, start=False)
    good.genesis()
    entry = good.entries[0].replace(b'"rules":1', b'"rules":2')

    with pytest.raises(UnknownVersion):
        fold(initial(), entry)


def test_a_body_that_cannot_be_read_has_no_verdict(book: Book) -> None:
    with pytest.raises(MalformedError):
        judge(book.state, "request", body={"to": CUSTOMER}, time_ms=book.now_ms)


# Forks.


def test_a_fork_is_recorded_with_burns_for_what_it_abandons(book: Book) -> None:
    job = bytes(31) + b"\x07"
    burn = {"origin": ORIGIN, "job": job.hex()}
    body: Any = {"origin": ORIGIN, "size": 2, "root": "00" * 32, "abandoned": [job.hex()]}
    burns: Any = [{"job": job.hex(), "signatures": signatures("burn", burn, ["node-1", "node-2"])}]
    quorum = signatures("fork", body, ADMINISTRATORS[:2])
    for proof in ({"signatures": quorum, "burns": []}, {"signatures": quorum[:1], "burns": burns}):
        book.write("fork", body, **proof)

        assert not book.last.accepted
    book.write("fork", body, signatures=quorum, burns=burns)

    assert book.last.accepted
