"""The gate: every reason of a node's own not to sign, at its very bound, and nothing else."""

import dataclasses
from collections.abc import Callable

import pytest
from msgspec.structs import asdict

from policy.state import Job, UnverifiedState
from policy.values import replace
from signer_nodes.gate import (
    RESERVATION_AGE_MS_MAX,
    Admitted,
    Declined,
    Node,
    admit,
    may_burn,
    may_sign,
)
from signer_nodes.mpc.presignature import Presignature
from signer_nodes.presignatures import Held, PresignaturePool
from tests.simulation.world import (
    CUSTOMER,
    DAY_MS,
    KEY,
    ORIGIN,
    OTHER,
    PAIR,
    SANCTIONED,
    STRANGER,
    Book,
    World,
    seed,
    signatures,
)

WORLD = World()
ME = PAIR[0]
SESSION = seed("session")
COOL_DOWN_MS = 1000
LISTS = {
    "customers": {"addresses": [CUSTOMER, OTHER, SANCTIONED], "quorum": 1, "cool_down_ms": COOL_DOWN_MS},
    "sanctioned": [SANCTIONED],
}


def presignature(index: int = 0) -> Presignature:
    return Presignature(
        session=SESSION,
        index=index,
        signers=(1, 2),
        me=1,
        group_key=bytes(33),
        R=bytes(33),
        commitments=(bytes(32), bytes(32)),
        rho=bytes(32),
        phi=1,
        u=1,
        v=1,
    )


class Desk:
    """A log with one reserved job to a customer on a list of its own, and this node with its presignature."""

    def __init__(self) -> None:
        self.book, self.pool = Book(WORLD, start=False), PresignaturePool()
        self.book.genesis(policy=WORLD.policy(lists=LISTS))
        self.book.key()
        self.pool.add([Held(presignature(), KEY, 0, PAIR)])
        self.request = self.book.request(1)
        named = [presignature().presign_id.hex()]
        self.job_id = self.book.reserve(self.request, nonce=0, presignatures=named)
        self.frozen = False
        self.now_ms = self.book.now_ms

    @property
    def job(self) -> Job:
        return self.book.state.jobs[self.job_id]

    def node(self, name: str = ME) -> Node:
        return Node(name, self.now_ms, self.frozen)

    def admits(self) -> str:
        """Why the opening is declined; empty when it is let out."""
        (decision,) = admit(self.book.state, [self.job_id], node=self.node(), pool=self.pool)
        return decision.reason if isinstance(decision, Declined) else ""

    def signs(self, *, quorum_size: int | None = None) -> str:
        """Why there is no partial signature; empty when there is one."""
        size = self.book.state.size if quorum_size is None else quorum_size
        found = may_sign(self.book.state, self.job_id, node=self.node(), quorum_size=size)
        return found.reason if isinstance(found, Declined) else ""


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_what_the_log_admitted_is_opened_and_signed(desk: Desk) -> None:
    assert (desk.admits(), desk.signs()) == ("", "")
    (decision,) = admit(desk.book.state, [desk.job_id], node=desk.node(), pool=desk.pool)
    assert decision == Admitted(desk.job, (presignature().presign_id,))


def test_a_log_folded_without_checking_signatures_signs_nothing(desk: Desk) -> None:
    desk.book.state = UnverifiedState(**asdict(desk.book.state))

    assert "without checking who signed" in desk.admits()
    assert "without checking who signed" in desk.signs()


def another_job(desk: Desk) -> None:
    desk.book.reserve(desk.request, nonce=0)


def settled(desk: Desk) -> None:
    desk.book.sign(desk.job_id)
    desk.book.settle(desk.job_id)


def expired(desk: Desk) -> None:
    desk.now_ms = desk.book.state.requests[desk.request].request.expires_ms


def frozen_node(desk: Desk) -> None:
    desk.frozen = True


def refreshed(desk: Desk) -> None:
    desk.book.key(change="refresh", epoch=1)


