"""An EVM chain as ``custody.ports.Chain``: its places are the nonces of accounts.

What needs no approval takes its nonce as it is reserved, inside the batch that logs it; what waits for
people holds one from its plan on, because they sign it.
"""

import contextlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace as changed

from custody.candidates import Folded
from custody.chains.evm.endpoint import EvmEndpoint, Fees
from custody.chains.evm.fees import GAS_CANCEL, raised
from custody.chains.evm.slots import Slots, choose_account
from custody.chains.evm.transaction import cancellation, fees_of, payment, with_fees, with_nonce
from custody.ports import Held, Landed, Planned, Simulated, Wanted
from policy.accounts import Account
from policy.approval import Slot
from policy.errors import OperationalError
from policy.state import CANCEL, Job, State


class EvmChain:
    """Implements ``custody.ports.Chain`` over what answers for the chain."""

    def __init__(self, endpoint: EvmEndpoint) -> None:
        self.check = endpoint.check
        self.balance = endpoint.balance
        self.broadcast = endpoint.broadcast
        self.receipt = endpoint.receipt
        self.is_gone = endpoint.is_gone
        self._endpoint = endpoint
        self._slots = Slots()

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._endpoint.name

    @property
    def places_hold_money(self) -> bool:
        """A nonce is worth something only to those behind it."""
        return False

    @property
    def final_at(self) -> int | None:
        """No depth is sure."""
        return None

    def load(self, held: Iterable[Held], state: State) -> None:
        """Take up the nonces that are planned or anchors of the log."""
        self._slots.load(((one.slot, one.request) for one in held), state, chain=self.name)

    def written(self, folded: Folded) -> None:
        """An entry is durable: a reservation's anchor is used for good."""
        if folded.outcome.kind == "reserve" and folded.outcome.accepted:
            self._slots.see(folded.state.jobs[folded.outcome.subject].anchor)

    def release(self, request: bytes) -> None:
        """Give back a planned nonce."""
        self._slots.release(request)

    async def prepare(self, account: str) -> None:
        """Learn the account's next nonce, unless it is known."""
        if not self._slots.knows(self.name, account):
            self._slots.start(self.name, account, nonce=await self._endpoint.account_nonce(account))

    def placed(self, before: State, tx: bytes, *, account: str, nonce: int | None) -> bytes:
        """The transaction at its nonce, or at the first one that is free."""
        if nonce is None:
            nonce = self._slots.first_free(before, chain=self.name, account=account)
        return with_nonce(tx, nonce)

    async def plan(self, wanted: Wanted, state: Callable[[], State]) -> Planned:
        """Choose the account and build the transaction; take a nonce for what approvals sign, or a gap."""
        for known in self._slots.unknown(self.name):
            nonce = await self._endpoint.account_nonce(known)
            with contextlib.suppress(OperationalError):  # said where the account is to pay
                self._slots.start(self.name, known, nonce=nonce)
        gaps = self._slots.gaps(state(), self.name)
        account = choose_account(wanted, gaps=gaps)
        await self.prepare(account.address)
        tx = payment(
            wanted.intent, contract=wanted.contract, nonce=0, fees=await self._fees(wanted, account=account)
        )
        if not wanted.waits and account.address not in self._slots.gaps(state(), self.name):
            if account.address in gaps:
                raise OperationalError("another request filled the gap in the account: it is planned anew")
            return Planned(account.address, account.path, tx, None)
        slot = self._slots.plan(state(), chain=self.name, account=account.address, request=wanted.request)
        return Planned(account.address, account.path, with_nonce(tx, slot.nonce), slot)

    async def cancellation(self, slot: Slot, tx: bytes, *, ceiling: int) -> bytes:
        """An empty transaction of the account to itself at the nonce."""
        fees = await self._endpoint.cancel_fees(ceiling)
        return cancellation(self.name, account=slot.account, nonce=slot.nonce, fees=fees)

    def can_be_dearer(self, tx: bytes, *, purpose: str, ceiling: int) -> bool:
        """Whether an eighth more a gas stays within the ceiling."""
        old = fees_of(tx)
        return raised(changed(old, gas=GAS_CANCEL) if purpose == CANCEL else old, ceiling=ceiling) is not None

    async def dearer(self, job: Job, wanted: Wanted | None, *, ceiling: int) -> bytes | None:
        """The same payment, or a cancellation, at the market's fees and an eighth more at least."""
        old = fees_of(job.tx)
        if wanted is None:
            market = await self._endpoint.cancel_fees(ceiling)
        else:
            (account,) = (one for one in wanted.accounts if one.address == job.anchor.account)
            market = changed(await self._fees(wanted, account=account), gas=old.gas)
        fees = raised(old, market=market, ceiling=ceiling)
        if fees is None:
            return None
        if wanted is None:
            return cancellation(self.name, account=job.anchor.account, nonce=job.anchor.nonce, fees=fees)
        return with_fees(job.tx, fees)

    async def landed(self, place: Slot, known: Collection[bytes]) -> Landed | None:
        """The account's transaction with the nonce."""
        return await self._endpoint.sent_at(place.account, place.nonce)

    async def simulate(
        self, tx: bytes, *, account: str, watched: Sequence[tuple[str, str | None]]
    ) -> Simulated:
        """What the endpoint says would come of an unsigned transaction."""
        return await self._endpoint.simulate(tx, account=account, watched=watched)

    async def _fees(self, wanted: Wanted, *, account: Account) -> Fees:
        return await self._endpoint.fees(
            wanted.intent, account=account.address, contract=wanted.contract, ceiling=wanted.fee_ceiling
        )
