"""A cosigner: it folds the log, cosigns heads that extend its own, and does nothing else.

Nodes and witnesses both run this; a witness runs only this. Rules held here, from docs/spec/log.md:

- a head is cosigned only if it extends the cosigner's own by entries it folded to the same state;
- no head whose time is later than the cosigner's clock plus the skew is cosigned, and none in which a change
  is in effect that this cosigner has not had for its delay, unless a quorum has cosigned that head;
- a branch is left only below quorum, on statements of more than c - w + f cosigners, and afterwards
  only sizes above the abandoned head are cosigned;
- an entry it has stated never to cosign is never cosigned;
- a quorum head that contradicts its own quorum head freezes it; one that contradicts only what it
  cosigned below quorum, or what it was sent just now, is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from policy.delays import Delays
from policy.encoding import Json
from policy.entries import ForkEntry, parse_entry
from policy.errors import MalformedError, ProtocolError
from policy.fields import Fields
from policy.ledger import fold, initial
from policy.log.checkpoint import (
    CHECKPOINT_BYTES_MAX,
    Checkpoint,
    Note,
    parse_checkpoint,
    parse_note,
    verify_cosignatures,
    verify_log_signature,
)
from policy.log.merkle import Frontier, leaf_hash
from policy.roster import Roster, verified_signers, verify_statement
from policy.state import Job, Outcome, State

NOTE_BYTES_MAX = CHECKPOINT_BYTES_MAX + 32 * 1024


class Refusal(ProtocolError):
    """What was asked is refused for now; nothing changed. ``code`` is for programs."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


