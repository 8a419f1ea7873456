"""A cold ceremony step by step: what comes back from the machines decides what is carried to them next.

Every step looks at what the desk has and goes on when all answers of a pass are there; before its letters
leave, how the ceremony stands is kept. It has no authority: a wrong step here costs a ceremony.
"""

import asyncio
import logging
import secrets
from dataclasses import dataclass

from custody import cold_keys, cold_signing
from custody.api.errors import CallRefused, Code
from custody.ceremonies import Ceremony, Purpose, Stage
from custody.ceremony_document import kept, restored
from custody.cold_log import ship
from custody.parts import Parts
from custody.requests import Effect
from policy.encoding import Json, canonical
from policy.errors import InvariantError, MalformedError, OperationalError, ProtocolError
from policy.ids import GENERATE
from signer_nodes.api.desk import Desk
from signer_nodes.api.letters import MAGIC

_LOG = logging.getLogger(__name__)
AWAIT_S = 10.0
PAUSE_S = 0.1
UNDER_WAY = frozenset({Effect.RESERVE, Effect.SIGN})


@dataclass(frozen=True, slots=True)
class ColdStep:
    """What a person brings and wants: files of machines, and what to begin, if anything.

    ``ended_by`` is who wants the ceremony over that is under way.
    """

    files: tuple[bytes, ...] = ()
    request: bytes = b""
    key: str = ""
    change: str = ""
    ended_by: str = ""


Shown = tuple[bytes, list[tuple[str, int, bytes]]]
"""How the ceremony stands, as canonical JSON, and the letters to carry now: node, number, bytes."""


async def load(parts: Parts) -> None:
    """Take up what a coordinator before this one had kept."""
    ceremonies, document = parts.ceremonies, await parts.database.ceremonies()
    try:
        found = await asyncio.to_thread(restored, document, ceremonies.sign)
    except MalformedError as error:
        place = await parts.database.set_aside_ceremonies()
        _LOG.error("%s: the ceremony is lost, begin another one; it is kept at place %d", error, place)
        return
    ceremonies.hellos, ceremonies.spent = found.hellos, found.spent
    ceremonies.current, ceremonies.burned = found.current, found.burned


async def step(parts: Parts, wanted: ColdStep) -> Shown:
    """One step. Raises ``ProtocolError`` for a file that is refused, ``OperationalError``, and
    ``CallRefused`` for what no waiting makes right.
    """
    async with parts.ceremonies.turn:
        try:
            _end(parts, wanted.ended_by)
            await _go_on(parts)
            for data in wanted.files:
                await _take(parts, data)
            if wanted.request or wanted.key:
                await _begin(parts, wanted)
            _note_end(parts)
            return _shown(parts)
        finally:
            await _keep(parts)


def _end(parts: Parts, by: str) -> None:
    parts.ceremonies.end_forgotten(parts.now_ms())
    current = parts.ceremonies.current
    if by and (current is None or current.is_over):
        raise CallRefused(Code.NO_CEREMONY, "no ceremony is under way that could be ended")
    if by and current is not None:
        current.end(Stage.FAILED, f"{by} ended it")


def _shown(parts: Parts) -> Shown:
    current = parts.ceremonies.current
    report = current.report() if current is not None else {"stage": "none", "outcome": ""}
    hellos: list[Json] = [*sorted(parts.ceremonies.hellos)]
    letters = []
    if current is not None and not current.is_over:
        written = current.desk.letters(parts.now_ms())
        letters = [(name, current.desk.seats[name].number, data) for name, data in written.items()]
        report = current.report()
    return canonical({**report, "hellos": hellos}), letters


def _note_end(parts: Parts) -> None:
    current = parts.ceremonies.current
    if current is not None and current.is_over and not current.ended_ms:
        current.ended_ms = parts.now_ms()


async def _keep(parts: Parts) -> None:
    _note_end(parts)
    document = await asyncio.to_thread(kept, parts.ceremonies)  # it may hold the log of years
    await parts.database.keep_ceremonies(document)


async def _take(parts: Parts, data: bytes) -> None:
    """Take in a hello, or a letter, which may end a pass."""
    state, ceremonies = parts.sequencer.state, parts.ceremonies
    if not data.startswith(MAGIC):
        if not data.startswith(b"{"):
            raise ProtocolError("it is no hello and no letter: give the files that a cold machine wrote")
        ceremonies.greet(data, origin=state.origin, roster=state.roster)
        return
    current = ceremonies.current
    if current is None or current.is_over:
        raise ProtocolError("no ceremony is under way that this letter could be of")
    current.desk.take(data, keys=state.roster.cold, now_ms=parts.now_ms())
    if not current.desk.waits_for:
        current.is_due = True
        await _advance(parts, current)
        current.is_due = False


