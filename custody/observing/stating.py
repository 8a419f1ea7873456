"""What an observer of chains states: deposits, those that are gone, and payments of ours that settled.

Rules: (1) nothing is stated from a log that does not hold; (2) accounts, assets and transactions of ours
follow from the log, all else from the observer's own endpoints: the coordinator's word about a chain counts
nothing; (3) what we paid ourselves is no deposit; (4) honest observers state the same bytes, so that their
signatures add up; (5) a statement is made again until it is in the log.
"""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from custody.chains.watching import Wanted
from custody.observing.blocks import WAITING_MAX, Paid, Watched
from custody.observing.settling import Settling
from custody.risk.following import Follower
from custody.risk.stating import Observer
from policy.approval import Slot
from policy.encoding import Json, statement
from policy.errors import OperationalError
from policy.fact_entries import CONFIRMED, GONE, deposit_paid
from policy.state import State
from policy.stored.pages import DamagedState

T = TypeVar("T")
AT_ONCE: Final = 256
_LOG = logging.getLogger(__name__)


class Door(Protocol):
    """Where a statement is handed in."""

    def state(self, kind: str, body: Json, *, signatures: Mapping[str, bytes]) -> bool:
        """Whether it is in the log, or waits for other observers. Raises ``OperationalError``."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What was stated, and whether it is in the log."""

    kind: str
    body: Mapping[str, Json]
    logged: bool


class Stater:
    """Looks at the log and at chains, whenever it is told to. Its owner serialises the calls."""

    def __init__(
        self,
        follower: Follower,
        settling: Settling,
        *,
        observer: Observer,
        door: Door,
        chains: Sequence[Watched],
    ) -> None:
        self._follower, self._settling = follower, settling
        self._observer, self._door, self._chains = observer, door, tuple(chains)
        self.stated: list[Stated] = []
        self._looks = 0

    async def look(self) -> None:
        """One look at everything, kept in ``stated``. Raises ``OperationalError`` when part of it failed."""
        self.stated, failed = [], list[OperationalError]()
        self._looks += 1
        self._read_log()
        for watched in self._chains:
            try:
                await watched.look(_wanted(self._follower.state, watched.chain.name))
                self._read_log()  # what we paid was in it before a block had it
                async for kind, body in self._due(watched):
                    self._state(kind, body, failed)
                watched.check_room()
            except DamagedState:
                raise
            except OperationalError as error:  # the other chains are looked at all the same
                failed.append(error)
        if failed:
            raise OperationalError(f"{failed[0]} ({len(failed)} could not be done)") from failed[0]

    def _read_log(self) -> None:
        self._follower.advance()
        if not self._follower.holds:
            raise OperationalError("the log's newest checkpoint does not cover what was read: look again")
        if self._observer.name not in self._follower.state.roster.observers:
            raise OperationalError(f"the roster has no observer {self._observer.name}: have it enrolled")

    def _state(self, kind: str, body: dict[str, Json], failed: list[OperationalError]) -> None:
        mine = {self._observer.name: self._observer.sign(statement(kind, body))}
        try:
            self.stated.append(Stated(kind, body, self._door.state(kind, body, signatures=mine)))
        except OperationalError as error:
            failed.append(error)

    async def _due(self, watched: Watched) -> AsyncIterator[tuple[str, dict[str, Json]]]:
        """What is to be stated of a chain now."""
        state, due = self._follower.state, dict[bytes, dict[str, Json]]()
        paid = watched.payments()
        for deposit, one in paid.items():
            turns = _turns(state, deposit)
            if turns % 2 == 0 and (body := _body(state, watched, one, turn=turns)) is not None:
                due[deposit] = body
        watched.forget(due.keys())
        for body in self._some(list(due.values())):
            yield "deposit", body
        async for body in self._gone(watched, paid):
            yield "deposit", body
        async for body in self._settled(watched):
            yield "observation", body

    def _some(self, due: Sequence[T]) -> Sequence[T]:
        """As many as one look deals with; others at the next, so what nobody confirms holds up nothing."""
        start = self._looks * AT_ONCE % len(due) if len(due) > AT_ONCE else 0
        return (*due[start:], *due[:start])[:AT_ONCE]

    async def _gone(self, watched: Watched, paid: Mapping[bytes, Paid]) -> AsyncIterator[dict[str, Json]]:
        """What the log has and the chain has no more, or pays otherwise in another block.

        It is stated once other blocks of the same height are deep enough. What the log has not may still come
        into it by those who have not seen the reorganisation.
        """
        state, memory = self._follower.state, watched.memory
        for one, height in list(memory.lost.items()):
            deposit, next_height = watched.id_of(one), memory.next or 0
            again = paid.get(deposit)
            body = _body(state, watched, Paid(height, one), turn=_turns(state, deposit))
            is_logged = body is not None and _is_logged(state, deposit, body)
            if (again and again.incoming == one) or (not is_logged and next_height > height + WAITING_MAX):
                del memory.lost[one]
            elif body is None and _turns(state, deposit) % 2:
                _LOG.error("%s is lost, and its account or asset is in the policy no more", deposit.hex())
            elif body is None or not is_logged or next_height <= height:
                continue
            elif again is not None or await watched.chain.receipt(one.tx) is None:
                yield body

    async def _settled(self, watched: Watched) -> AsyncIterator[dict[str, Json]]:
        """Our own transactions that are deep enough."""
        chain = watched.chain
        for sent in self._some(self._settling.open(chain.name)):
            receipt = await chain.receipt(sent.tx)
            if receipt is not None and receipt.confirmations >= watched.confirmations:
                yield {
                    "origin": self._follower.state.origin,
                    "fact": "settled",
                    "request": sent.request.hex(),
                    "job": sent.job.hex(),
                    "tx_hash": sent.tx.hex(),
                    "block": receipt.block,
                    "success": receipt.success,
                }


