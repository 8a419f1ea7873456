"""What an observer of chains states: deposits, those that are gone, and payments of ours that settled.

Rules: (1) nothing is stated from a log that does not hold; (2) accounts, assets and transactions of ours
follow from the log, all else from the observer's own endpoints: the coordinator's word about a chain counts
nothing; (3) what we paid ourselves is no deposit; (4) honest observers state the same bytes, so that their
signatures add up; (5) a statement is made again until it is in the log; (6) where the log has something else,
people are told, and the log keeps it.
"""

import logging
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from custody.chains.watching import Incoming, Wanted
from custody.observing.blocks import WAITING_MAX, Paid, Watched
from custody.observing.settling import Settling
from custody.risk.following import Follower
from custody.risk.stating import Observer
from policy.encoding import Json, document_hash, statement
from policy.errors import OperationalError
from policy.fact_entries import CONFIRMED, GONE, deposit_paid
from policy.state import Deposit, State
from policy.statements import is_own
from policy.stored.pages import DamagedState

T = TypeVar("T")
AT_ONCE: Final = 256
UNKNOWN: Final = Deposit(0, b"")
_LOG = logging.getLogger(__name__)


class Contradicted(OperationalError):
    """The log has something else than what was stated, by the word of f + 1 observers."""


class Door(Protocol):
    """Where a statement is handed in."""

    def state(self, kind: str, body: Json, *, signatures: Mapping[str, bytes]) -> bool:
        """Whether it is in the log, or waits for other observers.

        Raises ``OperationalError``, ``Contradicted`` for a deposit that the log has otherwise.
        """


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
        self.contradicted: set[bytes] = set()
        self._told: set[bytes] = set()
        self._looks = 0

    async def look(self) -> None:
        """One look at everything, kept in ``stated``. Raises ``OperationalError`` when part of it failed.

        ``contradicted`` are hashes of what chains pay by the blocks that were seen, and otherwise by the log.
        """
        self.stated, self.contradicted, failed = [], set(), list[OperationalError]()
        self._looks += 1
        self._read_log()
        for watched in self._chains:
            try:
                state = self._follower.state
                is_dust = partial(_is_dust, state, watched)
                await watched.look(_wanted(state, watched.chain.name), is_dust=is_dust)
                self._read_log()  # what we paid was in it before a block had it
                async for kind, body in self._due(watched):
                    self._state(kind, body, failed)
                watched.check_room()
            except DamagedState:
                raise
            except OperationalError as error:  # the other chains are looked at all the same
                failed.append(error)
        self._told &= self.contradicted
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
        except Contradicted as error:
            _LOG.error("%s", error)
        except OperationalError as error:
            failed.append(error)
            return
        self._told.add(document_hash(kind, body))

    async def _due(self, watched: Watched) -> AsyncIterator[tuple[str, dict[str, Json]]]:
        """What is to be stated of a chain now."""
        state, due = self._follower.state, dict[bytes, dict[str, Json]]()
        paid = watched.payments()
        for deposit, one in paid.items():
            known = state.deposits.get(deposit, UNKNOWN)
            if known.turns % 2 == 0 and (body := _body(state, watched, one, known=known)) is not None:
                due[deposit] = body
        _keep_names(state, watched, paid, due=due.keys())
        watched.forget(due.keys())
        for body in self._some(list(due.values())):
            yield "deposit", body
        otherwise = {document_hash("deposit", body): body for body in _otherwise(state, watched, paid)}
        self.contradicted |= otherwise.keys()
        for body in self._some([body for one, body in otherwise.items() if one not in self._told]):
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

        It is stated once other blocks of the same height are deep enough, and so is the one that has its
        transaction by now, if any has. What the log has not may still come into it by those who have not
        seen the reorganisation.
        """
        state, memory = self._follower.state, watched.memory
        for one, height in list(memory.lost.items()):
            deposit, next_height = watched.id_of(one), memory.next or 0
            again = paid.get(deposit)
            known = state.deposits.get(deposit, UNKNOWN)
            body = _body(state, watched, Paid(height, one), known=known)
            is_logged = body is not None and _is_logged(state, deposit, body)
            if (again and again.incoming == one) or (not is_logged and next_height > height + WAITING_MAX):
                del memory.lost[one]
            elif body is None and known.turns % 2:
                _LOG.error("%s is lost, and its account or asset is in the policy no more", deposit.hex())
            elif body is None or not is_logged or next_height <= height:
                continue
            elif again is not None or await _pays_no_more(watched, one):
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


async def _pays_no_more(watched: Watched, one: Incoming) -> bool:
    """Whether no block has a transaction, or one that is deep and in which it does not pay this.

    Unless it failed there that block is read once more: it may have been looked at for other addresses. A
    node that has no such block any more says nothing.
    """
    receipt = await watched.chain.receipt(one.tx)
    if receipt is None:
        return True
    is_deep = receipt.confirmations >= watched.confirmations
    if not is_deep or not receipt.success:
        return is_deep
    contracts = frozenset() if one.contract is None else frozenset({one.contract})
    block = await watched.chain.block(receipt.block, Wanted(frozenset({one.address}), contracts))
    return bool(block.hash) and one not in block.payments


def _wanted(state: State, chain: str) -> Wanted:
    addresses = frozenset(address for name, address in state.owned if name == chain)
    contracts = (asset.contract for asset in state.policy.assets.values() if asset.chain == chain)
    return Wanted(addresses, frozenset(one for one in contracts if one is not None))


def _is_dust(state: State, watched: Watched, one: Incoming) -> bool:
    """Whether it is less than the least deposit by now, and the log never had it."""
    asset = state.policy.asset_at(watched.chain.name, one.contract)
    return asset is not None and one.amount < asset.deposit_min and watched.id_of(one) not in state.deposits


def _keep_names(
    state: State, watched: Watched, paid: Mapping[bytes, Paid], *, due: Collection[bytes]
) -> None:
    """Remember wallet and asset of what the log has, or is to have, while the policy still names them."""
    memory = watched.memory
    remembered = {*paid, *map(watched.id_of, memory.lost)}
    memory.names = {deposit: names for deposit, names in memory.names.items() if deposit in remembered}
    for deposit, one in paid.items():
        is_logged = state.deposits.get(deposit, UNKNOWN).turns % 2 == 1
        if deposit in due or (is_logged and deposit not in memory.names):
            names = _names_now(state, watched, one.incoming)
            if names is not None:
                memory.names[deposit] = names


def _names_now(state: State, watched: Watched, one: Incoming) -> tuple[str, str] | None:
    """Wallet and asset by the policy in force."""
    wallet = state.owned.get((watched.chain.name, one.address))
    asset = state.policy.asset_at(watched.chain.name, one.contract)
    return None if wallet is None or asset is None else (wallet, asset.name)


def _otherwise(state: State, watched: Watched, paid: Mapping[bytes, Paid]) -> Iterator[dict[str, Json]]:
    """What blocks pay where the log has something else; what was lost is going to be stated gone."""
    lost = set(map(watched.id_of, watched.memory.lost))
    for deposit, one in paid.items():
        known = state.deposits.get(deposit, UNKNOWN)
        if known.turns % 2 == 0 or deposit in lost:
            continue
        names = _names(state, watched, one.incoming, known=known)
        if names is None or _paid(names, one.incoming) == known.paid:
            continue
        body = _body(state, watched, one, known=Deposit(known.turns - 1, known.paid))
        if body is not None:
            yield body


def _paid(names: tuple[str, str], one: Incoming) -> bytes:
    wallet, asset = names
    return deposit_paid(wallet, one.address, asset=asset, amount=str(one.amount))


def _names(state: State, watched: Watched, one: Incoming, *, known: Deposit) -> tuple[str, str] | None:
    """As the log has them of what it has, whatever the policy says by now; else by the policy."""
    kept = watched.memory.names.get(watched.id_of(one))
    if known.turns % 2 and kept is not None and _paid(kept, one) == known.paid:
        return kept
    return _names_now(state, watched, one)


def _is_logged(state: State, deposit: bytes, body: Mapping[str, Json]) -> bool:
    """Whether the log says of a deposit that it came, with what the statement says of it."""
    known = state.deposits.get(deposit)
    if known is None or known.turns % 2 == 0:
        return False
    wallet, address, asset, amount = (str(body[name]) for name in ("wallet", "address", "asset", "amount"))
    return known.paid == deposit_paid(wallet, address, asset=asset, amount=amount)


def _body(state: State, watched: Watched, one: Paid, *, known: Deposit) -> dict[str, Json] | None:
    """The statement; None for what is no deposit by the log: our own payments, dust, what is ours no more.

    What the log had before is no dust, whatever the least deposit is by now.
    """
    chain, incoming = watched.chain.name, one.incoming
    names = _names(state, watched, incoming, known=known)
    if names is None or any(is_own(state, slot) for slot in incoming.places):
        return None
    (wallet, asset), turn = names, known.turns
    is_small = turn % 2 == 0 and incoming.amount < state.policy.assets[asset].deposit_min
    if is_small and _paid(names, incoming) != known.paid:
        return None
    body: dict[str, Json] = {
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
    for slot in incoming.places[:1]:  # by its first one the log knows a transaction of ours, should we not
        body["uses"] = slot.to_json()
    return body