class Contradiction(ProtocolError):
    """A quorum head contradicts this cosigner's own: it must freeze and keep ``evidence``."""

    def __init__(self, reason: str, evidence: bytes) -> None:
        super().__init__(reason)
        self.evidence = evidence


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a cosigner is and which log it serves, as it was set up.

    ``later_log_keys`` it learnt since: those that rosters of the log have brought into force.
    """

    name: str
    origin: str
    genesis: bytes
    log_key: bytes
    later_log_keys: tuple[bytes, ...] = ()

    def knowing(self, log_key: bytes) -> "Identity":
        """This identity with one more key of the log."""
        if log_key in (self.log_key, *self.later_log_keys):
            return self
        return replace(self, later_log_keys=(*self.later_log_keys, log_key))


@dataclass(frozen=True, slots=True)
class Branch:
    """The first entry after the quorum head ``q``: what tells two branches apart."""

    q_size: int
    q_root: bytes
    entry: bytes

    def body(self, origin: str, cosigner: str) -> Json:
        """The statement: no checkpoint containing this entry was or will be cosigned by ``cosigner``."""
        return {
            "origin": origin,
            "cosigner": cosigner,
            "q_size": self.q_size,
            "q_root": self.q_root.hex(),
            "entry": self.entry.hex(),
        }


class InForce(NamedTuple):
    """A roster, its document, and the size of the log from which on it is in force."""

    size: int
    roster: Roster
    document: Json


@dataclass(frozen=True, slots=True)
class Cosigner:
    """Everything a cosigner knows of the log; ``rosters`` with the sizes they came into force at.

    ``refused`` and ``left`` are first entries (index, leaf hash) of branches: those it has stated
    never to cosign, and those it was on and left.
    """

    identity: Identity
    state: State
    frontier: Frontier
    rosters: tuple[InForce, ...] = ()
    quorum_head: Checkpoint | None = None
    floor: int = 0
    refused: frozenset[tuple[int, bytes]] = frozenset()
    left: frozenset[tuple[int, bytes]] = frozenset()
    delays: Delays = field(default_factory=Delays)

    @property
    def size(self) -> int:
        """How many entries are folded."""
        return self.frontier.size

    def roster_at(self, size: int) -> Roster | None:
        """The roster in force once ``size`` entries are folded; None before the genesis entry."""
        found = [one.roster for one in self.rosters if one.size <= size]
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class Extension:
    """A cosigner after folding more entries, of these leaf hashes, and what each of them came to."""

    cosigner: Cosigner
    checkpoint: Checkpoint
    note: Note
    outcomes: tuple[Outcome, ...]
    leaves: tuple[bytes, ...]


def new_cosigner(identity: Identity) -> Cosigner:
    """A cosigner that has seen nothing yet."""
    return Cosigner(identity, initial(), Frontier())


def fold_entries(cosigner: Cosigner, entries: Sequence[bytes]) -> tuple[Cosigner, tuple[Outcome, ...]]:
    """Fold entries that are known to belong to the log, as at start-up."""
    frontier = cosigner.frontier.extend(map(leaf_hash, entries))
    return _folded_to(cosigner, frontier, entries)


def _folded_to(
    cosigner: Cosigner, frontier: Frontier, entries: Sequence[bytes]
) -> tuple[Cosigner, tuple[Outcome, ...]]:
    identity, state, rosters, delays = cosigner.identity, cosigner.state, cosigner.rosters, cosigner.delays
    if entries and cosigner.size == 0 and leaf_hash(entries[0]) != identity.genesis:
        raise Refusal("genesis", "the first entry is not the genesis entry this cosigner was set up with")
    outcomes = []
    for data in entries:
        before = state
        state, outcome = fold(state, data)
        delays = delays.folded(before, state)
        outcomes.append(outcome)
        if state.roster_or_none and (not rosters or rosters[-1].roster is not state.roster_or_none):
            rosters = (*rosters, InForce(state.size, state.roster_or_none, state.roster_document))
            identity = identity.knowing(state.roster_or_none.log_key)
    folded = replace(
        cosigner, identity=identity, state=state, frontier=frontier, rosters=rosters, delays=delays
    )
    return folded, tuple(outcomes)


def extend(
    cosigner: Cosigner, start: int, *, entries: Sequence[bytes], note: bytes, now_ms: int, skew_ms: int
) -> Extension:
    """Check and fold a proposed extension; the caller makes it durable before it cosigns.

    Raises ``Refusal`` (nothing changed), ``Contradiction`` (freeze) or ``UnknownVersion`` (stop).
    """
    extension = follow(cosigner, start, entries=entries, note=note, now_ms=now_ms)
    check_clock(extension.cosigner, now_ms=now_ms, skew_ms=skew_ms)
    return extension


def check_clock(cosigner: Cosigner, *, now_ms: int, skew_ms: int) -> None:
    """Refuse to cosign the cosigner's head where its clock objects; both reasons pass with time.

    A head that w cosigners have cosigned is beyond that.
    """
    known = cosigner.quorum_head
    if known is not None and known.size == cosigner.size:
        return
    ahead_ms = cosigner.state.time_ms - now_ms - skew_ms
    if ahead_ms > 0:
        raise Refusal("clock", f"the log's time is {ahead_ms} ms ahead of this clock and its skew")
    if objection := cosigner.delays.objection(now_ms):
        raise Refusal("early", objection)


def follow(
    cosigner: Cosigner, start: int, *, entries: Sequence[bytes], note: bytes, now_ms: int
) -> Extension:
    """``extend`` whatever the clock says: what comes of it is not to be cosigned before ``check_clock``."""
    received, checkpoint = _read_note(cosigner.identity, note)
    if start != cosigner.size or checkpoint.size != start + len(entries):
        raise Refusal("head", f"this cosigner has {cosigner.size} entries; send what follows them")
    if checkpoint.size <= cosigner.floor:
        raise Refusal("abandoned", f"only heads above {cosigner.floor} are cosigned after leaving a branch")
    leaves = tuple(map(leaf_hash, entries))
    frontier = cosigner.frontier.extend(leaves)
    if frontier.root() != checkpoint.root:
        raise _not_its_entries(cosigner, received, checkpoint)
    if renounced := (cosigner.refused | cosigner.left).intersection(enumerate(leaves, start)):
        index, _ = min(renounced)
        raise Refusal("abandoned", f"entry {index} is on a branch this cosigner has renounced")
    extended, outcomes = _folded_to(cosigner, frontier, entries)
    in_force = [folded.roster_at(folded.size) for folded in (cosigner, extended)]
    _check_log_key(received, extended.identity.origin, [roster.log_key for roster in in_force if roster])
    if extended.state.digest != checkpoint.state:
        raise Refusal(
            "state",
            f"folding to {checkpoint.size} entries gives another state here: compare program versions",
        )
    extended = replace(extended, delays=extended.delays.seen(now_ms))
    time_ms = quorum_time_ms(extended, received, size=checkpoint.size)
    if time_ms is not None:
        extended = _under_quorum(extended, checkpoint, time_ms)
    return Extension(extended, checkpoint, received, outcomes, leaves)


def read_checkpoint(identity: Identity, data: bytes) -> tuple[Note, Checkpoint]:
    """A note with a checkpoint of this log, signed by its coordinator of now or then. Raises ``Refusal``."""
    note, checkpoint = _read_note(identity, data)
    _check_log_key(note, identity.origin, [identity.log_key, *identity.later_log_keys])
    return note, checkpoint


def _read_note(identity: Identity, data: bytes) -> tuple[Note, Checkpoint]:
    try:
        note = parse_note(data, NOTE_BYTES_MAX)
        checkpoint = parse_checkpoint(note.body)
    except ProtocolError as error:
        raise Refusal("checkpoint", str(error)) from error
    if checkpoint.origin != identity.origin:
        raise Refusal("origin", f"this cosigner serves {identity.origin}, not {checkpoint.origin}")
    return note, checkpoint


def _check_log_key(note: Note, origin: str, keys: Sequence[bytes]) -> None:
    """One of ``keys`` must have signed; for an extension those in force before it and after it."""
    reasons = []
    for key in keys:
        try:
            return verify_log_signature(note, origin, public_key=key)
        except ProtocolError as error:
            reasons.append(str(error))
    raise Refusal("checkpoint", reasons[-1] if reasons else "the log has no key yet")


def note_quorum(
    cosigner: Cosigner, data: bytes, *, root_at: Callable[[int], bytes]
) -> tuple[Cosigner, Checkpoint]:
    """Take in a checkpoint that w cosigners have cosigned, over a prefix of what is folded here.

    Raises ``Refusal`` when it is not that, and when it lies on another branch than this cosigner's
    own below quorum (code ``branch``: keep it, it says which branch to leave); ``Contradiction`` when
    this cosigner has a quorum head that it contradicts.
    """
    note, checkpoint = read_checkpoint(cosigner.identity, data)
    if checkpoint.size > cosigner.size:
        raise Refusal("behind", f"the checkpoint has {checkpoint.size} entries, here are {cosigner.size}")
    time_ms = quorum_time_ms(cosigner, note, size=checkpoint.size)
    if time_ms is None:
        raise Refusal("quorum", "the checkpoint lacks the cosignatures of a quorum")
    known = cosigner.quorum_head
    if root_at(checkpoint.size) != checkpoint.root:
        reason = f"a quorum cosigned another branch at {checkpoint.size} entries"
        if known is not None and checkpoint.size <= known.size:
            raise Contradiction(reason, data)
        raise Refusal("branch", f"{reason}: collect statements and leave the one that is here")
    return _under_quorum(cosigner, checkpoint, time_ms), checkpoint


def _under_quorum(cosigner: Cosigner, checkpoint: Checkpoint, time_ms: int) -> Cosigner:
    """The cosigner once it knows of a quorum's head, which an honest cosigner had by ``time_ms``."""
    known = cosigner.quorum_head
    delays = cosigner.delays.proved(checkpoint.size, time_ms)
    newest = checkpoint if known is None or checkpoint.size > known.size else known
    return replace(cosigner, quorum_head=newest, delays=delays)


