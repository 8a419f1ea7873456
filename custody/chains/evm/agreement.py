"""What counts of several endpoints of an EVM chain:

nonce
    the most that ``agree`` endpoints confirm, if as many as may lie and one more say no more: a low one, too,
    would have payments made that can never be mined
balance
    the most that ``agree`` endpoints confirm: those behind say less, one that lies upward stands alone
receipt
    a block and an outcome that ``agree`` endpoints give alike, at the least depth that they confirm; a
    contradiction is an error until it has passed
gone, as after a reorganisation
    what ``agree`` endpoints say alike that have come to its block: one that is behind has nothing there yet
fees
    each part by itself: the dearest price and tip that endpoints which may lie cannot have raised, and the
    least gas that they cannot have lowered
simulation
    shown only where ``agree`` endpoints foresee the same, as of a block and with balances that they confirm

A signed transaction is handed to all of them: one that takes it is enough.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from custody.chains.agreement import GRACE_S, Agreement, Doubted, least_deep, unheard, where_mined
from custody.chains.evm.endpoint import EvmEndpoint, Fees
from custody.ports import BalanceChange, Landed, Receipt, Simulated
from policy.intent import Intent


class AgreeingEndpoints:
    """Implements ``EvmEndpoint`` over several endpoints of one chain, by what they are called."""

    def __init__(
        self,
        name: str,
        endpoints: Mapping[str, EvmEndpoint],
        *,
        agree: int,
        grace_s: float = GRACE_S,
        doubted: Doubted = unheard,
    ) -> None:
        self._ends = Agreement(name, endpoints, agree=agree, grace_s=grace_s, doubted=doubted)

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._ends.name

    async def check(self) -> None:
        """Enough endpoints are of this chain."""
        await self._ends.ask("chain id", lambda one: one.check())

    async def account_nonce(self, account: str) -> int:
        """How many transactions of the account are mined, by enough endpoints."""
        answers = await self._ends.ask("nonce", lambda one: one.account_nonce(account), alike=int)
        return self._ends.between("nonce", answers)

    async def balance(self, account: str, contract: str | None = None) -> int:
        """The most that enough endpoints confirm the account to have."""
        answers = await self._ends.ask("balance", lambda one: one.balance(account, contract), alike=int)
        return self._ends.confirmed(answers.values())

    async def fees(self, intent: Intent, *, account: str, contract: str | None, ceiling: int) -> Fees:
        """The offer that enough endpoints find enough, within the ceiling."""
        answers = await self._ends.ask(
            "fees", lambda one: one.fees(intent, account=account, contract=contract, ceiling=ceiling)
        )
        return self._enough(answers.values(), ceiling)

    async def cancel_fees(self, ceiling: int) -> Fees:
        """The same for an empty transaction to the account itself."""
        answers = await self._ends.ask("fees", lambda one: one.cancel_fees(ceiling))
        return self._enough(answers.values(), ceiling)

    async def simulate(
        self, tx: bytes, *, account: str, watched: Sequence[tuple[str, str | None]]
    ) -> Simulated:
        """What enough endpoints foresee alike: success, and by how much each balance changes."""
        (success, changes), alike = await self._ends.agreed_by(
            "simulation", lambda one: one.simulate(tx, account=account, watched=watched), key=_foreseen
        )
        before = zip(*(one.balances for one in alike), strict=True)
        balances = tuple(self._changed(one, by=by) for one, by in zip(before, changes, strict=True))
        block = self._ends.confirmed(one.block for one in alike)
        return Simulated(block, success, "" if success else self._reason(alike), balances)

    async def broadcast(self, raw: bytes) -> None:
        """Hand a signed transaction to every endpoint. Raises what the first says when none takes it."""
        await self._ends.hand(lambda one: one.broadcast(raw))

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """What became of a transaction, by enough endpoints."""
        _, alike = await self._ends.agreed_by("receipt", lambda one: one.receipt(tx_hash), key=where_mined)
        return least_deep(self._ends, alike)

    async def is_gone(self, tx_hash: bytes, *, block: int) -> bool:
        """Whether enough endpoints that have come to ``block`` have no such transaction."""
        return await self._ends.agreed("transaction", lambda one: one.is_gone(tx_hash, block=block))

    async def sent_at(self, account: str, nonce: int) -> Landed | None:
        """The transaction with this nonce, by enough endpoints, at the least depth that they confirm.

        Its bytes are whoever's has them: each endpoint's answer was refused unless it has that hash.
        """
        agreed, alike = await self._ends.agreed_by(
            "transaction",
            lambda one: one.sent_at(account, nonce),
            key=lambda one: one.receipt.tx_hash if one is not None else b"",
        )
        sent = [one for one in alike if one is not None]
        receipt = await self.receipt(agreed) if sent else None
        told = next((one for one in sent if one.tx), sent[0]) if sent else None
        return None if receipt is None or told is None else replace(told, receipt=receipt)

    def _enough(self, offers: Collection[Fees], ceiling: int) -> Fees:
        gas = self._ends.at_least(one.gas for one in offers)
        fee = min(self._ends.enough(one.fee_per_gas for one in offers), ceiling // gas)
        priority = self._ends.enough(one.priority_per_gas for one in offers)
        return Fees(fee_per_gas=fee, priority_per_gas=min(priority, fee), gas=gas)

    def _changed(self, alike: Sequence[BalanceChange], *, by: int | None) -> BalanceChange:
        before = self._ends.confirmed(one.before for one in alike)
        return replace(alike[0], before=before, after=None if by is None else before + by)

    def _reason(self, alike: Sequence[Simulated]) -> str:
        """Why it fails, in words that those who may lie have not chosen."""
        return self._ends.said(one.reason for one in alike) or "its endpoints give different reasons"


def _foreseen(simulated: Simulated) -> tuple[bool, tuple[int | None, ...]]:
    changes = (None if one.after is None else one.after - one.before for one in simulated.balances)
    return simulated.success, tuple(changes)
