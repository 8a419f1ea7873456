"""What the wallets hold, what is on its way, and what was paid: the facts that a rebalancer plans by.

No authority comes of them, and nodes never read them. ``holdings`` is a document of

``time_ms``, ``policy``
    when the first balance was asked for, and the hash of the policy in force
``accounts``
    for each account and asset of a wallet: ``wallet``, ``tier``, ``chain``, ``asset``, ``path``, ``account``,
    and the ``balance`` on its chain; where that is not known now, an ``error`` in its place
``open``
    requests that are not settled, added up: ``wallet``, ``asset``, ``to`` (the own wallet that is paid, if
    it is one), ``initiator``, ``signed`` (whether it is a movement already), ``amount``, ``count``
``prices``
    the newest stated of each asset: ``asset``, ``unit``, ``price``, ``observed_ms``
``next``
    where to go on for more accounts, 0 with the last of them; a chain is asked for each, so they come by
    pages, and ``open`` is told with the last page, when no balance is read after it

``movements`` lists signed payments in the order of the log, from a number on: ``number``, ``request``,
``signed_ms``, ``wallet``, ``asset``, ``amount``, ``to``. One whose request is signed again is listed again.
``next`` is where to go on; it is smaller than what was asked for where the log went on from another branch.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from custody.parts import Parts
from custody.payments import chain_of
from custody.planning import asset_of, key_of
from custody.records import RequestRecord, request_body
from custody.requests import State
from policy.accounts import account_at
from policy.encoding import Json
from policy.errors import CallerError, MalformedError, OperationalError
from policy.intent import Intent, parse_request
from policy.model import Asset, Wallet
from policy.state import State as LogState

REBALANCERS = "rebalancer"
"""The group of backends that may ask for these documents; people may too."""
SWEEPERS = "sweeper"
"""The group of those that may ask what wallets hold, and for nothing else here."""
MOVEMENTS_MAX, ACCOUNTS_MAX, OPEN_MAX, PAGE = 1000, 256, 20_000, 500
_ASKED = (State.RECEIVED, State.LOGGED, State.WAITING, State.READY, State.RESERVED)
_SIGNED = (State.SIGNED, State.BROADCAST, State.REPLACING)
_CHAINS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _Place:
    """Where open requests are added up."""

    wallet: str
    asset: str
    to: str
    initiator: str
    signed: bool


async def holdings(parts: Parts, after: int = 0, *, limit: int = 0) -> Json:
    """A page of the document of what there is now, from account ``after`` on."""
    state, asked_ms = parts.sequencer.state, parts.now_ms()
    turn = asyncio.Semaphore(_CHAINS_AT_ONCE)
    end = after + min(limit or ACCOUNTS_MAX, ACCOUNTS_MAX)
    places = list(islice(_places(state), after, end + 1))
    is_last = len(places) <= end - after
    page = places[: end - after]
    asked = [_account(parts, wallet, asset, path=path, turn=turn) for wallet, asset, path in page]
    accounts: list[Json] = list(await asyncio.gather(*asked))
    return {
        "time_ms": asked_ms,
        "policy": state.policy_hash.hex(),
        "accounts": accounts,
        "open": await _open(parts) if is_last else [],
        "prices": _prices(state),
        "next": 0 if is_last else end,
    }


def movements(state: LogState, after: int, *, limit: int) -> Json:
    """Signed payments from number ``after`` on; ``next`` is where to go on."""
    end = min(state.signed_count, after + min(limit or MOVEMENTS_MAX, MOVEMENTS_MAX))
    found: list[Json] = []
    for number in range(after, end):
        signed_ms, request_id = state.signed[number]
        intent = state.requests[request_id].request.intent
        if intent.typed_data is None:
            found.append(
                {
                    "number": number,
                    "request": request_id.hex(),
                    "signed_ms": signed_ms,
                    "wallet": intent.wallet,
                    "asset": intent.asset,
                    "amount": str(intent.amount),
                    **_to(_own(state, intent)),
                }
            )
    return {"movements": found, "next": end}


def _places(state: LogState) -> Iterator[tuple[Wallet, Asset, str]]:
    policy = state.policy
    for wallet in policy.wallets.values():
        for asset in policy.assets.values():
            if asset.chain == wallet.chain:
                yield from ((wallet, asset, path) for path in wallet.paths)


async def _account(
    parts: Parts, wallet: Wallet, asset: Asset, *, path: str, turn: asyncio.Semaphore
) -> dict[str, Json]:
    found: dict[str, Json] = {
        "wallet": wallet.name,
        "tier": wallet.tier,
        "chain": wallet.chain,
        "asset": asset.name,
        "path": path,
    }
    try:
        key = key_of(parts.sequencer.state, wallet.name)
        found["account"] = address = account_at(key, path, chain=wallet.chain).address
        contract = asset_of(parts.sequencer.state.policy, asset.name).contract
        async with turn:
            found["balance"] = str(await chain_of(parts, wallet.chain).balance(address, contract))
    except (OperationalError, MalformedError, CallerError) as error:
        found["error"] = str(error)[:300]
    return found


async def _open(parts: Parts) -> list[Json]:
    amounts: Counter[_Place] = Counter()
    counts: Counter[_Place] = Counter()
    state = parts.sequencer.state
    for status in (*_ASKED, *_SIGNED):
        async for record in _in_state(parts, status):
            intent = parse_request(request_body(record)).intent
            signed = status in _SIGNED
            place = _Place(intent.wallet, intent.asset, _own(state, intent), record.initiator, signed)
            amounts[place] += intent.amount
            counts[place] += 1
    return [
        {
            "wallet": place.wallet,
            "asset": place.asset,
            **_to(place.to),
            "initiator": place.initiator,
            "signed": place.signed,
            "amount": str(amounts[place]),
            "count": counts[place],
        }
        for place in _in_order(counts)
    ]


def _in_order(places: Iterable[_Place]) -> list[_Place]:
    return sorted(places, key=lambda one: (one.wallet, one.asset, one.to, one.initiator, one.signed))


async def _in_state(parts: Parts, status: State) -> AsyncIterator[RequestRecord]:
    before, seen = b"", 0
    while True:
        page = await parts.database.requests(state=status, limit=PAGE, before=before)
        for record in page:
            yield record
        seen += len(page)
        if len(page) < PAGE:
            return
        if seen >= OPEN_MAX:
            raise OperationalError(f"more than {OPEN_MAX} requests are {status}: what is open is not known")
        before = page[-1].request


def _prices(state: LogState) -> list[Json]:
    prices = state.policy.prices
    if prices is None:
        return []
    return [
        {
            "asset": asset,
            "unit": prices.scale,
            "price": str(points[-1].price),
            "observed_ms": points[-1].observed_ms,
        }
        for asset, points in sorted(state.prices.items())
        if points
    ]


def _own(state: LogState, intent: Intent) -> str:
    """The own wallet that an intent pays; empty for anybody else."""
    return state.owned.get((intent.chain, intent.destination), "")


def _to(wallet: str) -> dict[str, Json]:
    return {"to": wallet} if wallet else {}
