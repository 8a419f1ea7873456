"""What a scoring observer keeps so that it starts from where it was, and not from the log's first entry.

Only what w cosigners have signed is kept, whole or not at all. It is believed as the observer's own key
beside it is: whoever writes there could sign anything. What does not fit together is thrown away, and the log
is read anew.
"""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from custody.risk.following import Progress
from custody.risk.habits import Payment
from custody.risk.memory import encode, read_reader, reader_document
from custody.risk.reading import Reader
from policy.errors import QuorumkeepError
from policy.ledger import initial
from policy.log.merkle import Frontier
from policy.stored.pages import checked
from policy.stored.states import (
    NO_TABLES,
    Tables,
    read_state,
    rebased_state,
    shape,
    state_document,
    store_tables,
)

KEEP_EVERY: Final = 512
_LOG = logging.getLogger(__name__)


class Shelf(Protocol):
    """Where it is kept; every method is one transaction. Raises ``OperationalError``."""

    def head(self) -> bytes | None:
        """The document of what is kept; None for nothing."""

    def page(self, name: bytes) -> bytes | None:
        """A page by its hash."""

    def payments(self) -> Sequence[Payment]:
        """Every first payment, in the order in which they were kept."""

    def keep(
        self,
        head: bytes,
        *,
        added: Mapping[bytes, bytes],
        retired: Collection[bytes],
        payments: Sequence[Payment],
    ) -> None:
        """Keep another head with its pages, and more payments."""

    def clear(self) -> None:
        """Throw all of it away."""


@dataclass(frozen=True, slots=True)
class Kept:
    """How far the log was read, and what was learnt from it."""

    progress: Progress
    reader: Reader


class Keeper:
    """Keeps one observer's memory of the log that begins with ``genesis``."""

    def __init__(self, shelf: Shelf, genesis: bytes, *, every: int = KEEP_EVERY) -> None:
        self._shelf, self._genesis, self._every = shelf, genesis, every
        self._tables = Tables(self._page, dict(NO_TABLES))
        self._size = 0

    def start(self) -> Kept:
        """What is kept, or nothing learnt of an empty log."""
        head = self._shelf.head()
        if head is not None:
            try:
                return self._started(json.loads(head))
            except (ValueError, LookupError, TypeError, AttributeError, QuorumkeepError) as error:
                _LOG.warning("what is kept is of no use here, the log is read anew: %s", error)
        return self.clear()

    def clear(self) -> Kept:
        """Throw it away; what there is before the first entry."""
        self._shelf.clear()
        self._tables, self._size = Tables(self._page, dict(NO_TABLES)), 0
        return Kept(Progress(initial(), Frontier()), Reader())

    def keep(self, kept: Kept) -> Progress:
        """Keep it if enough came since; how to go on, which is the same with less of it in memory."""
        state, size = kept.progress.state, kept.progress.frontier.size
        if size - self._size < self._every:
            return kept.progress
        updates = store_tables(state, self._tables)
        tables = Tables(self._page, {name: one.root for name, one in updates.items()})
        self._shelf.keep(
            encode(self._document(kept, tables.roots)),
            added={name: page for one in updates.values() for name, page in one.added.items()},
            retired={name for one in updates.values() for name in one.retired},
            payments=kept.reader.house.news,
        )
        kept.reader.house.news = []
        self._tables, self._size = tables, size
        return Progress(rebased_state(state, state, tables=tables), kept.progress.frontier)

    def _document(self, kept: Kept, roots: Mapping[str, bytes]) -> dict[str, Any]:
        return {
            "shape": shape(),
            "genesis": self._genesis.hex(),
            "frontier": kept.progress.frontier.to_bytes().hex(),
            "state": state_document(kept.progress.state),
            "tables": {name: root.hex() for name, root in roots.items()},
            "reader": reader_document(kept.reader),
        }

    def _started(self, found: Mapping[str, Any]) -> Kept:
        if (found["shape"], found["genesis"]) != (shape(), self._genesis.hex()):
            raise ValueError("it is of another program or log")
        tables = Tables(self._page, {name: bytes.fromhex(root) for name, root in found["tables"].items()})
        state = read_state(found["state"], tables)
        reader = read_reader(found["reader"], self._shelf.payments())
        reader.name(state)
        frontier = Frontier.from_bytes(bytes.fromhex(found["frontier"]))
        if frontier.size != state.size:
            raise ValueError(f"the tree has {frontier.size} entries, the state {state.size}")
        self._tables, self._size = tables, frontier.size
        return Kept(Progress(state, frontier), reader)

    def _page(self, name: bytes) -> bytes:
        return checked(name, self._shelf.page(name))
