"""Scoring observers over a book: its files are their log, and what they hand in is written into it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from custody.adapters.risk_files import ExchangeFolder, NoExchange
from custody.risk.following import Follower
from custody.risk.ports import NoScreening, Screened
from custody.risk.reading import Reader
from custody.risk.stating import Observer, Statement, Stater
from policy.encoding import Json
from policy.entries import signature_list
from policy.errors import OperationalError
from policy.log.merkle import leaf_hash
from tests.simulation.cluster import cosign, cosigned, note_of
from tests.simulation.world import Book, identity_key
from tests.unit.test_audit import QUORUM, pinned


class BookLog:
    """A coordinator's log and door. ``tampered`` replaces entries by their index."""

    def __init__(self, book: Book) -> None:
        self.book, self.genesis = book, book.entries[0]
        self.by: Sequence[str] = QUORUM
        self.tampered: dict[int, bytes] = {}
        self.at_once = 7
        self.asked = 0
        self.closed = self.untold = False
        self.cut_at = 0
        self.handed: list[Json] = []

    def note(self) -> bytes:
        """The checkpoint of all there is."""
        note = note_of(self.book)
        return cosigned(note, *(cosign(name, note) for name in self.by))

    def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Some entries."""
        if self.cut_at and start >= self.cut_at:
            raise OperationalError("the connection is gone: try again")
        found = self.book.entries[start : min(stop, start + self.at_once)]
        self.asked += len(found)
        return tuple(self.tampered.get(start + place, entry) for place, entry in enumerate(found))

    def hand_in(self, body: Json, signatures: Mapping[str, bytes]) -> None:
        """Write a screening, as the coordinator does: only what the fold takes in."""
        if self.closed:
            raise OperationalError("the coordinator is down: try again")
        trial = self.book.fork()
        if not trial.write("screening", body, signatures=signature_list(signatures)).accepted:
            raise OperationalError(trial.last.reason)
        self.handed.append(body)
        self.book.write("screening", body, signatures=signature_list(signatures))
        if self.untold:
            raise OperationalError("no answer came")


class Listed:
    """A provider that is told what it has."""

    def __init__(self, *addresses: str) -> None:
        self.addresses, self.list_hash, self.old = set(addresses), bytes(32), False

    def screen(self, addresses: Sequence[str], *, now_ms: int) -> Screened:
        """What there is."""
        if self.old:
            raise NoScreening("the list is too old")
        hits = tuple(one for one in addresses if one in self.addresses)
        return Screened("sanctioned" if hits else "clear", self.list_hash, hits)


class Watcher:
    """One observer: its folder is shared with the others, if it has any."""

    def __init__(self, log: BookLog, name: str, *, shared: Path | None, listed: Listed | None = None) -> None:
        self.log, self.reader, self.listed = log, Reader(), listed or Listed()
        trust = pinned(genesis=leaf_hash(log.genesis))
        self.follower = Follower(log, trust, hear=self.reader.hear)
        self.stater = Stater(
            self.follower,
            self.reader,
            observer=Observer(name, identity_key(name).sign),
            screener=self.listed,
            exchange=ExchangeFolder(shared, name) if shared else NoExchange(),
            door=log,
        )

    def look(self) -> list[Statement]:
        """One look."""
        return self.stater.look(self.log.book.now_ms)