async def _begin(parts: Parts, asked: ColdStep) -> None:
    """Begin what is asked for, unless it is under way or done."""
    current = parts.ceremonies.current
    if current is not None and not current.is_over:
        if _is_for(current.wanted, asked):
            return
        raise OperationalError(
            f"a ceremony for {current.wanted.request.hex() or current.wanted.key} is under way: end it by "
            "quorumkeep cold end first"
        )
    wanted = await _wanted(parts, asked)
    if wanted is None:
        return
    members = cold_signing.members if wanted.request else cold_keys.members
    hellos = parts.ceremonies.spend(members(parts, wanted))
    origin, ceremony = parts.sequencer.state.origin, secrets.token_bytes(32)
    desk = Desk(origin, ceremony, sign=parts.ceremonies.sign, hellos=hellos)
    begun = Ceremony(desk, wanted, Stage.CATCHING_UP, parts.now_ms())
    parts.ceremonies.current = begun
    await _catch_up(parts, begun)
    begun.is_due = False


def _is_for(wanted: Purpose, asked: ColdStep) -> bool:
    if asked.request:
        return wanted.request == asked.request
    return (wanted.key, wanted.change) == (asked.key, asked.change or GENERATE)


async def _wanted(parts: Parts, asked: ColdStep) -> Purpose | None:
    """What a new ceremony is for; None when the last one has done it. Raises ``OperationalError``."""
    current = parts.ceremonies.current
    done = current.wanted if current is not None and current.stage is Stage.DONE else None
    if asked.key:
        wanted = Purpose(asked.key, change=asked.change or GENERATE)
        return None if wanted == done and not parts.ceremonies.hellos else wanted
    found = await _awaiting(parts, asked.request)
    if found is None and (done is None or done.request != asked.request):
        record = await parts.database.get(asked.request)
        if record is None:
            raise CallRefused(
                Code.UNKNOWN_REQUEST, f"there is no request {asked.request.hex()}: look at its id"
            )
        raise OperationalError(f"request {asked.request.hex()} is {record.state}, it waits for no ceremony")
    return found


async def _awaiting(parts: Parts, request: bytes) -> Purpose | None:
    """What a request waits for, once it has left the ceremony before."""
    for _ in range(round(AWAIT_S / PAUSE_S)):
        owed = {duty.effect for duty in await parts.database.duties() if duty.request == request}
        record = await parts.database.get(request)  # later: what was owed may be done meanwhile
        found = None if record is None else await cold_signing.purpose_of(parts, record)
        if found is not None or not owed & UNDER_WAY:
            return found
        await asyncio.sleep(PAUSE_S)
    raise OperationalError(f"request {request.hex()} has not left its last try: try again in a moment")


async def _go_on(parts: Parts) -> None:
    """What a start, or an error, may have left between what is kept and what is in the log."""
    current, state = parts.ceremonies.current, parts.sequencer.state
    if current is None or current.is_over:
        return
    if current.stage is Stage.RESERVING:
        await cold_signing.reserve(parts, current)
    elif cold_signing.is_signed(state, current):
        cold_signing.end_signed(state, current)
    elif cold_keys.is_made(state, current):
        await cold_keys.after_key(parts, current)
    elif current.is_due:
        await _advance(parts, current)
    current.is_due = False


async def _advance(parts: Parts, ceremony: Ceremony) -> None:
    """All answers of a pass are there."""
    refusals = ceremony.desk.refusals()
    if refusals and ceremony.stage is not Stage.SHREDDING:
        ceremony.end(Stage.FAILED, "; ".join(refusals))
        return
    cold_signing.keep_burns(parts, ceremony)
    match ceremony.stage:
        case Stage.CATCHING_UP:
            await _catch_up(parts, ceremony)
        case Stage.PRESIGNING:
            await cold_signing.finish(parts, ceremony)
        case Stage.SIGNING:
            await cold_signing.combine_partials(parts, ceremony)
        case Stage.MAKING_KEY:
            await cold_keys.log_key(parts, ceremony)
        case Stage.SHREDDING:
            await cold_keys.log_shreds(parts, ceremony)
        case _:
            raise InvariantError(f"no pass ends in a ceremony that is {ceremony.stage}")


async def _catch_up(parts: Parts, ceremony: Ceremony) -> None:
    """Bring the machines the log; in the pass that brings the last of it, begin."""
    if not await ship(parts, ceremony.desk):
        return
    if ceremony.wanted.change:
        cold_keys.begin_change(parts, ceremony)
        return
    await cold_signing.order(parts, ceremony)
    if ceremony.stage is Stage.RESERVING:
        await _keep(parts)
        await cold_signing.reserve(parts, ceremony)
