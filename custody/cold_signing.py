"""Ceremonies that sign for a request: its payment, a dearer one in place of a stuck one, a cancellation.

What is to be reserved is kept before it is logged, under the name of a presignature that is only ordered: a
start looks for that name in the log, so that nothing is reserved twice.
"""

from custody.candidates import Candidate
from custody.ceremonies import Ceremony, Purpose, Stage
from custody.cold_log import QUORUM_S, freshen, ship
from custody.combining import combine
from custody.parts import Parts
from custody.payments import Reservation, cancellation_of, chain_of, log_reservation
from custody.planning import key_of
from custody.records import RequestRecord, request_body
from custody.replacing import purpose_now, replacement
from custody.requests import Effect
from custody.requests import State as RequestStates
from custody.signing_sets import SigningSet, usable
from policy.encoding import Json
from policy.errors import OperationalError, ProtocolError
from policy.intent import parse_request
from policy.state import CANCEL, JobStatus, State
from policy.suites import DKLS23_SECP256K1
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.presignature_ids import names_of_batch

ECDSA_BATCH = 4


async def purpose_of(parts: Parts, record: RequestRecord) -> Purpose | None:
    """What a ceremony would be held for now; None when the request waits for none."""
    key = key_of(parts.sequencer.state, parse_request(request_body(record)).intent.wallet).key
    if record.state is RequestStates.AWAITING_CEREMONY:
        return Purpose(key, record.request)
    owed = {duty.effect for duty in await parts.database.duties() if duty.request == record.request}
    if Effect.REPLACE in owed:
        return Purpose(key, record.request, purpose_now(parts, record))
    return Purpose(key, record.request, CANCEL) if Effect.CANCEL in owed else None


def members(parts: Parts, wanted: Purpose) -> tuple[str, ...]:
    """Who signs: the first of those that have shown themselves. Raises ``OperationalError``."""
    state = parts.sequencer.state
    key = state.keys[wanted.key]
    here = [name for name in key.participants if name in parts.ceremonies.hellos]
    names = tuple(sorted(here)[: key.min_signers])
    if len(names) < key.min_signers:
        raise OperationalError(
            f"key {key.key} takes {key.min_signers} of {', '.join(key.participants)}, and there are hellos "
            f"of {', '.join(here) or 'none'}: start more of them and import their hellos"
        )
    if not usable(state, key, group=SigningSet(key.key, key.epoch, names)):
        raise OperationalError(f"{', '.join(names)} run no session together: start others of the key")
    return names


async def order(parts: Parts, ceremony: Ceremony) -> None:
    """Choose what is to be signed and order its presignature; nothing is logged yet."""
    record = await parts.database.get(ceremony.wanted.request)
    wanted = None if record is None else await purpose_of(parts, record)
    if record is None or wanted is None or wanted.purpose != ceremony.wanted.purpose:
        ceremony.end(Stage.FAILED, "the request does not wait for this any more: look at it")
        return
    ceremony.tx = await _transaction(parts, record)
    ceremony.presignature = _order_batch(parts, ceremony)
    ceremony.stage = Stage.RESERVING


async def _transaction(parts: Parts, record: RequestRecord) -> bytes:
    if record.state is RequestStates.AWAITING_CEREMONY:
        return record.tx
    if record.state is RequestStates.REPLACING:
        return await replacement(parts, record)
    return await cancellation_of(parts, record)


async def reserve(parts: Parts, ceremony: Ceremony) -> None:
    """Log the reservation, unless the log has it, and bring it to the machines."""
    record = await parts.database.get(ceremony.wanted.request)
    job = _reserved(parts.sequencer.state, ceremony)
    if not job and record is not None:
        job, reason = await _log_reservation(parts, record, ceremony)
        if not job:
            ceremony.end(Stage.FAILED, f"it cannot be reserved: {reason}")
            return
    await ship(parts, ceremony.desk)
    ceremony.job, ceremony.stage = job, Stage.PRESIGNING
    _ask_burns(parts, ceremony)


def _reserved(state: State, ceremony: Ceremony) -> bytes:
    """The job that the log has for the ceremony, if a start before this one had logged it."""
    request = state.requests.get(ceremony.wanted.request)
    jobs = [] if request is None else [state.jobs[job] for job in request.jobs]
    mine = [job.job_id for job in jobs if ceremony.presignature in job.presignatures]
    return mine[0] if mine else b""


async def _log_reservation(parts: Parts, record: RequestRecord, ceremony: Ceremony) -> tuple[bytes, str]:
    key = parts.sequencer.state.keys[ceremony.wanted.key]
    if record.nonce is None:
        await chain_of(parts, record.chain).prepare(record.account)
    signers = SigningSet(key.key, key.epoch, ceremony.desk.names)
    wanted = Reservation(ceremony.tx, ceremony.wanted.purpose, signers, (ceremony.presignature,))
    outcome = await log_reservation(parts, record, wanted=wanted)
    return (outcome.subject, "") if outcome.accepted else (b"", outcome.reason)


