"""The whole check of a published log, from its files alone, by whoever wants to know.

What is checked, in this order: every tile against the entries and the root against the checkpoint;
every entry by folding it, which verifies its signatures and recomputes its verdict; limits, and the maxima
and shares of tiers, added up again by methods of their own; that no signature repeats a nonce or is of a
burned job; the state digest of the checkpoint; its signature by the log and w cosignatures under the roster
in force, and under the pinned keys if there are any.

Whoever writes the log can write nonsense into it: such an entry is inert, and a log that holds some is
not bad for that. A claimed verdict that differs from the recomputed one is counted in ``mismatches``;
the log fails only where ``allow`` was claimed, for that was an attempt, though the entry is inert too.

Without pinned trust the keys are the directory's own: then the check shows that the log is
consistent with itself, not whose it is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from policy import signatures
from policy.audit_checkpoint import (
    NOT_OF_THIS_LOG,
    check_log_signature,
    count_cosigners,
    is_signed_by_log,
)
from policy.audit_files import Bad, check_structure
from policy.audit_fold import AHEAD_FROM, NOTHING_SEEN, AuditFold, Looked, Seen, checked_ahead
from policy.ceremony import CeremonyEntry
from policy.collecting import uncollected
from policy.eddsa import KEY_BYTES
from policy.encoding import Json
from policy.entries import BurnEntry, Entry, RequestEntry, ReserveEntry, SignatureEntry, TimedEntry
from policy.errors import CallerError, MalformedError, ProtocolError
from policy.fact_entries import HoldingsEntry, PriceEntry
from policy.fields import Fields
from policy.ledger import UnknownVersion, initial
from policy.limits_audit import LimitsAudit
from policy.log.checkpoint import (
    CHECKPOINT_BYTES_MAX,
    Checkpoint,
    Note,
    parse_checkpoint,
    parse_note,
    verify_cosignatures,
)
from policy.log.merkle import Frontier, leaf_hash
from policy.log.tiles import Read, read_entries
from policy.prechecking import Checker
from policy.replay import Step
from policy.roster import COSIGNERS_MAX
from policy.shapes import read_entry
from policy.state import JobStatus, Outcome, State
from policy.tiers_audit import TiersAudit

CHECKPOINT_PATH = "checkpoint"
NOTE_BYTES_MAX = CHECKPOINT_BYTES_MAX + 64 * 1024
PINNED, FROM_DIRECTORY = "pinned", "from_directory"
PROGRESS_ENTRIES = 256
KEEP_ENTRIES = 2048
_OTHER_GENESIS = (
    "this is not the genesis entry that is pinned: another deployment's log, or another's trust file"
)


@dataclass(frozen=True, slots=True)
class Trust:
    """What an auditor was told by someone else than the log: whose it is, and who must have cosigned it.

    ``genesis`` is the leaf hash of the genesis entry.
    """

    origin: str
    log_key: bytes
    genesis: bytes
    cosigners: Mapping[str, bytes]
    w: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What the check came to.

    ``first_bad`` names the first entry that is wrong and why; the index ``size`` means the checkpoint.
    ``extends`` are the sizes of the older checkpoints that this log was found to go on from.
    ``genesis_policy`` is the hash of the first policy; ``cosigners`` how many of those in force cosigned.
    ``unrecorded`` are signed jobs of cold keys that the record of no ceremony names.
    """

    ok: bool
    size: int
    root: bytes
    genesis_policy: bytes
    cosigners: int
    replayed_verdicts: int
    mismatches: int
    inert: int
    first_bad: tuple[int, str] | None
    trust: str
    extends: tuple[int, ...] = ()
    ceremonies: int = 0
    unrecorded: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """How an audit is carried out, which changes nothing of its result.

    ``checker`` looks at signatures ahead of the fold. ``seen`` is how far this auditor came before, and
    ``keep`` hears now and then how far it has come.
    """

    checker: Checker | None = None
    seen: Seen = NOTHING_SEEN
    keep: Callable[[Seen], None] = lambda seen: None
    ahead_from: int = AHEAD_FROM
    keep_every: int = KEEP_ENTRIES


NO_HELP = Work()


