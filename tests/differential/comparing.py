"""Two readings of the same unsigned bytes, side by side: our decoder's and an independent library's.

The rule: what our decoder would sign, the library reads alike in every field that matters. What ours refuses
and the library reads as a payment is allowed, and counted by reason. A case that is marked plain, built by
the library as anybody would build it, must be read by both.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias

from policy.approval import Slot
from policy.decode.decoded import Call, Cancel, Decoder, Source, Transfer, Undecodable

DISAGREEMENTS_KEPT = 20
_NUMBERS = re.compile(r"0x[0-9a-f]*|\b(?:bc|bcrt|tb)1[0-9a-z]+|\b[0-9a-f]{8,}\b|-?\d+|none\b")


@dataclass(frozen=True, slots=True)
class Case:
    """One generated transaction; ``plain`` ones both sides must read as a payment."""

    tx: bytes
    source: Source
    plain: bool = False


@dataclass(frozen=True, slots=True)
class Payment:
    """What an independent library reads: who signs what, and what that pays. ``amount`` 0 pays nothing.

    ``signers`` are addresses in the order of ``messages``; None where the bytes do not name them.
    """

    signers: tuple[str, ...] | None
    anchor: Slot
    contract: str | None
    recipient: str
    amount: int
    fee: int
    messages: tuple[bytes, ...]
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class Other:
    """The library cannot read the bytes, or they do something else than one payment out of the wallet."""

    reason: str


Reading: TypeAlias = "Payment | Other"


@dataclass(frozen=True, slots=True)
class Calls:
    """How a family's calls of contracts are read: by our decoder, and whole by the library."""

    ours: Callable[[bytes, Source], Call | Undecodable]
    theirs: Callable[[bytes, Source], Call | Other]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One family: a generator of cases, our decoder, and how the library reads payment and cancellation."""

    name: str
    generate: Callable[[Random], Case]
    decoder: Decoder
    payment: Callable[[bytes, Source], Reading]
    cancellation: Callable[[bytes, Source], Reading]
    calls: Calls | None = None


@dataclass(slots=True)
class Tally:
    """What a run found. ``stricter`` counts what only the library accepts, by our reason.

    The first few ``disagreements`` are kept in full.
    """

    cases: int = 0
    plain: int = 0
    payments: int = 0
    cancellations: int = 0
    calls: int = 0
    refused_by_both: int = 0
    stricter: Counter[str] = field(default_factory=Counter)
    disagreement_count: int = 0
    disagreements: list[str] = field(default_factory=list)


def case_at(comparison: Comparison, seed: int, number: int) -> Case:
    """The case of that number: it depends on nothing else."""
    return comparison.generate(Random(f"{comparison.name}/{seed}/{number}"))


def compare(comparison: Comparison, *, seed: int, count: int) -> Iterator[Tally]:
    """Compare the cases 0 to ``count`` of a seed; the tally so far after each."""
    tally = Tally()
    for number in range(count):
        case = case_at(comparison, seed, number)
        for text in _judge(comparison, case, tally):
            tally.disagreement_count += 1
            if len(tally.disagreements) < DISAGREEMENTS_KEPT:
                where = f"{comparison.name}, seed {seed}, case {number}"
                tally.disagreements.append(f"{where}: {text}: {case.tx.hex()}")
        yield tally


def _judge(comparison: Comparison, case: Case, tally: Tally) -> Iterator[str]:
    tally.cases += 1
    tally.plain += case.plain
    ours = comparison.decoder.decode(case.tx, case.source)
    theirs = comparison.payment(case.tx, case.source)
    if isinstance(ours, Transfer):
        tally.payments += 1
        yield from _differences(ours, theirs, case.source)
    cancel = comparison.decoder.decode_cancel(case.tx, case.source)
    if isinstance(cancel, Cancel):
        tally.cancellations += 1
        yield from _differences(cancel, comparison.cancellation(case.tx, case.source), case.source)
    call = comparison.calls.ours(case.tx, case.source) if comparison.calls else Undecodable("no contracts")
    if isinstance(call, Call) and comparison.calls:
        tally.calls += 1
        read = comparison.calls.theirs(case.tx, case.source)
        if call != read:
            yield f"call: ours {call}, theirs {read}"
    signed = [one for one in (ours, cancel, call) if not isinstance(one, Undecodable)]
    if len(signed) > 1:
        yield f"ours reads two things: {signed}"
    if isinstance(ours, Undecodable) and not signed:
        _count_refusal(tally, ours, theirs)
    if case.plain and not (isinstance(ours, Transfer) and isinstance(theirs, Payment)):
        yield f"a plain payment is not read: ours {ours}, theirs {theirs}"


def _count_refusal(tally: Tally, ours: Undecodable, theirs: Reading) -> None:
    if isinstance(theirs, Other):
        tally.refused_by_both += 1
    else:
        tally.stricter[_NUMBERS.sub("#", ours.reason)] += 1


def _differences(ours: Transfer | Cancel, theirs: Reading, source: Source) -> Iterator[str]:
    """The fields that differ between what we would sign and what the library reads."""
    if isinstance(theirs, Other):
        yield f"ours signs {ours}, theirs does not: {theirs.reason}"
        return
    pairs: list[tuple[str, object, object]] = [
        ("anchor", ours.anchor, theirs.anchor),
        ("fee", ours.fee_max, theirs.fee),
        ("messages", ours.messages, theirs.messages),
    ]
    if theirs.signers is not None:
        pairs.append(("signers", tuple(account.address for account in source.accounts), theirs.signers))
    if isinstance(ours, Transfer):
        pairs += [
            ("contract", ours.contract, theirs.contract),
            ("recipient", ours.recipient, theirs.recipient),
            ("amount", ours.amount, theirs.amount),
            ("decimals", ours.decimals, theirs.decimals),
        ]
    for name, mine, other in pairs:
        if mine != other:
            yield f"{name}: ours {mine!r}, theirs {other!r}"
