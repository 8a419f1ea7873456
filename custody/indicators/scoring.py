"""One score from many readings. Pure.

Every indicator has a reading, two thresholds and a weight. A reading is worth 0 points before ``warn``, from
50 at ``warn`` to 100 at ``critical``, and 100 beyond it. What should be known and is not is worth 100: nobody
looked. What a deployment does not have (a hot share without tiers) is left out. The score is the mean of the
points by weight, rounded up; 0 is best. A worse reading never lowers it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, TypeAlias

from policy.encoding import Json
from policy.errors import MalformedError
from policy.fields import Fields

POINTS_MAX: Final = 100
POINTS_WARN: Final = 50
WEIGHT_MAX: Final = 1000
INDICATORS_MAX: Final = 64


class Missing(Enum):
    """Why there is no reading."""

    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not-applicable"


Reading: TypeAlias = int | Missing


class Level(StrEnum):
    """What a reading is taken for, the worst first."""

    CRITICAL = "critical"
    UNKNOWN = "unknown"
    WARN = "warn"
    GOOD = "good"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Indicator:
    """What is read; its name ends with the unit. ``low_is_bad`` turns the thresholds round."""

    name: str
    what: str
    low_is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a reading is held against, and how much it weighs."""

    warn: int
    critical: int
    weight: int


INDICATORS: Final = (
    Indicator("approval_wait_s", "median time from a request to its last approval, of the last day"),
    Indicator("denied_share_bp", "share of the last day's requests that the policy denied"),
    Indicator("hot_share_bp", "what hot tiers hold of everything"),
    Indicator("presignatures", "presignatures in stock, of the key with the fewest", low_is_bad=True),
    Indicator("cosigners_down", "cosigners that do not follow the log"),
    Indicator("node_lag_entries", "entries that the slowest cosigner is behind"),
    Indicator("clock_off_ms", "how far the worst clock of a cosigner is off"),
    Indicator("failed_logins", "calls and logins of the last hour by nobody that the roster knows"),
    Indicator("share_age_d", "days since the oldest shares were made or refreshed"),
    Indicator("backup_age_d", "days since the oldest key was backed up in its present epoch"),
    Indicator("drill_age_d", "days since the last drill that went well"),
)
DEFAULTS: Final[Mapping[str, Threshold]] = {
    "approval_wait_s": Threshold(1800, 14_400, 1),
    "denied_share_bp": Threshold(500, 2500, 2),
    "hot_share_bp": Threshold(500, 1000, 3),
    "presignatures": Threshold(12, 0, 2),
    "cosigners_down": Threshold(1, 2, 4),
    "node_lag_entries": Threshold(64, 1024, 2),
    "clock_off_ms": Threshold(500, 2000, 2),
    "failed_logins": Threshold(5, 50, 2),
    "share_age_d": Threshold(180, 400, 2),
    "backup_age_d": Threshold(100, 200, 3),
    "drill_age_d": Threshold(100, 200, 2),
}


@dataclass(frozen=True, slots=True)
class Scored:
    """One indicator with its reading and what that is worth; None where it is left out."""

    indicator: Indicator
    reading: Reading
    threshold: Threshold
    points: int | None

    @property
    def level(self) -> Level:
        """By the thresholds alone: also of one that is left out of the score."""
        if isinstance(self.reading, Missing):
            return Level.UNKNOWN if self.reading is Missing.UNKNOWN else Level.NONE
        points = points_of(self.reading, self.threshold)
        return Level.GOOD if not points else Level.CRITICAL if points == POINTS_MAX else Level.WARN

    def to_json(self) -> dict[str, Json]:
        """As the status shows it."""
        known = self.reading if isinstance(self.reading, int) else None
        shown: dict[str, Json] = {
            "name": self.indicator.name,
            "what": self.indicator.what,
            "warn": self.threshold.warn,
            "critical": self.threshold.critical,
            "weight": self.threshold.weight,
            "level": self.level.value,
        }
        if known is not None:
            shown["reading"] = known
        elif isinstance(self.reading, Missing):
            shown["missing"] = self.reading.value
        if self.points is not None:
            shown["points"] = self.points
        return shown


@dataclass(frozen=True, slots=True)
class Scorecard:
    """All indicators, and the one score."""

    score: int
    lines: tuple[Scored, ...]


def scored(readings: Mapping[str, Reading], thresholds: Mapping[str, Threshold]) -> Scorecard:
    """Hold readings against thresholds; one that is not among the readings is unknown."""
    lines = tuple(
        _line(indicator, readings.get(indicator.name, Missing.UNKNOWN), thresholds[indicator.name])
        for indicator in INDICATORS
    )
    counted = [(line.points, line.threshold.weight) for line in lines if line.points is not None]
    weight = sum(weight for _, weight in counted)
    total = sum(points * weight for points, weight in counted)
    return Scorecard(-(-total // weight) if weight else 0, lines)


def points_of(reading: int, threshold: Threshold) -> int:
    """What a reading is worth; thresholds that fall (warn above critical) are of readings that should not."""
    warn, critical = threshold.warn, threshold.critical
    if warn > critical:
        reading, warn, critical = -reading, -warn, -critical
    if reading < warn:
        return 0
    if reading >= critical:
        return POINTS_MAX
    return POINTS_WARN + (POINTS_MAX - POINTS_WARN) * (reading - warn) // (critical - warn)


def _line(indicator: Indicator, reading: Reading, threshold: Threshold) -> Scored:
    match reading:
        case Missing.NOT_APPLICABLE:
            points = None
        case Missing.UNKNOWN:
            points = POINTS_MAX
        case int():
            points = points_of(reading, threshold)
    return Scored(indicator, reading, threshold, points if threshold.weight else None)


def parse_thresholds(document: Json) -> dict[str, Threshold]:
    """Read ``NAME = {warn, critical, weight}``; others are by default. Raises ``MalformedError``."""
    known = {indicator.name: indicator for indicator in INDICATORS}
    found = dict(DEFAULTS)
    for name, value in (
        Fields({"indicators": document}, "").mapping("indicators", count_max=INDICATORS_MAX).items()
    ):
        if name not in known:
            raise MalformedError(f"there is no indicator {name!r}: there are {', '.join(known)}")
        fields = Fields(value, name)
        threshold = Threshold(
            fields.integer("warn"), fields.integer("critical"), fields.integer("weight", high=WEIGHT_MAX)
        )
        fields.done()
        if (threshold.warn > threshold.critical) is not known[
            name
        ].low_is_bad or threshold.warn == threshold.critical:
            way = "below" if known[name].low_is_bad else "above"
            raise MalformedError(f"{name}: critical is {way} warn, or readings could not get worse")
        found[name] = threshold
    return found
