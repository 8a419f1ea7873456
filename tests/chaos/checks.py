"""What must hold of a run, whatever was done to it: read off the chain and the published log. Pure.

Nothing here uses the project's own fold: sums are done again, by the simplest means.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

T = TypeVar("T", bound=Hashable)
PAID: Final = "settled"
ENDS: Final = frozenset({PAID, "denied"})
"""How a request of the load may end: paid, or refused by a limit."""


@dataclass(frozen=True, slots=True)
class Payment:
    """A transaction of the wallet in a block of the chain."""

    account: str
    nonce: int
    asset: str
    amount: int
    worked: bool


@dataclass(frozen=True, slots=True)
class Reserved:
    """A reservation of the published log: its time, its request, and what it uses."""

    job: bytes
    request: str
    slot: tuple[str, int]
    presignatures: tuple[bytes, ...]
    time_ms: int


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature of the published log."""

    job: bytes
    signature: bytes
    time_ms: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that was acknowledged, and the state that it had at the end."""

    request: str
    asset: str
    amount: int
    end: str


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so much of an asset in any window of log time."""

    asset: str
    window_ms: int
    amount_max: int


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that outsiders can see of a run."""

    accepted: Sequence[Accepted]
    payments: Sequence[Payment]
    reserved: Sequence[Reserved]
    signed: Sequence[Signed]
    limits: Sequence[Limit]
    verified: bool


def failures(record: Record) -> dict[str, list[str]]:
    """By check, what is wrong; empty lists where nothing is."""
    return {
        "signed-once": [*_twice_on_chain(record), *_twice_in_log(record)],
        "within-limits": _beyond(record),
        "all-ended": _unended(record),
        "paid-as-ended": _otherwise_paid(record),
        "log-verifies": [] if record.verified else ["audit verify refuses the published log"],
    }


def _twice_on_chain(record: Record) -> list[str]:
    places = _repeated((one.account, one.nonce) for one in record.payments)
    amounts = _repeated((one.asset, one.amount) for one in record.payments)
    return [f"two transactions at {place}" for place in places] + [
        f"{amount} was paid more than once" for amount in amounts
    ]


def _twice_in_log(record: Record) -> list[str]:
    pairs = {(one.request, one.slot) for one in record.reserved}
    found = [f"request {one[:16]} has two anchors" for one in _repeated(request for request, _ in pairs)]
    found += [f"the anchor {one} serves two requests" for one in _repeated(slot for _, slot in pairs)]
    used = _repeated(one for reserved in record.reserved for one in reserved.presignatures)
    found += [f"presignature {one.hex()[:16]} was reserved twice" for one in used]
    jobs = _repeated(one.job for one in record.signed)
    found += [f"job {one.hex()[:16]} has two signatures" for one in jobs]
    points = _repeated(one.signature[:32] for one in record.signed)
    return found + [f"R = {one.hex()[:16]} was used twice" for one in points]


def _beyond(record: Record) -> list[str]:
    """Sums of every window that ends with a reservation, each request counted from there to its signature."""
    amounts = {one.request: (one.asset, one.amount) for one in record.accepted}
    strange = sorted({one.request for one in record.reserved} - set(amounts))
    found = [f"request {one[:16]} was reserved, and nobody was told that it is accepted" for one in strange]
    spans = _spans(record)
    for limit in record.limits:
        of_asset = sorted(
            (begin, end, amounts[request][1])
            for request, (begin, end) in spans.items()
            if request in amounts and amounts[request][0] == limit.asset
        )
        for number, (begin, _, _) in enumerate(of_asset):
            earlier = of_asset[: number + 1]
            total = sum(amount for _, end, amount in earlier if begin < end + limit.window_ms)
            if total > limit.amount_max:
                found.append(f"{total} {limit.asset} at {begin} is beyond {limit.amount_max}")
    return found


def _spans(record: Record) -> dict[str, tuple[int, float]]:
    """When each request was first reserved, and when it was last signed; for ever where it was not."""
    of_job = {one.job: one.request for one in record.reserved}
    first: dict[str, int] = {}
    last: dict[str, float] = defaultdict(lambda: float("inf"))
    for reserved in record.reserved:
        first[reserved.request] = min(reserved.time_ms, first.get(reserved.request, reserved.time_ms))
    for signed in sorted(record.signed, key=lambda one: one.time_ms):
        if signed.job in of_job:
            last[of_job[signed.job]] = signed.time_ms
    return {request: (begin, last[request]) for request, begin in first.items()}


def _unended(record: Record) -> list[str]:
    return [f"request {one.request[:16]} is {one.end}" for one in record.accepted if one.end not in ENDS]


def _otherwise_paid(record: Record) -> list[str]:
    """Paid is what settled and nothing else; a limit refuses, and everything refused has one."""
    paid = {(one.asset, one.amount) for one in record.payments if one.worked}
    settled = {(one.asset, one.amount) for one in record.accepted if one.end == PAID}
    limited = {limit.asset for limit in record.limits}
    found = [f"{one} settled and is not on the chain" for one in sorted(settled - paid)]
    found += [f"{one} is on the chain and did not settle" for one in sorted(paid - settled)]
    found += [
        f"{one.amount} of {one.account} failed on the chain" for one in record.payments if not one.worked
    ]
    refused = (one for one in record.accepted if one.end == "denied" and one.asset not in limited)
    return found + [f"request {one.request[:16]} was denied without a reason" for one in refused]


def ends_of(record: Record) -> Mapping[str, int]:
    """How many requests ended how."""
    return dict(sorted(Counter(one.end for one in record.accepted).items()))


def _repeated(items: Iterable[T]) -> list[T]:
    return [item for item, count in Counter(items).items() if count > 1]
