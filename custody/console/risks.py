"""What observers stated of a request, for its page: from the entry itself, as the state keeps no shares."""

from dataclasses import dataclass

from custody.console.house import House
from custody.risk.scoring import FEATURES, THRESHOLD
from policy.entries import parse_entry
from policy.fact_entries import RISK_MAX, ScreeningEntry


@dataclass(frozen=True, slots=True)
class ShareLine:
    """One share; ``text`` names what people read of a feature that this program knows."""

    feature: str
    text: str
    points: int


@dataclass(frozen=True, slots=True)
class Risk:
    """The statement that counts. One by hand has no model and no shares.

    ``index`` is None while the log is still being read: then there is no more than the state says.
    """

    index: int | None
    risk: int
    result: str
    high: bool
    model: str
    signers: tuple[str, ...]
    shares: tuple[ShareLine, ...]
    maximum: int = RISK_MAX


async def stated_risk(house: House, request: bytes) -> Risk | None:
    """What counts of a request now; None while nobody has stated it."""
    state = house.parts.sequencer.state
    known = state.requests.get(request)
    if known is None or known.screening is None:
        return None
    for index in await house.index.screenings(request):
        (data, *_) = await house.parts.database.entries(index, index + 1)
        entry = parse_entry(data).entry
        if isinstance(entry, ScreeningEntry) and entry.observed_ms == known.screening.observed_ms:
            return _shown(index, entry)
    found = known.screening
    return Risk(None, found.risk, found.result, found.risk >= THRESHOLD, "", (), ())


def _shown(index: int, entry: ScreeningEntry) -> Risk:
    shares = entry.basis.shares if entry.basis else ()
    lines = [
        ShareLine(feature, f"risk.{feature}" if feature in FEATURES else "", points)
        for feature, points in sorted(shares, key=lambda share: -share[1])
    ]
    return Risk(
        index=index,
        risk=entry.risk,
        result=entry.result,
        high=entry.risk >= THRESHOLD,
        model=entry.basis.model if entry.basis else "",
        signers=tuple(sorted(entry.signatures)),
        shares=tuple(lines),
    )
