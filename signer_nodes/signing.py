"""Both rounds of signing inside one node: open presignatures, then give partial signatures.

ECDSA's partial signature needs no share any more and is computed here. Schnorr's does: all of a call are
computed by one worker that opens the share for them. The signatures of a job are given all together or not.

Before an opening leaves, its presignature is bound and the mark is durable and bound to the token;
before a partial signature leaves, its bytes are; before a burn statement is signed, the burn is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from policy.ecdsa import SigningTask
from policy.encoding import Json, statement
from policy.errors import FaultyParticipant, OperationalError, ProtocolError
from policy.schnorr import SchnorrTask
from policy.state import Job, KeyRecord, Signing, State
from policy.suites import DKLS23_SECP256K1
from signer_nodes.gate import RESERVATION_AGE_MS_MAX, Admitted, Declined, Node, admit, may_burn, may_sign
from signer_nodes.mpc.ecdsa import partial_signature
from signer_nodes.mpc.nonces import NoncePair
from signer_nodes.mpc.presignature import Presignature
from signer_nodes.node_log import NodeLog
from signer_nodes.ports import Hsm, LogStore, Mark
from signer_nodes.presignatures import Held, PresignaturePool
from signer_nodes.schnorr_wire import ITEMS_MAX, FinishItem, Unsigned
from signer_nodes.session import Event, Impossible, Phase, advance, phase_of
from signer_nodes.witness import Extension, Refusal

JOB_ID_BYTES = 32
GONE = "this node does not hold the job's presignature any more"
FIRST = 0  # burns are marked at a job's first signature: all of a job are sent or none is
Openings: TypeAlias = Mapping[int, Mapping[str, bytes]]
SchnorrPartials: TypeAlias = Callable[[KeyRecord, Sequence[FinishItem]], Sequence[bytes | Unsigned]]


@dataclass(frozen=True, slots=True)
class Opening:
    """What round 1 lets out for one signature."""

    job_id: bytes
    index: int
    rho: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PartialBytes:
    """What round 2 lets out for one signature."""

    job_id: bytes
    index: int
    partial: bytes


@dataclass(frozen=True, slots=True)
class _Ready:
    """A job that may be signed, with what its signatures take: presignatures, and openings by party."""

    job: Job
    key: KeyRecord
    held: tuple[Held, ...] = field(repr=False)
    openings: tuple[Mapping[int, bytes], ...] = field(repr=False)

    def schnorr_items(self) -> list[FinishItem]:
        """What a worker computes. SECRET."""
        return [
            FinishItem(_nonces(self.held[index]), self.openings[index], self._schnorr_task(index, signing))
            for index, signing in enumerate(self.job.signings)
        ]

    def _schnorr_task(self, index: int, signing: Signing) -> SchnorrTask:
        return SchnorrTask(
            suite=self.key.suite,
            message=signing.message,
            group_key=self.key.group_key,
            tweak=signing.tweak,
            merkle_root=signing.merkle_root,
            job_id=self.job.job_id,
            index=index,
        )


@dataclass(frozen=True, slots=True)
class Signer:
    """One node's signing half. Its owner serialises the calls.

    ``schnorr`` computes partial signatures under a key where its share is; it may raise
    ``OperationalError``.
    """

    name: str
    log: NodeLog
    hsm: Hsm
    store: LogStore
    pool: PresignaturePool
    schnorr: SchnorrPartials
    reservation_age_ms_max: int = RESERVATION_AGE_MS_MAX

    def decide(self, extension: Extension, now_ms: int) -> tuple[Admitted | Declined, ...]:
        """What the gate says of the jobs that an extension of the log has admitted."""
        jobs = [o.subject for o in extension.outcomes if o.kind == "reserve" and o.accepted]
        fresh = [job for job in jobs if self._phase(job) is Phase.NEW]
        return admit(extension.cosigner.state, fresh, node=self._node(now_ms), pool=self.pool)

    def bind(self, decisions: Sequence[Admitted | Declined]) -> tuple[Mark, ...]:
        """Bind what was admitted; the marks to store before any opening leaves."""
        marks = []
        for decision in decisions:
            if isinstance(decision, Admitted):
                job = decision.job.job_id
                advance(self._phase(job), Event.BIND)
                for index, presignature in enumerate(decision.presignatures):
                    self.pool.bind(presignature, job, index=index)
                    marks.append(Mark("bound", job, index))
        return tuple(marks)

    def openings(self, decisions: Sequence[Admitted | Declined]) -> tuple[Opening, ...]:
        """The openings of what is bound; call it only after its marks are durable."""
        found = []
        for decision in decisions:
            if isinstance(decision, Admitted):
                for index, identifier in enumerate(decision.presignatures):
                    held = self.pool.find(identifier)
                    if held is not None and self.pool.bound_to(identifier, decision.job.job_id, index=index):
                        found.append(Opening(decision.job.job_id, index, held.opening))
        return tuple(found)

    def finish(
        self, jobs: Mapping[bytes, Openings], *, quorum_size: int, now_ms: int
    ) -> tuple[tuple[PartialBytes, ...], tuple[Declined, ...]]:
        """Partial signatures for jobs under a w-cosigned checkpoint of ``quorum_size`` entries.

        ``jobs`` maps each job to every signer's opening for each of its signatures. What was given before
        is given again, byte for byte; everything new is durable before this returns.
        """
        given: list[Mark] = []
        ready: list[_Ready] = []
        declined: list[Declined] = []
        for job_id, openings in jobs.items():
            answer = self._look_again(job_id, openings, quorum_size=quorum_size, now_ms=now_ms)
            match answer:
                case Declined():
                    declined.append(answer)
                case _Ready():
                    ready.append(answer)
                case _:
                    given += answer
        fresh: list[Mark] = []
        for one in self._compute(ready):
            if isinstance(one, Declined):
                declined.append(one)
            else:
                fresh += one
        if fresh:
            self.store.add_marks(fresh)
        self.log.bind_token()
        partials = [PartialBytes(mark.job, mark.index, mark.data) for mark in (*given, *fresh)]
        return tuple(partials), tuple(declined)

    def burn(self, job_id: bytes, now_ms: int) -> bytes:
        """Sign that this node never signs a job. Raises ``Refusal`` when it has, or may have."""
        self.log.check_open()
        if len(job_id) != JOB_ID_BYTES:
            raise Refusal("burn", f"a job id has {JOB_ID_BYTES} bytes, got {len(job_id)}")
        objection = may_burn(self._state, job_id, node=self._node(now_ms))
        if objection is not None:
            raise Refusal("burn", objection.reason)
        phase = self._phase(job_id)
        try:
            advance(phase, Event.BURN)
        except Impossible as error:
            raise Refusal("burn", str(error)) from error
        if job_id in self._state.jobs:
            self.pool.drop(self._state.jobs[job_id].presignatures)
        if phase is not Phase.BURNED:
            self.store.add_marks([Mark("burned", job_id, FIRST)])
        self.log.bind_token()
        body: Json = {"origin": self._state.origin, "job": job_id.hex()}
        return self.hsm.sign_statement(statement("burn", body))

    def abandon_branch(self, state: State, size: int) -> tuple[Mark, ...]:
        """The burns of every job of this node on the branch that starts at ``size``."""
        marks = []
        for job in state.jobs_since(size):
            if self.name in job.signers:
                self.pool.drop(job.presignatures)
                if self._phase(job.job_id) in (Phase.NEW, Phase.BOUND):
                    marks.append(Mark("burned", job.job_id, FIRST))
        return tuple(marks)

    @property
    def _state(self) -> State:
        return self.log.cosigner.state

    def _node(self, now_ms: int) -> Node:
        return Node(self.name, now_ms, self.log.frozen, self.log.late, self.reservation_age_ms_max)

    def _phase(self, job_id: bytes) -> Phase:
        return phase_of(frozenset(mark.kind for mark in self.store.marks_for(job_id)))

    def _look_again(
        self, job_id: bytes, openings: Openings, *, quorum_size: int, now_ms: int
    ) -> "_Ready | Declined | list[Mark]":
        """What was sent before; or the job and its presignatures, gone from the pool from here on."""
        sent = [mark for mark in self.store.marks_for(job_id) if mark.kind == Phase.SENT.value]
        if sent:
            return sent
        job = may_sign(self._state, job_id, node=self._node(now_ms), quorum_size=quorum_size)
        if isinstance(job, Declined):
            return job
        try:
            advance(self._phase(job_id), Event.SEND)
            return self._take(job, openings)
        except ProtocolError as error:
            return Declined(job_id, str(error))

    def _take(self, job: Job, openings: Openings) -> "_Ready":
        indices = range(len(job.signings))
        if any(set(openings.get(index, {})) != set(job.signers) for index in indices):
            raise Refusal("openings", f"need the openings of {', '.join(job.signers)} for each signature")
        places = list(enumerate(job.presignatures))
        if not all(self.pool.bound_to(item, job.job_id, index=index) for index, item in places):
            raise Refusal("presignature", GONE)
        for index, item in places:
            self._check_lengths(item, openings[index])
        taken = [self.pool.take(item, job.job_id, index=index) for index, item in places]
        held = tuple(one for one in taken if one is not None)
        if len(held) != len(places):  # a peer's restart has dropped it since: only this job goes
            raise Refusal("presignature", GONE)
        key = self._key(job)
        numbered = tuple(
            {key.index_of(signer): opening for signer, opening in openings[index].items()}
            for index in indices
        )
        return _Ready(job, key, held, numbered)

    def _check_lengths(self, identifier: bytes, openings: Mapping[str, bytes]) -> None:
        """Refuse before anything is used up: jobs that have done no wrong share a worker with this one."""
        mine = self.pool.find(identifier)
        if mine is None:
            raise Refusal("presignature", GONE)
        for signer, opening in openings.items():
            if len(opening) != len(mine.opening):
                raise Refusal("openings", f"the opening given as {signer}'s has {len(opening)} bytes")

    def _compute(self, ready: Sequence["_Ready"]) -> "list[list[Mark] | Declined]":
        """Marks with the partial signatures of each job, or why there are none."""
        schnorr: dict[str, list[_Ready]] = {}
        found: list[list[Mark] | Declined] = []
        for one in ready:
            if one.key.suite == DKLS23_SECP256K1:
                found.append(_ecdsa_marks(one))
            else:
                schnorr.setdefault(one.key.key, []).append(one)
        for jobs in schnorr.values():
            for some in _batches(jobs):
                found += self._schnorr_marks(some)
        return found

    def _schnorr_marks(self, jobs: Sequence["_Ready"]) -> "list[list[Mark] | Declined]":
        """Jobs under one key, computed by one worker."""
        items = [item for one in jobs for item in one.schnorr_items()]
        try:
            answers = iter(self.schnorr(jobs[0].key, items))
        except OperationalError as error:
            return [Declined(one.job.job_id, f"its worker: {error}") for one in jobs]
        return [_schnorr_answer(one, [next(answers) for _ in one.held]) for one in jobs]

    def _key(self, job: Job) -> KeyRecord:
        return self._state.keys[job.key]


def _batches(jobs: Sequence[_Ready]) -> Iterator[list[_Ready]]:
    """Jobs as one worker takes them: no more signatures together than fit into its job."""
    batch: list[_Ready] = []
    count = 0
    for one in jobs:
        if count + len(one.held) > ITEMS_MAX:
            yield batch
            batch, count = [], 0
        batch.append(one)
        count += len(one.held)
    yield batch


def _ecdsa_marks(ready: _Ready) -> list[Mark] | Declined:
    job = ready.job
    try:
        return [
            Mark("sent", job.job_id, index, _ecdsa_partial(ready, index)) for index in range(len(ready.held))
        ]
    except FaultyParticipant as error:
        return _blamed(ready, int(error.participant), error.reason)
    except ProtocolError as error:
        return Declined(job.job_id, str(error))


def _ecdsa_partial(ready: _Ready, index: int) -> bytes:
    signing, presignature = ready.job.signings[index], ready.held[index].presignature
    if not isinstance(presignature, Presignature):
        raise Refusal("presignature", f"what was made for key {ready.key.key} is not for ECDSA")
    task = SigningTask(signing.message, signing.tweak, signing.public_key, ready.job.job_id, index)
    return partial_signature(presignature, rhos=ready.openings[index], task=task).to_bytes()


def _schnorr_answer(ready: _Ready, answers: Sequence[bytes | Unsigned]) -> list[Mark] | Declined:
    marks = []
    for index, answer in enumerate(answers):
        if isinstance(answer, Unsigned):
            return _blamed(ready, answer.participant, answer.reason)
        marks.append(Mark("sent", ready.job.job_id, index, answer))
    return marks


def _blamed(ready: _Ready, participant: int, reason: str) -> Declined:
    """``participant`` is a party number of the key; 0 where nobody can be named.

    A hint for people and no evidence: openings come through the coordinator and nobody signs them, so it
    could have any signer named by altering one. Nothing acts on the name.
    """
    named = 1 <= participant <= len(ready.key.participants)
    prefix = f"{ready.key.participants[participant - 1]}: " if named else ""
    return Declined(ready.job.job_id, prefix + reason)


def _nonces(held: Held) -> bytes:
    if not isinstance(held.presignature, NoncePair):
        raise Refusal("presignature", f"what was made for key {held.key} is no nonce pair")
    return held.presignature.to_bytes()
