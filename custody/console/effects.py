"""What the chain's endpoint says a transaction would do. Shown to people; nothing is decided by it."""

import asyncio
from dataclasses import dataclass
from typing import Final

from custody.console.requests import units
from custody.parts import Parts
from custody.ports import BalanceChange, Simulated
from custody.records import RequestRecord, request_body
from policy.errors import OperationalError
from policy.intent import Intent, parse_request
from policy.model import Policy
from policy.words.units import readable_address

ASKED_S: Final = 5.0
WATCHED_MAX: Final = 12


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """One balance; ``odd`` where it changes by something else than the request's amount."""

    account: str
    role: str
    before: str
    after: str
    change: str
    odd: bool


@dataclass(frozen=True, slots=True)
class Effect:
    """What the page says: no answer (``problem``), or what would come of it."""

    problem: str = ""
    block: int = 0
    success: bool = False
    reason: str = ""
    lines: tuple[ChangeLine, ...] = ()


async def effect(parts: Parts, record: RequestRecord) -> Effect:
    """Ask the chain, within a few seconds."""
    policy, intent = parts.sequencer.state.policy, parse_request(request_body(record)).intent
    chain = parts.chains.get(intent.chain)
    if not record.tx or intent.typed_data is not None:
        return Effect(problem="there is no transaction to simulate")
    if chain is None:
        return Effect(problem=f"the coordinator has no endpoint of {intent.chain}")
    watched = _watched(policy, intent, record.account)
    try:
        async with asyncio.timeout(ASKED_S):
            found = await chain.simulate(record.tx, account=record.account, watched=watched)
    except (OperationalError, TimeoutError) as error:
        return Effect(problem=str(error) or f"no answer within {ASKED_S:g} s")
    return _shown(policy, intent, found)


def _watched(policy: Policy, intent: Intent, account: str) -> list[tuple[str, str | None]]:
    """The payment's asset at both ends; around a call every asset of the policy that is on its chain."""
    asset = policy.assets.get(intent.asset)
    here = [one for one in policy.assets.values() if one.chain == intent.chain]
    chosen = here if intent.calldata is not None else [one for one in here if one == asset]
    holders = dict.fromkeys((account, intent.destination))
    return [(holder, one.contract) for holder in holders for one in chosen][:WATCHED_MAX]


def _shown(policy: Policy, intent: Intent, found: Simulated) -> Effect:
    lines = tuple(_line(policy, intent, one) for one in found.balances)
    return Effect("", found.block, found.success, found.reason, lines)


def _line(policy: Policy, intent: Intent, change: BalanceChange) -> ChangeLine:
    asset = policy.asset_at(intent.chain, change.contract)
    name = asset.name if asset else str(change.contract)
    receives = change.account == intent.destination
    moved = None if change.after is None else change.after - change.before
    sign = "" if not moved else "+" if moved > 0 else "−"
    return ChangeLine(
        account=readable_address(change.account),
        role="destination" if receives else "source",
        before=units(policy, change.before, unit=name),
        after="" if change.after is None else units(policy, change.after, unit=name),
        change="" if moved is None else f"{sign}{units(policy, abs(moved), unit=name)}",
        odd=_odd(intent, moved, name=name, receives=receives),
    )


def _odd(intent: Intent, moved: int | None, *, name: str, receives: bool) -> bool:
    """Whether a plain payment moves something else than its amount, as a token that keeps a part of it."""
    if moved is None or intent.calldata is not None or name != intent.asset:
        return False
    return moved != (intent.amount if receives else -intent.amount)
