"""What must hold of everything that can be on chain, whatever a coordinator and f corrupt cosigners do.

The claim is docs/spec/log.md, "What limits are"; ``check`` is the claim as code.
"""

from collections import defaultdict
from collections.abc import Iterable
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


class Broken(AssertionError):
    """The claim does not hold."""


@dataclass(frozen=True)
class Spent:
    """What one transaction takes out of its account at most, and when it was signed."""

    request: bytes
    amount: int
    at_ms: int


def check(run: Adversary) -> None:
    """Raise ``Broken`` where a run broke the claim."""
    signed = run.signed()
    _check_anchors(signed)
    for one in signed:
        tx = decoded(one)
        if isinstance(tx, Transfer):
            _require(tx.recipient == CUSTOMER, "a forbidden destination was paid")
            _require(tx.amount <= SMALL_MAX, "what needs approvals was paid without them")
    by_log = [Spent(one.job.request_id, spent(one), one.log_ms) for one in signed]
    _require(most_in_a_window(by_log, DAY_MS) <= LIMIT, "a limit was exceeded in the log's time")
    if not run.clocks_wrong:
        by_clock = [Spent(one.job.request_id, spent(one), one.at_ms) for one in signed]
        _require(most_in_a_window(by_clock, REAL_WINDOW_MS) <= LIMIT, "a limit was exceeded in real time")
        early_ms = run.early_ms - 2 * CLOCK_ERROR_MS
        _require(early_ms <= LAG_MS_MAX, f"a policy was in effect {early_ms} ms before its delay was over")


def _check_anchors(signed: Iterable[Signed]) -> None:
    anchors, used = defaultdict(set), list[bytes]()
    for one in signed:
        anchors[one.job.request_id].add(one.job.anchor)
        used += one.job.presignatures
    _require(all(len(found) == 1 for found in anchors.values()), "a request has two anchors")
    _require(len({a for found in anchors.values() for a in found}) == len(anchors), "an anchor is shared")
    _require(len(set(used)) == len(used), "a presignature served twice")


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


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise Broken(what)