def quorum_time_ms(cosigner: Cosigner, note: Note, *, size: int) -> int | None:
    """By when an honest cosigner had cosigned the note; None unless w of the roster at ``size`` have.

    Of the f + 1 earliest cosignatures one is honest, so the latest of these is no earlier than it.
    """
    roster = cosigner.roster_at(size)
    try:
        times_s = verify_cosignatures(note, roster.cosigner_keys()) if roster else {}
    except ProtocolError:
        return None
    if roster is None or len(times_s) < roster.w:
        return None
    return 1000 * sorted(times_s.values())[roster.f] + 999


def known_ms(extension: Extension, *, now_ms: int, skew_ms: int) -> int:
    """By when the entries of an extension were public, for a node that has none but what a quorum cosigned.

    Raises ``Refusal``: without w cosignatures, and when f + 1 of them are later than its clock, one of
    which is honest.
    """
    cosigner, size = extension.cosigner, extension.checkpoint.size
    time_ms = quorum_time_ms(cosigner, extension.note, size=size)
    roster = cosigner.roster_at(size)
    if time_ms is None or roster is None:
        raise Refusal("quorum", f"the head of {size} entries lacks the cosignatures of a quorum")
    times_s = sorted(verify_cosignatures(extension.note, roster.cosigner_keys()).values())
    if 1000 * times_s[-1 - roster.f] > now_ms + skew_ms:
        raise Refusal("clock", "the cosigners' clocks are ahead of this machine's clock: set it, and restart")
    return min(now_ms, time_ms)


