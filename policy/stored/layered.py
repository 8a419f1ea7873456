"""Maps of the state that grow with the log: what changed lately in memory, over what is stored.

``Layered`` is a value like ``immutables.Map`` and reads like one. A ``Table`` is either: whoever folds a
whole log in memory has plain maps, a cosigner that started from a stored state has layers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeAlias, TypeVar, Union, cast, overload

from immutables import Map

from policy.stored.pages import Read, find, walk

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
CACHED_MAX: Final = 4096


class _Gone:
    """Stands in the upper layer for a key that was taken out."""


GONE: Final = _Gone()


@dataclass(frozen=True, slots=True)
class Codec(Generic[K, V]):
    """How keys and values of one table stand in records. ``read_key`` is None for a key of another map's."""

    key: Callable[[K], bytes]
    read_key: Callable[[bytes], K | None]
    value: Callable[[V], bytes]
    read_value: Callable[[K, bytes], V]


def apart(name: str, codec: Codec[K, V]) -> Codec[K, V]:
    """``codec`` for one table alone: so no page of it is one of another table, too."""
    mark = f"{name}/".encode()
    return Codec(
        lambda key: mark + codec.key(key),
        lambda data: codec.read_key(data[len(mark) :]) if data.startswith(mark) else None,
        codec.value,
        codec.read_value,
    )


class Stored(Generic[K, V]):
    """A table as it is stored under ``root``. Remembers what it was asked last; its pages never change."""

    __slots__ = ("_known", "_read", "codec", "root")

    def __init__(self, codec: Codec[K, V], read: Read, *, root: bytes) -> None:
        self.codec, self.root = codec, root
        self._read = read
        self._known: dict[K, V | _Gone] = {}

    def find(self, key: K) -> V | _Gone:
        """The value, or ``GONE``. Raises ``DamagedState``."""
        found = self._known.get(key)
        if found is None:
            data = find(self._read, self.root, key=self.codec.key(key))
            found = GONE if data is None else self.codec.read_value(key, data)
            if len(self._known) >= CACHED_MAX:
                self._known.clear()
            self._known[key] = found
        return found

    def __iter__(self) -> Iterator[K]:
        """All keys: this reads the whole table."""
        for data, _ in walk(self._read, self.root):
            key = self.codec.read_key(data)
            if key is not None:
                yield key


class Layered(Mapping[K, V]):
    """A stored table and what was set or taken out since. Iterating reads all of it."""

    __slots__ = ("base", "top")

    def __init__(self, base: Stored[K, V], top: Map[K, V | _Gone] | None = None) -> None:
        self.base: Final = base
        self.top: Final[Map[K, V | _Gone]] = Map() if top is None else top

    def __getitem__(self, key: K) -> V:
        found = self._found(key)
        if isinstance(found, _Gone):
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        return not isinstance(self._found(cast("K", key)), _Gone)

    @overload
    def get(self, key: K, /) -> V | None: ...
    @overload
    def get(self, key: K, /, default: V | D) -> V | D: ...
    def get(self, key: K, /, default: V | D | None = None) -> V | D | None:
        """The value, or ``default``."""
        found = self._found(key)
        return default if isinstance(found, _Gone) else found

    def set(self, key: K, value: V) -> "Layered[K, V]":
        """This with another value."""
        return Layered(self.base, self.top.set(key, value))

    def delete(self, key: K) -> "Layered[K, V]":
        """This without a key. Raises ``KeyError`` if it is not there."""
        self[key]
        return Layered(self.base, self.top.set(key, GONE))

    def __iter__(self) -> Iterator[K]:
        for key, value in self.top.items():
            if not isinstance(value, _Gone):
                yield key
        for key in self.base:
            if key not in self.top:
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _found(self, key: K) -> V | _Gone:
        found = self.top.get(key)
        return self.base.find(key) if found is None else found


Table: TypeAlias = Union[Map[K, V], Layered[K, V]]  # noqa: UP007 - with type variables


def changes(table: Map[K, V] | Layered[K, V]) -> Iterator[tuple[K, V | _Gone]]:
    """What to write so that the stored table becomes this one; of a plain map, all of it."""
    top: Map[K, V | _Gone] = table.top if isinstance(table, Layered) else cast("Map[K, V | _Gone]", table)
    return iter(top.items())


def latest(table: Table[K, V]) -> Iterator[V]:
    """The values set since the table was stored; of a plain map, all."""
    return (value for _, value in changes(table) if not isinstance(value, _Gone))


def rebased(table: Table[K, V], stored: Table[K, V], *, base: Stored[K, V]) -> Layered[K, V]:
    """``table`` over ``base``, in which ``stored`` was written: what memory keeps is where the two differ.

    Both must stand over the same base, or over none.
    """
    old: dict[K, Any] = dict(changes(stored))
    new: dict[K, Any] = dict(changes(table))
    top = {key: value for key, value in new.items() if old.get(key) is not value}
    top |= {key: GONE for key in old if key not in new}
    return Layered(base, Map(top))