def _order_batch(parts: Parts, ceremony: Ceremony) -> bytes:
    """The name of the batch's first presignature."""
    desk, key, batch_id = ceremony.desk, parts.sequencer.state.keys[ceremony.wanted.key], parts.attempts()
    batch = ECDSA_BATCH if key.suite == DKLS23_SECP256K1 else 1
    desk.ask(pb.Presign(key_id=key.key, signers=desk.names, epoch=key.epoch, batch_id=batch_id, batch=batch))
    (name,) = names_of_batch(
        key.suite, key_id=key.key, epoch=key.epoch, batch_id=batch_id, boot_ids=desk.boots, count=1
    )
    return name


async def finish(parts: Parts, ceremony: Ceremony) -> None:
    """Once all have opened, bring every opening to everybody, with the newest head."""
    openings = _openings(ceremony)
    if declined := _declined(ceremony, "append"):
        ceremony.end(Stage.FAILED, declined)
        return
    if openings.keys() < set(ceremony.desk.names):
        if not ceremony.desk.has_mail:
            ceremony.end(Stage.FAILED, "the machines neither open nor wait for one another: begin again")
        return
    await freshen(parts)
    await ship(parts, ceremony.desk)
    opened = [pb.Opened(index=0, signer=name, rho=rho) for name, rho in sorted(openings.items())]
    job = pb.FinishJob(job=ceremony.job, opened=opened)
    size = parts.sequencer.state.jobs[ceremony.job].index + 1
    head = await parts.replication.wait_binding(size, QUORUM_S)
    ceremony.desk.ask(pb.Finish(note=head.note, jobs=[job]))
    ceremony.stage = Stage.SIGNING


async def combine_partials(parts: Parts, ceremony: Ceremony) -> None:
    """Add the partial signatures up and log the signature."""
    if declined := _declined(ceremony, "finish"):
        ceremony.end(Stage.FAILED, declined)
        return
    state = parts.sequencer.state
    job = state.jobs[ceremony.job]
    key = state.keys[job.key]
    partials = {
        name: partial.partial
        for name, replies in ceremony.desk.replies("finish").items()
        for reply in replies
        for partial in reply.finish.partials
        if partial.job == ceremony.job
    }
    try:
        signature = combine(
            job,
            0,
            key=key,
            nonce_point=_nonce_point(ceremony),
            openings={key.index_of(name): rho for name, rho in _openings(ceremony).items()},
            partials={key.index_of(name): data for name, data in partials.items()},
        )
    except ProtocolError as error:
        ceremony.end(Stage.FAILED, f"the partial signatures do not add up: {error}")
        return
    body: Json = {"job": ceremony.job.hex(), "index": 0, "signature": signature.hex()}
    outcome = await parts.sequencer.log(Candidate("signature", body))
    if outcome.accepted:
        ceremony.end(Stage.DONE, f"signed: {signature.hex()}")
    else:
        ceremony.end(Stage.FAILED, f"the log refuses the signature: {outcome.reason}")


def is_signed(state: State, ceremony: Ceremony) -> bool:
    """Whether the log has the signature that the ceremony was held for."""
    job = state.jobs.get(ceremony.job)
    return job is not None and job.status is JobStatus.SIGNED


def end_signed(state: State, ceremony: Ceremony) -> None:
    """It is over: the log has the signature."""
    ceremony.end(Stage.DONE, f"signed: {state.jobs[ceremony.job].signatures[0].hex()}")


def _ask_burns(parts: Parts, ceremony: Ceremony) -> None:
    """Ask for the burns of jobs of this key that a later one has replaced; a node may have signed one."""
    state = parts.sequencer.state
    for job_id, request in state.reserved.items():
        job = state.jobs[job_id]
        if job.key == ceremony.wanted.key and state.requests[request].jobs[-1] != job_id:
            here = set(job.signers) & set(ceremony.desk.names)
            if here:
                asked = ceremony.desk.ask(pb.Burn(job=job_id), *sorted(here), is_optional=True)
                ceremony.burning |= dict.fromkeys(asked.items(), job_id)


def keep_burns(parts: Parts, ceremony: Ceremony) -> None:
    """Take the burns that machines have stated to where ``burns`` looks for them."""
    for name, replies in ceremony.desk.replies("burn").items():
        for reply in replies:
            job = ceremony.burning.get((name, reply.call))
            if job is not None:
                parts.ceremonies.burned[job, name] = reply.burn.signature


def _openings(ceremony: Ceremony) -> dict[str, bytes]:
    return {
        name: opening.rho
        for name, replies in ceremony.desk.replies("append").items()
        for reply in replies
        for opening in reply.append.openings
        if opening.job == ceremony.job
    }


def _declined(ceremony: Ceremony, kind: str) -> str:
    """Why a node does not sign the job; empty if none said so."""
    reasons = [
        f"{name} declined: {declined.reason}"
        for name, replies in ceremony.desk.replies(kind).items()
        for reply in replies
        for declined in getattr(reply, kind).declined
        if declined.job == ceremony.job
    ]
    return "; ".join(reasons)[:1000]


def _nonce_point(ceremony: Ceremony) -> bytes:
    """R of the presignature, which all have told alike; empty for nonce pairs."""
    points = {
        reply.presign.nonce_points[0]
        for replies in ceremony.desk.replies("presign").values()
        for reply in replies
    }
    return points.pop() if len(points) == 1 else b""
