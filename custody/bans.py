"""Bringing the nodes' bans into the log, so that nobody reserves for signers who refuse one another.

A node lists in its status document, signed, with whom it runs no more sessions on a key. Each is logged
once; what the log does not take in (a key that is not made yet) is offered again later.
"""

import asyncio
import logging

from custody.candidates import Candidate
from custody.parts import Parts
from custody.ports import Node
from policy.encoding import Json, parse_canonical
from policy.entries import signature_list
from policy.errors import MalformedError, OperationalError, ProtocolError
from policy.fields import Fields
from policy.state import State

STATUS_BYTES_MAX = 1024 * 1024
SWEEP_S = 2.0
_LOG = logging.getLogger(__name__)


class Bans:
    """Asks every connected cosigner for its bans, again and again."""

    def __init__(self) -> None:
        self._refused: dict[str, str] = {}

    async def run(self, parts: Parts) -> None:
        """Log bans until cancelled."""
        while True:
            nodes = [node for node in parts.nodes.values() if node.boot]
            await asyncio.gather(*(self._take_in(parts, node) for node in nodes))
            await asyncio.sleep(SWEEP_S)

    async def _take_in(self, parts: Parts, node: Node) -> None:
        try:
            for candidate in unlogged(parts.sequencer.state, node.name, status=await node.status()):
                outcome = await parts.sequencer.log(candidate)
                self._note(node.name, "" if outcome.accepted else outcome.reason)
        except (OperationalError, ProtocolError) as error:
            self._note(node.name, str(error))

    def _note(self, name: str, refused: str) -> None:
        """Say a reason once, not at every sweep."""
        if refused and self._refused.get(name) != refused:
            _LOG.warning("a ban of %s is not logged: %s", name, refused)
        self._refused[name] = refused


def unlogged(state: State, name: str, *, status: bytes) -> list[Candidate]:
    """The bans in a cosigner's status document that it gave and the log lacks.

    Raises ``MalformedError``. Whether one is signed the log decides.
    """
    document = parse_canonical(status, bytes_max=STATUS_BYTES_MAX)
    bans = document.get("bans", []) if isinstance(document, dict) else []
    if not isinstance(bans, list):
        raise MalformedError(f"{name} lists its bans as {type(bans).__name__}")
    read = [_read(Fields(ban, "ban")) for ban in bans]
    return [Candidate("ban", body, proof) for ban, body, proof in read if _is_new(state, name, ban)]


def _is_new(state: State, name: str, ban: tuple[str, int, str, str]) -> bool:
    return ban[2] == name and ban not in state.bans


def _read(fields: Fields) -> tuple[tuple[str, int, str, str], Json, dict[str, Json]]:
    body, signature = fields.raw("body"), fields.hex("signature", length=64)
    fields.done()
    inner = Fields(body, "ban.body")
    ban = (inner.name("key"), inner.integer("epoch"), inner.name("by"), inner.name("against"))
    return ban, body, {"signatures": signature_list({ban[2]: signature})}
