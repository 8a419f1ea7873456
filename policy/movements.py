"""What a log says that a wallet paid and was paid, between two times.

Every transaction of the wallet that the log has as signed and settled is there, with what it moved, and every
deposit that observers stated. What a log cannot say is left to a chain's own books: what strangers pay in
where no observer watches, what a call moves beside the native asset that it sends, and what the network took;
of that, only the most it could be is known.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from policy.fact_entries import DepositEntry, HoldingsEntry, ObservationEntry
from policy.ids import transaction_name
from policy.model import Asset, Policy
from policy.replay import Step
from policy.state import CANCEL, Job

DAY_MS = 24 * 3600 * 1000
TRANSFER, CALL, CANCELLED, FAILED = "transfer", "call", "cancelled", "failed"
DEPOSIT, DEPOSIT_GONE = "deposit", "deposit-gone"


@dataclass(frozen=True, slots=True)
class Movement:
    """One side of a settled transaction; ``amount`` is in base units, and 0 where it moved nothing.

    ``credit`` is for the wallet that is paid, which then has no fee. ``index`` is the entry that says that it
    settled, ``fee_max`` the most that the network took, in base units of ``fee_asset``. A deposit is of no
    request; its counterparty is not known, so the account that was paid stands in its place.
    """

    index: int
    time_ms: int
    kind: str
    asset: Asset
    amount: int
    credit: bool
    counterparty: str
    request: bytes
    job: bytes
    tx_hash: bytes
    block: int
    fee_max: int
    fee_asset: Asset

    @property
    def transaction(self) -> str:
        """As explorers of its chain write it."""
        return transaction_name(self.asset.chain, self.tx_hash)

    def moves(self, asset: Asset) -> bool:
        """Whether the wallet has more or less of an asset by it, be it for the fee."""
        return asset.name == self.asset.name or (not self.credit and asset.name == self.fee_asset.name)


@dataclass(frozen=True, slots=True)
class Stated:
    """What observers stated that the wallet holds of an asset, by the entry ``index``.

    ``pending`` is of how many requests it was open what they come to.
    """

    index: int
    observed_ms: int
    asset: Asset
    amount: int
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Totals:
    """What the movements of one asset add up to, in base units."""

    asset: Asset
    credits: int
    debits: int
    count: int

    @property
    def net(self) -> int:
        """What the wallet has more; negative if it has less."""
        return self.credits - self.debits


class Movements:
    """Hears of every entry of a log, for ``policy.audit.audit``: of one wallet, from a time to another.

    ``opening`` and ``closing`` are the last statements before either time, by asset.
    """

    def __init__(self, wallet: str, *, from_ms: int, to_ms: int) -> None:
        self._wallet, self._from_ms, self._to_ms = wallet, from_ms, to_ms
        self.known = False
        self.log_ms = 0
        self._settled: list[Movement] = []
        self._deposited: dict[bytes, Asset] = {}
        self._policy: Policy | None = None
        self._assets: dict[str, Asset] = {}
        self._natives: dict[str, str] = {}
        self.opening: dict[str, Stated] = {}
        self.closing: dict[str, Stated] = {}

    def __call__(self, step: Step) -> None:
        """Hear of one entry."""
        if not step.outcome.accepted:
            return
        self._learn(step.after.policy)
        self.log_ms = step.after.time_ms
        match step.timed.entry:
            case HoldingsEntry() as entry if entry.wallet == self._wallet:
                self._state(step, entry)
            case ObservationEntry() as entry if self._from_ms - DAY_MS <= step.timed.time_ms < self._to_ms:
                if not step.before.requests[entry.request].closed:  # observers may say it once more
                    self._settled.extend(self._moved(step, entry))
            case DepositEntry() as entry if entry.wallet == self._wallet:
                self._deposit(step, entry)
            case _:
                pass

    @property
    def found(self) -> list[Movement]:
        """The movements of the period."""
        return [one for one in self._settled if one.time_ms >= self._from_ms]

    def totals(self) -> list[Totals]:
        """What the movements of each asset add up to, and of assets that were only stated."""
        assets = {one.asset.name: one.asset for one in self.closing.values()}
        assets |= {one.asset.name: one.asset for one in self.found}
        return [self._total(assets[name]) for name in sorted(assets)]

    def booked(self, asset: str) -> tuple[Stated | None, Stated | None]:
        """The balances at the period's beginning and end, where what was stated is one."""
        opening, closing = self.opening.get(asset), self.closing.get(asset)
        return (
            opening if opening and self._is_booked(opening, self._from_ms) else None,
            closing if closing and self._is_booked(closing, self._to_ms) else None,
        )

    def _is_booked(self, stated: Stated, boundary_ms: int) -> bool:
        """Of the day before, of no request that was open, and of an asset that did not move since."""
        since = (one for one in self._settled if stated.observed_ms <= one.time_ms < boundary_ms)
        moved = any(one.moves(stated.asset) for one in since)
        return stated.observed_ms >= boundary_ms - DAY_MS and not stated.pending and not moved

    def _total(self, asset: Asset) -> Totals:
        moved = [one for one in self.found if one.asset.name == asset.name]
        credited = sum(one.amount for one in moved if one.credit)
        return Totals(asset, credited, sum(one.amount for one in moved) - credited, len(moved))

    def _learn(self, policy: Policy) -> None:
        """What is signed may settle when its asset is in the policy no more."""
        if policy is self._policy:
            return
        self._policy = policy
        self.known = self.known or self._wallet in policy.wallets
        self._assets.update(policy.assets)
        self._natives.update({name: chain.native for name, chain in policy.chains.items()})

    def _state(self, step: Step, entry: HoldingsEntry) -> None:
        asset = step.after.policy.assets[entry.asset]
        stated = Stated(step.index, entry.observed_ms, asset, entry.amount, len(entry.pending))
        if step.timed.time_ms < self._from_ms:
            self.opening[entry.asset] = stated
        if step.timed.time_ms < self._to_ms:
            self.closing[entry.asset] = stated

    def _deposit(self, step: Step, entry: DepositEntry) -> None:
        """One that is gone leaves the wallet again; its asset may be in the policy no more."""
        known = self._deposited.get(entry.deposit) if entry.gone else None  # what comes anew may be another
        asset = known or step.after.policy.assets[entry.asset]
        self._deposited[entry.deposit] = asset
        if self._from_ms - DAY_MS <= step.timed.time_ms < self._to_ms:
            self._settled.append(
                Movement(
                    index=step.index,
                    time_ms=step.timed.time_ms,
                    kind=DEPOSIT_GONE if entry.gone else DEPOSIT,
                    asset=asset,
                    amount=entry.amount,
                    credit=not entry.gone,
                    counterparty=entry.address,
                    request=b"",
                    job=b"",
                    tx_hash=entry.tx,
                    block=entry.block,
                    fee_max=0,
                    fee_asset=asset,
                )
            )

    def _moved(self, step: Step, entry: ObservationEntry) -> Iterator[Movement]:
        job = step.after.jobs[entry.job]
        intent = step.after.requests[entry.request].request.intent
        if intent.wallet == self._wallet:
            yield self._side(step, entry, job, credit=False)
        paid = step.after.owned.get((intent.chain, intent.destination))
        if paid == self._wallet and _kind(step, entry, job) == TRANSFER:
            yield self._side(step, entry, job, credit=True)

    def _side(self, step: Step, entry: ObservationEntry, job: Job, *, credit: bool) -> Movement:
        intent = step.after.requests[entry.request].request.intent
        kind = _kind(step, entry, job)
        return Movement(
            index=step.index,
            time_ms=step.timed.time_ms,
            kind=kind,
            asset=self._assets[intent.asset],
            amount=intent.amount if kind in (TRANSFER, CALL) else 0,
            credit=credit,
            counterparty=intent.wallet if credit else intent.destination,
            request=entry.request,
            job=entry.job,
            tx_hash=entry.tx_hash,
            block=entry.block,
            fee_max=0 if credit else job.fee_max,
            fee_asset=self._assets[self._natives[intent.chain]],
        )


def _kind(step: Step, entry: ObservationEntry, job: Job) -> str:
    if job.purpose == CANCEL:
        return CANCELLED
    if not entry.success:
        return FAILED
    return TRANSFER if step.after.requests[entry.request].request.intent.calldata is None else CALL
