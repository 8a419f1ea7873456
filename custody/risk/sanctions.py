"""A sanctions list as data: whose it is, of which day, and its addresses, however they are written there.

The document is ``{"source": ..., "as_of": "2026-11-25", "addresses": [...]}``. Its hash, over the bytes of
the file, goes into each statement, so that everybody knows by which list it was made. An old list says
nothing: that nobody was found on it is no news of anybody.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

import orjson

from custody.risk.habits import DAY_MS
from custody.risk.ports import NoScreening, Screened
from policy.errors import MalformedError
from policy.fields import Fields

LIST_BYTES_MAX: Final = 64 * 1024 * 1024
ADDRESSES_MAX: Final = 1_000_000
ADDRESS_CHARACTERS_MAX: Final = 128
TEXT_MAX: Final = 200
_CASELESS: Final = re.compile(r"(?:0x[0-9a-f]{40}|(?:bc|tb|bcrt)1[02-9ac-hj-np-z]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SanctionsList:
    """A list as it was read."""

    source: str
    as_of: date
    addresses: frozenset[str]
    list_hash: bytes

    def hits(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Those of the addresses that are on it, however they are written."""
        return tuple(one for one in addresses if normal(one) in self.addresses)


@dataclass(frozen=True, slots=True)
class Words:
    """What a screening is called whose addresses are not on the list, and whose are."""

    clear: str = "clear"
    hit: str = "sanctioned"


def parse_list(data: bytes) -> SanctionsList:
    """Read a list. Raises ``MalformedError``."""
    if len(data) > LIST_BYTES_MAX:
        raise MalformedError(f"the list has {len(data)} bytes, at most {LIST_BYTES_MAX} are read")
    try:
        document = orjson.loads(data)
    except ValueError as error:
        raise MalformedError(f"the list is not JSON: {error}") from error
    fields = Fields(document, "list")
    source, day = fields.text("source", length_max=TEXT_MAX), fields.text("as_of", length_max=10)
    given = fields.items("addresses", _address, count_max=ADDRESSES_MAX)
    fields.done()
    try:
        as_of = date.fromisoformat(day)
    except ValueError as error:
        raise MalformedError(f"list.as_of: {day!r} is no day as 2026-11-25") from error
    return SanctionsList(source, as_of, frozenset(given), hashlib.sha256(data).digest())


def screen(
    found: SanctionsList, addresses: Sequence[str], *, words: Words, max_age_days: int, now_ms: int
) -> Screened:
    """What the list has against any of the addresses. Raises ``NoScreening`` if it is too old."""
    age_ms = now_ms - int(datetime.combine(found.as_of, datetime.min.time(), UTC).timestamp()) * 1000
    if age_ms < -DAY_MS:
        raise NoScreening(f"the list of {found.source} is of {found.as_of}, a day to come: set the clock")
    if age_ms > (max_age_days + 1) * DAY_MS:
        raise NoScreening(
            f"the list of {found.source} is of {found.as_of}, {age_ms // DAY_MS} days old, and "
            f"{max_age_days} are allowed: fetch a new one; until then nothing is stated"
        )
    hits = found.hits(addresses)
    return Screened(words.hit if hits else words.clear, found.list_hash, hits)


def normal(address: str) -> str:
    """An address in one way of writing: EVM and segwit ones are the same in capitals."""
    text = address.strip()
    return text.lower() if _CASELESS.fullmatch(text) else text


def _address(value: object) -> str:
    text = normal(value) if isinstance(value, str) else ""
    if not 1 <= len(text) <= ADDRESS_CHARACTERS_MAX or not text.isascii() or not text.isprintable():
        raise MalformedError(f"list.addresses: {str(value)[:80]!r} is no address")
    return text