def check_witnessed(data: bytes, witnesses: Mapping[str, bytes]) -> None:
    """Refuse a quorum's checkpoint that one of these, who are not of the roster, has not cosigned."""
    try:
        found = verify_cosignatures(parse_note(data, NOTE_BYTES_MAX), witnesses)
    except ProtocolError as error:
        raise Refusal("unwitnessed", str(error)) from error
    if missing := sorted(witnesses.keys() - found.keys()):
        raise Refusal(
            "witness", f"{', '.join(missing)} has not cosigned this head: nothing is signed under it"
        )


def last_quorum(cosigner: Cosigner) -> tuple[int, bytes]:
    """Size and root of the last quorum head known here; at first the genesis entry, which all were given."""
    head = cosigner.quorum_head
    return (head.size, head.root) if head else (1, cosigner.identity.genesis)


def check_cosigned(cosigner: Cosigner, note: Note, *, by: str) -> bool:
    """Whether ``by`` has cosigned the note, under the roster in force now."""
    roster = cosigner.roster_at(cosigner.size)
    keys = roster.cosigner_keys() if roster else {}
    try:
        return by in verify_cosignatures(note, {by: keys[by]} if by in keys else {})
    except ProtocolError:
        return False


def parse_branch(body: Json, origin: str) -> tuple[str, Branch]:
    """Read an abandon statement's body: who states it, of which branch."""
    fields = Fields(body, "abandon")
    if fields.origin("origin") != origin:
        raise MalformedError("abandon: stated for another log")
    name = fields.name("cosigner")
    branch = Branch(fields.integer("q_size"), fields.hex("q_root", length=32), fields.hex("entry", length=32))
    fields.done()
    return name, branch


def abandon(
    cosigner: Cosigner,
    branch: Branch,
    *,
    leaf_at: Callable[[int], bytes],
    root_at: Callable[[int], bytes],
) -> Cosigner:
    """State that the branch is not and never will be cosigned here. Durable before it is signed."""
    if branch.q_size > cosigner.size or root_at(branch.q_size) != branch.q_root:
        raise Refusal("quorum", f"the head of {branch.q_size} entries it starts from is not known here")
    first = (branch.q_size, branch.entry)
    if first in cosigner.left or (cosigner.size > branch.q_size and leaf_at(branch.q_size) == branch.entry):
        raise Refusal("cosigned", "this cosigner is or was itself on that branch")
    return replace(cosigner, refused=cosigner.refused | {(branch.q_size, branch.entry)})


