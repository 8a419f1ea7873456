"""A cold ceremony step by step: what comes back from the machines decides what is carried to them next.

Every step looks at what the desk has and goes on when all answers of a pass are there. It has no authority: a
wrong step here costs a ceremony.
"""

import asyncio
import secrets
from dataclasses import dataclass

from custody.candidates import Candidate
from custody.ceremonies import OVER, Ceremony, Stage
from custody.combining import combine
from custody.enacting import moment
from custody.parts import Parts
from custody.payments import Reservation, chain_of, log_reservation
from custody.planning import is_cold, key_of
from custody.records import RequestRecord, request_body
from custody.replication import Published
from custody.requests import State as RequestStates
from custody.signing_sets import SigningSet, usable
from policy.encoding import Json, canonical, parse_canonical
from policy.entries import ENTRY_BYTES_MAX, ApprovalEntry, RequestEntry, parse_entry, signature_list
from policy.errors import OperationalError, ProtocolError
from policy.ids import GENERATE
from policy.intent import parse_request
from policy.state import PAYMENT, KeyRecord, State
from policy.suites import DKLS23_SECP256K1
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.desk import Desk, Seat
from signer_nodes.api.letters import MAGIC
from signer_nodes.api.presignature_ids import names_of_batch

QUORUM_S = AWAIT_S = 10.0
PAUSE_S = 0.1
ENTRIES_EACH_MAX = 512
SHIPPED_BYTES_MAX = 8 * 1024 * 1024
ECDSA_BATCH = 4
HEAD_AGE_MS = 10 * 60 * 1000


@dataclass(frozen=True, slots=True)
class ColdStep:
    """What a person brings and wants: files of machines, and what to begin, if anything."""

    files: tuple[bytes, ...] = ()
    request: bytes = b""
    key: str = ""


def shown(parts: Parts) -> tuple[bytes, list[tuple[str, int, bytes]]]:
    """How the ceremony stands, as canonical JSON, and the letters to carry now: node, number, bytes."""
    current = parts.ceremonies.current
    if current is not None and current.stage in OVER and not current.ended_ms:
        current.ended_ms = parts.now_ms()
    report = current.report() if current is not None else {"stage": "none", "outcome": ""}
    hellos: list[Json] = [*sorted(parts.ceremonies.hellos)]
    letters = []
    if current is not None and current.stage not in OVER:
        written = current.desk.letters(parts.now_ms())
        letters = [(name, current.desk.seats[name].number, data) for name, data in written.items()]
        report = current.report()
    return canonical({**report, "hellos": hellos}), letters


async def take_files(parts: Parts, files: list[bytes]) -> None:
    """Take in hellos and letters; a letter may end a pass. Raises ``ProtocolError`` for a refused one."""
    state, ceremonies = parts.sequencer.state, parts.ceremonies
    for data in files:
        if not data.startswith(MAGIC):
            ceremonies.greet(data, origin=state.origin, roster=state.roster)
            continue
        if ceremonies.current is None or ceremonies.current.stage in OVER:
            raise ProtocolError("no ceremony is under way that this letter could be of")
        ceremonies.current.desk.take(data, keys=state.roster.cold, now_ms=parts.now_ms())
    current = ceremonies.current
    if (
        current is not None
        and current.stage not in OVER
        and current.desk.passes
        and not current.desk.waits_for
    ):
        await _advance(parts, current)


async def begin(parts: Parts, *, request: bytes, key: str) -> None:
    """Begin what is asked for, unless it is under way or done. Raises ``OperationalError``."""
    current = parts.ceremonies.current
    if current is not None and (current.request, current.key if key else "") == (request, key):
        if current.stage not in (Stage.FAILED,):
            return
    elif current is not None and current.stage not in OVER:
        raise OperationalError(
            f"a ceremony for {current.request.hex() or current.key} is under way: end it, or start "
            "its machines anew and import their hellos"
        )
    if key:
        await begin_key(parts, key)
        return
    record = await _awaiting(parts, request)
    await begin_payment(parts, record)


async def _awaiting(parts: Parts, request: bytes) -> RequestRecord:
    """The request, once it has left the ceremony before."""
    for _ in range(round(AWAIT_S / PAUSE_S)):
        record = await parts.database.get(request)
        if record is None:
            raise OperationalError(f"there is no request {request.hex()}: look at its id")
        if record.state not in (RequestStates.READY, RequestStates.RESERVED):
            return record
        await asyncio.sleep(PAUSE_S)
    raise OperationalError(f"request {request.hex()} has not left its last try: try again in a moment")


async def begin_payment(parts: Parts, record: RequestRecord) -> Ceremony:
    """Begin a ceremony for a request that waits for one. Raises ``OperationalError``."""
    if record.state is not RequestStates.AWAITING_CEREMONY:
        raise OperationalError(f"request {record.request.hex()} is {record.state}, it waits for no ceremony")
    state = parts.sequencer.state
    key = key_of(state, parse_request(request_body(record)).intent.wallet)
    names = _signers(parts, state, key)
    desk = _desk(parts, names)
    ceremony = Ceremony(desk, key.key, Stage.CATCHING_UP, parts.now_ms(), record.request)
    parts.ceremonies.current = ceremony
    await _catch_up(parts, ceremony)
    return ceremony


