"""A configuration file read whole: every problem at once, each with its line, its key and its fix.

Reading goes on after a problem, by a stand-in for what is wrong; whoever reads looks at ``problems`` before
it uses anything. Values are shown only where no secret can stand.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias, TypeVar

from policy.errors import MalformedError, OperationalError
from policy.fields import NAME
from policy.log.checkpoint import TYPE_COSIGNATURE, parse_vkey

Keys: TypeAlias = tuple[str, ...]
MISUSED: Final = 2
EX_TEMPFAIL: Final = 75  # of sysexits.h
SHOWN_MAX: Final = 64
PROBLEMS_SHOWN_MAX: Final = 100
DEPTH_MAX: Final = 16
DOTS_MAX: Final = 250  # in a line: what a dotted key takes to read grows with the square of its parts
LOOKED_MAX: Final = 1_000_000  # characters read once more to find where keys stand
PORT_MAX: Final = 65535
_ADDRESS: Final = re.compile(r"(?:\[[0-9a-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_NOT_TOML_AT: Final = re.compile(r"\(at line (?P<line>[0-9]+), column [0-9]+\)")
_ENDS: Final = re.compile(r"\"\"\"|'''|[]}]")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """What is wrong with one key; ``text`` ends with what to do. What is ``passing`` may end by itself."""

    line: int
    key: str
    text: str
    passing: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"line {self.line}: {self.key} {self.text}"


class ConfigError(OperationalError):
    """A configuration that cannot be used; ``problems`` has them in the order of the file.

    A program that it ends exits with ``exit_code``: with EX_TEMPFAIL, starting it again may do.
    """

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        passing = all(problem.passing for problem in self.problems)
        self.exit_code = EX_TEMPFAIL if passing else MISUSED
        count = len(self.problems)
        counted = f"{count} problem{'s' if count > 1 else ''}"
        shown = [str(problem) for problem in self.problems[:PROBLEMS_SHOWN_MAX]]
        shown += [f"and {count - len(shown)} more"] if count > len(shown) else []
        super().__init__("\n  ".join((f"{source}: {counted}", *shown)))


@dataclass(slots=True)
class Settings:
    """A TOML table that is read key by key. Call ``done`` last: it finds what nobody read."""

    values: dict[str, Any]
    problems: list[Problem]
    lines: dict[Keys, int]
    place: Keys = ()
    read: set[str] = field(default_factory=set)
    children: "dict[str, Settings]" = field(default_factory=dict)

    def path(self, key: str) -> str:
        """The key as people write it."""
        return ".".join((*self.place, key))

    def line(self, *keys: str) -> int:
        """Where a key of this table stands; where the table begins, for one that does not."""
        place = (*self.place, *keys)
        while place and place not in self.lines:
            place = place[:-1]
        return self.lines.get(place, 1)

    def problem(self, key: str, text: str, *, passing: bool = False) -> None:
        """Note what is wrong with a key."""
        self.problems.append(Problem(self.line(key), self.path(key), text, passing))

    def has(self, key: str) -> bool:
        """Whether a key is there."""
        return key in self.values

    def take(self, key: str) -> object:
        """A value as it stands; None for none."""
        self.read.add(key)
        return self.values.get(key)

    def wrong(self, key: str, *, expected: str, stand_in: T, shown: bool = True) -> T:
        """Note that a key is missing or not what it should be; the stand-in to go on with."""
        value = self.values.get(key)
        if value is None:
            self.problem(key, f"is missing: set it to {expected}")
        elif shown:
            self.problem(key, f"is {str(value)[:SHOWN_MAX]!r}: set it to {expected}")
        else:
            self.problem(key, f"cannot be used: set it to {expected}")
        return stand_in

    # Values.

    def text(
        self,
        key: str,
        pattern: re.Pattern[str],
        *,
        expected: str,
        default: str | None = None,
        shown: bool = True,
    ) -> str:
        """A string that ``pattern`` matches whole."""
        value = self.take(key)
        if value is None and default is not None:
            return default
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        return self.wrong(key, expected=expected, stand_in="", shown=shown)

    def name(self, key: str, *, default: str | None = None) -> str:
        """An identifier."""
        return self.text(
            key, NAME, expected="a name of lower-case letters, digits, '.', '_' and '-'", default=default
        )

    def choice(self, key: str, *allowed: str, default: str | None = None) -> str:
        """One of some words."""
        pattern = re.compile("|".join(map(re.escape, allowed)))
        return self.text(key, pattern, expected="one of " + ", ".join(allowed), default=default)

    def integer(self, key: str, *, default: int, low: int = 0, high: int) -> int:
        """A number in ``[low, high]``."""
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        return self.wrong(key, expected=f"a number from {low} to {high}", stand_in=default)

    def address(self, key: str, *, port_min: int, default: str | None = None) -> str:
        """``host:port``."""
        value = self.take(key)
        if value is None and default is not None:
            return default
        match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
        if isinstance(value, str) and match and port_min <= int(match["port"]) <= PORT_MAX:
            return value
        return self.wrong(key, expected=f"host:port with a port from {port_min} to {PORT_MAX}", stand_in="")

    def file(self, key: str) -> str:
        """A path; relative ones start at the file's folder, which this does not know."""
        value = self.take(key)
        if isinstance(value, str) and value and value.isprintable():
            return value
        return self.wrong(key, expected="a path", stand_in=".")

    def optional_file(self, key: str) -> str | None:
        """A path, if there is one."""
        return self.file(key) if self.has(key) else None

    def witnesses(self, key: str) -> dict[str, bytes]:
        """A list of cosigners' keys by the names that stand in them: all different, names and keys."""
        found: dict[str, bytes] = {}
        value = self.take(key)
        for text in value if isinstance(value, list) else [] if value is None else [value]:
            try:
                vkey = parse_vkey(text if isinstance(text, str) else "")
            except MalformedError as error:
                self.problem(key, f"has {str(text)[:SHOWN_MAX]!r}: {error}; copy what witness init printed")
                continue
            if vkey.key_type != TYPE_COSIGNATURE:
                self.problem(
                    key, f"has {vkey.name}, which is no cosigner's key: copy what witness init printed"
                )
            elif vkey.name in found:
                self.problem(key, f"has {vkey.name} twice: remove one")
            elif vkey.public_key in found.values():
                self.problem(key, f"has {vkey.name} with another one's key, which counts once: remove one")
            found[vkey.name] = vkey.public_key
        return found

    # Sections.

    def section(self, key: str) -> "Settings":
        """A table inside this one, always the same; an empty one for none."""
        if key in self.children:
            return self.children[key]
        value = self.take(key)
        if value is not None and not isinstance(value, dict):
            self.problem(key, f"is {str(value)[:SHOWN_MAX]!r}: write it as a section [{self.path(key)}]")
        values = value if isinstance(value, dict) else {}
        self.children[key] = Settings(values, self.problems, self.lines, (*self.place, key))
        return self.children[key]

    def sections(
        self, pattern: re.Pattern[str] = NAME, *, expected: str = "a name", count_max: int
    ) -> "list[tuple[str, Settings]]":
        """The tables inside this one, by names that ``pattern`` matches."""
        if len(self.values) > count_max:
            self.problems.append(
                Problem(
                    self.line(), ".".join(self.place), f"has {len(self.values)} sections: at most {count_max}"
                )
            )
        for key in self.values:
            if not pattern.fullmatch(key):
                self.problem(key[:SHOWN_MAX], f"is not {expected}: correct the section's name")
        return [(key, self.section(key)) for key in self.values]

    def done(self) -> None:
        """Note what nobody read, here and in the sections."""
        for key in self.values.keys() - self.read:
            self.problem(key, "is not known here: remove it or correct its spelling")
        for child in self.children.values():
            child.done()


