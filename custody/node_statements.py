"""Bringing the nodes' own statements into the log: bans, and receipts for what they destroyed.

What the same document says of clock and disk goes to the vitals, and this coordinator's clock goes by theirs.

A node lists in its status document, signed, with whom it runs no more sessions on a key, so that nobody
reserves for signers who refuse one another, and which epochs it can open nothing of any more. Each is logged
once; what the log does not take in (a key that is not made yet) is offered again later.
"""

import asyncio
import logging
import time

from custody.candidates import Candidate
from custody.log_clock import STEP_MS
from custody.parts import Parts
from custody.ports import Node
from custody.vitals import STATUS_BYTES_MAX
from policy.encoding import Json, parse_canonical
from policy.entries import signature_list
from policy.errors import MalformedError, OperationalError, ProtocolError
from policy.fields import Fields
from policy.state import State

SWEEP_S, ANSWER_S = 2.0, 1.0
_LOG = logging.getLogger(__name__)


class NodeStatements:
    """Asks every connected cosigner for its statements, again and again."""

    def __init__(self) -> None:
        self._refused: dict[str, str] = {}

    async def run(self, parts: Parts) -> None:
        """Log what they state until cancelled."""
        while True:
            for name, status in (await self.hear(parts)).items():
                await self._take_in(parts, name, status)
            await asyncio.sleep(SWEEP_S)

    async def hear(self, parts: Parts) -> dict[str, bytes]:
        """Ask for their status documents, and set the clock by a quorum of them."""
        nodes = [node for node in parts.nodes.values() if node.boot]
        before_ms = parts.wall_ms() - _steady_ms()
        found = await asyncio.gather(*(self._ask(parts, node) for node in nodes))
        statuses = dict(filter(None, found))
        roster, known = parts.sequencer.state.roster, parts.vitals.known
        off_ms = [known[name].clock_off_ms for name in statuses if name in known and name in roster.cosigners]
        stepped_ms = (
            parts.wall_ms() - _steady_ms() - before_ms
        )  # their answers are beside the clock of before
        if len(off_ms) >= roster.w and abs(stepped_ms) <= STEP_MS:
            parts.hear_clocks(off_ms)
        return statuses

    async def _ask(self, parts: Parts, node: Node) -> tuple[str, bytes] | None:
        try:
            asked_ms = parts.wall_ms()
            async with asyncio.timeout(ANSWER_S):
                status = await node.status()
            parts.vitals.take_in(node.name, status, asked_ms=asked_ms, answered_ms=parts.wall_ms())
        except (OperationalError, ProtocolError, TimeoutError) as error:
            self._note(node.name, str(error) or f"no answer within {ANSWER_S} s")
            return None
        return node.name, status

    async def _take_in(self, parts: Parts, name: str, status: bytes) -> None:
        try:
            for candidate in unlogged(parts.sequencer.state, name, status=status):
                outcome = await parts.sequencer.log(candidate)
                self._note(name, "" if outcome.accepted else outcome.reason)
        except (OperationalError, ProtocolError) as error:
            self._note(name, str(error))

    def _note(self, name: str, refused: str) -> None:
        """Say a reason once, not at every sweep."""
        if refused and self._refused.get(name) != refused:
            _LOG.warning("a statement of %s is not logged: %s", name, refused)
        self._refused[name] = refused


def _steady_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def unlogged(state: State, name: str, *, status: bytes) -> list[Candidate]:
    """What a cosigner states in its status document and the log lacks.

    Raises ``MalformedError``. Whether a statement is signed the log decides.
    """
    document = parse_canonical(status, bytes_max=STATUS_BYTES_MAX)
    found = []
    for kind in ("ban", "shred"):
        listed = document.get(f"{kind}s", []) if isinstance(document, dict) else []
        if not isinstance(listed, list):
            raise MalformedError(f"{name} lists its {kind}s as {type(listed).__name__}")
        found += [_read(kind, Fields(item, kind)) for item in listed]
    return [Candidate(kind, body, proof) for kind, body, proof in found if _is_new(state, name, kind, body)]


def _is_new(state: State, name: str, kind: str, body: Json) -> bool:
    fields = Fields(body, kind)
    key, epoch, by = fields.name("key"), fields.integer("epoch"), fields.name("by")
    if by != name:
        return False
    if kind == "shred":
        return (key, epoch, by) not in state.shreds
    if key in state.keys and epoch < state.keys[key].epoch:
        return False  # a ban ends with its epoch; one that was never logged has nothing left to say
    return (key, epoch, by, fields.name("against")) not in state.bans


def _read(kind: str, fields: Fields) -> tuple[str, Json, dict[str, Json]]:
    body, signature = fields.raw("body"), fields.hex("signature", length=64)
    fields.done()
    by = Fields(body, f"{kind}.body").name("by")
    return kind, body, {"signatures": signature_list({by: signature})}
