"""Which log a coordinator goes on with when it starts: its own, or a branch that cosigners hold.

Rules: (1) a branch that contains the highest head with w cosignatures comes before every other; (2) of
those the longest that anybody cosigned; (3) the own log is kept where that is a part of it, continued
where it is a part of that, and else set aside: what nobody cosigned binds nobody.
"""

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from custody.branches import ASK_AGAIN_S, Branch, fetch
from custody.candidates import EMPTY, Folded, Tip, extend
from custody.following import Followed, checkpoint_of
from custody.parts import Parts
from custody.ports import Node
from custody.projection import changes
from custody.replication import Published
from policy.errors import InvariantError, OperationalError, ProtocolError
from policy.log.checkpoint import Checkpoint
from policy.log.merkle import leaf_hash
from policy.roster import Roster

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Way:
    """How to get to a branch: ``folded`` follows entry ``start``; nothing where the own log has it all."""

    start: int
    tip: Tip
    note: bytes
    folded: tuple[Folded, ...]


async def roster_to_ask_by(parts: Parts, genesis: bytes, *, first: Roster) -> Roster:
    """Who is asked where there is no own log: the genesis entry's cosigners, unless too few of them are left.

    Then those of the longest log that any cosigner shows. It is folded, so whoever is in its roster was let
    in by those before. Asks until somebody answers.
    """
    while len(set(first.cosigners) & set(parts.nodes)) < first.leave_count:
        logs = await asyncio.gather(*(_shown(node, genesis) for node in parts.nodes.values()))
        longest = max((tip.state for tip in logs), key=lambda state: state.size)
        if longest.size:
            return longest.roster
        _LOG.warning("too few of the genesis entry's cosigners are left, and no other shows a log: waiting")
        await asyncio.sleep(ASK_AGAIN_S)
    return first


async def _shown(node: Node, genesis: bytes) -> Tip:
    """The log that a cosigner shows, folded; what there is of it when it stops answering."""
    tip = EMPTY
    with contextlib.suppress(OperationalError, ProtocolError):
        size = (await node.head()).size
        while tip.frontier.size < size:
            entries = await node.entries(tip.frontier.size, size)
            if not entries or (not tip.frontier.size and entries[0] != genesis):
                break
            for entry in entries:
                tip, _ = extend(tip, entry)
    return tip


async def settle_on(parts: Parts, own: Followed, *, branches: Sequence[Branch], quorum: Published) -> None:
    """Have ``own`` go on with the right branch, durably."""
    way = await _choose(parts.nodes, own, branches, quorum=quorum)
    if way.folded:  # entries that this database never had: nor need it have the addresses of that time
        await parts.feeds.doubt_addresses(parts.now_ms())
    if way.start == 0 < own.size and way.folded:
        _LOG.warning("setting aside %d entries of a branch that is not the cosigners'", own.size)
        await parts.database.set_aside_log(parts.now_ms())
    if way.start == own.size and way.folded:
        _LOG.warning(
            "the database is older than the log: it has %d entries, cosigners have %d (an old backup, a "
            "standby that was behind, or none): what is missing of it is fetched",
            own.size,
            way.tip.state.size,
        )
    if way.folded:
        _LOG.info("fetched entries %d to %d", way.start, way.tip.state.size)
        await take(parts, own, way=way)


async def take(parts: Parts, own: Followed, *, way: Way) -> None:
    """Make entries and what they say of requests durable, and ``own`` lead to their end."""
    await parts.database.append(
        way.start,
        [one.entry for one in way.folded],
        note=way.note,
        changes=[change for one in way.folded for change in changes(one)],
        now_ms=parts.now_ms(),
    )
    own.taken(way.start, way.folded, tip=way.tip, note=way.note)


def best_quorum(branches: Iterable[Branch], own: bytes) -> Published:
    """The highest note with w cosignatures that the cosigners or this database know."""
    notes = [note for note in (own, *(branch.quorum for branch in branches)) if note]
    known = [Published(checkpoint_of(note).size, note) for note in notes]
    best = max(known, key=lambda one: one.size, default=Published(0, b""))
    roots = {checkpoint_of(one.note).root for one in known if one.size == best.size}
    if len(roots) > 1:
        raise InvariantError(f"two heads of {best.size} entries have w cosignatures: read the evidence")
    return best


async def _choose(
    nodes: Mapping[str, Node], own: Followed, branches: Sequence[Branch], *, quorum: Published
) -> Way:
    keep = Way(own.size, own.tip, own.note, ())
    ordered = sorted(branches, key=lambda b: (-b.checkpoint.size, not _covers(own, b.checkpoint), b.holder))
    for branch in ordered:
        try:
            way = keep if _covers(own, branch.checkpoint) else await _way(nodes[branch.holder], own, branch)
        except (OperationalError, ProtocolError, InvariantError) as error:
            _LOG.warning("the branch of %s cannot be followed: %s", branch.holder, error)
            continue
        if _contains(own, way, quorum):
            return way
    if not branches or (quorum.size and _contains(own, keep, quorum)):
        return keep
    raise OperationalError(
        f"nobody who answers shows a log with the head of {quorum.size} entries that a quorum cosigned: "
        "start more cosigners"
    )


async def _way(node: Node, own: Followed, branch: Branch) -> Way:
    """The entries to ``branch``: after the own log where it is a part of that, and all of them otherwise."""
    if branch.checkpoint.size > own.size > 0:
        try:
            tip, folded = await fetch(node, own.tip, branch=branch)
            return Way(own.size, tip, branch.note, folded)
        except InvariantError as error:
            _LOG.info("the own log is no part of the branch of %s: %s", node.name, error)
    tip, folded = await fetch(node, EMPTY, branch=branch)
    return Way(0, tip, branch.note, folded)


def _covers(own: Followed, head: Checkpoint) -> bool:
    return head.size <= own.size and own.frontier_at(head.size).root() == head.root


def _contains(own: Followed, way: Way, quorum: Published) -> bool:
    """Whether the log at the end of ``way`` has the quorum's head in it."""
    more = quorum.size - way.start
    if more > len(way.folded):
        return False
    frontier = own.frontier_at(min(quorum.size, way.start))
    frontier = frontier.extend(leaf_hash(one.entry) for one in way.folded[: max(more, 0)])
    return not quorum.size or frontier.root() == checkpoint_of(quorum.note).root
