"""Which nonce accounts of a wallet are free. A request has one, at one value, for as long as it is open.

The cluster takes one transaction for each value of a nonce account. A value that is an anchor of the log is
its request's for ever, so an answer that is older than the newest payment gives it to nobody else.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from custody.chains.solana.rpc import Account
from custody.chains.solana.transaction import NONCE_BYTES, Nonce
from custody.ports import Held
from policy import base58
from policy.approval import Slot
from policy.decode.solana import SYSTEM_PROGRAM
from policy.errors import OperationalError
from policy.state import State

_INITIALIZED = b"\x01\x00\x00\x00" * 2
"""A nonce account of the version in use, whose authority is set."""


def read_nonce(address: str, account: Account | None) -> Nonce | None:
    """The nonce that an account keeps; None where it keeps none."""
    if account is None or account.owner != SYSTEM_PROGRAM or len(account.data) != NONCE_BYTES:
        return None
    if account.data[:8] != _INITIALIZED:
        return None
    return Nonce(account.data[8:40], base58.decode(address), account.data[40:72])


def nonces_of(authority: bytes, accounts: Mapping[str, Account | None]) -> list[Nonce]:
    """Those of a wallet's key among accounts as the cluster has them, by address."""
    nonces = (read_nonce(address, account) for address, account in accounts.items())
    return [one for one in nonces if one is not None and one.authority == authority]


class Nonces:
    """What requests hold on one chain, from the log and from what was planned."""

    def __init__(self, chain: str) -> None:
        self._chain = chain
        self._held: dict[bytes, Slot] = {}

    def load(self, held: Iterable[Held], state: State) -> None:
        """Take up what was planned before a start, and what open requests have in the log."""
        self._held = {one.request: one.slot for one in held if one.slot not in state.anchors}
        for slot in state.anchors:
            if slot.chain == self._chain and not state.requests[request := state.anchors[slot]].closed:
                self.hold(request, slot)

    def hold(self, request: bytes, slot: Slot) -> None:
        """A request has this place."""
        self._held[request] = slot

    def release(self, request: bytes) -> None:
        """It has it no more."""
        self._held.pop(request, None)

    def holds(self, request: bytes) -> bool:
        """Whether a request has a place."""
        return request in self._held

    def check_sure(self, request: bytes, *, in_doubt: Collection[str]) -> None:
        """That the account which a request has is none on which nodes differ: people sign for this one.

        Raises ``OperationalError``.
        """
        mine = self._held.get(request)
        if mine is not None and mine.account in in_doubt:
            raise OperationalError(
                f"nodes do not agree on the nonce account {mine.account}, which the request has: it waits "
                "until they do; look at the one that stands alone"
            )

    def take(self, request: bytes, nonces: Sequence[Nonce], *, state: State, waits: bool) -> Nonce:
        """The nonce of a request: the one it has, or a free one, held from now on.

        One that waits for people leaves the last account to those that do not. Raises ``OperationalError``.
        """
        by_slot = {one.slot(self._chain): one for one in nonces}
        mine = self._held.get(request)
        if mine in by_slot:
            return by_slot[mine]
        known = state.requests.get(request)
        if mine is not None and known is not None and known.anchor is not None:
            raise OperationalError(f"nonce account {mine.account} has another value than the request's now")
        free = self._free(by_slot, state)
        planned = sum(
            slot.account in {one.account for one in by_slot} for slot in self._planned(state, request)
        )
        if not free or (waits and len(by_slot) > 1 and planned >= len(by_slot) - 1):
            raise OperationalError(_none_free(len(by_slot), waits=waits and bool(free)))
        self.hold(request, free[0])
        return by_slot[free[0]]

    def _free(self, slots: Iterable[Slot], state: State) -> list[Slot]:
        taken = set(self._held.values())
        return [slot for slot in slots if slot not in taken and slot not in state.anchors]

    def _planned(self, state: State, request: bytes) -> list[Slot]:
        """What others hold that no transaction of the log names yet."""
        return [slot for one, slot in self._held.items() if one != request and slot not in state.anchors]


def _none_free(count: int, *, waits: bool) -> str:
    if not count:
        return "the wallet has no nonce account: make some by quorumkeep solana-nonce, and configure them"
    if waits:
        return f"all of the wallet's {count} nonce accounts but one wait for people: make more, or approve"
    return (
        f"all {count} nonce accounts of the wallet are in use: wait, or make more by quorumkeep solana-nonce"
    )