class _Run:
    """One check in progress."""

    def __init__(self, read: Read, *, trust: Trust | None, progress: Callable[[int, int], None]) -> None:
        self.read, self.trust, self.progress = read, trust, progress
        self.size, self.root = 0, bytes(32)
        self.folding = AuditFold(initial())
        self.work = NO_HELP
        self.watch: Callable[[Step], None] | None = None
        self.genesis_policy = bytes(32)
        self.cosigners = self.replayed = self.mismatches = self.inert = 0
        self.first_bad: tuple[int, str] | None = None
        self.limits = LimitsAudit()
        self.ceremonies: dict[bytes, bytes] = {}
        self.cold_jobs: set[bytes] = set()
        self.tiers = TiersAudit()
        self.nonces: dict[bytes, tuple[bytes, bytes]] = {}
        self.note: Note | None = None
        self.older: dict[int, list[tuple[Checkpoint, Note]]] = {}
        self.extends: list[int] = []

    @property
    def state(self) -> State:
        """The state of the entries folded so far."""
        return self.folding.state

    def report(self) -> AuditReport:
        return AuditReport(
            ok=self.first_bad is None,
            size=self.size,
            root=self.root,
            genesis_policy=self.genesis_policy,
            cosigners=self.cosigners,
            replayed_verdicts=self.replayed,
            mismatches=self.mismatches,
            inert=self.inert,
            first_bad=self.first_bad,
            trust=PINNED if self.trust else FROM_DIRECTORY,
            extends=tuple(self.extends),
            ceremonies=len(self.ceremonies),
            unrecorded=tuple(sorted(self.cold_jobs - self.ceremonies.keys())),
        )


def audit(
    read: Read,
    *,
    trust: Trust | None,
    progress: Callable[[int, int], None],
    watch: Callable[[Step], None] | None = None,
    older: Sequence[bytes] = (),
    work: Work = NO_HELP,
) -> AuditReport:
    """Check the log whose files ``read`` gives; total. ``progress`` hears of entries done and to do.

    ``older`` are notes of checkpoints that its reader kept: the log must go on from each.

    ``watch`` hears of every entry that can be read, once the files are found to be those of the checkpoint.
    """
    run = _Run(read, trust=trust, progress=progress)
    run.work, run.folding, run.watch = work, AuditFold(initial(), work.seen), watch
    try:
        note, checkpoint = _checkpoint(run)
        run.note = note
        _check_pinned(run, note, checkpoint)
        _take_older(run, older, checkpoint)
        check_structure(run.read, checkpoint)
        with uncollected():
            _fold(run, checkpoint)
        _check_signatures(run, note, checkpoint)
    except Bad as bad:
        run.first_bad = run.first_bad or (bad.index, bad.why)
    return run.report()


def parse_trust(body: Json) -> Trust:
    """Read pinned trust: origin, log key, genesis hash, cosigners (name and key) and w."""
    fields = Fields(body, "trust")
    pairs = fields.objects(
        "cosigners", lambda f: (f.name("name"), f.hex("key", length=KEY_BYTES)), count_max=COSIGNERS_MAX
    )
    trust = Trust(
        origin=fields.origin("origin"),
        log_key=fields.hex("log_key", length=KEY_BYTES),
        genesis=fields.hex("genesis", length=32),
        cosigners=dict(pairs),
        w=fields.integer("w", low=1, high=COSIGNERS_MAX),
    )
    fields.done()
    if len(set(trust.cosigners.values())) != len(pairs) or trust.w > len(trust.cosigners):
        raise MalformedError(f"trust: need {trust.w} of {len(pairs)} cosigners, all with keys of their own")
    return trust


# The files.


def _checkpoint(run: _Run) -> tuple[Note, Checkpoint]:
    data = run.read(CHECKPOINT_PATH)
    if data is None:
        raise Bad(0, "there is no checkpoint")
    try:
        note = parse_note(data, NOTE_BYTES_MAX)
        checkpoint = parse_checkpoint(note.body)
    except ProtocolError as error:
        raise Bad(0, f"checkpoint: {error}") from error
    run.size, run.root = checkpoint.size, checkpoint.root
    if not checkpoint.size:
        raise Bad(0, "the log is empty")
    return note, checkpoint


def _check_pinned(run: _Run, note: Note, checkpoint: Checkpoint) -> None:
    """The pinned keys first: what they did not sign needs no further look."""
    trust = run.trust
    if trust is None:
        return
    if checkpoint.origin != trust.origin:
        raise Bad(checkpoint.size, f"the checkpoint is of {checkpoint.origin}, not of {trust.origin}")
    check_log_signature(note, trust.origin, key=trust.log_key, size=checkpoint.size)
    count_cosigners(note, trust.cosigners, w=trust.w, size=checkpoint.size)


