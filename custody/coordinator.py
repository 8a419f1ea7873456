"""A coordinator from its start to its end: catch up, then run every part until one of them fails."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from custody import approvals, payments, settle
from custody.bans import Bans
from custody.branches import NOTE_BYTES_MAX, Branch, ask_heads, fetch, longest
from custody.burns import Burns
from custody.candidates import EMPTY, Folded, Tip, extend
from custody.duties import Errand, Handler
from custody.parts import Parts
from custody.projection import changes
from custody.publish import Publisher
from custody.replication import Published
from custody.requests import Effect
from policy.errors import InvariantError
from policy.log.checkpoint import parse_checkpoint, parse_note

_LOG = logging.getLogger(__name__)
Work = Callable[[Parts, Errand], Awaitable[None]]
EFFECTS: dict[Effect, Work] = {
    Effect.LOG: payments.log_request,
    Effect.PLAN: payments.plan,
    Effect.RESERVE: payments.reserve,
    Effect.SIGN: payments.sign,
    Effect.CANCEL: payments.cancel,
    Effect.BROADCAST: settle.broadcast,
    Effect.WATCH: settle.watch,
}


async def start(parts: Parts, genesis: bytes) -> None:
    """Ask the cosigners, go on with the longest branch, and wire the parts; nothing is sent before."""
    tip, note = await _own_log(parts)
    _, first = extend(EMPTY, genesis)
    if not first.outcome.accepted:
        raise InvariantError(f"the genesis file is no genesis entry: {first.outcome.reason}")
    if tip.state.size and tip.state.origin != first.state.origin:
        raise InvariantError(f"the database is of {tip.state.origin}, the genesis of {first.state.origin}")
    roster = tip.state.roster if tip.state.size else first.state.roster
    branches = await ask_heads(parts.nodes, origin=first.state.origin, roster=roster)
    await _check_branches(parts, branches, spare=roster.c - roster.w)
    best = longest(branches)
    if best is not None and best.checkpoint.size > tip.state.size:
        tip, note = await _catch_up(parts, tip, best)
    if tip.state.size == 0:
        tip, note = await _begin(parts, genesis)
    _wire(parts, tip, note, _best_quorum(branches, await parts.database.quorum_note()))
    await parts.pools.load(tip.state)
    parts.slots.load(await parts.database.slots(), tip.state)


async def run(parts: Parts, publisher: Publisher | None) -> None:
    """Everything that goes on at once, until cancelled or until a part fails."""
    burns = Burns()
    burns.load(parts.sequencer.state)
    parts.sequencer.on_written.append(burns.written)
    async with asyncio.TaskGroup() as group:
        group.create_task(parts.sequencer.run(), name="sequencer")
        group.create_task(parts.replication.run(), name="replication")
        group.create_task(parts.signing.run(lambda: parts.replication.quorum.note), name="signing")
        group.create_task(parts.pools.run(lambda: parts.sequencer.state), name="pools")
        group.create_task(parts.duties.run(), name="duties")
        group.create_task(burns.run(parts), name="burns")
        group.create_task(Bans().run(parts), name="bans")
        group.create_task(approvals.resume(parts), name="approvals")
        if publisher is not None:
            group.create_task(publisher.run(parts.replication), name="publisher")


async def _own_log(parts: Parts) -> tuple[Tip, bytes]:
    """What the database holds, folded and compared with its own newest checkpoint."""
    size, note = await parts.database.head()
    tip = EMPTY
    while tip.frontier.size < size:
        entries = await parts.database.entries(tip.frontier.size, size)
        if not entries:
            raise InvariantError(f"the database lacks entry {tip.frontier.size}: move it away, start anew")
        for entry in entries:
            tip, _ = extend(tip, entry)
    if size and tip.checkpoint() != parse_checkpoint(parse_note(note, NOTE_BYTES_MAX).body):
        raise InvariantError("the database's entries do not lead to its checkpoint: move it away, start anew")
    return tip, note


async def _check_branches(parts: Parts, branches: tuple[Branch, ...], *, spare: int) -> None:
    """Refuse to go on from a database whose log more cosigners contradict than can be done without."""
    others = []
    for branch in branches:
        size = branch.checkpoint.size
        ours = await parts.database.checkpoint_between(size - 1, size)
        if ours is None or ours[0] != size:
            continue
        if parse_checkpoint(parse_note(ours[1], NOTE_BYTES_MAX).body) != branch.checkpoint:
            others.append(branch.holder)
    if len(others) > spare:
        raise InvariantError(
            f"{', '.join(others)} cosigned another branch than this database holds: "
            "move the database away and start without one"
        )


async def _catch_up(parts: Parts, tip: Tip, best: Branch) -> tuple[Tip, bytes]:
    _LOG.info("fetching entries %d to %d of %s", tip.state.size, best.checkpoint.size, best.holder)
    start = tip.frontier.size
    tip, folded = await fetch(parts.nodes[best.holder], tip, branch=best)
    await _store(parts, start, folded, best.note)
    return tip, best.note


async def _begin(parts: Parts, genesis: bytes) -> tuple[Tip, bytes]:
    tip, folded = extend(EMPTY, genesis)
    note = parts.log_key.note(tip.checkpoint()).to_bytes()
    await _store(parts, 0, (folded,), note)
    return tip, note


async def _store(parts: Parts, start: int, folded: tuple[Folded, ...], note: bytes) -> None:
    await parts.database.append(
        start,
        [one.entry for one in folded],
        note=note,
        changes=[change for one in folded for change in changes(one)],
        now_ms=parts.now_ms(),
    )


def _wire(parts: Parts, tip: Tip, note: bytes, quorum: Published) -> None:
    if tip.state.roster.log_key != parts.log_key.public_key:
        raise InvariantError("the log key's file is not the key in the roster: give the right file")
    handlers: dict[Effect, Handler] = {effect: partial(work, parts) for effect, work in EFFECTS.items()}
    parts.duties.use(handlers)
    parts.sequencer.on_written += [parts.signing.written, parts.slots.written]
    parts.sequencer.on_applied.append(parts.duties.applied)
    parts.sequencer.start(tip)
    parts.replication.start(Published(tip.frontier.size, note), quorum, state=tip.state)


def _best_quorum(branches: tuple[Branch, ...], own: bytes) -> Published:
    notes = [note for note in (own, *(branch.quorum for branch in branches)) if note]
    known = [Published(parse_checkpoint(parse_note(note, NOTE_BYTES_MAX).body).size, note) for note in notes]
    return max(known, key=lambda one: one.size, default=Published(0, b""))
