"""The end of the log as a coordinator has stored it, so that a start folds what came since and no more.

It is the coordinator's own and has no authority: what comes of it is compared with the newest checkpoint at a
start, page by page with its hash when it is read, and by every cosigner when something is signed. What does
not fit is thrown away, and the log is folded from its first entry.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

from custody.candidates import EMPTY, Tip
from policy.encoding import Json
from policy.errors import InvariantError, OperationalError
from policy.log.merkle import Frontier
from policy.state import State
from policy.stored.keeping import PageStore, StoredState
from policy.stored.pages import DamagedState

STATE_FILE: Final = "state.db"
STORE_EVERY: Final = 4096
LOOK_S: Final = 1.0
_LOG: Final = logging.getLogger(__name__)


class Pages(PageStore, Protocol):
    """What ``custody.adapters.state_pages.StatePages`` does: a disk that also names what is stored."""

    def root(self) -> bytes:
        """Of what is stored; empty for nothing."""

    def close(self) -> None:
        """Let go of it."""


class TipForm:
    """Implements ``policy.stored.heads.Form`` for the log whose first entry has this leaf hash."""

    def __init__(self, genesis: bytes) -> None:
        self._genesis: Final = genesis

    def nothing(self) -> Tip:
        """Before the first entry."""
        return EMPTY

    def document(self, head: Tip) -> dict[str, Json]:
        """Which log it is of."""
        return {"genesis": self._genesis.hex()}

    def read(self, found: Mapping[str, Any], state: State, *, frontier: Frontier) -> Tip | None:
        """The tip, unless it is another log's."""
        return Tip(state, frontier) if found.get("genesis") == self._genesis.hex() else None

    def over(self, head: Tip, state: State) -> Tip:
        """The same tip, its state in other layers."""
        return replace(head, state=state)


class StoredTip:
    """What is stored of the log's end, and the hashes of the entries since."""

    def __init__(self, genesis: bytes, pages: Pages, *, every: int = STORE_EVERY) -> None:
        self._pages, self._every = pages, every
        self._stored = StoredState(TipForm(genesis), pages, every=every)
        self._not_before = 0

    def start(self, size: int) -> Tip:
        """What is stored of a log of ``size`` entries. Raises ``DamagedState``: discard it."""
        return self._stored.start(self._pages.root(), size_max=size)

    def discard(self) -> Tip:
        """Throw it away; where to fold from."""
        self._not_before = 0
        return self._stored.discard()

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Take note of the next entries' hashes."""
        self._stored.extend(leaves)

    def keep(self, tip: Tip, quorum_size: int) -> Tip:
        """Go on storing if it is time to; the tip to go on with, maybe in other layers.

        Where nothing can be written it is tried again later: the log is durable without.
        """
        if tip.frontier.size < self._not_before:
            return tip
        try:
            return self._stored.keep(tip, quorum_size, bound=None)
        except DamagedState:
            raise
        except OperationalError as error:
            _LOG.warning("the log's state is not stored, a start will take longer: %s", error)
            self._not_before = tip.frontier.size + self._every
            return tip

    def leaf_at(self, index: int) -> bytes:
        """The leaf hash of entry ``index``."""
        return self._stored.leaf_at(index)

    def frontier_at(self, size: int) -> Frontier:
        """The frontier of the first ``size`` entries."""
        return self._stored.frontier_at(size)

    async def run(self) -> None:
        """Until it is found damaged. Raises ``InvariantError`` then: start anew, from the log."""
        while True:
            if self._stored.damaged:
                raise InvariantError(
                    "what is stored of the log's state is damaged: a start folds the log anew"
                )
            await asyncio.sleep(LOOK_S)

    def close(self) -> None:
        """Let go of the disk. What was found damaged goes, or the next start would meet it again."""
        if self._stored.damaged:
            self.discard()
        self._pages.close()