def check_leave(
    cosigner: Cosigner, statements: Sequence[tuple[Json, bytes]], *, leaf_at: Callable[[int], bytes]
) -> int:
    """Whether the statements let this cosigner leave its branch; the size it goes back to.

    Raises ``Refusal`` saying what is missing. The caller then refolds to that size, sets the floor
    to the head it leaves, and burns every presignature bound on what it leaves.
    """
    size, root = last_quorum(cosigner)
    roster = cosigner.roster_at(size)
    if roster is None or cosigner.size <= size:
        raise Refusal("leave", "there is no branch below quorum to leave")
    keys = roster.cosigner_keys()
    here = Branch(size, root, leaf_at(size))
    agreeing = set()
    for body, signature in statements:
        name, branch = parse_branch(body, cosigner.identity.origin)
        if name not in keys or name == cosigner.identity.name or branch != here:
            continue
        verify_statement("abandon", body, key=keys[name], signature=signature, signer=name)
        agreeing.add(name)
    if len(agreeing) < roster.leave_count:
        raise Refusal("leave", f"need statements of {roster.leave_count} cosigners, got {len(agreeing)}")
    return size


def check_fork(cosigner: Cosigner, data: bytes, *, root_at: Callable[[int], bytes]) -> int:
    """Whether a fork entry of the administrators lets this cosigner leave its branch; the size to go back to.

    For splits that no count of statements resolves. Its own quorum head is never left; every
    reservation above it on this branch needs the burn statements of all its signers. Raises ``Refusal``.
    """
    try:
        entry = parse_entry(data).entry
    except ProtocolError as error:
        raise Refusal("fork", str(error)) from error
    size, _ = last_quorum(cosigner)
    roster = cosigner.roster_at(size)
    if not isinstance(entry, ForkEntry) or roster is None or entry.origin != cosigner.identity.origin:
        raise Refusal("fork", "this is no fork entry of this log")
    if not size < entry.size <= cosigner.size or root_at(entry.size) == entry.root:
        raise Refusal("fork", f"the entry names no other branch between {size} and {cosigner.size} entries")
    signers = verified_signers("fork", entry.body, signatures=entry.signatures, keys=roster.administrators)
    if len(signers) < roster.administrators_quorum:
        raise Refusal("fork", f"need {roster.administrators_quorum} administrators, got {len(signers)}")
    for job in cosigner.state.jobs_since(size):
        _check_burned(job, entry, cosigner.state.identities)
    return size


def _check_burned(job: Job, entry: ForkEntry, keys: Mapping[str, bytes]) -> None:
    body: Json = {"origin": entry.origin, "job": job.job_id.hex()}
    burns = entry.burns.get(job.job_id, {})
    signers = verified_signers("burn", body, signatures=burns, keys=keys)
    if signers != frozenset(job.signers):
        raise Refusal("fork", f"job {job.job_id.hex()} needs burn statements of {', '.join(job.signers)}")


def after_leaving(cosigner: Cosigner, refolded: Cosigner, *, left: bytes) -> Cosigner:
    """``refolded`` to the size that ``check_leave`` or ``check_fork`` gave, as it goes on from there.

    ``left`` is the leaf hash of the first entry left behind: no head with it is cosigned again, nor is
    any up to the one ``cosigner`` leaves, and this cosigner never states that it was not on it.
    """
    return replace(
        refolded,
        quorum_head=cosigner.quorum_head,
        floor=max(cosigner.floor, cosigner.size),
        refused=cosigner.refused,
        left=cosigner.left | {(refolded.size, left)},
        delays=refolded.delays.resumed(cosigner.delays.held, quorum_size=last_quorum(cosigner)[0]),
    )


def _not_its_entries(cosigner: Cosigner, note: Note, checkpoint: Checkpoint) -> Refusal | Contradiction:
    """Entries that do not belong to a checkpoint prove nothing against it: anyone can send others."""
    known = cosigner.quorum_head
    at_quorum = known is not None and known.size == checkpoint.size
    if at_quorum and quorum_time_ms(cosigner, note, size=checkpoint.size) is not None:
        return Contradiction(f"a quorum cosigned another head of {checkpoint.size} entries", note.to_bytes())
    return Refusal("root", "the entries do not lead to the checkpoint's root")
