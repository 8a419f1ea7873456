"""Which nonces of an account are free. A slot is taken by the reservation itself, inside the batch that
logs it, so that a request the log denies leaves no gap; one that waits for approvals, which sign the
slot, holds a planned one before.
"""

from collections.abc import Iterable

from custody.ports import Wanted
from policy.accounts import Account
from policy.approval import Slot
from policy.errors import OperationalError
from policy.state import State


class Slots:
    """Planned slots, and where to look for the next free one. The log's anchors are asked each time."""

    def __init__(self) -> None:
        self._planned: dict[Slot, bytes] = {}
        self._next: dict[tuple[str, str], int] = {}
        self._highest: dict[tuple[str, str], int] = {}

    def load(self, planned: Iterable[tuple[Slot, bytes]], state: State, *, chain: str) -> None:
        """Take up what was planned before a restart and is not an anchor of the log."""
        self._planned = {slot: request for slot, request in planned if slot not in state.anchors}
        for slot in (*state.anchors, *self._planned):
            if slot.chain == chain:
                self.see(slot)

    def gaps(self, state: State, chain: str) -> frozenset[str]:
        """Accounts on which later slots wait for one that nobody has: the next request should take it."""
        return frozenset(
            account
            for (of_chain, account), highest in self._highest.items()
            if of_chain == chain and self.knows(chain, account)
            if self.first_free(state, chain=chain, account=account) < highest
        )

    def unknown(self, chain: str) -> list[str]:
        """Accounts with slots of before a restart for which ``start`` was not called yet."""
        return [
            account
            for of_chain, account in self._highest
            if of_chain == chain and not self.knows(chain, account)
        ]

    def knows(self, chain: str, account: str) -> bool:
        """Whether ``start`` was called for the account."""
        return (chain, account) in self._next

    def start(self, chain: str, account: str, *, nonce: int) -> None:
        """The account's next nonce on its chain, as mined.

        Raises ``OperationalError`` for one beyond what the log can have come to: payments at it would wait
        for others that nobody makes.
        """
        highest = self._highest.get((chain, account), nonce)
        if nonce > highest + 1:
            raise OperationalError(
                f"{chain} says that {account} has made {nonce} transactions, the log knows of {highest + 1}: "
                "its endpoint is wrong, or somebody else pays from there"
            )
        self._next.setdefault((chain, account), nonce)

    def first_free(self, state: State, *, chain: str, account: str) -> int:
        """The lowest nonce that is neither mined, an anchor, nor planned."""
        nonce = self._next[chain, account]
        while (slot := Slot(chain, account, nonce)) in state.anchors or slot in self._planned:
            nonce += 1
            if nonce == self._next[chain, account] + 1 and slot in state.anchors:
                self._next[chain, account] = nonce  # an anchor is for ever
        return nonce

    def plan(self, state: State, *, chain: str, account: str, request: bytes) -> Slot:
        """The request's planned slot: the one it has, or the first free one."""
        for slot, holder in self._planned.items():
            if holder == request:
                return slot
        slot = Slot(chain, account, self.first_free(state, chain=chain, account=account))
        self._planned[slot] = request
        self.see(slot)
        return slot

    def release(self, request: bytes) -> None:
        """Give back a planned slot that no transaction of the log names."""
        self._planned = {slot: holder for slot, holder in self._planned.items() if holder != request}

    def see(self, slot: Slot) -> None:
        """A nonce is an anchor, or planned."""
        if not slot.on_chain:
            return
        place = (slot.chain, slot.account)
        self._highest[place] = max(self._highest.get(place, 0), slot.nonce)


def choose_account(wanted: Wanted, *, gaps: frozenset[str]) -> Account:
    """The paying account: the first path for what needs no approval, another one for what waits.

    Of those, one with a gap comes first, because later slots wait for it, also for what needs no approval;
    then the one on which the fewest wait.
    """
    first, *others = wanted.accounts
    blocked = [account for account in others if account.address in gaps]
    if blocked or not wanted.waits or not others:
        return (*blocked, first)[0]
    return min(others, key=lambda one: wanted.waiting.get(one.address, 0))
