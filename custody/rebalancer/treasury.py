"""The treasurer's calendar: what a date alone says about demand.

Logarithms of factors, by rule, fitted once on daily cash withdrawals pooled over many series and kept as
constants. They are only a prior: each series learns with which strength the whole calendar acts on it, and
one that does not care for Christmas learns a strength near zero. The holidays are the western ones; dates are
the whole input.
"""

from datetime import date, timedelta
from functools import lru_cache

YEAR_END = {
    (1, 1): -0.59,
    (1, 2): -0.21,
    (1, 3): -0.21,
    (1, 4): -0.19,
    (12, 19): 0.13,
    (12, 20): 0.16,
    (12, 21): 0.09,
    (12, 22): 0.18,
    (12, 23): 0.39,
    (12, 24): 0.46,
    (12, 25): -0.75,
    (12, 26): -0.75,
    (12, 27): -0.39,
    (12, 28): -0.29,
    (12, 29): -0.08,
    (12, 30): 0.07,
    (12, 31): 0.22,
}
EASTER = {0: -0.05, 1: -0.15, 2: 0.17, 3: 0.04, -1: 0.05, -2: -0.15, -3: 0.31, -4: 0.13}
BANK_HOLIDAY = {0: -0.12, 1: 0.13, -1: -0.03, -2: 0.1, -3: 0.12}
LAST_BUSINESS_DAY = {0: 0.04, 1: 0.09, 2: -0.04, -1: 0.0, -2: 0.02, -3: 0.01, -4: -0.04}
MONTH_END = {0: 0.07, 1: 0.03}
MONTH_START = {1: 0.07, 2: 0.05, 3: 0.01}
PAYDAY_FRIDAY = 0.12
MID_MONTH_FRIDAY = 0.07
MID_MONTH = -0.02
LAST_THURSDAY = 0.07
LEAN_DAYS = -0.04
BEFORE_PAYDAY = -0.02

Effect = tuple[str, float]
DAY = timedelta(days=1)
MONDAY, THURSDAY, FRIDAY, SATURDAY = 0, 3, 4, 5


@lru_cache(maxsize=4096)
def effects(day: date) -> tuple[Effect, ...]:
    """The calendar's effects on one day: names and logarithms of factors on demand."""
    if (day.month, day.day) in YEAR_END:
        return ((f"year's end, {day.day}.{day.month}.", YEAR_END[day.month, day.day]),)
    from_easter = (day - easter(day.year)).days
    if from_easter in EASTER:
        return ((f"Easter {from_easter:+d} days", EASTER[from_easter]),)
    return (*_bank_holidays(day), *_month_end(day), *_within_month(day))


@lru_cache(maxsize=256)
def easter(year: int) -> date:
    """Easter Sunday of the Gregorian calendar (the anonymous algorithm of 1876)."""
    golden, (century, of_century) = year % 19, divmod(year, 100)
    leap, rest = divmod(century, 4)
    moon = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap - moon + 15) % 30
    quarter, days = divmod(of_century, 4)
    weekday = (32 + 2 * rest + 2 * quarter - epact - days) % 7
    late = (golden + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * late + 114, 31)
    return date(year, month, day + 1)


def _bank_holidays(day: date) -> list[Effect]:
    """First and last Monday of May, last Monday of August, with the days around them."""
    return [
        (f"bank holiday {days:+d} days", factor)
        for days, factor in BANK_HOLIDAY.items()
        if _is_bank_holiday(day - days * DAY)
    ]


def _is_bank_holiday(day: date) -> bool:
    return day.weekday() == MONDAY and (
        (day.month == 5 and (day.day <= 7 or day.day >= 25)) or (day.month == 8 and day.day >= 25)
    )


def _month_end(day: date) -> list[Effect]:
    last = (day.replace(day=28) + 4 * DAY).replace(day=1) - DAY
    business = last - max(0, last.weekday() - FRIDAY) * DAY
    found = []
    if (after := (day - business).days) in LAST_BUSINESS_DAY:
        found.append((f"last business day {after:+d} days", LAST_BUSINESS_DAY[after]))
    if (left := (last - day).days) in MONTH_END:
        found.append((f"{left} days to the month's end", MONTH_END[left]))
    if day.day in MONTH_START:
        found.append((f"day {day.day} of the month", MONTH_START[day.day]))
    return found


def _within_month(day: date) -> list[Effect]:
    weekday, number = day.weekday(), day.day
    rules = (
        ("payday Friday", PAYDAY_FRIDAY, weekday == FRIDAY and number >= 24),
        ("mid-month weekend", MID_MONTH_FRIDAY, weekday in (FRIDAY, SATURDAY) and 14 <= number <= 17),
        ("mid-month", MID_MONTH, 14 <= number <= 16),
        ("last Thursday", LAST_THURSDAY, weekday == THURSDAY and number >= 25),
        ("lean days", LEAN_DAYS, 5 <= number <= 13),
        ("before payday", BEFORE_PAYDAY, 20 <= number <= 24),
    )
    return [(name, factor) for name, factor, holds in rules if holds]
