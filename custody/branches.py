"""What the cosigners hold of the log, and fetching it.

A coordinator that starts asks them first; ``starting.py`` chooses. Enough of them must answer (more than
c - w + f) that no head under w cosignatures is missed.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from custody.candidates import Folded, Tip, extend
from custody.ports import Head, Node
from policy.errors import InvariantError, MalformedError, OperationalError, ProtocolError
from policy.log.checkpoint import (
    CHECKPOINT_BYTES_MAX,
    Checkpoint,
    Note,
    parse_checkpoint,
    parse_note,
    verify_cosignatures,
    verify_log_signature,
)
from policy.roster import Roster

NOTE_BYTES_MAX = CHECKPOINT_BYTES_MAX + 64 * 1024
ASK_AGAIN_S, SETTLING_S = 0.3, 5.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Branch:
    """A head some cosigner holds: its checkpoint, and the note as the coordinator first signed it."""

    holder: str
    checkpoint: Checkpoint
    note: bytes
    quorum: bytes


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a cosigner shows, and whether it has entries that it shows no cosignature on."""

    branch: Branch | None
    behind: bool


def read_head(head: Head, *, origin: str, log_key: bytes) -> Checkpoint:
    """The checkpoint in a head's note, signed by the log's key for this origin.

    A cosigner that has just started may have folded more of the log than it has cosigned yet.
    """
    note = parse_note(head.note, NOTE_BYTES_MAX)
    verify_log_signature(note, origin, public_key=log_key)
    checkpoint = parse_checkpoint(note.body)
    if checkpoint.origin != origin or checkpoint.size > head.size:
        raise MalformedError(
            f"a head of size {head.size} with a note of {checkpoint.origin} {checkpoint.size}"
        )
    return checkpoint


def read_branch(name: str, head: Head, *, origin: str, roster: Roster) -> Branch | None:
    """What cosigner ``name`` has cosigned, verified; None for nothing yet. Raises ``ProtocolError``."""
    if not head.note:
        return None
    checkpoint = read_head(head, origin=origin, log_key=roster.log_key)
    note = parse_note(head.note, NOTE_BYTES_MAX)
    if name not in verify_cosignatures(note, {name: roster.cosigners[name].key}):
        raise MalformedError(f"{name} names a head it did not cosign")
    quorum = head.quorum if head.quorum and _has_quorum(head.quorum, roster) else b""
    return Branch(name, checkpoint, _log_line_only(note, origin), quorum)


async def ask_heads(
    nodes: Mapping[str, Node], *, origin: str, roster: Roster, settling_s: float = SETTLING_S
) -> tuple[Branch, ...]:
    """Ask until more than c - w + f cosigners have answered; what they hold.

    One with more entries than it shows a cosignature on may have lost its note of that with its process, and
    cosigns anew once it has compared heads. Such are asked again, for a moment: some never do.
    """
    cosigners = [name for name in nodes if name in roster.cosigners]
    answers: dict[str, _Answer] = {}
    told: dict[str, str] = {}
    until = time.monotonic() + settling_s
    while True:
        enough = len(answers) >= roster.leave_count
        asked = [name for name in cosigners if (answers[name].behind if name in answers else not enough)]
        if enough and (not asked or time.monotonic() >= until):
            return tuple(one.branch for one in answers.values() if one.branch is not None)
        replies = await asyncio.gather(*(_ask(nodes[name], origin, roster, told=told) for name in asked))
        answers.update({name: reply for name, reply in zip(asked, replies, strict=True) if reply})
        if len(answers) < roster.leave_count:
            _tell(told, "", f"{len(answers)} of {roster.leave_count} cosigners answered, waiting")
        if len(answers) < roster.leave_count or any(one.behind for one in answers.values()):
            await asyncio.sleep(ASK_AGAIN_S)


async def fetch(node: Node, tip: Tip, *, branch: Branch) -> tuple[Tip, tuple[Folded, ...]]:
    """The entries of ``branch`` beyond ``tip``, folded and compared with its checkpoint."""
    folded: list[Folded] = []
    while tip.frontier.size < branch.checkpoint.size:
        entries = await node.entries(tip.frontier.size, branch.checkpoint.size)
        if not entries:
            raise OperationalError(f"{node.name} has no entry {tip.frontier.size} of its own head: restart")
        for entry in entries:
            tip, one = extend(tip, entry)
            folded.append(one)
    found = (tip.frontier.root(), tip.state.digest)
    if found != (branch.checkpoint.root, branch.checkpoint.state):
        raise InvariantError(
            f"the entries of {node.name} up to {branch.checkpoint.size} do not lead to the head it cosigned "
            f"({branch.checkpoint.root.hex()}), but to {found[0].hex()}"
        )
    return tip, tuple(folded)


def _tell(told: dict[str, str], about: str, said: str) -> None:
    """Once for each thing that is new: a start may wait for days, and asks three times a second."""
    if told.get(about) != said:
        told[about] = said
        _LOG.warning("%s", said)


async def _ask(node: Node, origin: str, roster: Roster, *, told: dict[str, str]) -> _Answer | None:
    """What a node holds; None when it gave no usable answer."""
    try:
        head = await node.head()
        branch = read_branch(node.name, head, origin=origin, roster=roster)
    except (OperationalError, ProtocolError) as error:
        _tell(told, node.name, f"{node.name} gives no head: {error}")
        return None
    return _Answer(branch, behind=head.size > (branch.checkpoint.size if branch else 0))


def _has_quorum(note: bytes, roster: Roster) -> bool:
    try:
        keys = roster.cosigner_keys()
        return len(verify_cosignatures(parse_note(note, NOTE_BYTES_MAX), keys)) >= roster.w
    except ProtocolError:
        return False


def _log_line_only(note: Note, origin: str) -> bytes:
    lines = tuple(line for line in note.signatures if line.name == origin)
    return Note(note.body, lines).to_bytes()