def new_policy(desk: Desk) -> None:
    desk.book.change("policy", WORLD.policy(name="second"))
    desk.book.advance(DAY_MS)
    desk.book.idle()


def without_the_customer(desk: Desk) -> None:
    desk.book.list_address("remove", CUSTOMER)


def with_one_customer_more(desk: Desk) -> None:
    desk.book.list_address("add", STRANGER)
    desk.book.advance(COOL_DOWN_MS)
    desk.book.idle()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_the_customer, "an address list has changed since the reservation"),
        (with_one_customer_more, "an address list has changed since the reservation"),
        (frozen_node, "this node is frozen"),
        (lambda desk: desk.book.order("freeze", seed("freeze")), "signing is frozen"),
        (lambda desk: desk.book.sign(desk.job_id), "the job is signed"),
        (lambda desk: desk.book.burn(desk.job_id), "the job is burned"),
        (another_job, "a later job of the same request"),
        (settled, "the job is signed"),
        (expired, "the request expired"),
        (refreshed, "is in another epoch since the reservation"),
        (new_policy, "the policy has changed"),
        (lambda desk: desk.book.ban(*PAIR), "runs no session with"),
    ],
)
def test_neither_round_goes_on(desk: Desk, change: Callable[[Desk], object], reason: str) -> None:
    change(desk)

    assert reason in desk.admits()
    assert reason in desk.signs()


def reserved_again(desk: Desk, index: int) -> str:
    """The rule by which the log denies a retry with another presignature; empty when it does not."""
    desk.pool.add([Held(presignature(index), KEY, 0, PAIR)])
    named = [presignature(index).presign_id.hex()]
    desk.job_id = desk.book.reserve(desk.request, nonce=0, presignatures=named)
    verdict = desk.book.last.verdict
    return verdict.rule if verdict is not None and not desk.book.last.accepted else ""


def test_what_is_reserved_again_is_judged_by_the_lists_as_they_are(desk: Desk) -> None:
    desk.book.list_address("remove", OTHER)
    assert "list has changed" in desk.signs()
    assert (reserved_again(desk, 1), desk.admits(), desk.signs()) == ("", "", "")

    desk.book.list_address("remove", CUSTOMER)

    assert "list has changed" in desk.signs()
    assert reserved_again(desk, 2) == "no-rule-matches"
    assert desk.signs() == "no admitted reservation has this id"


def test_a_reservation_of_sixty_seconds_is_signed_and_an_older_one_is_not(desk: Desk) -> None:
    assert RESERVATION_AGE_MS_MAX == 60_000
    desk.now_ms = desk.job.time_ms + RESERVATION_AGE_MS_MAX
    assert (desk.admits(), desk.signs()) == ("", "")

    desk.now_ms += 1

    assert desk.signs() == "the reservation is 60001 ms old: reserve again"
    assert desk.admits() == desk.signs()


def test_a_request_is_signed_until_the_millisecond_of_its_expiry(desk: Desk) -> None:
    state = desk.book.state
    request = state.requests[desk.request]
    soon = replace(request.request, expires_ms=desk.now_ms + 5)
    desk.book.state = replace(
        state, requests=state.requests.set(desk.request, replace(request, request=soon))
    )
    desk.now_ms += 4
    assert desk.signs() == ""

    desk.now_ms += 1

    assert "expired" in desk.signs()


def test_nothing_is_signed_that_the_quorum_does_not_include(desk: Desk) -> None:
    assert "does not include" in desk.signs(quorum_size=desk.job.index)
    assert desk.signs(quorum_size=desk.job.index + 1) == ""


def test_a_job_that_is_not_in_the_log_is_not_signed(desk: Desk) -> None:
    found = may_sign(desk.book.state, bytes(32), node=desk.node(), quorum_size=99)

    assert found == Declined(bytes(32), "no admitted reservation has this id")


