"""What wallets hold: by what observers stated, and by what was reserved since.

A statement of a wallet and an asset has the amount, when it was observed, and what of the log it has seen:
the outcome of every request of the log's first ``size`` entries, but for those it names as ``pending``. What
it has not seen counts on top of it: what may still come in for the most that is held, what may still go out
for the least. So nothing depends on whose clock is right, or on the coordinator's word that something is
settled.

What counts is kept in windows whose time is the index of entries: two for each wallet and asset. A request is
in them, with the largest of its live jobs, from its reservation until a statement has seen it or all its jobs
are burned. All of it begins anew with a policy: its wallets may be others under the same names.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Final, NamedTuple

from immutables import Map

from policy.conflicts import Place, most_of
from policy.model import Policy
from policy.rules import TierHeld
from policy.state import CANCEL, Holding, Job, RequestState, State
from policy.stored.layered import Table
from policy.values import replace
from policy.windows import Counted, Window
from policy.worth import highest, lowest

INBOUND, OUTBOUND = DIRECTIONS = (":in", ":out")
"""Where flows stand among the windows: no limit has such a name."""
_EMPTY: Final = Window()


class Held(NamedTuple):
    """The least and the most that a wallet may hold of an asset."""

    low: int
    high: int


def afresh(state: State) -> State:
    """``state`` in which nothing is stated yet, under a policy that begins."""
    return replace(state, holdings=Map(), holdings_since=state.size)


def place_of(direction: str, wallet: str, *, asset: str) -> Place:
    """Where flows of a wallet and asset are counted."""
    return direction, f"{wallet}/{asset}"


def both(wallet: str, asset: str) -> tuple[Place, Place]:
    """Where what comes in and what goes out is counted."""
    incoming, outgoing = (place_of(direction, wallet, asset=asset) for direction in DIRECTIONS)
    return incoming, outgoing


def flowing(state: State, request: RequestState, *, jobs: tuple[Job, ...]) -> dict[Place, int]:
    """What the request's ``jobs`` move at most, each place by the largest of those that conflict on chain.

    Within one wallet nothing is moved but the fee. Cost: the jobs.
    """
    return most_of(jobs, lambda job: _moved(state, request, job))


def _moved(state: State, request: RequestState, job: Job) -> Iterator[tuple[Place, int]]:
    intent = request.request.intent
    chain = state.policy.chains.get(intent.chain)
    if chain is None:
        return
    pays = job.purpose != CANCEL
    out = {intent.asset: intent.amount if pays else 0}
    out[chain.native] = out.get(chain.native, 0) + job.fee_max
    owner = state.owned.get((intent.chain, intent.destination), "") if pays else ""
    if owner == intent.wallet:
        out[intent.asset] -= intent.amount
    elif owner:
        yield place_of(INBOUND, owner, asset=intent.asset), intent.amount
    for asset, amount in out.items():
        if amount:
            yield place_of(OUTBOUND, intent.wallet, asset=asset), amount


def with_flows(
    state: State, request: RequestState, *, windows: Table[Place, Window], live: tuple[Job, ...]
) -> Table[Place, Window]:
    """``windows`` in which a request is counted, from the entry at hand on, by its ``live`` jobs."""
    for place, amount in flowing(state, request, jobs=live).items():
        window = windows.get(place, _EMPTY)
        windows = windows.set(place, window.with_request(request.request_id, Counted(amount, state.size)))
    return windows


def after_burn(state: State, request: RequestState) -> State:
    """``state`` in which a request no longer counts for a job that is burned, unless it was seen before."""
    if not state.policy.tiers:
        return state
    windows, left = state.windows, flowing(state, request, jobs=state.live_jobs(request.request_id))
    for place in flowing(state, request, jobs=tuple(state.jobs[job] for job in request.jobs)):
        window = windows.get(place, _EMPTY)
        if request.request_id not in window.counted:
            continue
        if place in left:
            window = window.with_request(request.request_id, Counted(left[place], state.size))
        else:
            window = window.without(request.request_id)
        windows = windows.set(place, window)
    return replace(state, windows=windows)


def stated(state: State, place: Place, *, holding: Holding, pending: tuple[bytes, ...]) -> State:
    """``state`` with a statement of a wallet and an asset: what it has seen does not count any more."""
    windows, flows = state.windows, dict[bytes, dict[Place, int]]()
    for identifier in pending:
        request = state.requests[identifier]
        flows[identifier] = flowing(state, request, jobs=state.live_jobs(identifier))
    for at in both(*place):
        window = windows.get(at, _EMPTY)
        for identifier in pending:
            if at in flows[identifier]:
                window = window.with_request(identifier, Counted(flows[identifier][at], state.size))
        windows = windows.set(at, window.expired(holding.size - 1, window_ms=0))
    return replace(state, windows=windows, holdings=state.holdings.set(place, holding))


def tier_held(state: State, asset: str, *, without: bytes, time_ms: int) -> Callable[[str], TierHeld]:
    """What each tier holds of ``asset`` and in value, apart from the request ``without``."""

    def found(tier: str) -> TierHeld:
        total = TierHeld(0, 0, 0, 0)
        for wallet, name in _pairs(state.policy, tier):
            there = wallet_held(state, wallet, asset=name, without=without, time_ms=time_ms)
            total = _added(state, total, name, there=there, counts=name == asset, time_ms=time_ms)
        # Nothing is worth 0 without a price: of the two it must not be that one is known.
        known = total.value_low is not None and total.value_high is not None
        return total if known else total._replace(value_low=None, value_high=None)

    return cache(found)


def _pairs(policy: Policy, tier: str) -> Iterator[tuple[str, str]]:
    """Every wallet of a tier with every asset that it can hold."""
    for wallet in policy.wallets.values():
        for name, asset in policy.assets.items():
            if wallet.tier == tier and wallet.chain == asset.chain:
                yield wallet.name, name


def _added(
    state: State, total: TierHeld, asset: str, *, there: Held | None, counts: bool, time_ms: int
) -> TierHeld:
    """A sum with one wallet's holding of an asset more; ``counts`` if its amounts are asked for, too."""
    low, high = (there.low, there.high) if there else (None, None)
    value_low = None if low is None else lowest(state, asset, amount=low, time_ms=time_ms)
    value_high = None if high is None else highest(state, asset, amount=high, time_ms=time_ms)
    return TierHeld(
        _plus(total.low, low) if counts else total.low,
        _plus(total.high, high) if counts else total.high,
        _plus(total.value_low, value_low),
        _plus(total.value_high, value_high),
    )