def parse_settings(text: str, source: str) -> Settings:
    """The root of a file. Raises ``ConfigError`` for one that is not TOML."""
    _check_dots(text, source)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said = str(error)
        at = _NOT_TOML_AT.search(said)
        line = int(at["line"]) if at else text.count("\n") + 1
        raise ConfigError(source, [Problem(line, "this", f"is not TOML: {said}; correct it")]) from error
    except RecursionError:
        values = None
    if values is None or _deep(values):
        problem = f"has tables or lists more than {DEPTH_MAX} deep: give the right file"
        raise ConfigError(source, [Problem(1, "the file", problem)])
    lines: dict[Keys, int] = {}
    for keys, line in _lines(text):
        lines.setdefault(keys, line)
    return Settings(values, [], lines)


def _check_dots(text: str, source: str) -> None:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.count(".") > DOTS_MAX and not line.lstrip().startswith("#"):
            problem = f"has more than {DOTS_MAX} dots in one line: give the right file"
            raise ConfigError(source, [Problem(number, "the file", problem)])


def unlike(values: Iterable[tuple[Settings, str, object]], *, what: str) -> None:
    """Note each of these keys that has the value of one before it: all should be different."""
    seen: dict[object, str] = {}
    for table, key, value in values:
        if value in seen and value:
            table.problem(key, f"has the {what} of {seen[value]}: give each its own")
        seen.setdefault(value, table.path(key))


def _lines(text: str) -> Iterator[tuple[Keys, int]]:
    """The line of every key: the file is cut into the shortest pieces that are TOML by themselves.

    A value that has so many ends in it that this takes long has no line, nor has what follows.
    """
    section: Keys = ()
    pending: list[str] = []
    length = looked = 0
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        pending.append(line)
        length += len(line)
        if len(pending) > 1 and not _ENDS.search(line):
            continue  # inside of a long value: nothing to try
        looked += length
        if looked > LOOKED_MAX:
            return
        try:
            found = tomllib.loads("".join(pending))
        except tomllib.TOMLDecodeError:
            continue
        begun, first = number - len(pending) + 1, pending[0]
        pending, length = [], 0
        if first.lstrip().startswith("["):
            section = next(_inside(found))
            yield section, begun
        else:
            for keys in _inside(found):
                for end in range(1, len(keys) + 1):
                    yield (*section, *keys[:end]), begun


def _deep(values: dict[str, Any]) -> bool:
    """Whether values stand deeper than any setting does; without recursion, which would end in the middle."""
    level: list[Any] = [values]
    for _ in range(DEPTH_MAX):
        below = (list(one.values()) if isinstance(one, dict) else one for one in level)
        level = [inner for inners in below for inner in inners if isinstance(inner, dict | list)]
    return bool(level)


def _inside(found: Any) -> Iterator[Keys]:
    """The paths of what a piece sets, down to what is no table."""
    if isinstance(found, list) and found and isinstance(found[-1], dict):
        found = found[-1]
    if not isinstance(found, dict) or not found:
        yield ()
        return
    for key, value in found.items():
        for rest in _inside(value):
            yield (key, *rest)
