"""Every cosigner has a follower: a task that brings it up to the newest checkpoint, for ever.

Rules: (1) a cosigner is sent entries from where it stands, with a checkpoint that is durable here;
(2) each cosignature is verified before it counts, and counts by the roster at its checkpoint's size;
(3) a dead cosigner delays nobody: the sequencer waits for w cosignatures of one checkpoint, the rest are
served when they can be; (4) who is not in the roster is sent nothing, whatever the configuration says;
(5) one that refuses a head as early, since it had a change late, is shown what a quorum cosigned before;
(6) where nothing is new each is asked where it stands, or one that hangs would pass for one that follows;
(7) who catches up hears of a quorum now and then, and all meet on the same heads on the way: only what a
quorum has can a cosigner store as its state, and to store all of it at the end would hold payments up.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from custody.branches import NOTE_BYTES_MAX, read_head
from custody.divergence import Diverged, Others, bring_back, first_difference
from custody.metrics import Metrics
from custody.ports import Appended, Head, Node
from custody.storage import Database
from policy.errors import InvariantError, OperationalError, ProtocolError
from policy.log.checkpoint import (
    Checkpoint,
    Note,
    parse_checkpoint,
    parse_note,
    verify_cosignatures,
)
from policy.log.note import NoteSignature
from policy.roster import Roster
from policy.state import State
from signer_nodes.api.errors import Refused

EARLY = "early"
ENTRIES_EACH_MAX = 512
BYTES_EACH_MAX = 1024 * 1024
RECENT_MAX, TELL_EACH = 256, 8 * ENTRIES_EACH_MAX
BACK_OFF_FIRST_S, BACK_OFF_MAX_S = 0.05, 1.0
IDLE_S = 0.5
PROBE_EVERY = 6
NOT_IN_ROSTER = "not in the roster: sent nothing; once it has left for good, take it out of the configuration"
UNCONFIGURED = "in the roster, but it has no address here: enrol it under [nodes] and restart the coordinator"
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Published:
    """The newest checkpoint of this coordinator."""

    size: int
    note: bytes


class Replication:
    """The followers of one log, and the cosignatures they bring in.

    ``on_answer`` gets every answer to round 1 with the name of the cosigner.
    """

    def __init__(
        self,
        database: Database,
        nodes: Mapping[str, Node],
        *,
        on_answer: Callable[[str, Appended], None],
        metrics: Metrics,
        tell_each: int = TELL_EACH,
    ) -> None:
        self._database = database
        self._on_answer = on_answer
        self._metrics = metrics
        self._origin = ""
        self._rosters: list[tuple[int, Roster]] = []
        self._newest = Published(0, b"")
        self._quorum = Published(0, b"")
        self._witnessed: Published | None = None
        self._cosigned: dict[int, Note] = {}
        self._counted: dict[int, frozenset[str]] = {}
        self._changes: set[int] = set()
        self._changed = asyncio.Event()
        self._recent: tuple[bytes, ...] = ()
        self._recent_from = 0
        self.tell_each = tell_each
        self._group = asyncio.TaskGroup()
        self.followers = {name: Follower(node, self, database=database) for name, node in nodes.items()}

    @property
    def newest(self) -> Published:
        """The checkpoint every follower works towards."""
        return self._newest

    @property
    def quorum(self) -> Published:
        """The newest checkpoint with w cosignatures that this process knows."""
        return self._quorum

    @property
    def binding(self) -> Published:
        """The newest checkpoint to finish payments under: with w cosignatures, and those of all witnesses."""
        return self._quorum if self._witnessed is None else self._witnessed

    def expect_witnesses(self) -> None:
        """From now on payments are finished under what ``witnessed`` is told."""
        self._witnessed = Published(0, b"")

    def witnessed(self, published: Published) -> None:
        """A checkpoint of a quorum has the cosignatures of all witnesses that are asked."""
        if self._witnessed is not None and published.size >= self._witnessed.size:
            self._witnessed = published
            self._wake()

    def start(self, newest: Published, quorum: Published, *, state: State) -> None:
        """Where this process begins."""
        self._newest, self._quorum = newest, quorum
        self.use_roster(state)

    def use_roster(self, state: State) -> None:
        """Whose cosignatures count on checkpoints from the state's size on, and which changes wait there."""
        self._origin = state.origin
        self._changes.update(change.index for change in state.pending)
        if not self._rosters or self._rosters[-1][1] is not state.roster:
            self._rosters.append((state.size, state.roster))

    @property
    def roster(self) -> Roster:
        """The roster in force at the end of the log. Raises ``InvariantError`` before the start."""
        if not self._rosters:
            raise InvariantError("replication was not started")
        return self._rosters[-1][1]

    def unconfigured(self) -> list[str]:
        """The cosigners of the roster that this coordinator knows no address of."""
        return sorted(set(self.roster.cosigners) - set(self.followers))

    def publish(self, newest: Published, entries: Sequence[bytes] = ()) -> None:
        """A new checkpoint is durable: send it to everybody. ``entries`` are those since the one before."""
        start = newest.size - len(entries)
        before = self._recent if start == self._recent_from + len(self._recent) else ()
        self._recent = (*before, *entries)[-RECENT_MAX:]
        self._recent_from = newest.size - len(self._recent)
        self._newest = newest
        self._forget(newest.size - 4096)
        self._wake()

    async def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Entries of the log from ``start`` up to ``stop``, as many as fit together."""
        if self._recent_from <= start < stop <= self._recent_from + len(self._recent):
            return self._recent[start - self._recent_from : stop - self._recent_from]
        return await self._database.entries(start, stop)

    async def wait_newest(self, above: int, timeout_s: float) -> bool:
        """Wait until there is a checkpoint above ``above``; False when the time is over."""
        return await self._wait(lambda: self._newest.size > above, timeout_s)

    def lacks(self, name: str, size: int) -> bool:
        """Whether the newest checkpoint, ``size`` entries long, still needs this cosigner's cosignature."""
        if size != self._newest.size or self._quorum.size >= size or size == 0:
            return False
        note = self._cosigned.get(size)
        return note is None or all(line.name != name for line in note.signatures)

    async def reached(self, size: int, timeout_s: float) -> bool:
        """Whether entry ``size`` is under w cosignatures before the time is over."""
        return await self._wait(lambda: self._quorum.size >= size, timeout_s)

    async def wait_quorum(self, size: int, timeout_s: float) -> Published:
        """A checkpoint of at least ``size`` with w cosignatures. Raises ``OperationalError``."""
        if not await self.reached(size, timeout_s):
            raise OperationalError(
                f"no {self.roster.w} cosignatures on entry {size} within {timeout_s} s: "
                "look after the cosigners"
            )
        return self._quorum

    async def wait_binding(self, size: int, timeout_s: float) -> Published:
        """``wait_quorum`` with the cosignatures of all witnesses that are asked, if there are any."""
        await self.wait_quorum(size, timeout_s)
        if not await self._wait(lambda: self.binding.size >= size, timeout_s):
            raise OperationalError(
                f"a witness has not cosigned entry {size} within {timeout_s} s: look after it"
            )
        return self.binding

    async def run(self) -> None:
        """Serve every cosigner until cancelled. Raises ``InvariantError`` when the log has another writer."""
        async with self._group as group:
            for name, follower in self.followers.items():
                group.create_task(follower.run(), name=f"follower {name}")

    async def answered(self, name: str, sent: Published, *, answer: Appended) -> None:
        """Take in one answer to round 1: its openings, then its cosignature."""
        line, key = self._verified(name, sent, answer.cosignature)
        self._on_answer(name, answer)
        note = self._cosigned.get(sent.size) or parse_note(sent.note, NOTE_BYTES_MAX)
        self._cosigned[sent.size] = note = note.with_signatures(line)
        roster = self._roster_at(sent.size)
        if roster.cosigner_keys().get(name) == key:  # each was verified as it came: once is enough
            self._counted[sent.size] = self._counted.get(sent.size, frozenset()) | {name}
        if sent.size > self._quorum.size and len(self._counted.get(sent.size, ())) >= roster.w:
            self._quorum = Published(sent.size, note.to_bytes())
            self._metrics.quorum_size.set(sent.size)
            self._wake()
            self._group.create_task(self._keep(self._quorum), name=f"keep quorum {sent.size}")

    async def _keep(self, quorum: Published) -> None:
        """Cosigners are not kept waiting for it: were it lost, they would be asked again."""
        try:
            await self._database.set_quorum(quorum.size, quorum.note)
        except OperationalError as error:
            _LOG.warning("the cosignatures on entry %d are not kept: %s", quorum.size, error)

    async def proofs(self, at_most: int) -> dict[int, bytes]:
        """By size, the first notes of a quorum over each change: since when it has been public."""
        found = [await self._database.first_quorum(index) for index in sorted(self._changes)]
        return {size: note for size, note in filter(None, found) if size <= at_most}

    def others(self) -> Others:
        """The cosigners that are known to follow this log, and the roster."""
        known = {name: one.node for name, one in self.followers.items() if one.size is not None}
        return Others(known, self._origin, self.roster)

    def verified(self, head: Head) -> Checkpoint:
        """The checkpoint of a head, which the log's key must have signed."""
        return read_head(head, origin=self._origin, log_key=self.roster.log_key)

    def _roster_at(self, size: int) -> Roster:
        """The roster in force at a size, as far back as this process knows."""
        return next((one for start, one in reversed(self._rosters) if start <= size), self._rosters[0][1])

    def _forget(self, size: int) -> None:
        """Cosignatures on checkpoints so far back gather no quorum any more."""
        for old in [known for known in self._cosigned if known < size]:
            del self._cosigned[old]
            self._counted.pop(old, None)

    def _verified(self, name: str, sent: Published, cosignature: bytes) -> tuple[NoteSignature, bytes]:
        """The line of a cosigner's own key on what it was sent, and that key."""
        body = parse_note(sent.note, NOTE_BYTES_MAX).body
        note = parse_note(body + b"\n" + cosignature, NOTE_BYTES_MAX)
        known = self.roster.cosigners.get(name) or self._roster_at(sent.size).cosigners.get(name)
        alone = len(note.signatures) == 1  # another line would go into the note unverified
        if known is None or not alone or name not in verify_cosignatures(note, {name: known.key}):
            raise ProtocolError(f"{name} answered without a cosignature of its own alone on size {sent.size}")
        return note.signatures[0], known.key

    async def _wait(self, holds: Callable[[], bool], timeout_s: float | None) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                while not holds():
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Follower:
    """Brings one cosigner up to date. ``size`` is None until the cosigner has said where it stands."""

    def __init__(self, node: Node, replication: Replication, *, database: Database) -> None:
        self.node = node
        self._replication = replication
        self._database = database
        self.size: int | None = None
        self.problem = "not asked yet"
        self.diverged = False
        self._told = self._looked = 0
        self._shown: set[int] = set()
        self._floor = 0
        self._quiet = 0
        self._back_off_s = BACK_OFF_FIRST_S

    @property
    def live(self) -> bool:
        """Whether it follows: its last call was answered and it was at the end of the log then."""
        return not self.problem

    async def run(self) -> None:
        """Serve this cosigner for ever."""
        while True:
            try:
                await self._serve()
                if self.size == self._replication.newest.size > self._floor:  # a head alone is no progress
                    self.problem, self.diverged, self._back_off_s = "", False, BACK_OFF_FIRST_S
            except (OperationalError, ProtocolError) as error:
                if self.problem != str(error):
                    _LOG.warning("%s: %s", self.node.name, error)
                self.size, self.problem, self.diverged = None, str(error), isinstance(error, Diverged)
                await asyncio.sleep(self._back_off_s)
                self._back_off_s = min(2 * self._back_off_s, BACK_OFF_MAX_S)

    async def leave_by_fork(self, entry: bytes) -> None:
        """Have a cosigner on another branch leave it on the administrators' fork entry."""
        head = await self.node.head()
        await self.node.leave_by_fork(entry)
        _LOG.warning("%s left its branch of %d entries by a fork entry", self.node.name, head.size)
        self._floor, self._told, self._looked = head.size, 0, 0
        self.size, self.diverged = None, False
        self.problem = _left(self._floor)

    async def _serve(self) -> None:
        if self.node.name not in self._replication.roster.cosigners:
            self.size, self.problem = None, NOT_IN_ROSTER
            await self._replication.wait_newest(self._replication.newest.size, IDLE_S)
            return
        if self.size is None:
            self.size = await self._position()
            return
        if self._replication.newest.size <= self._floor:
            self.problem = _left(self._floor)
            await self._replication.wait_newest(self._floor, IDLE_S)
            return
        if self._replication.newest.size > self.size or self._replication.lacks(self.node.name, self.size):
            if self.size >= self._looked + self._replication.tell_each:
                await self._tell_on_the_way(self.size)
            await self._send(self.size)
        elif not await self._replication.wait_newest(self.size, IDLE_S):
            await self._tell_quorum()
            await self._probe()

    async def _position(self) -> int:
        """Where the cosigner stands on our log, after bringing it back from another branch."""
        head = await self.node.head()
        newest = self._replication.newest.size
        if await self._at_our_checkpoint(head):
            return head.size
        shorter = min(head.size, newest)
        differs = await first_difference(self.node, self._database, shorter=shorter)
        if differs < shorter:
            others = self._replication.others()
            back = await bring_back(self.node, head, database=self._database, others=others, differs=differs)
            self._floor, self._told, self._looked = head.size, 0, 0
            return back
        if head.size > newest:
            raise InvariantError(
                f"{self.node.name} has {head.size} entries, this coordinator {newest}: another one wrote, "
                "or the database is old; restart to catch up"
            )
        return head.size

    async def _at_our_checkpoint(self, head: Head) -> bool:
        if not head.note:  # it has folded what a peer cosigned, if anything, and cosigned nothing itself
            return head.size == 0
        theirs = self._replication.verified(head)
        ours = await self._database.checkpoint_between(theirs.size - 1, theirs.size)
        return theirs.size == head.size and ours is not None and _checkpoint(ours[1]) == theirs

    async def _send(self, start: int) -> None:
        sent = await self._increment(start)
        entries = await self._entries(start, sent.size)
        if (count := _fitting(entries)) < len(entries):
            sent = await self._checkpoint_at(start, start + count) or sent
        try:
            await self._bring(start, sent, entries[: sent.size - start])
        except Refused as refused:
            if refused.code != EARLY or not await self._hurry(start):
                raise

    async def _bring(self, start: int, sent: Published, entries: tuple[bytes, ...]) -> None:
        answer = await self.node.append(start, entries, note=sent.note)
        await self._replication.answered(self.node.name, sent, answer=answer)
        self.size = sent.size

    async def _hurry(self, start: int) -> bool:
        """Show a cosigner that had a change late what a quorum cosigned; whether there was anything new."""
        quorum = await self._database.quorum_between(start, max(start, self._floor) + ENTRIES_EACH_MAX)
        if quorum is not None:
            await self._bring(start, Published(*quorum), await self._entries(start, quorum[0]))
            return True
        proofs = await self._replication.proofs(start)
        fresh = {size: note for size, note in proofs.items() if size not in self._shown}
        for size, note in fresh.items():
            await self.node.quorum(note)
            self._shown.add(size)
        return bool(fresh)

    async def _increment(self, start: int) -> Published:
        """The largest checkpoint up to the next multiple of a message's entries, on which all meet.

        Counted from where each stands, those that stand apart would cosign different checkpoints all the
        way, no quorum would come of them before the end, and all would store all of their state there.
        """
        above, newest = max(start, self._floor), self._replication.newest
        if newest.size <= above + ENTRIES_EACH_MAX:
            return newest
        return await self._checkpoint_at(start, (above // ENTRIES_EACH_MAX + 1) * ENTRIES_EACH_MAX) or newest

    async def _checkpoint_at(self, start: int, at_most: int) -> Published | None:
        """The largest checkpoint on from ``start`` that is no larger; if there is none, the next one."""
        found = await self._database.checkpoint_between(max(start, self._floor), at_most)
        return None if found is None else Published(*found)

    async def _entries(self, start: int, size: int) -> tuple[bytes, ...]:
        entries: tuple[bytes, ...] = ()
        while start + len(entries) < size:
            entries += await self._replication.entries(start + len(entries), size)
        return entries

    async def _probe(self) -> None:
        """Now and then, see whether it still answers, and still stands where it did."""
        self._quiet = (self._quiet + 1) % PROBE_EVERY
        if not self._quiet and (await self.node.head()).size != self.size:
            self.size = None

    async def _tell_on_the_way(self, size: int) -> None:
        """Tell of the last quorum up to where it stands."""
        self._looked, newest = size, self._replication.quorum
        if self._told < newest.size <= size:
            found: tuple[int, bytes] | None = (newest.size, newest.note)
        else:
            found = await self._database.quorum_between(self._told, size)
        if found is not None:
            self._told, note = found
            await self.node.quorum(note)

    async def _tell_quorum(self) -> None:
        quorum = self._replication.quorum
        if quorum.size > self._told and self.size is not None and quorum.size <= self.size:
            await self.node.quorum(quorum.note)
            self._told = quorum.size


def _fitting(entries: Sequence[bytes]) -> int:
    """How many of the entries go into one message."""
    return sum(total <= BYTES_EACH_MAX for total in accumulate(map(len, entries)))


def _left(floor: int) -> str:
    return f"left another branch: follows once the log has more than {floor} entries"


def _checkpoint(note: bytes) -> Checkpoint:
    return parse_checkpoint(parse_note(note, NOTE_BYTES_MAX).body)