def wallet_held(state: State, wallet: str, *, asset: str, without: bytes, time_ms: int) -> Held | None:
    """What a wallet may hold of an asset, apart from one request; None without a statement new enough."""
    holding = state.holdings.get((wallet, asset))
    if holding is None or holding.observed_ms <= time_ms - state.policy.holdings_max_age_ms:
        return None
    incoming, outgoing = (
        state.windows.get(place, _EMPTY).of_others(without) for place in both(wallet, asset)
    )
    return Held(max(0, holding.amount - outgoing), holding.amount + incoming)


def unseen(state: State, wallet: str, *, asset: str) -> list[bytes]:
    """The requests that count on top of what is stated of a wallet and asset. Cost: all of these."""
    found = {request for place in both(wallet, asset) for request in state.windows.get(place, _EMPTY).counted}
    return sorted(found)


def flows_of(windows: Table[Place, Window]) -> Iterator[tuple[Place, Window]]:
    """Every window of flows among all. Cost: all windows."""
    return ((place, windows[place]) for place in windows if place[0] in DIRECTIONS)


def needs_statements(policy: Policy) -> bool:
    """Whether anything of a policy is held against statements of holdings."""
    return any(
        tier.minimum or tier.maximum or tier.share_min_bp is not None or tier.share_max_bp is not None
        for tier in policy.tiers
    )


def _plus(total: int | None, more: int | None) -> int | None:
    return None if total is None or more is None else total + more
