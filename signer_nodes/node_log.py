"""The log as one cosigner keeps it: check, make durable, bind to the token, then cosign.

Order of writing: entries and head on disk, then the token, then the cosignature. A crash between
two of them leaves the disk ahead by one head, which is normal; a disk behind the token was rolled
back, and the node must be enrolled anew.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final, TypeVar

from policy.encoding import Json, canonical, parse_canonical, statement
from policy.errors import InvariantError, OperationalError
from policy.fields import Fields
from policy.log.checkpoint import (
    Checkpoint,
    Note,
    cosignature,
    cosignature_message,
    parse_checkpoint,
    parse_note,
)
from policy.log.merkle import leaf_hash
from policy.stored.keeping import STORE_EVERY, StoredState
from policy.stored.pages import DamagedState
from signer_nodes import renounced
from signer_nodes.late import Late, from_bytes, noted, to_bytes
from signer_nodes.ports import Hsm, LogStore, Mark
from signer_nodes.stored_cosigner import CosignerForm
from signer_nodes.token_head import HEAD_RECORD, TokenHead
from signer_nodes.witness import (
    NOTE_BYTES_MAX,
    Contradiction,
    Cosigner,
    Extension,
    Identity,
    Refusal,
    abandon,
    after_leaving,
    check_clock,
    check_cosigned,
    check_fork,
    check_leave,
    extend,
    fold_entries,
    follow,
    known_ms,
    last_quorum,
    new_cosigner,
    note_quorum,
    parse_branch,
    read_checkpoint,
)

_LOG: Final = logging.getLogger(__name__)
T = TypeVar("T")
CONTRADICTION: Final = "contradiction"
MISFIT: Final = "misfit"
MISFITS_MAX: Final = 64
_MISFITS: Final = frozenset({"branch", "root", "state"})
FOLD_BATCH: Final = 1024
_RENOUNCED: Final = "renounced"
_HELD: Final = "held"
_LATE: Final = "late"
_NONE_HELD: Final = b"{}"
RE_ENROL: Final = (
    "it signs nothing any more: enrol this machine as a new node with a new identity, "
    "and have the administrators' quorum replace the old one in the roster"
)


class RolledBack(OperationalError):
    """The disk is older than the token's record of it."""


