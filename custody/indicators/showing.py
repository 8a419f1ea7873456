"""Indicators for people to read: with units, in their language, the worst first. Pure."""

from custody.indicators.scoring import Level, Scored
from policy.words.language import Language
from policy.words.units import duration_text, share_text

WORST_FIRST = tuple(Level)


def reading_text(name: str, reading: int, *, language: Language) -> str:
    """A reading or a threshold, by the unit that the indicator's name ends with."""
    match name.rpartition("_")[2]:
        case "s":
            return duration_text(reading * 1000, language)
        case "ms":
            return f"{reading} ms"
        case "d":
            return language.counted("day", reading)
        case "bp":
            return share_text(reading)
        case _:
            return str(reading)


def worst_first(lines: tuple[Scored, ...]) -> list[Scored]:
    """The worst level first, and in a level what adds most to the score."""
    return sorted(
        lines,
        key=lambda one: (WORST_FIRST.index(one.level), -(one.points or 0) * one.threshold.weight),
    )
