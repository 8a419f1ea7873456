"""What each signer node itself finds in a request's bytes: asked of the nodes, handed on as they signed it.

Nothing is judged here: the page checks every signature, and compares what was signed.
"""

import asyncio
from dataclasses import dataclass
from typing import Final

from custody.parts import Parts
from custody.planning import key_of, planned_body
from custody.records import RequestRecord, request_body
from policy.encoding import canonical
from policy.errors import OperationalError, ProtocolError
from policy.intent import parse_request

KEPT_MS: Final = 1000
KEPT_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class NodeReading:
    """One node's word, or why there is none; ``key`` is its identity by the roster."""

    node: str
    key: str
    body: str = ""
    signature: str = ""
    problem: str = ""
    cold: bool = False


class Readings:
    """Asks the nodes; whoever looks within a second of somebody else is shown the same answers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._kept: dict[bytes, tuple[int, asyncio.Task[list[NodeReading]]]] = {}

    async def of(self, record: RequestRecord) -> list[NodeReading]:
        """Of every node that has a share of the wallet's key. Raises ``OperationalError`` without a plan."""
        now = self._parts.now_ms()
        self._kept = {one: kept for one, kept in self._kept.items() if kept[0] + KEPT_MS > now}
        if record.request not in self._kept:
            if len(self._kept) >= KEPT_MAX:
                raise OperationalError("the nodes are being asked about many requests: ask again")
            self._kept[record.request] = now, asyncio.create_task(_ask_all(self._parts, record))
        return await asyncio.shield(self._kept[record.request][1])


async def _ask_all(parts: Parts, record: RequestRecord) -> list[NodeReading]:
    state, wallet = parts.sequencer.state, parse_request(request_body(record)).intent.wallet
    if not record.tx:
        raise OperationalError("no transaction is built yet: there is nothing to read")
    reservation = canonical(planned_body(state, record, wallet=wallet))
    names = key_of(state, wallet).participants
    return list(await asyncio.gather(*(_ask(parts, name, reservation) for name in names)))


async def _ask(parts: Parts, name: str, reservation: bytes) -> NodeReading:
    roster = parts.sequencer.state.roster
    key = roster.share_keys().get(name, b"").hex()
    if name in roster.cold:
        return NodeReading(name, key, cold=True)
    if name not in parts.nodes:
        return NodeReading(name, key, problem="the coordinator's configuration does not say where it is")
    try:
        body, signature = await parts.nodes[name].read(reservation)
        return NodeReading(name, key, body.decode(), signature.hex())
    except (OperationalError, ProtocolError, UnicodeDecodeError) as error:
        return NodeReading(name, key, problem=str(error))