class NodeLog:
    """One cosigner's log. Not safe for concurrent calls: its owner serialises them."""

    def __init__(
        self,
        identity: Identity,
        hsm: Hsm,
        *,
        store: LogStore,
        skew_ms: int,
        store_every: int = STORE_EVERY,
        cosigns: bool = True,
    ) -> None:
        self._cosigns = cosigns
        self._hsm = hsm
        self._store = store
        self._skew_ms = skew_ms
        self._stored = StoredState(CosignerForm(identity), store, every=store_every)
        self._named: bytes | None = None
        self._key = hsm.identity_public_key()
        self._bound = b""
        self._held = _NONE_HELD
        self.late: Late = {}
        self.cosigner: Cosigner = new_cosigner(identity)
        self.ready = False
        self.had_head = False
        self._leaving = False

    @property
    def frozen(self) -> bool:
        """Whether this node holds evidence of two logs."""
        return any(kind == CONTRADICTION for kind, _ in self._store.evidence())

    @property
    def name(self) -> str:
        """This cosigner's name."""
        return self.cosigner.identity.name

    def load(self) -> None:
        """Fold what the disk has after the stored state, and compare it with what the token remembers.

        Raises ``RolledBack`` when the disk is older. A disk that is ahead, as after a crash between
        the two, is bound before anything else happens.
        """
        record = self._hsm.read_record(HEAD_RECORD)
        head = None if record is None else TokenHead.from_bytes(record[1])
        try:
            self._load(head, self._stored.start(head.state if head else b"", size_max=self._store.size()))
        except DamagedState as error:
            _LOG.warning("%s", error)
            self._load(head, self._stored.discard())

    def _load(self, head: TokenHead | None, cosigner: Cosigner) -> None:
        self.cosigner, self._named = cosigner, self._stored.root or None
        self._fold_to(self._store.size())
        self.cosigner = renounced.with_renounced(self.cosigner, self._store.meta(_RENOUNCED))
        self._restore_quorum()
        self._restore_held()
        self.late = from_bytes(self._store.meta(_LATE))
        if head is not None:
            self.had_head = True
            self._check_token(head)
        elif self.cosigner.size or self._store.marks_head()[0]:
            raise RolledBack(f"the token remembers no log but the disk has one: {RE_ENROL}")
        self._finish_leaving()
        self.bind_token()

    def extend(
        self,
        start: int,
        entries: Sequence[bytes],
        *,
        note: bytes,
        now_ms: int,
        marks: Callable[[Extension], Sequence[Mark]],
    ) -> tuple[Extension, bytes]:
        """Fold, store, bind and cosign an extension; the cosignature's line, empty at a cold node.

        ``marks`` names what else must be durable before anything leaves, given the new state.
        """
        self.check_open()
        extension = self._guarded(
            note,
            lambda: extend(
                self.cosigner, start, entries=entries, note=note, now_ms=now_ms, skew_ms=self._skew_ms
            ),
        )
        since_ms = now_ms if self._cosigns else known_ms(extension, now_ms=now_ms, skew_ms=self._skew_ms)
        self._note_late(extension, entries, since_ms)
        self._take_in(extension, entries, marks(extension))
        return extension, self._cosign(extension.note, extension.checkpoint, now_ms) if self._cosigns else b""

    def follow(self, entries: Sequence[bytes], note: bytes, *, cosigned_by: str, now_ms: int) -> None:
        """Fold a head that a peer has cosigned, as when starting; it is not cosigned by that.

        Entries already cosigned are folded as they are, whatever this clock says.
        """
        extension = self._guarded(
            note,
            lambda: follow(self.cosigner, self.cosigner.size, entries=entries, note=note, now_ms=now_ms),
        )
        if not check_cosigned(extension.cosigner, extension.note, by=cosigned_by):
            raise Refusal("checkpoint", f"{cosigned_by} has not cosigned the head it sent")
        self._note_late(extension, entries, now_ms)
        self._take_in(extension, entries, ())

    def learn_quorum(self, note: bytes, *, starting: bool = False, with_next: bool = False) -> Checkpoint:
        """Take in a note with w cosignatures over a prefix of this log, as ``LogStore``; its checkpoint."""
        if not starting:
            self.check_open()
        cosigner, checkpoint = self._guarded(
            note, lambda: note_quorum(self.cosigner, note, root_at=self.root_at)
        )
        stored = self._store.checkpoint_at(checkpoint.size)
        if stored is not None and stored_checkpoint(stored).state != checkpoint.state:
            raise Refusal("state", "a quorum folded the same entries to another state: compare versions")
        if cosigner.quorum_head != self.cosigner.quorum_head:
            self._store.set_quorum(note, checkpoint.size, with_next=with_next)
        self.cosigner = cosigner
        self._keep_held(cosigner)
        self._keep_state(cosigner.quorum_head)
        return checkpoint

    def recosign(self, note: bytes, *, now_ms: int) -> bytes:
        """Cosign the very head this node is at once more, as when an answer was lost."""
        self.check_open()
        received, checkpoint = read_checkpoint(self.cosigner.identity, note)
        state = self.cosigner.state
        here = (self.cosigner.size, self.cosigner.frontier.root(), state.digest)
        if (checkpoint.size, checkpoint.root, checkpoint.state) != here:
            raise Refusal("head", f"this cosigner has {self.cosigner.size} entries, at another head")
        if checkpoint.size <= self.cosigner.floor:
            raise Refusal("abandoned", f"only heads above {self.cosigner.floor} are cosigned")
        check_clock(self.cosigner, now_ms=now_ms, skew_ms=self._skew_ms)
        return self._cosign(received, checkpoint, now_ms)

    def cosign_own_head(self, now_ms: int) -> None:
        """Cosign the head this node is at, if it is not yet: after it followed peers, or a crash.

        One that its clock objects to it is asked to cosign again, when that has passed.
        """
        note, cosigned = self._store.checkpoint_at(self.cosigner.size), self._store.latest_cosigned()
        if note is None or self.frozen or (cosigned is not None and cosigned[0] == self.cosigner.size):
            return
        try:
            check_clock(self.cosigner, now_ms=now_ms, skew_ms=self._skew_ms)
        except Refusal as refusal:
            _LOG.warning("the head of %d entries is not cosigned: %s", self.cosigner.size, refusal)
            return
        if self.cosigner.size > self.cosigner.floor:
            self._cosign(parse_note(note, NOTE_BYTES_MAX), stored_checkpoint(note), now_ms)

    def state_abandoned(self, body: Json) -> bytes:
        """Sign that this node has not cosigned a branch and never will; durable before it is signed."""
        self.check_open()
        name, branch = parse_branch(body, self.cosigner.identity.origin)
        if name != self.name:
            raise Refusal("name", f"this cosigner is {self.name}, not {name}")
        after = abandon(self.cosigner, branch, leaf_at=self.leaf_at, root_at=self.root_at)
        self._store.put_meta(_RENOUNCED, renounced.to_bytes(after))
        self.cosigner = after  # not before the disk has it, or the token could come to know more
        self.bind_token()
        return self._hsm.sign_statement(
            statement("abandon", branch.body(self.cosigner.identity.origin, name))
        )

    def leave(
        self, statements: Sequence[tuple[Json, bytes]], *, marks: Callable[[int], Sequence[Mark]]
    ) -> int:
        """Leave this node's branch for good, on cosigners' statements; the size it is back at.

        ``marks`` gives the burns of everything bound on the branch, which starts at that size.
        """
        self._check_open()
        size = check_leave(self.cosigner, statements, leaf_at=self.leaf_at)
        for body, signature in statements:
            document = canonical({"body": body, "signature": signature.hex()})
            self._store.put_statement(f"abandon/{size}/{sha256(document).hexdigest()}", document)
        return self._go_back(size, marks)

    def leave_by_fork(self, entry: bytes, *, marks: Callable[[int], Sequence[Mark]]) -> int:
        """Leave this node's branch for good, on the administrators' fork entry."""
        self._check_open()
        return self._go_back(check_fork(self.cosigner, entry, root_at=self.root_at), marks)

    def _go_back(self, size: int, marks: Callable[[int], Sequence[Mark]]) -> int:
        """Burn, then go back; once the disk may say so, nothing but going back is done on this branch."""
        burns = marks(size)
        if burns:
            self._store.add_marks(burns)
        self._leaving = True
        self._drop_branch(size)
        self._leaving = False
        return size

    def _drop_branch(self, size: int) -> None:
        """Renounce, bind, then drop the entries from ``size`` on; a crash within is made good by a start."""
        stored = replace(self._stored.head, identity=self.cosigner.identity)
        refolded, _ = fold_entries(stored, self._store.entries(stored.size, size))
        after = after_leaving(self.cosigner, refolded, left=self.leaf_at(size))
        self._store.put_meta(_RENOUNCED, renounced.to_bytes(after))
        self._bind(after)
        self._keep_held(after)  # another branch may have another change in the same place
        self._store.truncate(size)
        self._stored.cut(size)
        self.cosigner = after

    def store_more(self) -> bool:
        """Go on storing the state while nobody asks for anything; whether there is more to store."""
        if self.frozen or not self.ready or self._leaving or self._stored.damaged:
            return False
        self._keep_state(self.cosigner.quorum_head)
        self.bind_token()
        return self._stored.storing

    def bind_token(self) -> None:
        """Bind the disk's head and marks to the token, if they changed: nothing leaves before this."""
        self._bind(self.cosigner)

    def _bind(self, cosigner: Cosigner) -> None:
        count, chain = self._store.marks_head()
        head = TokenHead(
            size=cosigner.size,
            root=cosigner.frontier.root(),
            marks=count,
            marks_chain=chain,
            floor=cosigner.floor,
            renounced=renounced.count(cosigner),
            state=self._stored.root,
        )
        data = head.to_bytes()
        if data != self._bound:
            self._hsm.write_record(HEAD_RECORD, data)
            self._bound, self._named = data, head.state

    def leaf_at(self, index: int) -> bytes:
        """The leaf hash of entry ``index``."""
        return self._stored.leaf_at(index)

    def root_at(self, size: int) -> bytes:
        """The root of the first ``size`` entries."""
        if size == self.cosigner.size:
            return self.cosigner.frontier.root()
        return self._stored.frontier_at(size).root()

    def _take_in(self, extension: Extension, entries: Sequence[bytes], marks: Sequence[Mark]) -> None:
        note = extension.note.to_bytes()
        self._store.append(self.cosigner.size, entries, checkpoint=note, marks=marks)
        self._stored.extend(extension.leaves)
        known, self.cosigner = self.cosigner.quorum_head, extension.cosigner
        if self.cosigner.quorum_head != known:
            self._store.set_quorum(note, extension.checkpoint.size)
        self._keep_held(self.cosigner)
        self._keep_state(self.cosigner.quorum_head)
        self.bind_token()

    def _note_late(self, extension: Extension, entries: Sequence[bytes], now_ms: int) -> None:
        """Have the disk know which requests came late, before anything is decided on them."""
        late = noted(
            self.late, entries, outcomes=extension.outcomes, state=extension.cosigner.state, now_ms=now_ms
        )
        if late is not self.late:
            self._store.put_meta(_LATE, to_bytes(late))
            self.late = late

    def _keep_state(self, quorum: Checkpoint | None) -> None:
        """Store the state when it is time to. One that cannot be read is folded anew by the next call."""
        try:
            self.cosigner = self._stored.keep(self.cosigner, quorum.size if quorum else 0, bound=self._named)
        except DamagedState as error:
            _LOG.warning("%s", error)

    def _keep_held(self, cosigner: Cosigner) -> None:
        """Have the disk know since when this node has had each change, before it cosigns on that."""
        held = canonical({str(index): since_ms for index, since_ms in cosigner.delays.held.items()})
        if held != self._held:
            self._store.put_meta(_HELD, held)
            self._held = held

    def _restore_held(self) -> None:
        """What the disk does not know, as after a crash, this node has from its next head on."""
        self._held = self._store.meta(_HELD) or _NONE_HELD
        fields = Fields(parse_canonical(self._held, bytes_max=1 << 16), "held changes")
        changes = self.cosigner.delays.changes
        held = {c.index: fields.integer(str(c.index)) for c in changes if fields.has(str(c.index))}
        size, _ = last_quorum(self.cosigner)
        delays = self.cosigner.delays.resumed(held, quorum_size=size)
        self.cosigner = replace(self.cosigner, delays=delays)

    def _cosign(self, note: Note, checkpoint: Checkpoint, now_ms: int) -> bytes:
        if not self._cosigns:
            raise Refusal("cold", "a cold node cosigns nothing")
        self.bind_token()
        time_s = now_ms // 1000
        signature = self._hsm.sign_statement(cosignature_message(note.body, time_s=time_s))
        line = cosignature(self.name, self._key, time_s=time_s, signature=signature)
        self._store.set_cosigned(checkpoint.size, note.with_signatures(line).to_bytes())
        return Note(note.body).with_signatures(line).to_bytes()[len(note.body) + 1 :]

    def check_open(self) -> None:
        """Refuse everything while this node is frozen, leaves a branch, or has not compared its head."""
        self._check_open()
        if self._leaving:
            raise Refusal("leaving", "this node is leaving its branch: ask it once more to leave")

    def _check_open(self) -> None:
        if self.frozen:
            raise Refusal("frozen", "this node holds evidence of two logs; its operator must look at it")
        if not self.ready:
            raise Refusal("starting", "this node is still comparing its head with its peers'")
        if self._stored.damaged:
            self._replace_damaged()

    def _guarded(self, note: bytes, work: Callable[[], T]) -> T:
        """Run a check of ``note``; a proven contradiction freezes this node before it is refused.

        A signed checkpoint that does not fit below quorum freezes nothing, but it is kept.
        """
        try:
            return work()
        except Refusal as refusal:
            if refusal.code in _MISFITS:
                self._keep_misfit(refusal.code, note)
            raise
        except Contradiction as contradiction:
            own = (self._store.quorum() or (0, b""))[1]
            both = canonical({"theirs": contradiction.evidence.hex(), "ours": own.hex()})
            self._store.keep_evidence(CONTRADICTION, both)
            raise Refusal("frozen", str(contradiction)) from contradiction

    def _keep_misfit(self, code: str, note: bytes) -> None:
        kept = [data for kind, data in self._store.evidence() if kind.startswith(MISFIT)]
        if note not in kept and len(kept) < MISFITS_MAX:
            self._store.keep_evidence(f"{MISFIT}/{code}", note)

    def _fold_to(self, size: int) -> None:
        """Fold the stored entries up to ``size``, and store the state of heads of a quorum on the way."""
        quorum = self._store.quorum()
        checkpoint = None if quorum is None else stored_checkpoint(quorum[1])
        for start in range(self.cosigner.size, size, FOLD_BATCH):
            entries = self._store.entries(start, min(start + FOLD_BATCH, size))
            self.cosigner, _ = fold_entries(self.cosigner, entries)
            self._stored.extend([leaf_hash(data) for data in entries])
            self._keep_state(checkpoint)
        if self.cosigner.size != size:
            raise InvariantError(f"the store says {size} entries and gives {self.cosigner.size}")

    def _replace_damaged(self) -> None:
        """Fold the whole log in a running node. What it had folded tells whether the log is intact."""
        before = self.cosigner
        _LOG.warning("the stored state is thrown away and the whole log is folded: this takes its time")
        try:
            self.cosigner, self._named = self._stored.discard(), None
            self._fold_to(before.size)
            refolded = self.cosigner
        except BaseException:
            self._stored.damaged = True  # the next call begins anew
            raise
        finally:
            self.cosigner = before
        if refolded.frontier != before.frontier:
            self._stored.damaged = True
            raise RolledBack(f"the disk has another log than this node had folded: {RE_ENROL}")
        delays = refolded.delays.resumed(before.delays.held, quorum_size=last_quorum(before)[0])
        self.cosigner = replace(before, state=refolded.state, rosters=refolded.rosters, delays=delays)
        self.bind_token()

    def _restore_quorum(self) -> None:
        known = self._store.quorum()
        if known is None:
            return
        checkpoint = stored_checkpoint(known[1])
        if checkpoint.size > self.cosigner.size or self.root_at(checkpoint.size) != checkpoint.root:
            raise RolledBack(f"the disk lacks entries of a head it had stored: {RE_ENROL}")
        self.cosigner = replace(self.cosigner, quorum_head=checkpoint)

    def _finish_leaving(self) -> None:
        """Go back from a branch that was left, when a crash came before its entries were dropped."""
        for index, leaf in sorted(self.cosigner.left):
            if index < self.cosigner.size and self.leaf_at(index) == leaf:
                self._drop_branch(index)

    def _check_token(self, head: TokenHead) -> None:
        if head.size > self.cosigner.size or self.root_at(head.size) != head.root:
            raise RolledBack(
                f"the disk has {self.cosigner.size} entries, the token remembers {head.size}: {RE_ENROL}"
            )
        if self._store.marks_chain_at(head.marks) != head.marks_chain:
            raise RolledBack(f"the disk lacks marks of signatures that the token remembers: {RE_ENROL}")
        if head.floor > self.cosigner.floor or head.renounced > renounced.count(self.cosigner):
            raise RolledBack(f"the disk lacks a branch this node renounced: {RE_ENROL}")


def stored_checkpoint(note: bytes) -> Checkpoint:
    """The checkpoint of a note that this node stored after checking it."""
    return parse_checkpoint(parse_note(note, NOTE_BYTES_MAX).body)
