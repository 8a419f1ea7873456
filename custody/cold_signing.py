"""Ceremonies that sign for a request: its payment, a dearer one in place of a stuck one, a cancellation.

What is to be reserved is kept before it is logged, under the names of presignatures that are only ordered: a
start looks for them in the log, so that nothing is reserved twice.
"""

from custody.candidates import Candidate
from custody.ceremonies import Ceremony, Purpose, Stage
from custody.cold_log import QUORUM_S, freshen, ship
from custody.combining import combine
from custody.parts import Parts
from custody.payments import Reservation, cancellation_of, chain_of, log_reservation
from custody.planning import key_of, signing_paths
from custody.records import RequestRecord, request_body
from custody.replacing import purpose_now, replacement
from custody.requests import Effect
from custody.requests import State as RequestStates
from custody.signing_sets import SigningSet, usable
from policy.encoding import Json
from policy.errors import OperationalError, ProtocolError
from policy.intent import parse_request
from policy.state import CANCEL, Job, JobStatus, KeyRecord, State
from policy.suites import DKLS23_SECP256K1
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.presignature_ids import names_of_batch

ECDSA_BATCH = 4  # no letter is larger for as many signatures


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
    """Choose what is to be signed and order its presignatures; nothing is logged yet."""
    record = await parts.database.get(ceremony.wanted.request)
    wanted = None if record is None else await purpose_of(parts, record)
    if record is None or wanted is None or wanted.purpose != ceremony.wanted.purpose:
        ceremony.end(Stage.FAILED, "the request does not wait for this any more: look at it")
        return
    ceremony.tx = await _transaction(parts, record)
    count = len(signing_paths(parts.sequencer.state, record, tx=ceremony.tx))
    ceremony.presignatures = _order_batch(parts, ceremony, count)
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
    mine = [job.job_id for job in jobs if ceremony.presignatures == job.presignatures]
    return mine[0] if mine else b""


async def _log_reservation(parts: Parts, record: RequestRecord, ceremony: Ceremony) -> tuple[bytes, str]:
    key = parts.sequencer.state.keys[ceremony.wanted.key]
    if record.nonce is None:
        await chain_of(parts, record.chain).prepare(record.account)
    signers = SigningSet(key.key, key.epoch, ceremony.desk.names)
    wanted = Reservation(ceremony.tx, ceremony.wanted.purpose, signers, ceremony.presignatures)
    outcome = await log_reservation(parts, record, wanted=wanted)
    return (outcome.subject, "") if outcome.accepted else (b"", outcome.reason)


def _order_batch(parts: Parts, ceremony: Ceremony, count: int) -> tuple[bytes, ...]:
    """The names of the batch's first ``count`` presignatures."""
    desk, key, batch_id = ceremony.desk, parts.sequencer.state.keys[ceremony.wanted.key], parts.attempts()
    batch = batch_of(key.suite, count)
    desk.ask(pb.Presign(key_id=key.key, signers=desk.names, epoch=key.epoch, batch_id=batch_id, batch=batch))
    return names_of_batch(
        key.suite, key_id=key.key, epoch=key.epoch, batch_id=batch_id, boot_ids=desk.boots, count=count
    )


def batch_of(suite: str, count: int) -> int:
    """How many presignatures are ordered for so many signatures; of ECDSA's only multiples of four are made.

    More than four are needed where a transaction was planned before its key was handed to cold nodes.
    """
    return -(-count // ECDSA_BATCH) * ECDSA_BATCH if suite == DKLS23_SECP256K1 else count


async def finish(parts: Parts, ceremony: Ceremony) -> None:
    """Once all have opened, bring every opening to everybody, with the newest head."""
    openings = _openings(ceremony)
    if declined := _declined(ceremony, "append"):
        ceremony.end(Stage.FAILED, declined)
        return
    count = len(parts.sequencer.state.jobs[ceremony.job].signings)
    wanted = {(index, name) for index in range(count) for name in ceremony.desk.names}
    if not wanted <= openings.keys():
        if not ceremony.desk.has_mail:
            ceremony.end(Stage.FAILED, "the machines neither open nor wait for one another: begin again")
        return
    await freshen(parts)
    await ship(parts, ceremony.desk)
    opened = [pb.Opened(index=at, signer=name, rho=openings[at, name]) for at, name in sorted(wanted)]
    job = pb.FinishJob(job=ceremony.job, opened=opened)
    size = parts.sequencer.state.jobs[ceremony.job].index + 1
    head = await parts.replication.wait_binding(size, QUORUM_S)
    ceremony.desk.ask(pb.Finish(note=head.note, jobs=[job]))
    ceremony.stage = Stage.SIGNING


async def combine_partials(parts: Parts, ceremony: Ceremony) -> None:
    """Add the partial signatures up and log the signatures, those that the log does not have yet."""
    if declined := _declined(ceremony, "finish"):
        ceremony.end(Stage.FAILED, declined)
        return
    job = parts.sequencer.state.jobs[ceremony.job]
    try:
        signatures = _combined(ceremony, job, parts.sequencer.state.keys[job.key])
    except ProtocolError as error:
        ceremony.end(Stage.FAILED, f"the partial signatures do not add up: {error}")
        return
    for index, signature in enumerate(signatures):
        if job.signatures[index]:
            continue
        body: Json = {"job": ceremony.job.hex(), "index": index, "signature": signature.hex()}
        outcome = await parts.sequencer.log(Candidate("signature", body))
        if not outcome.accepted:
            ceremony.end(Stage.FAILED, f"the log refuses signature {index}: {outcome.reason}")
            return
    end_signed(parts.sequencer.state, ceremony)


def _combined(ceremony: Ceremony, job: Job, key: KeyRecord) -> list[bytes]:
    """Every signature of the job, verified. Raises ``ProtocolError``."""
    openings, partials = _openings(ceremony), _partials(ceremony)
    return [
        combine(
            job,
            index,
            key=key,
            nonce_point=_nonce_point(ceremony, index),
            openings={key.index_of(name): rho for (at, name), rho in openings.items() if at == index},
            partials={key.index_of(name): data for (at, name), data in partials.items() if at == index},
        )
        for index in range(len(job.signings))
    ]


def is_signed(state: State, ceremony: Ceremony) -> bool:
    """Whether the log has the signature that the ceremony was held for."""
    job = state.jobs.get(ceremony.job)
    return job is not None and job.status is JobStatus.SIGNED


def end_signed(state: State, ceremony: Ceremony) -> None:
    """It is over: the log has the signatures."""
    signatures = state.jobs[ceremony.job].signatures
    ceremony.end(Stage.DONE, f"signed: {' '.join(signature.hex() for signature in signatures)}")


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


def _openings(ceremony: Ceremony) -> dict[tuple[int, str], bytes]:
    return {
        (opening.index, name): opening.rho
        for name, replies in ceremony.desk.replies("append").items()
        for reply in replies
        for opening in reply.append.openings
        if opening.job == ceremony.job
    }


def _partials(ceremony: Ceremony) -> dict[tuple[int, str], bytes]:
    return {
        (partial.index, name): partial.partial
        for name, replies in ceremony.desk.replies("finish").items()
        for reply in replies
        for partial in reply.finish.partials
        if partial.job == ceremony.job
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


def _nonce_point(ceremony: Ceremony, index: int) -> bytes:
    """R of a presignature, which all have told alike; empty for nonce pairs."""
    points = {
        point
        for replies in ceremony.desk.replies("presign").values()
        for reply in replies
        for point in reply.presign.nonce_points[index : index + 1]
    }
    return points.pop() if len(points) == 1 else b""
