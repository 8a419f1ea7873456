"""Transactions as PSBTs, for chains of coins: that a request comes with, to ask with, and of a request."""

from custody.api.errors import CallRefused, Code
from custody.parts import Parts
from custody.payments import chain_of
from custody.planning import fee_ceiling, key_of, wallet_of, wanted_of
from custody.ports import CoinChain, Gathered
from custody.records import RequestRecord
from policy.accounts import account_at
from policy.entries import JOB_SIGNATURES_MAX
from policy.errors import MalformedError, OperationalError
from policy.intent import Intent, Request
from policy.state import JobStatus


async def adopt(parts: Parts, request: Request, *, identifier: bytes, psbt: bytes) -> bytes:
    """The PSBT that pays a request, made anew by what our own node has. Raises ``CallRefused``."""
    try:
        chain, state = _coin_chain(parts, request.intent.chain), parts.sequencer.state
        wanted = wanted_of(state, request, identifier=identifier, ceiling=fee_ceiling(state.policy, request))
        if wanted.contract is not None or request.intent.calldata is not None:
            raise MalformedError("a PSBT pays the chain's own asset: ask for a payment of it")
        return await chain.adopt(psbt, wanted)
    except MalformedError as error:
        raise CallRefused(Code.PSBT_REFUSED, str(error)) from error
    except OperationalError as error:
        raise CallRefused(Code.UNAVAILABLE, str(error)) from error


async def gather(parts: Parts, wallet: str, *, to_wallet: str, coins_max: int) -> tuple[str, Gathered]:
    """Where a wallet's smallest coins go as one, and the PSBT for that. Raises ``CallRefused``."""
    state = parts.sequencer.state
    if coins_max > JOB_SIGNATURES_MAX:
        raise CallRefused(Code.MALFORMED, f"coins_max is {coins_max}: ask for at most {JOB_SIGNATURES_MAX}")
    for named in (wallet, to_wallet or wallet):
        if named not in state.policy.wallets:
            raise CallRefused(Code.UNKNOWN_WALLET, f"the policy has no wallet {named[:64]!r}")
    try:
        source, target = wallet_of(state.policy, wallet), wallet_of(state.policy, to_wallet or wallet)
        if source.chain != target.chain:
            raise MalformedError(f"{wallet} and {to_wallet} are of two chains: name two of one")
        chain = _coin_chain(parts, source.chain)
        destination = account_at(key_of(state, target.name), target.paths[0], chain=target.chain).address
        known = state.policy.chains[source.chain]
        intent = Intent(source.chain, wallet, known.native, 1, destination)
        request = Request(state.origin, "", intent, known.fee_ceiling, "", 0, 1)
        wanted = wanted_of(state, request, identifier=b"", ceiling=known.fee_ceiling)
        return destination, await chain.gather(wanted, coins_max=coins_max)
    except MalformedError as error:
        raise CallRefused(Code.PSBT_REFUSED, str(error)) from error
    except OperationalError as error:
        raise CallRefused(Code.UNAVAILABLE, str(error)) from error


def psbt_of(parts: Parts, record: RequestRecord, *, version: int) -> tuple[bytes, bool]:
    """A request's newest transaction as a PSBT, and whether it is signed. Raises ``CallRefused``."""
    job = parts.sequencer.state.jobs.get(record.job)
    signed = job if job is not None and job.tx == record.tx and job.status is JobStatus.SIGNED else None
    if not record.tx:
        raise CallRefused(Code.PSBT_REFUSED, "the request is not planned yet: ask again")
    try:
        chain = _coin_chain(parts, record.chain)
        return chain.exported(record.tx, signed=signed, version=version), signed is not None
    except MalformedError as error:
        raise CallRefused(Code.PSBT_REFUSED, str(error)) from error
    except OperationalError as error:
        raise CallRefused(Code.UNAVAILABLE, str(error)) from error


def _coin_chain(parts: Parts, name: str) -> CoinChain:
    chain = chain_of(parts, name)
    if not isinstance(chain, CoinChain):
        raise MalformedError(f"{name} has no PSBTs: ask without one")
    return chain
