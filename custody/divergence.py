"""Bringing back a cosigner that is on another branch of the log, below quorum.

It leaves its branch on the statements of more than c - w + f others that they never cosign its first entry
above the last quorum head it knows. This coordinator collects them; it can force nobody: whoever was on
that branch does not state it, and the cosigner counts by itself. When too few can, people decide.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from custody.branches import NOTE_BYTES_MAX
from custody.ports import Head, Node
from custody.storage import Database
from policy.encoding import Json, canonical
from policy.errors import OperationalError, ProtocolError
from policy.log.checkpoint import parse_checkpoint, parse_note
from policy.log.merkle import frontier_at, leaf_hash, leaf_reader
from policy.roster import Roster, verify_statement

_LOG = logging.getLogger(__name__)


class Diverged(ProtocolError):
    """A cosigner is on another branch of the log and cannot be brought back from here."""


@dataclass(frozen=True, slots=True)
class Others:
    """Who may state that a branch is dead: ``nodes`` are the cosigners known to follow our log."""

    nodes: Mapping[str, Node]
    origin: str
    roster: Roster


async def first_difference(node: Node, database: Database, *, shorter: int) -> int:
    """The index of the first entry that differs from ours among the first ``shorter``; that if none does.

    Asks for single entries, by halves: each continuation of a log is told apart by all that follow.
    """
    low, high = 0, shorter
    while low < high:
        middle = (low + high) // 2
        ours = await database.entries(middle, middle + 1)
        if await node.entries(middle, middle + 1) == ours:
            low = middle + 1
        else:
            high = middle
    return low


async def bring_back(node: Node, head: Head, *, database: Database, others: Others, differs: int) -> int:
    """Have ``node`` leave its branch; the size it goes on from. Raises ``Diverged`` when it cannot.

    ``differs`` is the index of its first entry that is not ours.
    """
    needed, able = others.roster.leave_count, [name for name in others.nodes if name != node.name]
    if len(able) < needed:  # a statement is for ever: nobody is asked for one that would not do
        raise Diverged(_too_few(node, differs, f"{len(able)} of {needed} cosigners follow this log"))
    size = await last_quorum(node, head, database=database, differs=differs)
    entry = await node.entries(size, size + 1)
    if not entry:
        raise OperationalError(f"{node.name} does not show entry {size} of its branch: asked again")
    root = await _root_at(database, size)
    statements = await _collect(node.name, others, _branch(size, root, leaf_hash(entry[0])))
    if len(statements) < needed:
        stated = f"{len(statements)} of {needed} cosigners state that they never cosign its entry {size}"
        raise Diverged(_too_few(node, differs, stated))
    await node.leave(tuple(statements[name] for name in sorted(statements)))
    _LOG.warning("%s left its branch of %d entries and goes on from %d", node.name, head.size, size)
    return size


def _too_few(node: Node, differs: int, count: str) -> str:
    return (
        f"{node.name} is on another branch from entry {differs} on, and {count}: "
        "needs the administrators' fork entry"
    )


async def last_quorum(node: Node, head: Head, *, database: Database, differs: int) -> int:
    """The size of the last quorum head it knows, after telling it of our newest on the common part."""
    theirs = parse_checkpoint(parse_note(head.quorum, NOTE_BYTES_MAX).body).size if head.quorum else 1
    if theirs > differs:
        raise Diverged(
            f"{node.name} knows a quorum over {theirs} entries that this log contradicts from {differs} on: "
            "keep both notes, find out who cosigned both, and enrol anew"
        )
    ours = await database.quorum_between(theirs, differs)
    if ours is None:
        return theirs
    await node.quorum(ours[1])
    return ours[0]


async def _collect(name: str, others: Others, branch: Mapping[str, Json]) -> dict[str, bytes]:
    """The statements of everybody else, verified, by name; silence and refusals are none."""
    asked = [other for other in others.nodes if other != name and other in others.roster.cosigners]
    answers = await asyncio.gather(*(_ask(others, other, branch) for other in asked))
    return {other: answer for other, answer in zip(asked, answers, strict=True) if answer}


async def _ask(others: Others, name: str, branch: Mapping[str, Json]) -> bytes:
    body: Json = {**branch, "origin": others.origin, "cosigner": name}
    try:
        signature = await others.nodes[name].abandon(canonical(body))
        key = others.roster.cosigners[name].key
        verify_statement("abandon", body, key=key, signature=signature, signer=name)
    except (OperationalError, ProtocolError) as error:
        _LOG.info("%s does not abandon entry %s: %s", name, branch["q_size"], error)
        return b""
    return canonical({"body": body, "signature": signature.hex()})


def _branch(size: int, root: bytes, entry: bytes) -> dict[str, Json]:
    return {"q_size": size, "q_root": root.hex(), "entry": entry.hex()}


async def _root_at(database: Database, size: int) -> bytes:
    """The root of our first ``size`` entries: read anew, as this is rare."""
    leaves: list[bytes] = []
    while len(leaves) < size:
        found = await database.entries(len(leaves), size)
        if not found:
            raise OperationalError(f"the database lacks entry {len(leaves)}: move it away, start anew")
        leaves += [leaf_hash(entry) for entry in found]
    return frontier_at(leaf_reader(leaves), size).root()
