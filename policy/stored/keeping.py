"""What somebody who folds the log keeps so as to start from the last stored state, not from the first entry.

Pure but for the store that it is given.

Rules held here:

- what is stored is a head of which a quorum is known: no branch is left below it;
- one more is stored only when the last one is named where its root is kept (a cosigner's token, which changes
  later than its disk), so that a crash leads back to one that is named there;
- whatever is read is compared with its hash, up to that root; what differs is thrown away, and the log is
  folded anew;
- a state can be read until the one after the next is being stored: later it is stale, which is no damage.

Storing is spread over calls, so that none holds up what else is to be done: each does some of it, and more
the more entries it brought. Nothing leads to what is written of it before its end.

Memory holds what came since: at most twice ``every`` entries, and those that wait for a quorum. While they
wait, heads are noted farther and farther apart, and the last one that a quorum has is stored.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import islice
from typing import Final, Generic, NamedTuple, Protocol

from policy.errors import InvariantError
from policy.log.merkle import Frontier, frontier_at
from policy.stored.heads import Form, H, StoredHead, nothing, read_stored, rebased, writing
from policy.stored.pages import DamagedState, Read, StaleState, Steps, checked

STORE_EVERY: Final = 2048
WORK_EACH: Final = 64
"""How many records or pages a call deals with at least."""
WORK_AN_ENTRY: Final = 16
"""And for each entry that came since: more than an entry makes, so that storing ends."""
PAGES_EACH: Final = 64
"""How many pages are written, or dropped, in one transaction at least: all that a call has left to do."""
PAGES_BYTES_MAX: Final = 16 * 1024 * 1024


class PageStore(Protocol):
    """A disk, as far as stored states go. A returned call is durable."""

    def page(self, name: bytes) -> bytes | None:
        """A page of the stored state; nothing is known of its bytes."""

    def forget_before(self, count: int) -> bool:
        """Drop up to ``count`` pages that the stored state replaced; whether there were any.

        Nothing leads back to the state before it from here on.
        """

    def add_pages(self, pages: Mapping[bytes, bytes]) -> None:
        """Write pages of a state that is to be stored next; ``resume_state`` drops them if it was not."""

    def put_state(
        self, root: bytes, *, before: bytes, added: Mapping[bytes, bytes], retired: Collection[bytes]
    ) -> None:
        """Store the state of ``root``, which follows the one of ``before``; both can be read then.

        What only earlier ones needed goes, and so does one that was stored after ``before``.
        """

    def resume_state(self, root: bytes) -> bool:
        """Whether the state of ``root`` is stored; one that was stored after it goes.

        A disk that names the root by itself need not lead back to the one before.
        """

    def clear_state(self) -> None:
        """Drop every stored state."""


class _Storing(NamedTuple, Generic[H]):
    """A head that is being stored, and what is left to do."""

    head: H
    steps: Steps[StoredHead[H]]


class _Reader:
    """Reads pages for the states over one stored head."""

    __slots__ = ("_damaged", "_read", "stale")

    def __init__(self, read: Read, damaged: Callable[[], None]) -> None:
        self._read, self._damaged, self.stale = read, damaged, False

    def __call__(self, name: bytes) -> bytes:
        try:
            return self._read(name)
        except DamagedState as error:
            if self.stale:
                raise StaleState("this state was stored over: look at the newest one") from error
            self._damaged()
            raise


class StoredState(Generic[H]):
    """The stored state of one who folds, and the leaf hashes since. Its owner serialises the calls."""

    def __init__(self, form: Form[H], store: PageStore, *, every: int) -> None:
        self._form, self._store, self._every = form, store, every
        self._pages: dict[bytes, bytes] = {}
        self._pages_bytes = 0
        self._older: dict[bytes, bytes] = {}
        self._leaves: list[bytes] = []
        self._waiting: list[H] = []
        self._storing: _Storing[H] | None = None
        self._seen = self._work = 0
        self._before, self._reader = self._new_reader(), self._new_reader()
        self._stored = nothing(form, self._reader)
        self.damaged = False

    @property
    def root(self) -> bytes:
        """What pins it; empty if nothing is stored."""
        return self._stored.root

    @property
    def head(self) -> H:
        """The head that is stored."""
        return self._stored.head

    def start(self, root: bytes, *, size_max: int) -> H:
        """The head of ``root``, or the one before the first entry. Raises ``DamagedState``: discard it.

        ``size_max`` is how many entries there are.
        """
        self._leaves, self._waiting, self._storing = [], [], None
        if root and self._store.resume_state(root):
            found = read_stored(self._form, root, read=self._reader)
            if found is not None and found.size <= size_max:
                self._stored, self._seen = found, found.size
                return found.head
        return self.discard()

    def discard(self) -> H:
        """Throw it away; the head to fold from: the one before the first entry."""
        self._store.clear_state()
        self._pages, self._older, self._pages_bytes = {}, {}, 0
        self._leaves, self._waiting, self._storing = [], [], None
        self._before.stale = self._reader.stale = True
        self._reader = self._new_reader()
        self._stored, self._seen = nothing(self._form, self._reader), 0
        self.damaged = False
        return self._stored.head

    def read(self, name: bytes) -> bytes:
        """A page. Raises ``DamagedState``."""
        page = self._pages.get(name)
        if page is None:
            page = self._older.get(name) or checked(name, self._store.page(name))
            self._remember({name: page})
        return page

    def _remember(self, pages: Mapping[bytes, bytes]) -> None:
        """Keep pages in memory. One that nobody asks for is forgotten when a memory full came since."""
        more_bytes = sum(map(len, pages.values()))
        if self._pages_bytes + more_bytes > PAGES_BYTES_MAX:
            self._older, self._pages, self._pages_bytes = self._pages, {}, 0
        self._pages |= pages
        self._pages_bytes += more_bytes

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Take note of the next entries' hashes."""
        self._leaves.extend(leaves)

    def cut(self, size: int) -> None:
        """Forget what is after ``size``, which is no less than what is stored."""
        kept = self._stored.size if self._storing is None else _size(self._storing.head)
        if size < kept:
            raise InvariantError(f"{kept} entries are stored for good, {size} are to be left")
        del self._leaves[size - self._stored.size :]
        self._waiting = [head for head in self._waiting if _size(head) <= size]

    def keep(self, head: H, quorum_size: int, *, bound: bytes | None) -> H:
        """Go on storing a head if it is time to; the one to go on with: the same, maybe in other layers.

        ``head`` is the newest. ``bound`` is the root that is named; None if none is that is stored.
        """
        self._work = max(WORK_EACH, WORK_AN_ENTRY * (_size(head) - self._seen))
        self._seen = _size(head)
        self._note_head(head)
        if self._storing is None:
            ready = self._ready(quorum_size)
            if ready is None or bound not in (None, self.root):
                return head
            self._storing = _Storing(ready, self._store_head(ready))
        storing = self._storing
        written = self._go_on(storing.steps)
        return head if written is None else self._now_stored(storing.head, written, head)

    @property
    def storing(self) -> bool:
        """Whether a head is being stored."""
        return self._storing is not None

    def _ready(self, quorum_size: int) -> H | None:
        """The last head that waits and a quorum has."""
        return next((head for head in reversed(self._waiting) if _size(head) <= quorum_size), None)

    def _go_on(self, steps: Steps[StoredHead[H]]) -> StoredHead[H] | None:
        """Do some of the work; what is stored if that was the last of it. What fails begins anew."""
        try:
            while self._work > 0:
                self._work -= next(steps)
        except StopIteration as end:
            self._storing = None
            stored: StoredHead[H] = end.value
            return stored
        except BaseException:
            self._storing = None
            raise
        return None

    def _store_head(self, head: H) -> Steps[StoredHead[H]]:
        """Write pages that nothing leads to yet, then what leads to them."""
        if self.root:
            self._store.resume_state(self.root)  # what is left of one that failed goes
        else:
            self._store.clear_state()
        leaves, reader = self._leaves[: _size(head) - self._stored.size], self._new_reader()
        written = yield from writing(self._form, head, before=self._stored, leaves=leaves, read=reader)
        self._before.stale = True
        while self._store.forget_before(count := max(PAGES_EACH, self._work)):
            yield count
        pages = iter(sorted(written.added.items()))  # neighbours by name share pages of the disk's index
        while some := dict(islice(pages, max(PAGES_EACH, self._work))):
            self._store.add_pages(some)
            yield len(some)
        self._store.put_state(written.stored.root, before=self.root, added={}, retired=written.retired)
        self._remember(written.added)
        self._before, self._reader = self._reader, reader
        return written.stored

    def _now_stored(self, head: H, stored: StoredHead[H], newest: H) -> H:
        del self._leaves[: _size(head) - self._stored.size]
        self._stored = stored
        later = [one for one in self._waiting if _size(one) > _size(head)]
        self._waiting = [rebased(self._form, one, before=head, stored=stored) for one in later]
        return rebased(self._form, newest, before=head, stored=stored)

    def _note_head(self, head: H) -> None:
        """Have a head wait for a quorum when it is far enough from the one before."""
        known = _size(self._waiting[-1]) if self._waiting else self._stored.size
        if _size(head) - known >= max(self._every, (known - self._stored.size) // 2):
            self._waiting.append(head)

    def leaf_at(self, index: int) -> bytes:
        """The leaf hash of entry ``index``."""
        if index >= self._stored.size:
            return self._leaves[index - self._stored.size]
        return self._stored.hashes()(0, index)

    def frontier_at(self, size: int) -> Frontier:
        """The frontier of the first ``size`` entries."""
        if size < self._stored.size:
            return frontier_at(self._stored.hashes(), size)
        return self._stored.head.frontier.extend(self._leaves[: size - self._stored.size])

    def _new_reader(self) -> _Reader:
        return _Reader(self.read, self._note_damage)

    def _note_damage(self) -> None:
        self.damaged = True


def _size(head: H) -> int:
    return head.frontier.size
