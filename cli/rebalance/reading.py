"""Daily flows from a CSV file: every fault is named with its line."""

import csv
import gzip
import io
import math
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from cli.results import Misuse, progress
from custody.rebalancer.backtest import DAYS_MIN, Series

NEEDED = ("series", "date", "withdraw", "deposit")
PARTS = ("train", "test")
GAP_DAYS_MAX = 366
AMOUNT_MAX = Decimal(10) ** 40


@dataclass(slots=True)
class Rows:
    """One series as it stands in the file: amounts by day, None for a blank; and where its last line is."""

    days: list[date] = field(default_factory=list)
    wanted: list[Decimal | None] = field(default_factory=list)
    deposited: list[Decimal | None] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    line: int = 0

    def fill(self, until: date) -> int:
        """Unknown days up to ``until``, which is not among them; how many."""
        count = 0
        while self.days and self.days[-1] + timedelta(days=1) < until:
            self.days.append(self.days[-1] + timedelta(days=1))
            self.wanted.append(None)
            self.deposited.append(None)
            self.parts.append(self.parts[-1])
            count += 1
        return count


def read_flows(path: str) -> dict[str, Rows]:
    """Every series of a file. Raises ``Misuse`` naming file and line."""
    name = Path(path).name
    try:
        packed = Path(path).read_bytes()
        text = (gzip.decompress(packed) if path.endswith(".gz") else packed).decode()
        return _read(name, csv.reader(io.StringIO(text, newline="")))
    except (OSError, EOFError, UnicodeDecodeError, zlib.error, csv.Error) as error:
        raise Misuse(f"{name}: cannot be read: {error}") from error


def _read(name: str, lines: Iterator[list[str]]) -> dict[str, Rows]:
    header = [column.strip() for column in next(lines, [])]
    missing = [column for column in NEEDED if column not in header]
    if missing or len(set(header)) < len(header):
        fault = f"no column {', '.join(missing)}" if missing else "a column twice"
        raise Misuse(f"{name}:1: {fault} in the header {','.join(header)!r}; wanted: {','.join(NEEDED)}")
    found: dict[str, Rows] = {}
    for number, cells in enumerate(lines, 2):
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise Misuse(f"{name}:{number}: {len(cells)} cells, the header has {len(header)}")
        row = dict(zip(header, (cell.strip() for cell in cells), strict=True))
        _take(found.setdefault(row["series"], Rows()), row, f"{name}:{number}")
        found[row["series"]].line = number
    if not found:
        raise Misuse(f"{name}:2: no flows below the header")
    return found


def _take(rows: Rows, row: dict[str, str], place: str) -> None:
    try:
        day = date.fromisoformat(row["date"])
    except ValueError as error:
        raise Misuse(f"{place}: date {row['date']!r}: write it as 2026-01-31") from error
    if rows.days and day <= rows.days[-1]:
        what = "is there twice" if day == rows.days[-1] else f"comes after {rows.days[-1]}"
        raise Misuse(f"{place}: {row['series']}: the day {day} {what}; give each day once, in order")
    if rows.days and (day - rows.days[-1]).days > GAP_DAYS_MAX:
        raise Misuse(f"{place}: {row['series']}: no day between {rows.days[-1]} and {day}: split the series")
    if gap := rows.fill(day):
        progress(f"{place}: {row['series']}: {gap} days before {day} are missing; they count as unknown")
    part = row.get("part", "")
    if part and part not in PARTS:
        raise Misuse(f"{place}: part {part!r}: it is train or test")
    if rows.parts and (bool(part) != bool(rows.parts[-1]) or (part == "train" and rows.parts[-1] == "test")):
        raise Misuse(
            f"{place}: part {part!r} after {rows.parts[-1]!r}: train comes before test, on every day"
        )
    rows.days.append(day)
    rows.wanted.append(_amount(row, "instant" if "instant" in row else "withdraw", place))
    rows.deposited.append(_amount(row, "deposit", place))
    rows.parts.append(part)


def _amount(row: dict[str, str], column: str, place: str) -> Decimal | None:
    text = row[column]
    if not text:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise Misuse(f"{place}: {column} {text!r} is no number; leave it blank if it is unknown") from error
    if not amount.is_finite() or not 0 <= amount <= AMOUNT_MAX:
        raise Misuse(f"{place}: {column} {text}: a flow is between 0 and 10^40, counted upwards")
    return amount


def for_backtest(name: str, rows: Rows, *, file: str) -> Series:
    """A series to be split into learning and scored days. Raises ``Misuse`` when it is too short for that."""
    days = len(rows.days)
    split = rows.parts.count("train") if rows.parts[-1] else days // 2
    place = f"{Path(file).name}:{rows.line}: {name}"
    if days < DAYS_MIN or split < DAYS_MIN // 2 or split == days:
        raise Misuse(
            f"{place}: {days} days, {split} to learn from: a backtest needs {DAYS_MIN}, half to learn from"
        )
    wanted, deposited = _floats(rows.wanted), _floats(rows.deposited)
    series = Series(name, tuple(day.isoformat() for day in rows.days), wanted, deposited, split)
    for part, chosen in (("learning", slice(0, split)), ("scored", slice(split, None))):
        if not np.nansum(wanted[chosen][series.known[chosen]]) > 0:
            raise Misuse(f"{place}: no withdrawal in the {part} half; costs are counted in mean days of them")
    return series


def _floats(amounts: Iterable[Decimal | None]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([math.nan if amount is None else float(amount) for amount in amounts], np.float64)