async def begin_key(parts: Parts, name: str) -> Ceremony:
    """Begin the ceremony that generates a key of cold nodes. Raises ``OperationalError``."""
    state = parts.sequencer.state
    wanted = state.policy.keys.get(name)
    if wanted is None or not set(wanted.participants) <= set(state.roster.cold):
        raise OperationalError(f"the policy has no key {name[:64]!r} of cold nodes: name it there first")
    if name in state.keys:
        raise OperationalError(f"key {name} is in epoch {state.keys[name].epoch} already")
    missing = [one for one in wanted.participants if one not in parts.ceremonies.hellos]
    if missing:
        raise OperationalError(f"all of them make a key: start {', '.join(missing)} and import its hello")
    ceremony = Ceremony(_desk(parts, wanted.participants), name, Stage.MAKING_KEY, parts.now_ms())
    parts.ceremonies.current = ceremony
    await ship(parts, ceremony.desk)
    ceremony.desk.ask(pb.ChangeKey(key_id=name, attempt=parts.attempts(), change=GENERATE))
    return ceremony


async def _advance(parts: Parts, ceremony: Ceremony) -> None:
    """All answers of a pass are there."""
    if refusals := ceremony.desk.refusals():
        ceremony.end(Stage.FAILED, "; ".join(refusals)[:1000])
        return
    _keep_burns(parts, ceremony)
    match ceremony.stage:
        case Stage.CATCHING_UP:
            await _catch_up(parts, ceremony)
        case Stage.PRESIGNING:
            await _finish(parts, ceremony)
        case Stage.SIGNING:
            await _combine(parts, ceremony)
        case _:
            await _log_key(parts, ceremony)


async def _catch_up(parts: Parts, ceremony: Ceremony) -> None:
    """Bring the machines the log; in the pass that brings the last of it, order and reserve."""
    if not await ship(parts, ceremony.desk):
        return
    record = await parts.database.get(ceremony.request)
    if record is None or record.state is not RequestStates.AWAITING_CEREMONY:
        ceremony.end(Stage.FAILED, "the request does not wait for a ceremony any more")
        return
    presignature = _order(parts, ceremony)
    key = parts.sequencer.state.keys[ceremony.key]
    signers = SigningSet(key.key, key.epoch, ceremony.desk.names)
    if record.nonce is None:
        nonce = await chain_of(parts, record.chain).account_nonce(record.account)
        parts.slots.start(record.chain, record.account, nonce=nonce)
    ceremony.stage = Stage.PRESIGNING
    wanted = Reservation(record.tx, PAYMENT, signers, presignature)
    outcome = await log_reservation(parts, record, wanted=wanted)
    if not outcome.accepted:
        ceremony.end(Stage.FAILED, f"it cannot be reserved: {outcome.reason}"[:1000])
        return
    ceremony.job = outcome.subject
    await ship(parts, ceremony.desk)
    _ask_burns(parts, ceremony)


def _order(parts: Parts, ceremony: Ceremony) -> bytes:
    """Order a batch; the name of its first presignature."""
    desk, key, batch_id = ceremony.desk, parts.sequencer.state.keys[ceremony.key], parts.attempts()
    batch = ECDSA_BATCH if key.suite == DKLS23_SECP256K1 else 1
    desk.ask(pb.Presign(key_id=key.key, signers=desk.names, epoch=key.epoch, batch_id=batch_id, batch=batch))
    (name,) = names_of_batch(
        key.suite, key_id=key.key, epoch=key.epoch, batch_id=batch_id, boot_ids=desk.boots, count=1
    )
    return name


async def _finish(parts: Parts, ceremony: Ceremony) -> None:
    """Once all have opened, bring every opening to everybody, with the newest head."""
    openings = _openings(ceremony)
    if declined := _declined(ceremony, "append"):
        ceremony.end(Stage.FAILED, declined)
        return
    if openings.keys() < set(ceremony.desk.names):
        if not ceremony.desk.has_mail:
            why = "the machines neither open nor wait for one another: begin again"
            ceremony.end(Stage.FAILED, why)
        return
    await _freshen(parts)
    await ship(parts, ceremony.desk)
    opened = [pb.Opened(index=0, signer=name, rho=rho) for name, rho in sorted(openings.items())]
    job = pb.FinishJob(job=ceremony.job, opened=opened)
    size = parts.sequencer.state.jobs[ceremony.job].index + 1
    head = await parts.replication.wait_binding(size, QUORUM_S)
    ceremony.desk.ask(pb.Finish(note=head.note, jobs=[job]))
    ceremony.stage = Stage.SIGNING


