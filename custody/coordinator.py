"""A coordinator from its start to its end: catch up, then run every part until one of them fails."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from custody import (
    approvals,
    cold,
    deposits,
    enacting,
    payments,
    reorganisations,
    replacing,
    settle,
    trimming,
)
from custody.branches import ask_heads
from custody.burns import Burns
from custody.candidates import EMPTY, extend
from custody.config import FOR_EVER, RetentionConfig
from custody.duties import Errand, Handler
from custody.following import Followed
from custody.indicators import reading
from custody.lease import held, keep_lease, renewed
from custody.mail import Mailer
from custody.node_statements import NodeStatements
from custody.parts import Parts
from custody.ports import Held
from custody.publish import Publisher
from custody.replication import Published
from custody.requests import Effect
from custody.starting import Way, best_quorum, roster_to_ask_by, settle_on, take
from custody.webhooks import Deliverer
from policy.errors import InvariantError
from policy.log.merkle import leaf_hash
from policy.state import State

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
    Effect.REPLACE: replacing.replace,
}


async def start(parts: Parts, genesis: bytes, *, followed: Followed) -> None:
    """Ask the cosigners, go on with the right branch, and wire the parts; nothing is sent before.

    ``followed`` is what this process has read of the log already; it leads to the log's end afterwards.
    """
    async with renewed(parts.database, parts.now_ms):
        await _start(parts, genesis, followed)


async def _start(parts: Parts, genesis: bytes, own: Followed) -> None:
    await own.all()
    _, first = extend(EMPTY, genesis)
    if not first.outcome.accepted:
        raise InvariantError(f"the genesis file is no genesis entry: {first.outcome.reason}")
    if own.size and own.stored.leaf_at(0) != leaf_hash(genesis):
        raise InvariantError(f"the database is of another log of {own.tip.state.origin}: move it away")
    if own.size:
        roster = own.tip.state.roster
    else:
        roster = await roster_to_ask_by(parts, genesis, first=first.state.roster)
    branches = await ask_heads(parts.nodes, origin=first.state.origin, roster=roster)
    quorum = best_quorum(branches, await parts.database.quorum_note())
    await settle_on(parts, own, branches=branches, quorum=quorum)
    if own.size == 0:
        await _begin(parts, own, genesis)
    _wire(parts, own, quorum)
    await parts.pools.load(own.tip.state)
    await _load_places(parts, own.tip.state)
    await cold.load(parts)
    await deposits.look_at_doubt(parts)


async def run(
    parts: Parts,
    publisher: Publisher | None,
    *,
    deliverer: Deliverer | None = None,
    mailer: Mailer | None = None,
    kept: RetentionConfig = FOR_EVER,
    renewed_lease: Callable[[], None] = lambda: None,
) -> None:
    """Everything that goes on at once, until cancelled or until a part fails."""
    statements, burns = NodeStatements(), Burns()
    async with held(parts.database, parts.now_ms):
        await statements.hear(parts)  # before the first entry has a time
    burns.load(parts.sequencer.state)
    parts.sequencer.on_written.append(burns.written)
    async with asyncio.TaskGroup() as group:
        group.create_task(parts.sequencer.run(), name="sequencer")
        group.create_task(parts.sequencer.stored.run(), name="stored state")
        group.create_task(parts.replication.run(), name="replication")
        group.create_task(parts.signing.run(lambda: parts.replication.binding.note), name="signing")
        pools = parts.pools.run(lambda: parts.sequencer.state, lambda: parts.replication.quorum.size)
        group.create_task(pools, name="pools")
        group.create_task(parts.quarantine.run(), name="quarantine")
        group.create_task(parts.duties.run(), name="duties")
        group.create_task(burns.run(parts), name="burns")
        group.create_task(statements.run(parts), name="node statements")
        parts.sequencer.on_written.append(parts.indicators.written)
        group.create_task(reading.run(parts), name="indicators")
        group.create_task(keep_lease(parts.database, parts.now_ms, renewed=renewed_lease), name="lease")
        group.create_task(approvals.run(parts), name="approvals")
        group.create_task(enacting.run(parts), name="enacting")
        group.create_task(reorganisations.run(parts), name="reorganisations")
        if parts.shadow is not None:
            parts.shadow.start(parts.sequencer.state)
            parts.sequencer.on_written.append(parts.shadow.written)
            group.create_task(parts.shadow.run(), name="shadow")
        if deliverer is not None:
            parts.duties.on_changed.append(deliverer.changed)
            group.create_task(deliverer.run(parts.sequencer.state.origin), name="webhooks")
        if mailer is not None:
            parts.duties.on_changed.append(mailer.changed)
            group.create_task(mailer.run(), name="mail")
        if kept.events_days:
            group.create_task(
                trimming.run(parts, kept, queues=mailer.queues if mailer is not None else ()), name="trimming"
            )
        if publisher is not None:
            group.create_task(publisher.run(parts.replication), name="publisher")


async def _load_places(parts: Parts, state: State) -> None:
    held = []
    for slot, request in await parts.database.slots():
        record = await parts.database.get(request) if slot not in state.anchors else None
        if record is not None:
            held.append(Held(request, slot, record.tx))
    for chain in parts.chains.values():
        chain.load([one for one in held if one.slot.chain == chain.name], state)


async def _begin(parts: Parts, own: Followed, genesis: bytes) -> None:
    tip, folded = extend(EMPTY, genesis)
    note = parts.log_key.note(tip.checkpoint()).to_bytes()
    await take(parts, own, way=Way(0, tip, note, (folded,)))


def _wire(parts: Parts, own: Followed, quorum: Published) -> None:
    if own.tip.state.roster.log_key != parts.log_key.public_key:
        raise InvariantError("the log key's file is not the key in the roster: give the right file")
    handlers: dict[Effect, Handler] = {effect: partial(work, parts) for effect, work in EFFECTS.items()}
    parts.duties.use(handlers)
    parts.sequencer.on_written += [parts.signing.written, *(chain.written for chain in parts.chains.values())]
    parts.sequencer.on_applied.append(parts.duties.applied)
    parts.sequencer.start(own.tip, own.stored)
    parts.replication.start(Published(own.size, own.note), quorum, state=own.tip.state)
