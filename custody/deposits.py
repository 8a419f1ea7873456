"""Addresses to be paid at: the wallet's own, at paths that the policy gives it; each is given out once.

Nothing is signed for an address, and no node is asked: it follows from the key's public half, the chain code
and the path. Which path has which label only the coordinator's database knows. After its loss initiators
claim the paths that they have noted, one by one, and nobody is given a new one until somebody vouches for it.
"""

import asyncio
import contextlib
import logging

from custody.api.errors import CallRefused, Code
from custody.feeds import LABEL_MAX, AddressesInDoubt, Deposit, DepositAddress, LabelTaken, UnknownPosition
from custody.parts import Parts
from custody.planning import key_of
from policy.accounts import account_at
from policy.errors import CallerError, MalformedError, OperationalError
from policy.fields import Fields
from policy.model import Wallet
from policy.state import KeyRecord, State

ADDRESSES_MAX = 500
IN_DOUBT = (
    "this database was restored or was behind, and may lack addresses that were given: once each backend has "
    "claimed those that it noted, by their paths, set addresses_claimed = '{doubt}' and start again"
)
_LOG = logging.getLogger(__name__)


async def give(parts: Parts, caller: str, *, wallet: str, label: str, path: str = "") -> DepositAddress:
    """The caller's address with this label, a fresh one if there is none. Raises ``CallRefused``."""
    known = _wallet(parts, caller, wallet)
    if path and path not in known.paths:
        raise CallRefused(Code.UNKNOWN_WALLET, f"wallet {wallet} has no path {path[:64]!r} in the policy")
    try:
        key = key_of(parts.sequencer.state, wallet)
    except OperationalError as error:
        raise CallRefused(Code.UNKNOWN_KEY, str(error)) from error
    # The first pays what needs no approval, and everybody may ask for its address.
    paths = (path,) if path else known.paths[1:] or known.paths
    first = DepositAddress(known.chain, "", wallet, "", caller, _label(label), parts.now_ms())
    wanted = await asyncio.to_thread(_at_paths, first, key, paths=paths)
    given = await _given(parts, wanted, claims=bool(path))
    if given is None:
        raise CallRefused(
            Code.NO_ADDRESS_LEFT,
            f"path {path} is given to somebody" if path else f"all {len(paths)} paths of {wallet} are given",
        )
    if not in_policy(parts.sequencer.state, given):
        raise CallRefused(
            Code.LABEL_TAKEN,
            f"{label!r} is of {given.address}, which the policy gives {wallet} no more: use another label",
        )
    if path not in ("", given.path):
        raise CallRefused(Code.LABEL_TAKEN, f"{label!r} is the label of path {given.path}")
    return given


async def _given(parts: Parts, wanted: list[DepositAddress], *, claims: bool) -> DepositAddress | None:
    try:
        vouched = parts.addresses_claimed
        return await parts.feeds.give_address(wanted, claims=claims, vouched=vouched) if wanted else None
    except AddressesInDoubt as doubt:
        raise CallRefused(Code.UNAVAILABLE, IN_DOUBT.format(doubt=doubt)) from doubt


async def look_at_doubt(parts: Parts) -> None:
    """Say in the coordinator's log that new addresses wait for people."""
    doubt = await parts.feeds.addresses_in_doubt()
    if doubt not in ("", parts.addresses_claimed):
        _LOG.warning("no new addresses: %s", IN_DOUBT.format(doubt=doubt))


async def listed(
    parts: Parts, caller: str, *, wallet: str, after: str, limit: int
) -> tuple[DepositAddress, ...]:
    """What the caller was given; people, who are given none, see all. Raises ``CallRefused``."""
    if wallet not in parts.sequencer.state.policy.wallets:
        raise CallRefused(Code.UNKNOWN_WALLET, f"the policy has no wallet {wallet[:64]!r}")
    initiator = caller if caller in parts.sequencer.state.roster.initiators else ""
    try:
        return await parts.feeds.addresses(wallet, initiator, after=after, limit=min(limit, ADDRESSES_MAX))
    except UnknownPosition as error:
        raise CallRefused(
            Code.UNKNOWN_ADDRESS, f"your list of {wallet} has no address {after[:90]!r} to go on after"
        ) from error


async def received(
    parts: Parts, caller: str, *, wallet: str, after: bytes, limit: int
) -> tuple[Deposit, ...]:
    """What observers stated was paid at what the caller was given; people see all. Raises ``CallRefused``.

    Also of a wallet that the policy has no more.
    """
    initiator = caller if caller in parts.sequencer.state.roster.initiators else ""
    try:
        return await parts.feeds.deposits(wallet, initiator, after=after, limit=min(limit, ADDRESSES_MAX))
    except UnknownPosition as error:
        raise CallRefused(
            Code.UNKNOWN_DEPOSIT,
            f"your list of {wallet[:64]} has no deposit {after.hex()[:64]} to go on after",
        ) from error


async def relabel(parts: Parts, caller: str, *, wallet: str, address: str, label: str) -> DepositAddress:
    """Give an address of the caller another label. Raises ``CallRefused``."""
    known = _wallet(parts, caller, wallet)
    wanted = DepositAddress(known.chain, address, wallet, "", caller, _label(label), parts.now_ms())
    try:
        changed = await parts.feeds.label_address(wanted)
    except LabelTaken as error:
        raise CallRefused(Code.LABEL_TAKEN, f"{label!r} is the label of {error}") from error
    if changed is None:
        raise CallRefused(Code.UNKNOWN_ADDRESS, f"{caller} was given no {address[:90]!r} of {wallet}")
    return changed


def in_policy(state: State, given: DepositAddress) -> bool:
    """Whether the wallet still has this address by the policy in force: nodes sign for no other."""
    wallet = state.policy.wallets.get(given.wallet)
    key = state.keys.get(wallet.key) if wallet is not None else None
    if wallet is None or key is None or wallet.chain != given.chain or given.path not in wallet.paths:
        return False
    with contextlib.suppress(MalformedError, CallerError):
        return account_at(key, given.path, chain=given.chain).address == given.address
    return False


def _wallet(parts: Parts, caller: str, wallet: str) -> Wallet:
    state = parts.sequencer.state
    if caller not in state.roster.initiators:
        raise CallRefused(Code.FORBIDDEN, f"{caller} is no backend: addresses are given to those")
    known = state.policy.wallets.get(wallet)
    if known is None:
        raise CallRefused(Code.UNKNOWN_WALLET, f"the policy has no wallet {wallet[:64]!r}")
    return known


def _label(text: str) -> str:
    try:
        return Fields({"label": text}, "").text("label", length_max=LABEL_MAX)
    except MalformedError as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error


def _at_paths(first: DepositAddress, key: KeyRecord, *, paths: tuple[str, ...]) -> list[DepositAddress]:
    found = []
    for path in paths:
        with contextlib.suppress(MalformedError, CallerError):  # one path in 2**127 has no key
            address = account_at(key, path, chain=first.chain).address
            found.append(
                DepositAddress(
                    first.chain, address, first.wallet, path, first.initiator, first.label, first.created_ms
                )
            )
    return found