async def _freshen(parts: Parts) -> None:
    """Have a new head where nothing was logged for long: a cold node signs on no old one."""
    state = parts.sequencer.state
    if parts.now_ms() - state.time_ms > HEAD_AGE_MS:
        await parts.sequencer.log(moment(state.origin, "a cold ceremony needs a recent head"))


async def _combine(parts: Parts, ceremony: Ceremony) -> None:
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
        ceremony.end(Stage.FAILED, f"the partial signatures do not add up: {error}"[:1000])
        return
    body: Json = {"job": ceremony.job.hex(), "index": 0, "signature": signature.hex()}
    outcome = await parts.sequencer.log(Candidate("signature", body))
    if outcome.accepted:
        ceremony.end(Stage.DONE, f"signed: {signature.hex()}")
    else:
        ceremony.end(Stage.FAILED, f"the log refuses the signature: {outcome.reason}"[:1000])


async def _log_key(parts: Parts, ceremony: Ceremony) -> None:
    found = ceremony.desk.replies("change_key")
    if not all(found.values()):
        return
    bodies = {replies[-1].change_key.body for replies in found.values()}
    if len(bodies) != 1:
        ceremony.end(Stage.FAILED, f"the nodes made {len(bodies)} different keys: look at their logs")
        return
    signatures = {name: replies[-1].change_key.signature for name, replies in found.items()}
    body = parse_canonical(bodies.pop(), bytes_max=ENTRY_BYTES_MAX)
    outcome = await parts.sequencer.log(Candidate("key", body, {"signatures": signature_list(signatures)}))
    word = f"key {ceremony.key} is made" if outcome.accepted else f"the log refuses it: {outcome.reason}"
    ceremony.end(Stage.DONE if outcome.accepted else Stage.FAILED, word[:1000])


async def ship(parts: Parts, desk: Desk) -> bool:
    """Have each machine brought what it lacks of the log; False when that does not fit into one pass."""
    quorum = await parts.replication.wait_quorum(parts.sequencer.state.size, QUORUM_S)
    whole = [await _ship_to(parts, desk, name, quorum) for name in desk.names]
    return all(whole)


async def _ship_to(parts: Parts, desk: Desk, name: str, quorum: Published) -> bool:
    seat, shipped = desk.seats[name], 0
    while seat.size < quorum.size and shipped < SHIPPED_BYTES_MAX:
        head, entries = await _increment(parts, seat, quorum)
        desk.ask(pb.Append(start=seat.size, entries=entries, checkpoint=head.note), name)
        seat.size = head.size
        shipped += sum(map(len, entries))
    return seat.size >= quorum.size


async def _increment(parts: Parts, seat: Seat, quorum: Published) -> tuple[Published, list[bytes]]:
    """The next entries under a quorum's head, at most up to the first one over what has a date to prove."""
    start = seat.size
    entries = [*await parts.database.entries(start, min(start + ENTRIES_EACH_MAX, quorum.size))]
    state = parts.sequencer.state
    dated = next((start + at for at, entry in enumerate(entries) if _is_dated(state, entry)), None)
    if dated is None:
        found = await parts.database.quorum_between(start, start + len(entries))
    else:
        found = await parts.database.first_quorum(dated)
    head = quorum if found is None or found[0] > quorum.size else Published(*found)
    while start + len(entries) < head.size:
        entries += await parts.database.entries(start + len(entries), head.size)
    return head, entries[: head.size - start]


def _is_dated(state: State, data: bytes) -> bool:
    """Whether an entry is a request or approval of a cold wallet, whose delay counts from its proof."""
    entry = parse_entry(data).entry
    match entry:
        case RequestEntry():
            wallet = entry.request.intent.wallet
        case ApprovalEntry():
            wallet = entry.approval.intent.wallet
        case _:
            return False
    known = state.policy.wallets.get(wallet)
    key = state.keys.get(known.key) if known else None
    return key is not None and is_cold(state, key)


def _signers(parts: Parts, state: State, key: KeyRecord) -> tuple[str, ...]:
    """Who signs: the first of those that have shown themselves."""
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


def _desk(parts: Parts, names: tuple[str, ...]) -> Desk:
    hellos = parts.ceremonies.spend(names)
    origin = parts.sequencer.state.origin
    return Desk(origin, secrets.token_bytes(32), sign=parts.ceremonies.sign, hellos=hellos)


def _ask_burns(parts: Parts, ceremony: Ceremony) -> None:
    """Ask for the burns of jobs of this key that a later one has replaced; a node may have signed one."""
    state = parts.sequencer.state
    for job_id, request in state.reserved.items():
        job = state.jobs[job_id]
        if job.key == ceremony.key and state.requests[request].jobs[-1] != job_id:
            here = set(job.signers) & set(ceremony.desk.names)
            if here:
                asked = ceremony.desk.ask(pb.Burn(job=job_id), *sorted(here), is_optional=True)
                ceremony.burning |= dict.fromkeys(asked.items(), job_id)


def _keep_burns(parts: Parts, ceremony: Ceremony) -> None:
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
