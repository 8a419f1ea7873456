"""What a cosigner keeps so that it starts from its last stored state, and not from the log's first entry.

Rules held here:

- what is stored is a head of which a quorum is known: no branch is left below it;
- one more is stored only when the token names the last one, so that a crash leads back to one it names;
- whatever is read is compared with the hash that the token keeps; what differs is thrown away, and the log
  is folded anew.

Memory holds what came since: at most ``every`` entries and those that wait for a quorum.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from policy.errors import InvariantError
from policy.log.merkle import Frontier, frontier_at
from policy.stored.pages import DamagedState, checked
from signer_nodes.ports import LogStore
from signer_nodes.stored_cosigner import StoredCosigner, nothing, read_stored, rebased, write
from signer_nodes.witness import Cosigner, Identity

STORE_EVERY: Final = 512
PAGES_CACHED_MAX: Final = 4096
_LOG: Final = logging.getLogger(__name__)


class StoredState:
    """The stored state of one cosigner and the leaf hashes since. Its owner serialises the calls."""

    def __init__(self, identity: Identity, store: LogStore, *, every: int) -> None:
        self._identity, self._store, self._every = identity, store, every
        self._pages: dict[bytes, bytes] = {}
        self._older: dict[bytes, bytes] = {}
        self._leaves: list[bytes] = []
        self._waiting: Cosigner | None = None
        self._stored = self._nothing()
        self.damaged = False

    @property
    def root(self) -> bytes:
        """What pins it; empty if nothing is stored."""
        return self._stored.root

    @property
    def cosigner(self) -> Cosigner:
        """The cosigner as it is stored."""
        return self._stored.cosigner

    def start(self, root: bytes) -> Cosigner:
        """The cosigner that the token names by ``root``, or one that has folded nothing."""
        try:
            if root and self._store.resume_state(root):
                found = read_stored(root, self.read, identity=self._identity)
                if found is not None and found.size <= self._store.size():
                    self._stored = found
                    return found.cosigner
        except DamagedState as error:
            _LOG.warning("%s", error)
        return self.discard()

    def discard(self) -> Cosigner:
        """Throw it away; the cosigner to fold from: one that has folded nothing."""
        self._store.clear_state()
        self._pages, self._older = {}, {}
        self._leaves, self._waiting, self._stored = [], None, self._nothing()
        self.damaged = False
        return self._stored.cosigner

    def read(self, name: bytes) -> bytes:
        """A page. Raises ``DamagedState``, after which all of it is to be thrown away."""
        page = self._pages.get(name)
        if page is None:
            try:
                page = self._older.get(name) or checked(name, self._store.page(name))
            except DamagedState:
                self.damaged = True
                raise
            self._remember({name: page})
        return page

    def _remember(self, pages: Mapping[bytes, bytes]) -> None:
        """Keep pages in memory. One that nobody asks for is forgotten when a memory full came since."""
        if len(self._pages) + len(pages) > PAGES_CACHED_MAX:
            self._older, self._pages = self._pages, {}
        self._pages |= pages

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Take note of the next entries' hashes."""
        self._leaves.extend(leaves)

    def cut(self, size: int) -> None:
        """Forget what is after ``size``, which is no less than what is stored."""
        if size < self._stored.size:
            raise InvariantError(f"{self._stored.size} entries are stored for good, {size} are to be left")
        del self._leaves[size - self._stored.size :]
        if self._waiting is not None and self._waiting.size > size:
            self._waiting = None

    def keep(self, cosigner: Cosigner, quorum_size: int, *, bound: bytes | None) -> Cosigner:
        """Store a head if it is time to; the cosigner to go on with, which is the same in other layers.

        ``bound`` is the root that the token names; None if it names nothing that is stored.
        """
        if self._waiting is None and cosigner.size - self._stored.size >= self._every:
            self._waiting = cosigner
        ready = self._waiting
        if ready is None or ready.size > quorum_size or bound not in (None, self.root):
            return cosigner
        self._waiting = None
        count = ready.size - self._stored.size
        written = write(ready, self._stored, leaves=self._leaves[:count])
        self._store.put_state(
            written.stored.root, before=self.root, added=written.added, retired=written.retired
        )
        self._remember(written.added)
        self._stored = written.stored
        del self._leaves[:count]
        return rebased(cosigner, ready, stored=written.stored)

    def leaf_at(self, index: int) -> bytes:
        """The leaf hash of entry ``index``."""
        if index >= self._stored.size:
            return self._leaves[index - self._stored.size]
        return self._stored.hashes()(0, index)

    def frontier_at(self, size: int) -> Frontier:
        """The frontier of the first ``size`` entries."""
        if size < self._stored.size:
            return frontier_at(self._stored.hashes(), size)
        frontier = self._stored.cosigner.frontier
        for leaf in self._leaves[: size - self._stored.size]:
            frontier = frontier.append(leaf)
        return frontier

    def _nothing(self) -> StoredCosigner:
        return nothing(self._identity, self.read)
