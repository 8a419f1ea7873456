"""A period of whole days in UTC, as the arguments name it."""

from argparse import Namespace
from datetime import UTC, date, datetime
from typing import NamedTuple

from cli.results import Misuse

DAY_MS = 24 * 3600 * 1000
EPOCH = date(1970, 1, 1)


class Period(NamedTuple):
    """From the first day's beginning to before the end of the last."""

    since: date
    until: date

    @property
    def from_ms(self) -> int:
        """The first millisecond of it."""
        return (self.since - EPOCH).days * DAY_MS

    @property
    def to_ms(self) -> int:
        """The first millisecond after it."""
        return ((self.until - EPOCH).days + 1) * DAY_MS


def read_period(arguments: Namespace) -> Period:
    """The period of ``--from`` and ``--to``. Raises ``Misuse``."""
    period = Period(read_day(arguments.since, "--from"), read_day(arguments.until, "--to"))
    if period.until < period.since or period.since < EPOCH:
        raise Misuse(f"--from {period.since} --to {period.until} is no period: give the earlier day first")
    return period


def iso_time(time_ms: int) -> str:
    """A time in ISO 8601, to the millisecond."""
    seconds, rest = divmod(time_ms, 1000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:03}Z"


def read_day(text: str, option: str) -> date:
    """The day that an option names. Raises ``Misuse``."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise Misuse(f"{option} {text[:40]!r} is no day: write it as 2026-10-01") from error
