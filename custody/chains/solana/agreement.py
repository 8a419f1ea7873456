"""What counts of the nodes of a Solana cluster:

account, such as one with a nonce
    what ``agree`` nodes say alike, but for its lamports, its tokens and a mint's supply, which others move:
    of these the most that ``agree`` nodes confirm
transaction
    a slot and an outcome that ``agree`` nodes give alike, as sure as they confirm it; a contradiction is an
    error until it has passed
priority fee
    the dearest that nodes which may lie cannot have raised
simulation
    shown only where ``agree`` nodes foresee the same
rent, and a transaction's bytes
    what ``agree`` nodes say alike

A signed transaction is handed to all of them: one that takes it is enough.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from custody.chains.agreement import GRACE_S, Agreement, Doubted, unheard
from custody.chains.solana.rpc import Account, Outcome, SolanaRpc, Status
from policy.errors import OperationalError
from policy.token_accounts import TOKEN_PROGRAM

_MOVING_AT: Final = {165: 64, 82: 36}
"""Where a token account has its amount, and a mint its supply, by the length of what is kept."""
_U64_BYTES: Final = 8


class SolanaNodes:
    """One node, or several that agree, by what they are called."""

    def __init__(
        self,
        name: str,
        nodes: Mapping[str, SolanaRpc],
        *,
        agree: int = 1,
        grace_s: float = GRACE_S,
        doubted: Doubted = unheard,
    ) -> None:
        self._ends = Agreement(name, nodes, agree=agree, grace_s=grace_s, doubted=doubted)

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._ends.name

    async def check(self) -> None:
        """Enough nodes are of the cluster."""
        await self._ends.ask("first block", lambda one: one.check())

    async def accounts(self, addresses: Sequence[str]) -> list[Account | None]:
        """What is at addresses, at most 100; None where nothing is."""
        return [self._account(address, told) for address, told in await self._told(addresses)]

    async def agreed_accounts(self, addresses: Sequence[str]) -> dict[str, Account | None]:
        """The same by address, without those on which nodes differ: somebody just moved it, or one lies."""
        found: dict[str, Account | None] = {}
        for address, told in await self._told(addresses):
            with contextlib.suppress(OperationalError):
                found[address] = self._account(address, told)
        return found

    async def _told(self, addresses: Sequence[str]) -> list[tuple[str, dict[str, Account | None]]]:
        """What each node says, by address."""
        found = await self._ends.ask(
            "list of accounts",
            lambda one: one.accounts(addresses),
            alike=_all_still,
        )
        by_place = ({name: told[at] for name, told in found.items()} for at in range(len(addresses)))
        return list(zip(addresses, by_place, strict=True))

    async def rent(self, size: int) -> int:
        """The lamports that an account with so many bytes has to have."""
        return await self._ends.agreed("rent", lambda one: one.rent(size))

    async def price(self, written: Sequence[str]) -> int:
        """What transactions that wrote these accounts paid lately; micro-lamports a compute unit."""
        found = await self._ends.ask("priority fee", lambda one: one.price(written))
        return self._ends.enough(found.values())

    async def status(self, signature: bytes) -> Status | None:
        """What became of a transaction; None while no slot has it."""
        agreed, alike = await self._ends.agreed_by(
            "transaction", lambda one: one.status(signature), key=lambda one: one and replace(one, sure=0)
        )
        if agreed is None:
            return None
        return replace(agreed, sure=self._ends.confirmed(one.sure for one in alike if one is not None))

    async def is_gone(self, signature: bytes, *, block: int) -> bool:
        """Whether enough nodes that have come to the slot ``block`` know of no slot with a transaction."""
        return await self._ends.agreed("transaction", lambda one: one.is_gone(signature, block=block))

    async def simulate(self, raw: bytes, addresses: Sequence[str]) -> Outcome:
        """What would come of a transaction whose signature is not looked at."""
        found = await self._ends.ask(
            "simulation",
            lambda one: one.simulate(raw, addresses),
            alike=lambda one: (one.reason, () if one.reason else _all_still(one.accounts)),
        )
        reason = self._ends.same("simulation", {name: one.reason for name, one in found.items()})
        slot = self._ends.confirmed(one.slot for one in found.values())
        accounts = [
            self._account(
                address, {name: one.accounts[at] for name, one in found.items() if one.reason == reason}
            )
            for at, address in enumerate(() if reason else addresses)
        ]
        return Outcome(slot, reason, tuple(accounts))

    async def uses(self, address: str) -> list[tuple[bytes, Status]]:
        """The newest transactions that name an account, newest first, each with what became of it."""
        answers = await self._ends.ask("history", lambda one: one.uses(address), alike=_landed)
        found = {name: dict(one).items() for name, one in answers.items()}  # one voice a node, however often
        told = {name: _landed(one) for name, one in found.items()}
        known = self._ends.known("transactions", told)
        statuses: dict[bytes, list[Status]] = {}
        for use, status in (pair for one in found.values() for pair in one):
            if (use, status.slot, status.success) in known:
                statuses.setdefault(use, []).append(status)
        newest = sorted(statuses.items(), key=lambda one: -one[1][0].slot)
        return [
            (use, replace(of[0], sure=self._ends.confirmed(one.sure for one in of))) for use, of in newest
        ]

    async def raw(self, signature: bytes) -> bytes:
        """A transaction as it was sent; empty if the nodes do not have it."""
        return await self._ends.agreed("transaction", lambda one: one.raw(signature))

    async def send(self, raw: bytes) -> None:
        """Hand a transaction to the cluster, which looks whether it can do it. Raises ``Refused``."""
        await self._ends.hand(lambda one: one.send(raw))

    def _account(self, address: str, told: Mapping[str, Account | None]) -> Account | None:
        still = {name: one and _still(one) for name, one in told.items()}
        agreed = self._ends.same(f"account {address}", still)
        if agreed is None:
            return None
        alike = [one for one in told.values() if one is not None and _still(one) == agreed]
        lamports = self._ends.confirmed(one.lamports for one in alike)
        return _moved(agreed, lamports, self._ends.confirmed(_moving(one) for one in alike))


def _landed(uses: Iterable[tuple[bytes, Status]]) -> frozenset[tuple[bytes, int, bool]]:
    return frozenset((use, status.slot, status.success) for use, status in uses)


def _place(account: Account) -> slice:
    at = _MOVING_AT.get(len(account.data), 0) if account.owner == TOKEN_PROGRAM else 0
    return slice(at, at + _U64_BYTES) if at else slice(0, 0)


def _moving(account: Account) -> int:
    return int.from_bytes(account.data[_place(account)], "little")


def _still(account: Account) -> Account:
    """An account without what others move."""
    return _moved(account, 0, 0)


def _all_still(accounts: Iterable[Account | None]) -> tuple[Account | None, ...]:
    return tuple(one and _still(one) for one in accounts)


def _moved(account: Account, lamports: int, moving: int) -> Account:
    data, place = bytearray(account.data), _place(account)
    data[place] = moving.to_bytes(place.stop - place.start, "little")
    return replace(account, lamports=lamports, data=bytes(data))
