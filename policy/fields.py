"""Read received JSON objects strictly: every field typed, bounded, and no unknown field left over."""

import re
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from policy.addresses import EXPECTED, is_address, is_address_somewhere
from policy.encoding import INTEGER_MAX, Json
from policy.errors import MalformedError
from policy.ids import AMOUNT_MAX, CHAIN, EVM, EVM_CHAIN_ID_MAX, ORIGIN, family

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
AMOUNT_DIGITS_MAX = len(str(AMOUNT_MAX))
T = TypeVar("T")
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\xa0\xad\u200b-\u200f\u2028-\u202f\u2060-\u206f"  # controls, spaces, marks
    "\ud800-\udfff\ufeff\ufff0-\uffff]"
)
_AMOUNT = re.compile(r"0|[1-9][0-9]*")


class Fields:
    """The fields of one received object; ``where`` names it in error messages.

    Every reader raises ``MalformedError`` naming the field. Call ``done`` last: it refuses fields
    that nobody read. The root of a document may have an empty ``where``; what is inside it is then
    named by its path alone, as in ``rules[2].when``.
    """

    def __init__(self, value: Json, where: str) -> None:
        self._where = where or "document"
        self._prefix = f"{where}." if where else ""
        if not isinstance(value, dict):
            raise MalformedError(f"{self._where}: expected an object")
        self._rest = dict(value)

    def path(self, name: str) -> str:
        """The path of a field, for an error message of the caller's own."""
        return self._prefix + name

    def done(self) -> None:
        """Refuse what was not read."""
        if self._rest:
            raise MalformedError(f"{self._where}: unknown field {min(self._rest)[:64]!r}")

    def has(self, name: str) -> bool:
        """Whether an optional field is present and still unread."""
        return name in self._rest

    def raw(self, name: str) -> Json:
        """The field as it is, for a reader of its own."""
        try:
            return self._rest.pop(name)
        except KeyError:
            raise MalformedError(f"{self._where}: field {name!r} is missing") from None

    def text(self, name: str, *, length_max: int) -> str:
        """A string of 1 to ``length_max`` characters, none of them control, invisible or direction marks.

        The set is written out here: the interpreter's own tables differ between its versions.
        """
        value = self.raw(name)
        if not isinstance(value, str) or not 1 <= len(value) <= length_max:
            raise self._bad(name, f"a string of 1 to {length_max} characters")
        if _UNSEEN.search(value):
            raise self._bad(name, "visible characters and spaces only")
        return value

    def texts(self, name: str, *, length_max: int, count_max: int) -> tuple[str, ...]:
        """A list of 1 to ``count_max`` strings, each as ``text`` takes it; one may be there twice."""
        values = self._list(name, 1, count_max)
        return tuple(
            Fields({f"{name}[{index}]": value}, self._where).text(f"{name}[{index}]", length_max=length_max)
            for index, value in enumerate(values)
        )

    def name(self, name: str) -> str:
        """An identifier: lower-case letters, digits, ``.``, ``_``, ``-``; at most 63 of them."""
        return self._matching(name, NAME, "a name of lower-case letters, digits, '.', '_' and '-'")

    def names(self, name: str, *, count_max: int, count_min: int = 0) -> tuple[str, ...]:
        """A list of distinct identifiers."""
        value = self._list(name, count_min, count_max)
        return self._distinct(
            name, value, _matcher(NAME), "a name of lower-case letters, digits, '.', '_' and '-'"
        )

    def chain(self, name: str) -> str:
        """A chain such as ``evm:1``."""
        chain = self._matching(name, CHAIN, "a chain such as 'evm:1'")
        if chain.startswith(f"{EVM}:") and int(chain[4:]) > EVM_CHAIN_ID_MAX:
            raise self._bad(name, f"a chain with an id of at most {EVM_CHAIN_ID_MAX}")
        return chain

    def origin(self, name: str) -> str:
        """The origin of a log: printable ASCII without blanks and ``+``, as C2SP wants it."""
        return self._matching(name, ORIGIN, "the origin line of a log")

    def address(self, name: str, *, chain: str) -> str:
        """An address of ``chain`` in its canonical form."""
        value = self.raw(name)
        if not isinstance(value, str) or not is_address(chain, value):
            raise self._bad(name, EXPECTED[family(chain)])
        return value

    def addresses(self, name: str, *, count_max: int) -> tuple[str, ...]:
        """A list of distinct addresses, each in the canonical form of some chain."""
        value = self._list(name, 0, count_max)
        return self._distinct(name, value, is_address_somewhere, "an address in canonical form")

    def words(self, name: str, pattern: re.Pattern[str], *, expected: str, count_max: int) -> tuple[str, ...]:
        """A list of 1 to ``count_max`` distinct strings that match ``pattern``, called ``expected``."""
        return self._distinct(name, self._list(name, 1, count_max), _matcher(pattern), expected)

    def choice(self, name: str, *allowed: str) -> str:
        """One of the ``allowed`` words."""
        value = self.raw(name)
        if not isinstance(value, str) or value not in allowed:
            raise self._bad(name, "one of " + ", ".join(allowed))
        return value

    def integer(self, name: str, *, low: int = 0, high: int = INTEGER_MAX) -> int:
        """A JSON integer in ``[low, high]``."""
        value = self.raw(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._bad(name, f"an integer from {low} to {high}")
        return value

    def boolean(self, name: str) -> bool:
        """A JSON boolean."""
        value = self.raw(name)
        if not isinstance(value, bool):
            raise self._bad(name, "true or false")
        return value

    def amount(self, name: str, *, low: int = 0, high: int = AMOUNT_MAX) -> int:
        """A decimal string in base units from ``low`` to ``high``, no sign, no leading zero."""
        value = self.raw(name)
        if not isinstance(value, str) or len(value) > AMOUNT_DIGITS_MAX or not _AMOUNT.fullmatch(value):
            raise self._bad(name, "a decimal string in base units")
        amount = int(value)
        if not low <= amount <= high:
            top = "2**256 - 1" if high == AMOUNT_MAX else high
            raise self._bad(name, f"an amount from {low} to {top}")
        return amount

    def hex(self, name: str, *, length: int | None = None, length_max: int = 0) -> bytes:
        """Lower-case hex of exactly ``length`` bytes, or of at most ``length_max``."""
        value = self.raw(name)
        limit = length if length is not None else length_max
        data = _from_hex(value) if isinstance(value, str) and len(value) <= 2 * limit else None
        if data is None:
            most = "at most " if length is None else ""
            raise self._bad(name, f"lower-case hex of {most}{limit} bytes")
        if length is not None and len(data) != length:
            raise self._bad(name, f"lower-case hex of exactly {length} bytes")
        return data

    def items(self, name: str, read: Callable[[Json], T], *, count_max: int) -> tuple[T, ...]:
        """A list of at most ``count_max`` items, each read by ``read``."""
        value = self.raw(name)
        if not isinstance(value, list) or len(value) > count_max:
            raise self._bad(name, f"a list of at most {count_max} items")
        return tuple(read(item) for item in value)

    def nested(self, name: str) -> "Fields":
        """A nested object, to be read and ``done`` by the caller."""
        return Fields(self.raw(name), self.path(name))

    def objects(self, name: str, read: "Callable[[Fields], T]", *, count_max: int) -> tuple[T, ...]:
        """A list of at most ``count_max`` objects; each is done when ``read`` returns."""
        value = self._list(name, 0, count_max)
        return tuple(_whole(item, f"{self.path(name)}[{index}]", read) for index, item in enumerate(value))

    def table(
        self, name: str, read: "Callable[[str, Fields], T]", *, count_max: int, keys: re.Pattern[str] = NAME
    ) -> dict[str, T]:
        """An object of at most ``count_max`` objects by name, in the order of their names."""
        entries = self.mapping(name, count_max=count_max, keys=keys)
        path = self.path(name)
        return {key: _whole(entries[key], f"{path}.{key}", partial(read, key)) for key in sorted(entries)}

    def mapping(self, name: str, *, count_max: int, keys: re.Pattern[str] = NAME) -> dict[str, Json]:
        """An object of at most ``count_max`` values whose names match ``keys``."""
        value = self.raw(name)
        if not isinstance(value, dict) or len(value) > count_max:
            raise self._bad(name, f"an object of at most {count_max} fields")
        for key in value:
            if not keys.fullmatch(key):
                raise MalformedError(f"{self.path(name)}: {key[:64]!r} is not a name that is valid here")
        return value

    def _list(self, name: str, count_min: int, count_max: int) -> list[Json]:
        value = self.raw(name)
        if not isinstance(value, list) or not count_min <= len(value) <= count_max:
            raise self._bad(name, f"a list of {count_min} to {count_max} items")
        return value

    def _distinct(
        self, name: str, value: list[Json], valid: Callable[[str], bool], expected: str
    ) -> tuple[str, ...]:
        seen: dict[str, None] = {}
        for index, item in enumerate(value):
            if not isinstance(item, str) or not valid(item):
                raise MalformedError(f"{self.path(name)}[{index}]: must be {expected}")
            if item in seen:
                raise MalformedError(f"{self.path(name)}[{index}]: {item!r} is there twice")
            seen[item] = None
        return tuple(seen)

    def _matching(self, name: str, pattern: re.Pattern[str], expected: str) -> str:
        value = self.raw(name)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise self._bad(name, expected)
        return value

    def _bad(self, name: str, expected: str) -> MalformedError:
        return MalformedError(f"{self._where}: field {name!r} must be {expected}")


def _from_hex(text: str) -> bytes | None:
    """The bytes that ``text`` is the lower-case hex of; None if it is of none."""
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return None
    return data if data.hex() == text else None


def _matcher(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda item: pattern.fullmatch(item) is not None


def _whole(value: Json, where: str, read: Callable[[Fields], T]) -> T:
    fields = Fields(value, where)
    result = read(fields)
    fields.done()
    return result
