"""What must hold of everything that can be on chain, whatever a coordinator and f corrupt cosigners do.

The claim is docs/spec/log.md, "What limits are"; ``check`` is the claim as code.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from policy.accounts import Account
from policy.decode.decoded import Source, Transfer, Undecodable
from policy.decode.evm import decode
from policy.delays import LAG_MS_MAX
from signer_nodes.gate import RESERVATION_AGE_MS_MAX
from tests.simulation.adversary import CLOCK_ERROR_MS, Adversary, Signed
from tests.simulation.cluster import SKEW_MS
from tests.simulation.world import CUSTOMER, DAY_MS, LIMIT, SMALL_MAX

REAL_WINDOW_MS = DAY_MS - RESERVATION_AGE_MS_MAX - SKEW_MS - 4 * CLOCK_ERROR_MS
OVER_IN_LOG_TIME = "a limit was exceeded in the log's time"
OVER_IN_REAL_TIME = "a limit was exceeded in real time"
EARLY = "a policy took effect before its delay was over"


class Broken(AssertionError):
    """The claim does not hold."""


@dataclass(frozen=True)
class Spent:
    """What one transaction takes out of its account at most, and when it was signed."""

    request: bytes
    amount: int
    at_ms: int


def check(run: Adversary) -> None:
    """Raise ``Broken`` with all by which a run broke the claim."""
    if found := [what for what, broken in _findings(run) if broken]:
        raise Broken("; ".join(found))


def _findings(run: Adversary) -> Iterator[tuple[str, bool]]:
    signed = run.signed()
    yield from _about_anchors(signed)
    for tx in map(decoded, signed):
        if isinstance(tx, Transfer):
            yield "a forbidden destination was paid", tx.recipient != CUSTOMER
            yield "what needs approvals was paid without them", tx.amount > SMALL_MAX
    by_log = [Spent(one.job.request_id, spent(one), one.log_ms) for one in signed]
    yield OVER_IN_LOG_TIME, most_in_a_window(by_log, DAY_MS) > LIMIT
    if not run.clocks_wrong:
        by_clock = [Spent(one.job.request_id, spent(one), one.at_ms) for one in signed]
        yield OVER_IN_REAL_TIME, most_in_a_window(by_clock, REAL_WINDOW_MS) > LIMIT
        yield EARLY, run.early_ms > LAG_MS_MAX + 2 * CLOCK_ERROR_MS


def _about_anchors(signed: Iterable[Signed]) -> Iterator[tuple[str, bool]]:
    anchors, used = defaultdict(set), list[bytes]()
    for one in signed:
        anchors[one.job.request_id].add(one.job.anchor)
        used += one.job.presignatures
    yield "a request has two anchors", any(len(found) > 1 for found in anchors.values())
    yield "two requests share an anchor", len(set().union(*anchors.values())) < len(anchors)
    yield "a presignature served twice", len(set(used)) < len(used)


def spent(signed: Signed) -> int:
    """What a transaction can take out of its account, decoded from its bytes."""
    tx = decoded(signed)
    return signed.job.fee_max + (tx.amount if isinstance(tx, Transfer) else 0)


def decoded(signed: Signed) -> Transfer | Undecodable:
    slot = signed.job.anchor
    account = Account("", slot.account, b"", 0, None)
    return decode(signed.job.tx, Source(slot.chain, (account,), lambda _: False))


def most_in_a_window(spendings: Iterable[Spent], window_ms: int) -> int:
    """The most that can leave in a half-open window: of each request its largest transaction in there."""
    spendings = tuple(spendings)
    return max((_within(spendings, one.at_ms, one.at_ms + window_ms) for one in spendings), default=0)


def _within(spendings: Iterable[Spent], start_ms: int, end_ms: int) -> int:
    largest: dict[bytes, int] = defaultdict(int)
    for one in spendings:
        if start_ms <= one.at_ms < end_ms:
            largest[one.request] = max(largest[one.request], one.amount)
    return sum(largest.values())
