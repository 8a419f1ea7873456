"""A change of policy counts anew what still counts, and no other request could make a difference."""

import random
from collections.abc import Iterator

import pytest
from immutables import Map

from policy.counting import recount, recount_all, usage_without
from policy.document import parse_policy
from policy.state import CANCEL, JobStatus, State
from policy.values import replace
from tests.simulation.world import DAY_MS, Book, World, limit

WORLD = World()
HOUR_MS = 3_600_000
NOBODY = bytes(32)
WINDOWS_MS = (HOUR_MS, DAY_MS, 3 * DAY_MS)


def counted_from_all(state: State) -> State:
    """The windows rebuilt from every request there ever was."""
    state = replace(state, windows=Map())
    last = {
        request_id: max(state.jobs[job].signed_ms for job in request.jobs)
        for request_id, request in state.requests.items()
        if request.jobs
    }
    for request_id in sorted(last, key=lambda key: (last[key], key)):
        state = recount(state, request_id, signed_ms=last[request_id])
    return state


def used(state: State, time_ms: int) -> list[int]:
    """What counts in each limit."""
    usage = usage_without(state, NOBODY, time_ms=time_ms)
    assert callable(usage)
    return [usage(one.name, "") for one in state.policy.limits]


def busy(seed: int) -> Iterator[Book]:
    """A log of payments of all fates over some days, after every step."""
    source, book, nonce = random.Random(seed), Book(WORLD, start=False), 0
    book.genesis(policy=WORLD.policy(limits=[limit("daily", "eth", 10**9)]))
    book.key()
    waiting: list[bytes] = []
    for _ in range(60):
        book.advance(source.choice([1, HOUR_MS, 6 * HOUR_MS, DAY_MS]))
        match source.choice(["reserve", "reserve", "sign", "sign", "burn", "retry", "cancel"]):
            case "reserve":
                waiting.append(book.reserve(book.request(source.randint(1, 500)), nonce=nonce))
                nonce += 1
            case "sign" if waiting:
                book.sign(waiting.pop(source.randrange(len(waiting))))
            case "burn" if waiting:
                book.burn(waiting.pop(source.randrange(len(waiting))))
            case "retry" | "cancel" as what if waiting:
                job = book.state.jobs[source.choice(waiting)]
                purpose = CANCEL if what == "cancel" else "payment"
                again = book.reserve(
                    job.request_id, nonce=job.anchor.nonce, fee=source.randint(11, 30), purpose=purpose
                )
                waiting += [again] if book.last.accepted else []
        yield book


@pytest.mark.parametrize("seed", range(8))
def test_counting_what_still_counts_is_counting_all(seed: int) -> None:
    limits = [limit(f"of-{ms}", "eth", 10**9, window_ms=ms) for ms in WINDOWS_MS]
    policies = [parse_policy(WORLD.policy(limits=some)) for some in (limits[:1], limits[1:], limits, [])]
    differed = 0
    for book in busy(seed):
        for policy in policies:
            state = replace(book.state, policy_or_none=policy)
            few, all_of_them = recount_all(state), counted_from_all(state)
            for later_ms in (0, 1, HOUR_MS, DAY_MS):
                time_ms = state.time_ms + later_ms
                assert used(few, time_ms) == used(all_of_them, time_ms)
            differed += few.windows != all_of_them.windows
    assert differed, "the log is long enough that some requests are left out"


@pytest.mark.parametrize("seed", range(4))
def test_the_indices_are_what_a_look_through_everything_finds(seed: int) -> None:
    for book in busy(seed):
        state = book.state
        open_jobs = {i: job.request_id for i, job in state.jobs.items() if job.status is JobStatus.RESERVED}
        signed = [job for job in state.jobs.values() if job.status is JobStatus.SIGNED]

        assert dict(state.reserved) == open_jobs
        assert state.signed_count == len(state.signed) == len(signed)
        order = [state.signed[number] for number in range(state.signed_count)]
        assert sorted(order) == sorted((job.signed_ms, job.request_id) for job in signed)
        assert [time_ms for time_ms, _ in order] == sorted(time_ms for time_ms, _ in order)


def test_open_approvals_are_those_of_requests_neither_closed_nor_rejected() -> None:
    book = Book(WORLD, start=False)
    book.genesis(policy=WORLD.policy(limits=[]))
    book.key()
    settled, rejected, waiting = (book.request(5_000 + number) for number in range(3))
    for nonce, request in enumerate((settled, rejected, waiting)):
        for operator in ("alice", "bob"):
            book.approve(request, operator, nonce=nonce)
    job = book.reserve(settled, nonce=0)
    book.sign(job)
    assert set(book.state.approved) == {settled, rejected, waiting}

    book.settle(job)
    book.reject(rejected, by="bob")

    assert set(book.state.approved) == {waiting}
    book.change("policy", WORLD.policy(name="second", limits=[]))
    book.advance(DAY_MS)
    book.idle()
    assert not book.state.approved
    assert book.state.requests[waiting].approvals == ()