def test_a_node_that_is_no_signer_opens_and_signs_nothing(desk: Desk) -> None:
    stranger = desk.node("node-3")

    assert admit(desk.book.state, [desk.job_id], node=stranger, pool=desk.pool) == ()
    found = may_sign(desk.book.state, desk.job_id, node=stranger, quorum_size=desk.book.state.size)
    assert isinstance(found, Declined) and "not among the job's signers" in found.reason


def lost(desk: Desk) -> None:
    desk.pool.drop([presignature().presign_id])


def bound_elsewhere(desk: Desk) -> None:
    desk.pool.bind(presignature().presign_id, seed("another job"), index=0)


def of_another_epoch(desk: Desk) -> None:
    lost(desk)
    desk.pool.add([Held(presignature(), KEY, 1, PAIR)])


def of_another_set(desk: Desk) -> None:
    lost(desk)
    desk.pool.add([Held(presignature(), KEY, 0, ("node-1", "node-3"))])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lost, "does not hold the presignature"),
        (bound_elsewhere, "is bound already"),
        (of_another_epoch, "for another key or signing set"),
        (of_another_set, "for another key or signing set"),
    ],
)
def test_a_presignature_that_cannot_be_bound_is_not_opened(
    desk: Desk, change: Callable[[Desk], object], reason: str
) -> None:
    change(desk)

    assert reason in desk.admits()


def test_one_presignature_serves_one_job_of_a_call(desk: Desk) -> None:
    """The fold refuses the second reservation; were it not to, the gate would."""
    twin = replace(desk.job, job_id=seed("twin"))
    state = desk.book.state
    request = state.requests[desk.request]
    both = replace(state, jobs=state.jobs.set(twin.job_id, twin))
    later = replace(request, jobs=(desk.job_id, twin.job_id))

    first, second = (
        admit(
            replace(both, requests=state.requests.set(desk.request, replace(later, jobs=jobs))),
            [desk.job_id, twin.job_id],
            node=desk.node(),
            pool=desk.pool,
        )
        for jobs in ((twin.job_id, desk.job_id), (desk.job_id, twin.job_id))
    )

    for decisions in (first, second):
        assert sum(isinstance(one, Admitted) for one in decisions) == 1


def test_what_was_bound_and_not_stored_may_be_bound_again(desk: Desk) -> None:
    desk.pool.bind(presignature().presign_id, desk.job_id, index=0)

    assert desk.admits() == ""


def test_a_burn_is_stated_for_an_unsigned_job_of_ones_own_or_one_that_is_not_known(desk: Desk) -> None:
    state = desk.book.state
    assert may_burn(state, desk.job_id, node=desk.node()) is None
    assert may_burn(state, seed("unknown"), node=desk.node()) is None
    stranger = may_burn(state, desk.job_id, node=desk.node("node-3"))
    assert stranger is not None and "not among" in stranger.reason

    desk.book.sign(desk.job_id)

    signed = may_burn(desk.book.state, desk.job_id, node=desk.node())
    assert signed is not None and signed.reason == "the job is signed"


def test_a_signer_that_left_the_roster_signs_nothing(desk: Desk) -> None:
    roster = desk.book.state.roster
    left = {name: one for name, one in roster.cosigners.items() if name != PAIR[1]}
    desk.book.state = replace(desk.book.state, roster_or_none=dataclasses.replace(roster, cosigners=left))

    assert desk.signs() == "a signer is not in the roster any more"


def test_the_entry_that_bans_is_signed_by_the_one_who_bans() -> None:
    """What the gate reads of bans is what the log let in: a forged one keeps nobody from signing."""
    desk = Desk()
    body = {"origin": ORIGIN, "key": KEY, "epoch": 0, "by": PAIR[0], "against": PAIR[1], "reason": "ot"}
    desk.book.write("ban", body, signatures=signatures("ban", body, [PAIR[1]]))

    assert desk.signs() == ""
