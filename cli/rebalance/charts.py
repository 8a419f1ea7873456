"""Charts as inline SVG: lines, bands and points over times or numbers. No script, no request to anybody."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import TypeAlias

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 860, 280, 74, 16, 14, 34
TICKS = 5
Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points; ``step`` holds a value until the next one."""

    name: str
    style: str
    points: Sequence[Point]
    step: bool = False


@dataclass(frozen=True, slots=True)
class Area:
    """What lies between two lines: (x, low, high)."""

    name: str
    style: str
    points: Sequence[tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class Dots:
    """Single points; those of ``marked`` stand out."""

    name: str
    style: str
    points: Sequence[Point]
    marked: Sequence[Point] = ()


Mark: TypeAlias = Line | Area | Dots


@dataclass(frozen=True, slots=True)
class Frame:
    """What an axis is of: ``dated`` if x are milliseconds since 1970, else ``x_unit``; ``y_unit`` of y."""

    title: str
    y_unit: str
    x_unit: str = ""
    dated: bool = True


def chart(frame: Frame, marks: Sequence[Mark]) -> str:
    """One chart with its legend; a sentence where there is nothing to draw."""
    places = [place for mark in marks for place in _extent(mark)]
    if not places:
        return f"<p>{escape(frame.title)}: nothing yet.</p>"
    xs, ys = [x for x, _ in places], [y for _, y in places]
    low, left = min(0.0, *ys), min(xs) if frame.dated else 0.0
    plane = _Plane(left, max(xs), low, low + TICKS * _round_step((max(ys) - low) / TICKS))
    drawn = [_grid(frame, plane), *(_drawn(mark, plane) for mark in marks)]
    head = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(frame.title)}">'
    unit = f'<span class="unit">in {escape(frame.y_unit)}</span>'
    return f"<figure>{head}{''.join(drawn)}</svg><figcaption>{unit} {_legend(marks)}</figcaption></figure>"


@dataclass(frozen=True, slots=True)
class _Plane:
    """From numbers to places on the picture."""

    left: float
    right: float
    low: float
    high: float

    def x(self, value: float) -> float:
        share = (value - self.left) / ((self.right - self.left) or 1.0)
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)

    def at(self, point: Point) -> str:
        return f"{self.x(point[0])},{self.y(point[1])}"


def _round_step(least: float) -> float:
    """The next number at or above ``least`` that people count by."""
    if least <= 0:
        return 1.0 / TICKS
    scale = 10.0 ** math.floor(math.log10(least))
    return next(scale * factor for factor in (1, 2, 2.5, 5, 10) if scale * factor >= least * (1 - 1e-9))


def _extent(mark: Mark) -> list[Point]:
    if isinstance(mark, Area):
        return [(x, y) for x, low, high in mark.points for y in (low, high)]
    return list(mark.points)


def _drawn(mark: Mark, plane: _Plane) -> str:
    match mark:
        case Area():
            upper = [plane.at((x, high)) for x, _, high in mark.points]
            lower = [plane.at((x, low)) for x, low, _ in reversed(mark.points)]
            return f'<polygon class="{mark.style}" points="{" ".join(upper + lower)}"/>'
        case Line():
            points = _stepped(mark.points) if mark.step else mark.points
            return f'<polyline class="{mark.style}" points="{" ".join(map(plane.at, points))}"/>'
        case Dots():
            marked = set(mark.marked)
            return "".join(
                f'<circle class="{mark.style}{" out" if point in marked else ""}" '
                f'cx="{plane.x(point[0])}" cy="{plane.y(point[1])}" r="{4 if point in marked else 3}"/>'
                for point in mark.points
            )


def _stepped(points: Sequence[Point]) -> list[Point]:
    found: list[Point] = []
    for x, y in points:
        if found:
            found.append((x, found[-1][1]))
        found.append((x, y))
    return found


def _grid(frame: Frame, plane: _Plane) -> str:
    parts = []
    for tick in range(TICKS + 1):
        y = plane.low + (plane.high - plane.low) * tick / TICKS
        place = plane.y(y)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place}" y2="{place}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{place + 4}" text-anchor="end">{y:,.4g}</text>')
        x = plane.left + (plane.right - plane.left) * tick / TICKS
        at = f'x="{plane.x(x)}" y="{HEIGHT - 14}" text-anchor="{_anchor(tick)}"'
        parts.append(f"<text {at}>{_x(frame, x)}</text>")
    return "".join(parts)


def _anchor(tick: int) -> str:
    return "start" if tick == 0 else "end" if tick == TICKS else "middle"


def _x(frame: Frame, x: float) -> str:
    if not frame.dated:
        return f"{x:,.3g}{escape(frame.x_unit)}"
    return datetime.fromtimestamp(x / 1000, UTC).strftime("%d %b %H:%M")


def _legend(marks: Sequence[Mark]) -> str:
    shown = (mark for mark in marks if mark.points)
    return " ".join(f'<span class="key {mark.style}">{escape(mark.name)}</span>' for mark in shown)
