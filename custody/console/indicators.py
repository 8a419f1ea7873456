"""The page of the risk indicators: what each reads, since when, and what to do. It changes nothing."""

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Response

from custody.console.house import SeatDependency
from custody.console.texts import text
from custody.indicators.scoring import Level, Scored
from custody.indicators.showing import reading_text, worst_first
from policy.words.language import LANGUAGES

TONES: Final = {
    Level.CRITICAL: "failed",
    Level.UNKNOWN: "failed",
    Level.WARN: "waiting",
    Level.GOOD: "settled",
    Level.NONE: "",
}
"""The colours of levels, by the request's states."""
LOOK_AT: Final = frozenset({Level.CRITICAL, Level.UNKNOWN, Level.WARN})
router = APIRouter()


@dataclass(frozen=True, slots=True)
class Line:
    """One indicator in the reader's language."""

    name: str
    what: str
    reading: str
    warn: str
    critical: str
    level: Level
    points: int | None
    weight: int
    since_ms: int
    advice: str


@router.get("/indicators")
async def show_indicators(seat: SeatDependency) -> Response:
    """The score, and every indicator, the worst first."""
    kept = seat.house.parts.indicators
    card = kept.scorecard
    lines = [
        line_of(one, language=seat.visit.language, since_ms=kept.since[one.indicator.name][1])
        for one in worst_first(card.lines if card else ())
    ]
    values = {
        "score": card.score if card else None,
        "lines": lines,
        "worst": [one for one in lines if one.level in LOOK_AT],
        "tones": TONES,
    }
    return seat.visit.page("indicators", values)


def line_of(scored: Scored, *, language: str, since_ms: int) -> Line:
    """One indicator as it is shown."""
    name, threshold = scored.indicator.name, scored.threshold

    def shown(reading: int) -> str:
        return reading_text(name, reading, language=LANGUAGES[language])

    return Line(
        name=name,
        what=text(language, f"indicator.{name}"),
        reading=shown(scored.reading) if isinstance(scored.reading, int) else "–",
        warn=shown(threshold.warn),
        critical=shown(threshold.critical),
        level=scored.level,
        points=scored.points,
        weight=threshold.weight,
        since_ms=since_ms,
        advice=text(language, f"indicator.{name}.do"),
    )
