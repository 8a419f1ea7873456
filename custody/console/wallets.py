"""Wallets by tier: their accounts, and what the chains say is on them."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Final

from custody.parts import Parts
from policy.accounts import account_at
from policy.errors import CallerError, MalformedError, OperationalError
from policy.model import Asset, Wallet
from policy.state import KeyRecord
from policy.words.units import amount_text, readable_address

BALANCE_S: Final = 2.0
PATHS_SHOWN, ASKED_AT_ONCE = 20, 16
UNKNOWN: Final = ""


@dataclass(frozen=True, slots=True)
class AccountLine:
    """An account of a wallet; ``balances`` are by asset, empty where the chain did not answer in time."""

    path: str
    address: str
    balances: dict[str, str]


@dataclass(frozen=True, slots=True)
class WalletLine:
    """A wallet, its first accounts, and how many it has; ``sums`` are base units, None where not known."""

    name: str
    chain: str
    key: str
    accounts: tuple[AccountLine, ...]
    count: int
    totals: dict[str, str]
    sums: dict[str, int | None]


async def tiers(parts: Parts) -> dict[str, list[WalletLine]]:
    """Every wallet of the policy in force, by its tier."""
    state, free = parts.sequencer.state, asyncio.Semaphore(ASKED_AT_ONCE)
    wallets = sorted(state.policy.wallets.values(), key=lambda one: (one.tier, one.name))
    lines = await asyncio.gather(
        *(_wallet(parts, one, key=state.keys.get(one.key), free=free) for one in wallets)
    )
    found: dict[str, list[WalletLine]] = {}
    for wallet, line in zip(wallets, lines, strict=True):
        found.setdefault(wallet.tier, []).append(line)
    return found


async def _wallet(
    parts: Parts, wallet: Wallet, *, key: KeyRecord | None, free: asyncio.Semaphore
) -> WalletLine:
    assets = [one for one in parts.sequencer.state.policy.assets.values() if one.chain == wallet.chain]
    addresses: dict[str, str] = {}
    for path in wallet.paths[:PATHS_SHOWN] if key is not None else ():
        with contextlib.suppress(MalformedError, CallerError):  # one path in 2**127 has no key
            addresses[path] = account_at(key, path, chain=wallet.chain).address if key else ""
    places = [(path, asset) for path in addresses for asset in assets]
    amounts = await asyncio.gather(
        *(_balance(parts, asset, addresses[path], free=free) for path, asset in places)
    )
    known = dict(zip([(path, asset.name) for path, asset in places], amounts, strict=True))
    accounts = tuple(
        AccountLine(
            path,
            readable_address(address),
            {one.name: _text(one, known[path, one.name]) for one in assets},
        )
        for path, address in addresses.items()
    )
    sums = {one.name: _sum([known[path, one.name] for path in addresses]) for one in assets}
    totals = {one.name: _text(one, sums[one.name]) for one in assets}
    return WalletLine(wallet.name, wallet.chain, wallet.key, accounts, len(wallet.paths), totals, sums)


async def _balance(parts: Parts, asset: Asset, address: str, *, free: asyncio.Semaphore) -> int | None:
    chain = parts.chains.get(asset.chain)
    if chain is None:
        return None
    with contextlib.suppress(OperationalError, TimeoutError):
        async with free, asyncio.timeout(BALANCE_S):
            return await chain.balance(address, asset.contract)
    return None


def _sum(amounts: list[int | None]) -> int | None:
    known = [one for one in amounts if one is not None]
    return sum(known) if len(known) == len(amounts) and known else None


def _text(asset: Asset, amount: int | None) -> str:
    return UNKNOWN if amount is None else amount_text(amount, asset=asset.name, decimals=asset.decimals)
