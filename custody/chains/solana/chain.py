"""Solana as ``custody.ports.Chain``: places are the wallet's durable nonces, each an account and its value.

A plan takes its nonce at once, and the request keeps it until it is over. There is one payment message a
request: nodes cannot know that the value is a durable nonce's, and of a recent blockhash the cluster
would take each different message once. So what is stuck is sent again, or cancelled, and never made dearer.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from custody.candidates import Folded
from custody.chains.rpc import Refused
from custody.chains.solana.agreement import SolanaNodes
from custody.chains.solana.checks import (
    Payer,
    check_owner,
    check_target,
    check_token_target,
    check_tokens,
    decimals_of,
    lamports_of,
    tokens_of,
)
from custody.chains.solana.nonces import Nonces, nonces_of, read_nonce
from custody.chains.solana.rpc import COMMITMENTS, FINALIZED, Account
from custody.chains.solana.transaction import (
    PAYMENT_UNITS,
    SIGNATURE_BYTES,
    TOKEN_UNITS,
    Nonce,
    Priority,
    cancellation,
    fee_of,
    payer_of,
    payment,
    pays,
    priority_of,
    token_payment,
    value_of,
    with_signature,
)
from custody.ports import BalanceChange, Held, Landed, Planned, Receipt, Simulated, Wanted
from policy import base58
from policy.addresses import SOLANA_KEY_BYTES, solana_address
from policy.approval import Slot
from policy.decode.solana import TOKEN_ACCOUNT_RENT
from policy.errors import OperationalError
from policy.state import CANCEL, PAYMENT, Job, JobStatus, State
from policy.token_accounts import token_account

MICRO = 1_000_000
LAMPORTS_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Options:
    """The nonce accounts of all wallets, and what priority may cost a transaction at most, in lamports."""

    nonce_accounts: tuple[str, ...]
    priority_fee_max: int = 0


class SolanaChain:
    """Implements ``custody.ports.Chain`` over nodes of a cluster."""

    def __init__(self, nodes: SolanaNodes, options: Options) -> None:
        self.check = nodes.check
        self._nodes = nodes
        self._options = options
        self._nonces = Nonces(nodes.name)

    @property
    def name(self) -> str:
        """The chain as documents call it."""
        return self._nodes.name

    @property
    def places_hold_money(self) -> bool:
        """A nonce account that a dead request keeps is one less to pay with."""
        return True

    @property
    def final_at(self) -> int | None:
        """The finalized commitment, as receipts count it."""
        return COMMITMENTS.index(FINALIZED) + 1

    def load(self, held: Iterable[Held], state: State) -> None:
        """Take up the nonces that are planned, or anchors of open requests."""
        self._nonces.load(held, state)

    def written(self, folded: Folded) -> None:
        """An entry is durable: a reservation keeps its nonce, a settled request gives it back."""
        outcome = folded.outcome
        if not outcome.accepted:
            return
        if outcome.kind == "reserve":
            job = folded.state.jobs[outcome.subject]
            if job.anchor.chain == self.name:
                self._nonces.hold(job.request_id, job.anchor)
        elif outcome.kind == "observation":
            self.release(outcome.subject)

    def release(self, request: bytes) -> None:
        """Give back the nonce of a request."""
        self._nonces.release(request)

    async def prepare(self, account: str) -> None:
        """Nothing is needed: nonces are chosen by the plan."""

    def placed(self, before: State, tx: bytes, *, account: str, nonce: int | None) -> bytes:
        """The bytes as they were planned: their nonce is held."""
        return tx

    async def plan(self, wanted: Wanted, state: Callable[[], State]) -> Planned:
        """Take a nonce and build the message; what is reserved already is planned as it was."""
        account, fixed = wanted.accounts[0], _fixed(wanted.request, state())
        if fixed is not None:
            return Planned(fixed.anchor.account, account.path, fixed.tx, fixed.anchor)
        build = await self._payment(wanted)
        named = self._options.nonce_accounts
        known = await self._nodes.agreed_accounts(named)
        held = self._nonces.holds(wanted.request)
        self._nonces.check_sure(wanted.request, in_doubt=set(named) - known.keys())
        nonces = nonces_of(account.public_key, known)
        nonce = self._nonces.take(wanted.request, nonces, state=state(), waits=wanted.waits)
        slot = nonce.slot(self.name)
        try:
            tx = build(nonce)
            await self._try(tx)
        except BaseException:
            if not held:
                self.release(wanted.request)
            raise
        return Planned(slot.account, account.path, tx, slot)

    async def cancellation(self, slot: Slot, tx: bytes, *, ceiling: int) -> bytes:
        """The nonce used up, and nothing moved, for no more than its payment holds of the limits."""
        return cancellation(Nonce.of_slot(slot, authority=payer_of(tx)))

    def can_be_dearer(self, tx: bytes, *, purpose: str, ceiling: int) -> bool:
        """Whether the ceiling leaves room for a cancellation, or a dearer one; a payment stays as it is."""
        return purpose == CANCEL and self._least_above(tx) <= ceiling

    async def dearer(self, job: Job, wanted: Wanted | None, *, ceiling: int) -> bytes | None:
        """The cancellation, dearer than one before; never another payment."""
        if wanted is not None or not self.can_be_dearer(job.tx, purpose=CANCEL, ceiling=ceiling):
            return None
        nonce, payer = Nonce.of_slot(job.anchor, authority=payer_of(job.tx)), solana_address(payer_of(job.tx))
        if pays(job.tx):
            return await self.cancellation(job.anchor, job.tx, ceiling=ceiling)
        tx = cancellation(nonce, await self._priority(payer, units=PAYMENT_UNITS, ceiling=ceiling))
        if fee_of(priority_of(tx)) >= self._least_above(job.tx):
            return tx
        lamports = self._least_above(job.tx) - fee_of(None)
        return cancellation(nonce, Priority(PAYMENT_UNITS, lamports * MICRO // PAYMENT_UNITS))

    async def balance(self, account: str, contract: str | None = None) -> int:
        """What the cluster keeps for an account."""
        (found,) = await self._nodes.accounts([_place(account, contract)])
        return _amount(found, account, contract)

    async def simulate(
        self, tx: bytes, *, account: str, watched: Sequence[tuple[str, str | None]]
    ) -> Simulated:
        """What the cluster says would come of a message; the paying account stands for its nonce account."""
        payer, fee = solana_address(payer_of(tx)), fee_of(priority_of(tx))
        named = [(payer if holder == account else holder, contract) for holder, contract in watched]
        places = [_place(holder, contract) for holder, contract in named]
        before = await self._nodes.accounts(places)
        found = await self._nodes.simulate(with_signature(tx), places)
        if found.reason:
            return Simulated(found.slot, False, found.reason, ())
        pairs = zip(before, found.accounts, strict=True)
        changes = []
        for (holder, contract), (old, new) in zip(named, pairs, strict=True):
            paid = fee if (holder, contract) == (payer, None) else 0
            after = _amount(new, holder, contract) + paid
            changes.append(BalanceChange(holder, contract, _amount(old, holder, contract), after))
        return Simulated(found.slot, True, "", tuple(changes))

    async def broadcast(self, raw: bytes) -> None:
        """Hand a signed transaction over; one that a slot has is no error."""
        try:
            await self._nodes.send(raw)
        except Refused as error:
            raise OperationalError(f"{error}; look up its nonce account and its fee") from error

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        """The slot of a transaction; confirmations are 1 when processed, 2 when confirmed, 3 when final."""
        status = await self._nodes.status(tx_hash)
        return None if status is None else Receipt(tx_hash, status.slot, status.success, status.sure + 1)

    async def is_gone(self, tx_hash: bytes, *, block: int) -> bool:
        """Whether no slot has a transaction, by nodes that have come to the slot ``block``."""
        return await self._nodes.is_gone(tx_hash, block=block)

    async def landed(self, place: Slot, known: Collection[bytes]) -> Landed | None:
        """What advanced the nonce account from the place's value, among the newest that named it.

        Accounts that were advanced in one slot share their value, so what others do with theirs may name
        both: only what the authority paid is of this account.
        """
        (account,) = await self._nodes.accounts([place.account])
        nonce = read_nonce(place.account, account)
        if nonce is None or nonce.slot(self.name) == place:
            return None
        uses = await self._nodes.uses(place.account)
        for signature, status in sorted(uses, key=lambda one: one[0] not in known):
            raw = b"" if signature in known else await self._nodes.raw(signature)
            if signature in known or _uses(raw, place, authority=nonce.authority):
                receipt = Receipt(signature, status.slot, status.success, status.sure + 1)
                return Landed(receipt, raw[1 + SIGNATURE_BYTES :], (signature,))
        raise OperationalError(
            f"the nonce account {place.account} has another value by now, and the node does not know what "
            "advanced it: look it up elsewhere, or ask a node that keeps its history"
        )

    async def _priority(self, payer: str, *, units: int, ceiling: int, made: int = 0) -> Priority | None:
        """What others paid lately, within what is configured and the ceiling. Raises ``OperationalError``.

        ``made`` is what the message may pay for making an account.
        """
        left = ceiling - fee_of(None) - made
        if left < 0:
            raise OperationalError(
                f"the fee ceiling {ceiling} does not reach for the {fee_of(None) + made} lamports that it "
                "takes at least: ask anew with a higher one"
            )
        most = min(left, self._options.priority_fee_max)
        if not most:
            return None
        price = min(await self._nodes.price([payer]), most * MICRO // units)
        return Priority(units, price) if price else None

    def _least_above(self, tx: bytes) -> int:
        """What a cancellation in place of ``tx`` costs at least."""
        if pays(tx):
            return fee_of(None)
        offered = fee_of(priority_of(tx)) - fee_of(None)
        least = max(offered + 1, offered * 5 // 4)
        return fee_of(None) + (least if least <= self._options.priority_fee_max else LAMPORTS_MAX)

    async def _payment(self, wanted: Wanted) -> Callable[[Nonce], bytes]:
        """The message of a payment once it has its nonce. Raises what the cluster would refuse."""
        if wanted.contract is not None:
            return await self._token_payment(wanted, wanted.contract)
        intent, payer = wanted.intent, wanted.accounts[0].address
        priority = await self._priority(payer, units=PAYMENT_UNITS, ceiling=wanted.fee_ceiling)
        source, target = await self._nodes.accounts([payer, intent.destination])
        rent = await self._nodes.rent(0)
        Payer(payer, lamports_of(source), rent).check(intent.amount + fee_of(priority))
        check_target(target, intent.amount, address=intent.destination, rent=rent)
        return lambda nonce: payment(nonce, intent, priority=priority)

    async def _token_payment(self, wanted: Wanted, contract: str) -> Callable[[Nonce], bytes]:
        intent, payer = wanted.intent, wanted.accounts[0]
        owner, mint = base58.decode(intent.destination), base58.decode(contract)
        check_owner(owner)
        priority = await self._priority(
            payer.address, units=TOKEN_UNITS, ceiling=wanted.fee_ceiling, made=TOKEN_ACCOUNT_RENT
        )
        kept = [_place(holder, contract) for holder in (payer.address, intent.destination)]
        wallet, minted, source, target = await self._nodes.accounts([payer.address, contract, *kept])
        decimals = decimals_of(contract, minted)
        check_tokens(source, intent.amount, mint=mint, owner=payer.public_key)
        made = check_token_target(target, mint=mint, owner=owner)
        Payer(payer.address, lamports_of(wallet), await self._nodes.rent(0)).check(fee_of(priority) + made)
        return lambda nonce: token_payment(nonce, intent, mint=mint, decimals=decimals, priority=priority)

    async def _try(self, tx: bytes) -> None:
        """Raise what a simulation says, before anything is signed."""
        found = await self._nodes.simulate(with_signature(tx), [])
        if found.reason:
            raise OperationalError(f"the cluster would not do it: {found.reason}; it is tried again")


def _uses(raw: bytes, place: Slot, *, authority: bytes) -> bool:
    """Whether a sent transaction advances a nonce account, of this authority, from the place's value."""
    is_value = value_of(raw) == place.nonce.to_bytes(SOLANA_KEY_BYTES, "big")
    return is_value and payer_of(raw[1 + SIGNATURE_BYTES :]) == authority


def _fixed(request: bytes, state: State) -> Job | None:
    """The payment that a request has in the log and that may still be signed: it has no other."""
    known = state.requests.get(request)
    jobs = [state.jobs[job] for job in known.jobs] if known is not None else []
    alive = [job for job in jobs if job.purpose == PAYMENT and job.status is not JobStatus.BURNED]
    return alive[-1] if alive else None


def _place(holder: str, contract: str | None) -> str:
    """Where the cluster keeps what a holder has: of a token in an account that is derived."""
    if contract is None:
        return holder
    return solana_address(token_account(base58.decode(holder), base58.decode(contract)))


def _amount(account: Account | None, holder: str, contract: str | None) -> int:
    if contract is None:
        return lamports_of(account)
    return tokens_of(account, mint=base58.decode(contract), owner=base58.decode(holder))