def _take_older(run: _Run, notes: Sequence[bytes], checkpoint: Checkpoint) -> None:
    for data in notes:
        try:
            kept = parse_note(data, NOTE_BYTES_MAX)
            old = parse_checkpoint(kept.body)
        except ProtocolError as error:
            raise Bad(checkpoint.size, f"the older checkpoint: {error}") from error
        if old.origin != checkpoint.origin:
            raise Bad(checkpoint.size, f"the older checkpoint is of {old.origin}, not of {checkpoint.origin}")
        if not 0 < old.size <= checkpoint.size:
            raise Bad(
                checkpoint.size,
                f"the log has {checkpoint.size} entries, the older checkpoint {old.size}: it was cut back",
            )
        run.older.setdefault(old.size, []).append((old, kept))
    if run.work.seen.size > checkpoint.size:
        raise Bad(
            checkpoint.size,
            f"the log has {checkpoint.size} entries, the last run {run.work.seen.size}: it was cut back",
        )


# The entries.


def _fold(run: _Run, checkpoint: Checkpoint) -> None:
    frontier, inert = Frontier(), list[int]()
    checker = run.work.checker if checkpoint.size >= run.work.ahead_from else None
    entries = checked_ahead(read_entries(run.read, checkpoint.size), checker, state=lambda: run.state)
    for index, (data, looked) in enumerate(entries):
        if index % PROGRESS_ENTRIES == 0:
            run.progress(index, checkpoint.size)
        if index == 0 and run.trust and leaf_hash(data) != run.trust.genesis:
            raise Bad(0, _OTHER_GENESIS)
        frontier = frontier.append(leaf_hash(data))
        if not _fold_one(run, data, looked):
            inert.append(index)
        _compare_older(run, frontier)
        _keep(run, frontier, inert)
    run.progress(checkpoint.size, checkpoint.size)
    if frontier.root() != checkpoint.root:
        raise Bad(checkpoint.size, "the files changed while they were read")
    if run.state.digest != checkpoint.state:
        raise Bad(checkpoint.size, "the checkpoint claims another state than its entries fold to")


def _keep(run: _Run, frontier: Frontier, inert: list[int]) -> None:
    """Compare what is folded with what was seen before; tell from time to time how far it has come."""
    seen, size = run.work.seen, frontier.size
    if size == seen.size and (frontier.root(), run.state.digest) != (seen.root, seen.digest):
        raise Bad(size - 1, f"the first {size} entries are not those of the last run: keep both logs")
    if size > seen.size and size % run.work.keep_every == 0:
        run.work.keep(Seen(size, frontier.root(), run.state.digest, frozenset(inert)))


def _compare_older(run: _Run, frontier: Frontier) -> None:
    for old, kept in run.older.get(frontier.size, ()):
        if old.root != frontier.root():
            if not is_signed_by_log(kept, old.origin, key=run.state.roster.log_key):
                raise Bad(frontier.size - 1, f"the older checkpoint of {old.size} entries {NOT_OF_THIS_LOG}")
            why = f"the older checkpoint of {old.size} entries is of others: the log was forked, keep both"
            raise Bad(frontier.size - 1, why + _on_both(run, kept))
        if old.state != run.state.digest:
            raise Bad(frontier.size - 1, f"the older checkpoint of {old.size} entries claims another state")
        run.extends.append(old.size)


def _on_both(run: _Run, kept: Note) -> str:
    """Who of the roster has cosigned two logs of which one does not go on from the other."""
    keys = run.state.roster.cosigner_keys()
    liars = [name for name, key in keys.items() if _signed_both(run, kept, key={name: key})]
    return f"; {', '.join(sorted(liars))} cosigned both" if liars else ""


def _signed_both(run: _Run, kept: Note, *, key: Mapping[str, bytes]) -> bool:
    notes = (kept, run.note) if run.note else ()
    try:
        return bool(notes) and all(verify_cosignatures(note, key) for note in notes)
    except ProtocolError:
        return False


