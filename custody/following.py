"""The log of the database, folded: from what is stored of it at a start, and as it grows while another one
writes it.
"""

import logging
import math
import time
from collections.abc import Sequence

from custody.branches import NOTE_BYTES_MAX
from custody.candidates import EMPTY, Folded, Tip, extend
from custody.storage import Database
from custody.stored_tip import StoredTip
from policy.collecting import uncollected
from policy.errors import CallerError, InvariantError, MalformedError
from policy.log.checkpoint import Checkpoint, parse_checkpoint, parse_note
from policy.log.merkle import Frontier, leaf_hash
from policy.stored.pages import DamagedState

LOOK_BYTES_MAX = 64 * 1024
"""Entries that are folded between two looks at what else is to be done: some twenty milliseconds of work."""
_LOG = logging.getLogger(__name__)
FOLLOWED, STORED, FIRST = "followed", "stored", "first entry"
"""Where what is known of the log began: in this process, in what is stored, or at its first entry."""
_ANOTHER = (InvariantError, DamagedState, CallerError, MalformedError)


class Followed:
    """What was read of the log: its end, its newest note, and what is stored of it."""

    def __init__(self, database: Database, stored: StoredTip) -> None:
        self._database, self.stored = database, stored
        self.tip: Tip = EMPTY
        self.note = b""
        self._began, self._begun = STORED, False

    @property
    def size(self) -> int:
        """How many entries were read."""
        return self.tip.frontier.size

    def frontier_at(self, size: int) -> Frontier:
        """The frontier of the first ``size`` of them."""
        return self.tip.frontier if size == self.size else self.stored.frontier_at(size)

    async def all(self) -> None:
        """Follow it to its end. Raises ``InvariantError`` for a log that does not lead to its checkpoint."""
        while True:
            try:
                return await self._follow(math.inf)
            except _ANOTHER as error:
                if self._began is FIRST:
                    raise
                _LOG.info("another log than was folded: %s", error)
                self._go_back()

    async def look(self, for_s: float) -> None:
        """Follow it for so long; the next look goes back where it was replaced."""
        try:
            await self._follow(time.monotonic() + for_s)
        except _ANOTHER as error:
            _LOG.warning("another log than was followed: %s", error)
            self._go_back()

    def taken(self, start: int, folded: Sequence[Folded], *, tip: Tip, note: bytes) -> None:
        """Entries that did not come from the database are in it now, from ``start`` on up to ``tip``."""
        if start == 0:
            self._forget()
        self.stored.extend([leaf_hash(one.entry) for one in folded])
        self.tip, self.note = tip, note

    def _go_back(self) -> None:
        """To what is stored: the database may only have lost its newest entries. Then to the first entry."""
        if self._began is FOLLOWED:
            self._began, self._begun = STORED, False
        else:
            self._forget()

    def _forget(self) -> None:
        self.tip, self.note = self.stored.discard(), b""
        self._began, self._begun = FIRST, True

    async def _follow(self, until_s: float) -> None:
        size, note = await self._database.head()
        if not self._begun:
            self.tip, self._begun = self.stored.start(size), True
        quorum = await self._database.quorum_note()
        quorum_size = checkpoint_of(quorum).size if quorum else 0
        while self.size < size:
            entries = await self._database.entries(self.size, size, bytes_max=LOOK_BYTES_MAX)
            if not entries:
                raise InvariantError(f"the database lacks entry {self.size}: move it away, start anew")
            with uncollected():
                for entry in entries:
                    self.tip, _ = extend(self.tip, entry)
                self.stored.extend([leaf_hash(entry) for entry in entries])
                self.tip = self.stored.keep(self.tip, min(quorum_size, size))
            if time.monotonic() > until_s:
                return
        if size and (self.size > size or self.tip.checkpoint() != checkpoint_of(note)):
            raise InvariantError(
                "the database's entries do not lead to its checkpoint: move it away, start anew"
            )
        if not size:
            self._forget()
        self.note, self._began = note, FOLLOWED


def checkpoint_of(note: bytes) -> Checkpoint:
    """The checkpoint that a note is of; its signatures are not looked at."""
    return parse_checkpoint(parse_note(note, NOTE_BYTES_MAX).body)