def _wanted(state: State, chain: str) -> Wanted:
    addresses = frozenset(address for name, address in state.owned if name == chain)
    contracts = (asset.contract for asset in state.policy.assets.values() if asset.chain == chain)
    return Wanted(addresses, frozenset(one for one in contracts if one is not None))


def _turns(state: State, deposit: bytes) -> int:
    known = state.deposits.get(deposit)
    return known.turns if known is not None else 0


def _is_ours(state: State, slot: Slot) -> bool:
    """Whether what a transaction uses up is ours, by the log or, where accounts pay, by whose account it is.

    An account does not have to be in what a coordinator has shown of the log.
    """
    return slot in state.anchors or (slot.chain, slot.account) in state.owned


def _is_logged(state: State, deposit: bytes, body: Mapping[str, Json]) -> bool:
    """Whether the log says of a deposit that it came, with what the statement says of it."""
    known = state.deposits.get(deposit)
    if known is None or known.turns % 2 == 0:
        return False
    wallet, address, asset, amount = (str(body[name]) for name in ("wallet", "address", "asset", "amount"))
    return known.paid == deposit_paid(wallet, address, asset=asset, amount=amount)


def _body(state: State, watched: Watched, one: Paid, *, turn: int) -> dict[str, Json] | None:
    """The statement; None for what is no deposit by the log: our own payments, what is ours no more."""
    chain, incoming = watched.chain.name, one.incoming
    wallet = state.owned.get((chain, incoming.address))
    asset = next(
        (
            asset.name
            for asset in state.policy.assets.values()
            if (asset.chain, asset.contract) == (chain, incoming.contract)
        ),
        None,
    )
    if wallet is None or asset is None or any(_is_ours(state, slot) for slot in incoming.places):
        return None
    return {
        "origin": state.origin,
        "fact": GONE if turn % 2 else CONFIRMED,
        "chain": chain,
        "tx": incoming.tx.hex(),
        "index": incoming.index,
        "wallet": wallet,
        "address": incoming.address,
        "asset": asset,
        "amount": str(incoming.amount),
        "block": one.height,
        "turn": turn,
    }