def _fold_one(run: _Run, data: bytes, looked: Looked) -> bool:
    """Fold an entry and check what follows from it; whether it was accepted."""
    before = run.state
    index = before.size
    try:
        outcome = run.folding.fold(data, looked)
    except UnknownVersion as error:
        raise Bad(index, str(error)) from error
    run.inert += not outcome.accepted
    if index == 0:
        if not outcome.accepted:
            raise Bad(0, f"the genesis entry has no effect: {outcome.reason}")
        run.genesis_policy = run.state.policy_hash
    timed = _parsed(data)
    if timed is not None:
        if run.watch is not None:
            run.watch(Step(before, index, data, timed, outcome, run.state))
        _check_claim(run, index, timed, outcome)
        _check_entry(run, index, timed.entry, outcome)
    return outcome.accepted


def _check_entry(run: _Run, index: int, entry: Entry, outcome: Outcome) -> None:
    if isinstance(entry, SignatureEntry):
        _check_signature(run, index, entry, accepted=outcome.accepted)
    if not outcome.accepted:
        return
    _note_ceremony(run, entry)
    match entry:
        case SignatureEntry() | BurnEntry():
            run.limits.changed(run.state, entry.job)
        case HoldingsEntry():
            run.tiers.stated(run.state, entry)
        case PriceEntry():
            run.tiers.priced(entry)
        case ReserveEntry():
            _check_limits(run, index, outcome.subject)
        case _:
            pass


def _parsed(data: bytes) -> TimedEntry | None:
    try:
        return read_entry(data)
    except (ProtocolError, CallerError):
        return None


def _check_claim(run: _Run, index: int, timed: TimedEntry, outcome: Outcome) -> None:
    """Compare the coordinator's word with the verdict that the fold found."""
    entry = timed.entry
    if not isinstance(entry, RequestEntry | ReserveEntry) or outcome.verdict is None:
        return
    run.replayed += 1
    found = (outcome.verdict.outcome.word, outcome.verdict.rule)
    claimed = (entry.claim.outcome, entry.claim.rule)
    if claimed == found:
        return
    run.mismatches += 1
    if claimed[0] == "allow" and run.first_bad is None:
        run.first_bad = (index, f"claims allow by {claimed[1]}, the verdict is {found[0]} by {found[1]}")


def _note_ceremony(run: _Run, entry: Entry) -> None:
    """Which cold jobs are signed, and which ceremonies are on record."""
    if isinstance(entry, CeremonyEntry):
        run.ceremonies[entry.job or entry.ceremony] = entry.ceremony
    if isinstance(entry, SignatureEntry):
        job = run.state.jobs[entry.job]
        if set(job.signers) <= set(run.state.roster.cold):
            run.cold_jobs.add(entry.job)


def _check_limits(run: _Run, index: int, job: bytes) -> None:
    if why := run.limits.reserved(run.state, job) or run.tiers.reserved(run.state, job):
        raise Bad(index, why)


def _check_signature(run: _Run, index: int, entry: SignatureEntry, *, accepted: bool) -> None:
    """What a valid signature proves, whatever the fold made of it; one that it accepted is valid.

    Any two with one nonce give the key away; one of a burned job, whose limit was given back, was made by
    signers of whom each had stated that it never would.
    """
    job = run.state.jobs.get(entry.job)
    if job is None or entry.index >= len(job.signings):
        return
    signing = job.signings[entry.index]
    if not accepted and not signatures.verify(job.suite, entry.signature, signing=signing):
        return
    signed = (signing.message, signing.public_key)
    if run.nonces.setdefault(signatures.nonce(job.suite, entry.signature), signed) != signed:
        raise Bad(index, "the signature repeats a nonce: the key can be computed from both, retire it now")
    if job.status is JobStatus.BURNED:
        signers = ", ".join(job.signers)
        raise Bad(index, f"the signature is of a burned job: {signers} stated never to sign it")


# The checkpoint's signatures.


def _check_signatures(run: _Run, note: Note, checkpoint: Checkpoint) -> None:
    state: State = run.state
    if checkpoint.origin != state.origin:
        raise Bad(checkpoint.size, f"the checkpoint is of {checkpoint.origin}, the log of {state.origin}")
    roster = state.roster
    check_log_signature(note, state.origin, key=roster.log_key, size=checkpoint.size)
    keys = roster.cosigner_keys()
    run.cosigners = count_cosigners(note, keys, w=roster.w, size=checkpoint.size)
