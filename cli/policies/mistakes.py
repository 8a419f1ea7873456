"""Every mistake of a policy document that can be told apart, not the first alone.

``policy.document.parse_policy`` stops at the first. The part with a mistake is taken out and the rest read
again; what is only wrong because of the part that is gone is not reported.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from policy.document import normalise_document, parse_policy
from policy.encoding import Json
from policy.errors import CallerError, MalformedError
from policy.model import Policy

MISTAKES_MAX = 20
LISTS = ("forbids", "rules", "limits")
TIERED = ("tiers", "holdings")
"""What means something only as a whole: with a mistake in it, it is left out."""
STAND_INS: dict[str, Json] = {
    "version": 1,
    "name": "stand-in",
    "cancel": {"fee_ceiling": "0"},
    "prices": {"unit": "usd", "decimals": 0, "max_age_ms": 1},
    **{name: {} for name in ("chains", "assets", "keys", "wallets", "lists", "contracts", "typed_data")},
    **{name: [] for name in LISTS},
}
_PART = re.compile(r"(forbids|rules|limits)\[([0-9]+)\]")
_UNKNOWN = re.compile(r"unknown (?:asset|chain|key|wallet|list|tier|contract|method|typed data) '([^']*)'")
_TIERLESS = re.compile(r"exposure: declare under 'tiers'")
_MISSING = re.compile(r"field '([^']*)' is missing")
_UNKNOWN_FIELD = re.compile(r"unknown field '([^']*)'")


class Mistake(NamedTuple):
    """What is wrong, and the path of the part it is in; empty for the whole document."""

    path: str
    message: str


def mistakes(body: Json, *, broken: Iterable[str] = ()) -> tuple[Policy | None, list[Mistake]]:
    """The policy of a document, or what is wrong with it besides the ``broken`` paths.

    Neither means that nothing more is wrong than what is broken.
    """
    if not isinstance(body, dict):
        return None, [Mistake("", "document: expected an object")]
    document, found, left_out = _Document(body), [], tuple(broken)
    for path in left_out:
        document.take_out(path)
    for _ in range(MISTAKES_MAX * 10):
        try:
            policy = parse_policy(normalise_document(document.body()))
        except (MalformedError, CallerError) as error:
            mistake = document.located(str(error))
            if not document.follows(mistake):
                found.append(mistake)
            if len(found) == MISTAKES_MAX or not document.take_out(mistake.path, mistake.message):
                return None, found
        else:
            return (None if found or left_out else policy), found
    return None, found


class _Document:
    """A document from which parts are taken out; the others keep the numbers they had."""

    def __init__(self, body: dict[str, Json]) -> None:
        self._fields = dict(body)
        self._kept: dict[str, dict[int, Json]] = {}
        self.gone: set[str] = set()
        for name in LISTS:
            items = body.get(name)
            if isinstance(items, list):
                self._kept[name] = dict(enumerate(items))

    def body(self) -> dict[str, Json]:
        """What is left."""
        return {**self._fields, **{name: [*items.values()] for name, items in self._kept.items()}}

    def located(self, text: str) -> Mistake:
        """An error's text with the numbers that the parts had before any was taken out."""
        text = _PART.sub(self._original, text)
        return Mistake(text.partition(": ")[0].removeprefix("document"), text)

    def follows(self, mistake: Mistake) -> bool:
        """Whether it may be wrong only because of a part that is gone."""
        if _TIERLESS.search(mistake.message):
            return "tiers" in self.gone
        match = _UNKNOWN.search(mistake.message)
        return match is not None and match[1] in self.gone

    def take_out(self, path: str, message: str = "") -> bool:
        """Take out the part that ``path`` lies in, or what ``message`` names; false when there is none."""
        if part := _PART.match(path):
            return self._kept.get(part[1], {}).pop(int(part[2]), None) is not None
        name = self._top(path, message)
        if name.partition("[")[0] in TIERED:
            self.gone.add("tiers")
            gone = [self._fields.pop(one, None) for one in TIERED]
            return any(one is not None for one in gone)
        rest = path[len(name) + 1 :]
        table = self._fields.get(name)
        entry = (
            self._entry(table, rest) if isinstance(table, dict) and name not in ("cancel", "prices") else ""
        )
        if isinstance(table, dict) and entry:
            self.gone |= {entry, *_tiers(table[entry])}
            self._fields[name] = {key: value for key, value in table.items() if key != entry}
            return True
        return self._stand_in(name)

    def _stand_in(self, name: str) -> bool:
        before = (self._fields.get(name), name in self._kept)
        self._kept.pop(name, None)
        if name in STAND_INS:
            if isinstance(table := self._fields.get(name), dict):
                self.gone |= {*table, *(tier for entry in table.values() for tier in _tiers(entry))}
            self._fields[name] = STAND_INS[name]
            return before != (STAND_INS[name], False)
        return self._fields.pop(name, None) is not None

    def _top(self, path: str, message: str) -> str:
        if path:
            return path.partition(".")[0]
        match = (
            _MISSING.search(message)
            or _UNKNOWN_FIELD.search(message)
            or re.search(r"field '(.*?)' must", message)
        )
        return match[1] if match else ""

    def _original(self, match: re.Match[str]) -> str:
        numbers = [*self._kept.get(match[1], ())]
        index = int(match[2])
        return f"{match[1]}[{numbers[index] if index < len(numbers) else index}]"

    @staticmethod
    def _entry(table: dict[str, Json], rest: str) -> str:
        """The entry that the rest of a path is in: names may have dots, so the longest one."""
        fitting = (name for name in table if rest == name or rest.startswith((f"{name}.", f"{name}[")))
        return max(fitting, key=len, default="")


def _tiers(entry: Json) -> Iterator[str]:
    if isinstance(entry, dict) and isinstance(entry.get("tier"), str):
        yield str(entry["tier"])
