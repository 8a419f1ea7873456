"""How requests count into the windows of the policy's limits, whatever becomes of their jobs."""

from collections.abc import Iterator
from dataclasses import replace

from immutables import Map

from policy.facts import job_facts, scale
from policy.limits import LimitScope, limit_scopes
from policy.rules import Usage
from policy.state import Job, JobStatus, RequestState, State
from policy.windows import Counted, Window


def usage_without(state: State, request_id: bytes, *, time_ms: int) -> Usage:
    """How much of each limit others use at ``time_ms``."""
    windows_ms = {limit.name: limit.window_ms for limit in state.policy.limits}

    def used(limit: str, scope_key: str) -> int:
        window = state.windows.get((limit, scope_key))
        if window is None:
            return 0
        return window.expired(time_ms, window_ms=windows_ms[limit]).used_by_others(request_id)

    return used


def recount(state: State, request_id: bytes, *, signed_ms: int) -> State:
    """``state`` with the request counted anew in every limit it touches, from its jobs as they stand.

    Held while the newest live job is unsigned; otherwise counted from ``signed_ms``, which must not
    be before that of any call earlier.
    """
    request = state.requests[request_id]
    live = state.live_jobs(request_id)
    amounts: dict[tuple[str, str], int] = {}
    for job in live:
        for limit, scope_key, amount in _scopes(state, request, job):
            place = (limit.name, scope_key)
            counted_here = limit.maximum if amount is None else amount
            amounts[place] = max(amounts.get(place, 0), counted_here)
    held = bool(live) and live[-1].status is JobStatus.RESERVED
    windows = state.windows
    for place in {*request.scopes, *amounts}:
        window = windows.get(place, Window()).without(request_id)
        if place in amounts:
            window = window.with_request(request_id, Counted(amounts[place], None if held else signed_ms))
        windows = windows.set(place, window)
    counted = replace(request, scopes=tuple(sorted(amounts)))
    return replace(state, windows=windows, requests=state.requests.set(request_id, counted))


def recount_all(state: State) -> State:
    """``state`` with every window rebuilt: what a change of policy calls for. Cost: what still counts."""
    state = replace(state, windows=Map())
    last_signed = {
        request_id: max(state.jobs[job].signed_ms for job in state.requests[request_id].jobs)
        for request_id in _may_count(state)
    }
    for request_id in sorted(last_signed, key=lambda key: (last_signed[key], key)):
        state = recount(state, request_id, signed_ms=last_signed[request_id])
    return state


def count_signed(state: State, job: Job) -> State:
    """``state`` in which a job of ``reserved`` stands in ``signed``."""
    return replace(
        state,
        reserved=state.reserved.delete(job.job_id),
        signed=state.signed.set(state.signed_count, (job.signed_ms, job.request_id)),
        signed_count=state.signed_count + 1,
    )


def _may_count(state: State) -> set[bytes]:
    """The requests with a job unsigned, or signed within the longest window."""
    longest_ms = max((limit.window_ms for limit in state.policy.limits), default=0)
    found = set(state.reserved.values())
    for number in reversed(range(state.signed_count)):
        signed_ms, request_id = state.signed[number]
        if signed_ms < state.time_ms - longest_ms:
            break
        found.add(request_id)
    return found


def expire_windows(state: State, places: tuple[tuple[str, str], ...]) -> State:
    """``state`` with what has left the windows at ``places`` dropped for good."""
    windows_ms = {limit.name: limit.window_ms for limit in state.policy.limits}
    windows = state.windows
    for place in places:
        window = windows.get(place)
        if window is not None:
            windows = windows.set(place, window.expired(state.time_ms, window_ms=windows_ms[place[0]]))
    return replace(state, windows=windows)


def _scopes(state: State, request: RequestState, job: Job) -> Iterator[LimitScope]:
    """Where one job counts. What it was worth is what it was worth when it was reserved."""
    if request.request.intent.chain not in state.policy.chains:
        return
    facts = job_facts(
        state, request, purpose=job.purpose, fee_max=job.fee_max, time_ms=state.time_ms, usage={}
    )
    if job.value is not None and job.unit == scale(state.policy):
        facts = replace(facts, value=job.value)
    yield from limit_scopes(state.policy, facts)
