"""Both rounds of signing inside one node: open presignatures, then give partial signatures.

Before an opening leaves, its presignature is bound and the mark is durable and bound to the token;
before a partial signature leaves, its bytes are; before a burn statement is signed, the burn is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from policy.ecdsa import SigningTask
from policy.encoding import Json, statement
from policy.errors import FaultyParticipant, ProtocolError
from policy.state import Job, KeyRecord, State
from signer_nodes.gate import Admitted, Declined, Node, admit, may_burn, may_sign
from signer_nodes.mpc.ecdsa import partial_signature
from signer_nodes.mpc.presignature import Presignature
from signer_nodes.node_log import NodeLog
from signer_nodes.ports import Hsm, LogStore, Mark
from signer_nodes.presignatures import PresignaturePool
from signer_nodes.session import Event, Impossible, Phase, advance, phase_of
from signer_nodes.witness import Extension, Refusal

JOB_ID_BYTES = 32
INDEX = 0  # an EVM transaction has one signature


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
class Signer:
    """One node's signing half. Its owner serialises the calls."""

    name: str
    log: NodeLog
    hsm: Hsm
    store: LogStore
    pool: PresignaturePool

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
        self, jobs: Mapping[bytes, Mapping[str, bytes]], *, quorum_size: int, now_ms: int
    ) -> tuple[tuple[PartialBytes, ...], tuple[Declined, ...]]:
        """Partial signatures for jobs under a w-cosigned checkpoint of ``quorum_size`` entries.

        ``jobs`` maps each job to the ρ of every signer. What was given before is given again, byte
        for byte; everything new is durable before this returns.
        """
        partials: list[PartialBytes] = []
        declined: list[Declined] = []
        marks: list[Mark] = []
        for job_id, rhos in jobs.items():
            answer = self._finish_one(job_id, rhos, quorum_size=quorum_size, now_ms=now_ms)
            if isinstance(answer, Declined):
                declined.append(answer)
                continue
            partials.append(PartialBytes(job_id, INDEX, answer.data))
            if self._phase(job_id) is not Phase.SENT:
                marks.append(answer)
        if marks:
            self.store.add_marks(marks)
        self.log.bind_token()
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
            self.store.add_marks([Mark("burned", job_id, INDEX)])
        self.log.bind_token()
        body: Json = {"origin": self._state.origin, "job": job_id.hex()}
        return self.hsm.sign_statement(statement("burn", body))

    def abandon_branch(self, state: State, size: int) -> tuple[Mark, ...]:
        """The burns of every job of this node on the branch that starts at ``size``."""
        marks = []
        for job in state.jobs.values():
            if job.index >= size and self.name in job.signers:
                self.pool.drop(job.presignatures)
                if self._phase(job.job_id) in (Phase.NEW, Phase.BOUND):
                    marks.append(Mark("burned", job.job_id, INDEX))
        return tuple(marks)

    @property
    def _state(self) -> State:
        return self.log.cosigner.state

    def _node(self, now_ms: int) -> Node:
        return Node(self.name, now_ms, self.log.frozen)

    def _phase(self, job_id: bytes) -> Phase:
        return phase_of(frozenset(mark.kind for mark in self.store.marks_for(job_id)))

    def _finish_one(
        self, job_id: bytes, rhos: Mapping[str, bytes], *, quorum_size: int, now_ms: int
    ) -> Mark | Declined:
        sent = [mark for mark in self.store.marks_for(job_id) if mark.kind == Phase.SENT.value]
        if sent:
            return sent[0]
        job = may_sign(self._state, job_id, node=self._node(now_ms), quorum_size=quorum_size)
        if isinstance(job, Declined):
            return job
        try:
            advance(self._phase(job_id), Event.SEND)
            return Mark("sent", job_id, INDEX, self._partial(job, rhos))
        except FaultyParticipant as error:
            signer = self._key(job).participants[int(error.participant) - 1]
            return Declined(job_id, f"{signer}: {error.reason}")
        except ProtocolError as error:
            return Declined(job_id, str(error))

    def _partial(self, job: Job, rhos: Mapping[str, bytes]) -> bytes:
        """Compute it once: the presignature is gone from memory whatever comes of it."""
        key = self._key(job)
        if set(rhos) != set(job.signers):
            raise Refusal("openings", f"need the openings of {', '.join(job.signers)}")
        identifier = job.presignatures[INDEX]
        if not self.pool.bound_to(identifier, job.job_id, index=INDEX):
            raise Refusal("presignature", "this node does not hold the job's presignature any more")
        held = self.pool.take(identifier, job.job_id, index=INDEX)
        task = SigningTask(job.signing_hash, job.tweak, job.derived_key, job.job_id, INDEX)
        by_index = {key.index_of(signer): rho for signer, rho in rhos.items()}
        if not isinstance(held.presignature, Presignature):
            raise Refusal("presignature", f"key {key.key} is not for ECDSA")
        return partial_signature(held.presignature, rhos=by_index, task=task).to_bytes()

    def _key(self, job: Job) -> KeyRecord:
        return self._state.keys[job.key]
