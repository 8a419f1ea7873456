"""Several endpoints of one chain, of which so many must say the same before it counts: more than half.

One endpoint that lies, lags or is dead changes nothing while enough others agree. What counts:

nonce and balance
    the most that ``agree`` endpoints confirm: those behind say less, one that lies upward stands alone
receipt
    a block and an outcome that ``agree`` endpoints give alike, at the least depth that they confirm; a
    contradiction is an error until it has passed
fees
    the dearest offer that ``agree`` endpoints find enough; one that shouts a price is not followed
simulation
    shown only where ``agree`` endpoints foresee the same

A signed transaction is handed to all of them: one that takes it is enough.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from custody.chains.evm.endpoint import EvmEndpoint, Fees
from custody.ports import Receipt, Simulated
from policy.errors import OperationalError
from policy.intent import Intent

T = TypeVar("T")
GRACE_S = 1.0
"""How long the slower endpoints are waited for when enough have answered."""


class AgreeingEndpoints:
    """Implements ``EvmEndpoint`` over several endpoints of one chain, by what they are called."""

    def __init__(
        self, name: str, endpoints: Mapping[str, EvmEndpoint], *, agree: int, grace_s: float = GRACE_S
    ) -> None:
        if not len(endpoints) < 2 * agree <= 2 * len(endpoints):
            raise ValueError(f"{agree} of {len(endpoints)} endpoints: more than half, and no more than all")
        self._name = name
        self._endpoints = dict(endpoints)
        self._agree = agree
        self._grace_s = grace_s

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._name

    async def check(self) -> None:
        """Enough endpoints are of this chain."""
        await self._ask("chain id", lambda one: one.check())

    async def account_nonce(self, account: str) -> int:
        """How many transactions of the account are mined, by enough endpoints."""
        return self._confirmed(await self._ask("nonce", lambda one: one.account_nonce(account)))

    async def balance(self, account: str, contract: str | None = None) -> int:
        """The most that enough endpoints confirm the account to have."""
        return self._confirmed(await self._ask("balance", lambda one: one.balance(account, contract)))

    async def fees(self, intent: Intent, *, account: str, contract: str | None, ceiling: int) -> Fees:
        """The offer that enough endpoints find enough."""
        return self._enough(
            await self._ask(
                "fees",
                lambda one: one.fees(intent, account=account, contract=contract, ceiling=ceiling),
            )
        )

    async def cancel_fees(self, ceiling: int) -> Fees:
        """The same for an empty transaction to the account itself."""
        return self._enough(await self._ask("fees", lambda one: one.cancel_fees(ceiling)))

    async def simulate(
        self, tx: bytes, *, account: str, watched: Sequence[tuple[str, str | None]]
    ) -> Simulated:
        """What enough endpoints foresee alike: success, and by how much each balance changes."""
        answers = await self._ask(
            "simulation", lambda one: one.simulate(tx, account=account, watched=watched)
        )
        agreed = self._same("simulation", {name: _foreseen(one) for name, one in answers.items()})
        return next(one for one in answers.values() if _foreseen(one) == agreed)

    async def broadcast(self, raw: bytes) -> None:
        """Hand a signed transaction to every endpoint. Raises what the first says when none takes it."""
        tried = await self._all(lambda one: one.broadcast(raw), wanted=1)
        refusals = [outcome for outcome in tried.values() if isinstance(outcome, OperationalError)]
        if len(refusals) == len(self._endpoints):
            raise refusals[0]

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """What became of a transaction, by enough endpoints."""
        answers = await self._ask("receipt", lambda one: one.receipt(tx_hash))
        seen = {name: one and (one.block, one.success) for name, one in answers.items()}
        agreed = self._same("receipt", seen)
        if agreed is None:
            return None
        alike = [one for one in answers.values() if one is not None and (one.block, one.success) == agreed]
        depth = self._confirmed_of([one.confirmations for one in alike])
        return replace(alike[0], confirmations=depth)

    def _confirmed(self, answers: Mapping[str, int]) -> int:
        return self._confirmed_of(list(answers.values()))

    def _confirmed_of(self, values: Sequence[int]) -> int:
        return sorted(values, reverse=True)[self._agree - 1]

    def _enough(self, answers: Mapping[str, Fees]) -> Fees:
        return sorted(answers.values(), key=lambda one: (one.fee_per_gas, one.gas))[self._agree - 1]

    def _same(self, what: str, answers: Mapping[str, T]) -> T:
        """The answer that enough give. Raises ``OperationalError`` naming all answers otherwise."""
        value, count = Counter(answers.values()).most_common(1)[0]
        if count < self._agree:
            said = "; ".join(f"{name}: {answer}" for name, answer in answers.items())
            raise OperationalError(
                f"endpoints of {self._name} do not agree on the {what} ({said}): asked again; look at the "
                "one that stands alone"
            )
        return value

    async def _ask(self, what: str, call: Callable[[EvmEndpoint], Coroutine[Any, Any, T]]) -> dict[str, T]:
        """Answers by endpoint, at least as many as must agree. Raises ``OperationalError`` otherwise."""
        tried = await self._all(call, wanted=self._agree)
        answers = {name: one for name, one in tried.items() if not isinstance(one, OperationalError)}
        if len(answers) >= self._agree:
            return answers
        failures = "; ".join(f"{name}: {one}" for name, one in tried.items() if name not in answers)
        raise OperationalError(
            f"{len(answers)} of {len(self._endpoints)} endpoints of {self._name} give a {what}, and "
            f"{self._agree} must: {failures}"
        )

    async def _all(
        self, call: Callable[[EvmEndpoint], Coroutine[Any, Any, T]], *, wanted: int
    ) -> dict[str, T | OperationalError]:
        """What each endpoint answers; the slow are left behind once ``wanted`` have and a grace is over."""
        asked = {asyncio.ensure_future(call(chain)): name for name, chain in self._endpoints.items()}
        try:
            answered = await self._gather(asked, wanted)
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return {asked[task]: _outcome(task) for task in answered}

    async def _gather(self, asked: Mapping["asyncio.Task[T]", str], wanted: int) -> list["asyncio.Task[T]"]:
        waiting: set[asyncio.Task[T]] = set(asked)
        done: set[asyncio.Task[T]] = set()
        while waiting and sum(task.exception() is None for task in done) < wanted:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= finished
        if waiting:
            finished, _ = await asyncio.wait(waiting, timeout=self._grace_s)
            done |= finished
        return sorted(done, key=list(asked).index)


def _foreseen(simulated: Simulated) -> tuple[bool, tuple[int | None, ...]]:
    changes = (None if one.after is None else one.after - one.before for one in simulated.balances)
    return simulated.success, tuple(changes)


def _outcome(task: "asyncio.Task[T]") -> T | OperationalError:
    error = task.exception()
    if isinstance(error, OperationalError):
        return error
    if error is not None:
        raise error
    return task.result()
