"""How requests count into the windows of the policy's limits, whatever becomes of their jobs."""

from collections.abc import Callable, Iterable, Iterator

from immutables import Map

from policy.conflicts import Place, apart, most_of
from policy.facts import job_facts, scale
from policy.limits import LimitScope, cancellation_held, limit_scopes
from policy.rules import Facts
from policy.state import CANCEL, PAYMENT, Job, JobStatus, RequestState, State
from policy.stored.layered import Table
from policy.values import replace
from policy.windows import Counted, Window

_EMPTY = Window()


def usage_without(state: State, request_id: bytes, *, time_ms: int) -> Callable[[str, str], int]:
    """How much of each limit others use at ``time_ms``."""
    windows_ms = state.policy.windows_ms

    def used(limit: str, scope_key: str) -> int:
        window = state.windows.get((limit, scope_key))
        if window is None:
            return 0
        return window.used_by_others(request_id, time_ms, window_ms=windows_ms[limit])

    return used


def usage_beside(
    state: State, request: RequestState, *, tx: bytes, time_ms: int
) -> Callable[[str, str], int]:
    """How much of each limit others use, and transactions of the request that ``tx`` does not keep off.

    What its payment holds for a cancellation is there for ``tx``, which is one when anything is beside it.
    """
    others = usage_without(state, request.request_id, time_ms=time_ms)
    own = [job for job in state.live_jobs(request.request_id) if apart(job, tx)]
    if not own:
        return others
    amounts = most_of(own, lambda job: _adds(state, request, job, None))
    for place in _held_in(state, request, own):
        amounts[place] -= cancellation_held(request.request.intent.chain)
    return lambda limit, scope_key: others(limit, scope_key) + amounts.get((limit, scope_key), 0)


def recount(state: State, request_id: bytes, *, signed_ms: int) -> State:
    """``state`` with the request counted anew in every limit it touches, from its jobs as they stand.

    Held while the newest live job is unsigned; otherwise counted from ``signed_ms``, which must not
    be before that of any call earlier.
    """
    live = state.live_jobs(request_id)
    windows, request = counted(state, state.requests[request_id], live=live, signed_ms=signed_ms)
    return replace(state, windows=windows, requests=state.requests.set(request_id, request))


def counted(
    state: State,
    request: RequestState,
    *,
    live: tuple[Job, ...],
    signed_ms: int,
    newest: Facts | None = None,
) -> tuple[Table[tuple[str, str], Window], RequestState]:
    """The windows with the request counted by its ``live`` jobs, and the request with where that is.

    What has left these windows by now is dropped from them for good.
    ``newest`` are the facts of the newest of them, if they are at hand.
    """
    amounts = most_of(live, lambda job: _adds(state, request, job, newest if job is live[-1] else None))
    if places := _held_in(state, request, live):
        cancels = [job for job in live if job.purpose == CANCEL]
        costs = most_of(cancels, lambda job: _adds(state, request, job, None))
        for place in places:
            amounts[place] -= min(costs.get(place, 0), cancellation_held(request.request.intent.chain))
    held = bool(live) and live[-1].status is JobStatus.RESERVED
    windows, windows_ms = state.windows, state.policy.windows_ms
    for place in {*request.scopes, *amounts}:
        window = windows.get(place, _EMPTY)
        if place in amounts:
            window = window.expired(state.time_ms, window_ms=windows_ms[place[0]])
            item = Counted(amounts[place], None if held else signed_ms)
            window = window.with_request(request.request_id, item)
        else:
            window = window.without(request.request_id)
        windows = windows.set(place, window)
    return windows, replace(request, scopes=tuple(sorted(amounts)))


def count_signed(state: State, job: Job) -> State:
    """``state`` after the last signature of ``job``: from now on it counts until its windows have passed.

    A request's only job is not weighed again: what it counts as was told when it was reserved, and is told no
    other way under the same policy.
    """
    state = replace(
        state,
        reserved=state.reserved.delete(job.job_id),
        signed=state.signed.set(state.signed_count, (job.signed_ms, job.request_id)),
        signed_count=state.signed_count + 1,
    )
    request = state.requests[job.request_id]
    told = job.value is not None or not job.unit
    if request.jobs != (job.job_id,) or job.policy != state.policy_hash or not told:
        return recount(state, job.request_id, signed_ms=state.time_ms)
    windows = state.windows
    for place in request.scopes:
        windows = windows.set(place, windows[place].signed(job.request_id, state.time_ms))
    return replace(state, windows=windows)


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


def _adds(state: State, request: RequestState, job: Job, known: Facts | None) -> Iterator[tuple[Place, int]]:
    """What one job adds where; all that a limit has if that cannot be told."""
    for scope in _scopes(state, request, job, known):
        amount = scope.limit.maximum if scope.amount is None else scope.amount
        yield (scope.limit.name, scope.scope_key), amount


def _held_in(state: State, request: RequestState, jobs: Iterable[Job]) -> set[Place]:
    """Where the payment among ``jobs`` holds what a cancellation costs at least."""
    chain = state.policy.chains.get(request.request.intent.chain)
    if chain is None or not cancellation_held(request.request.intent.chain):
        return set()
    scopes = (scope for job in jobs if job.purpose == PAYMENT for scope in _scopes(state, request, job, None))
    return {(scope.limit.name, scope.scope_key) for scope in scopes if scope.limit.asset == chain.native}


def _scopes(state: State, request: RequestState, job: Job, known: Facts | None) -> tuple[LimitScope, ...]:
    """Where one job counts. What it was worth is what it was worth when it was reserved."""
    policy = state.policy
    if request.request.intent.chain not in policy.chains:
        return ()
    facts = known or job_facts(
        state, request, purpose=job.purpose, fee_max=job.fee_max, time_ms=state.time_ms, usage={}
    )
    if job.value is not None and job.unit == scale(policy) and job.value != facts.value:
        facts = replace(facts, value=job.value)
    return limit_scopes(policy, facts)
