"""The road of money over one chain, the same on every family: in, out, swept, and to a colder tier."""

import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from cli.demo import policy as names
from cli.demo.chains import EVM
from cli.demo.chains.family import Family
from cli.demo.keepers import sweep_once
from cli.demo.scenario import account
from cli.demo.scenes import DENIED, FAILED, OVER, POLL_S, SETTLED, Scene, Seen, Stage, approved_by, seen_of
from custody.client import CallRefused, Code
from policy.errors import OperationalError
from policy.intent import Intent, Request
from policy.words.units import amount_text

T = TypeVar("T")
RECEIVED, REFUSED = "received", "refused"
ARRIVAL_S, LIFE_MS = 30.0, 600_000
DEPOSITOR = "customer-7"


def scenes_of(family: Family) -> tuple[Scene, ...]:
    """Its scenes; on EVM those that the fourteen do not have."""
    amounts = family.amounts
    road = (
        (
            "deposit",
            RECEIVED,
            deposit,
            f"somebody pays {_text(family, amounts.deposited)} to an address of ours",
        ),
        ("sweep", SETTLED, sweep, "what came in goes to the hot wallet"),
        ("withdrawal", SETTLED, withdrawal, f"{_text(family, amounts.small)}, no approval needed"),
        ("reviewed", SETTLED, reviewed, f"{_text(family, amounts.large)}, an operator approves"),
        ("over_limit", DENIED, over_limit, f"{_text(family, amounts.large + 1)}, more than any rule allows"),
        ("wrong_network", REFUSED, wrong_network, "to an address of another network"),
        ("hot_to_warm", SETTLED, hot_to_warm, f"{_text(family, amounts.moved)} to the colder tier"),
    )
    return tuple(
        Scene(f"{family.name}_{name}", expected, partial(play, family), what)
        for name, expected, play, what in road
        if family is not EVM or name in ("deposit", "sweep", "wrong_network")
    )


def deposit(family: Family, stage: Stage) -> Seen:
    """A backend is given an address, a customer pays, and both observers state what came."""
    deployment, pocket, amount = stage.deployment, family.deposits, family.amounts.deposited
    identity = deployment.identity(names.PAYMENTS)
    with deployment.connection().open(identity) as client:
        address = client.give_address(pocket.wallet, DEPOSITOR, path=pocket.paths[0]).address
        transaction = deployment.network_of(family).pay(address, amount)
        told = _until(lambda: client.deposits(pocket.wallet), f"observers state nothing of {transaction}")
    came, block = int(str(told[0]["amount"])), int(str(told[0]["block"]))
    if came != amount:
        raise OperationalError(f"{amount} was paid to {address}, and {came} is said to have come")
    seen = " and ".join(names.OBSERVERS)
    return Seen(RECEIVED, transaction, block, reason=f"for {DEPOSITOR}, at {address}; seen by {seen}")


def sweep(family: Family, stage: Stage) -> Seen:
    """The sweeper finds what came in, and asks for all of it to be paid to the hot wallet, less the fee."""
    moves = [one for one in sweep_once(stage.deployment) if one["asset"] == family.asset]
    if not moves or not moves[0]["request"]:
        raise OperationalError(f"the sweeper asked for nothing in {family.asset}: {moves}")
    return seen_of(stage.wait_state(moves[0]["request"], *OVER))


def withdrawal(family: Family, stage: Stage) -> Seen:
    """A small payment to a customer, by a rule alone."""
    return _paid(family, stage, family.amounts.small, "small")


def reviewed(family: Family, stage: Stage) -> Seen:
    """A larger one waits for a person."""
    sent = _send(family, stage, family.amounts.large, "reviewed")
    return approved_by(stage, sent, "bob")


def over_limit(family: Family, stage: Stage) -> Seen:
    """More than any rule allows."""
    return _paid(family, stage, family.amounts.large + 1, "too-much")


def wrong_network(family: Family, stage: Stage) -> Seen:
    """The door refuses what is no address of the chain, though a backend has signed for it."""
    deployment, identity = stage.deployment, stage.deployment.identity(names.PAYMENTS)
    connection, now_ms = deployment.connection(), time.time_ns() // 1_000_000
    intent = Intent(family.chain, family.hot.wallet, family.asset, family.amounts.small, family.foreign)
    request = Request(
        origin=connection.origin,
        initiator=names.PAYMENTS,
        intent=intent,
        fee_ceiling=family.fee_ceiling,
        idempotency_key=f"{family.name}-wrong-network",
        created_ms=now_ms,
        expires_ms=now_ms + LIFE_MS,
    )
    with connection.open(identity) as client:
        try:
            client.submit(request)
        except CallRefused as refusal:
            right = refusal.code == Code.MALFORMED and "'destination'" in refusal.reason
            return Seen(REFUSED if right else FAILED, rule=refusal.code, reason=refusal.reason)
    return Seen("taken in", reason=f"{family.foreign} passed for an address of {family.chain}")


def hot_to_warm(family: Family, stage: Stage) -> Seen:
    """A move to a colder tier goes by itself."""
    warm = family.warm
    destination = account(stage.deployment, warm.paths[0], wallet=warm.wallet)
    return _paid(family, stage, family.amounts.moved, "to-warm", to=destination)


def _until(look: Callable[[], T], otherwise: str) -> T:
    """What a look finds once it finds something. Raises ``OperationalError``."""
    deadline = time.monotonic() + ARRIVAL_S
    while not (found := look()):
        if time.monotonic() > deadline:
            raise OperationalError(f"{otherwise} after {ARRIVAL_S:.0f} s")
        time.sleep(POLL_S)
    return found


def _paid(family: Family, stage: Stage, amount: int, key: str, **options: str) -> Seen:
    """Ask, wait until it is over, and look whether the chain has moved what was asked for."""
    to = options.get("to", family.customer)
    network = stage.deployment.network_of(family)
    before = network.balance(to)
    request = _send(family, stage, amount, key, **options)
    shown = stage.wait_over(request)
    came = network.balance(to) - before
    if came != (amount if shown["state"] == SETTLED else 0):
        raise OperationalError(f"it is {shown['state']}, and {to} has {came} more on the chain")
    return seen_of(shown)


def _send(family: Family, stage: Stage, amount: int, key: str, **options: str) -> str:
    chosen = {"wallet": family.hot.wallet, "asset": family.asset, "to": family.customer, **options}
    sent = stage.send(names.PAYMENTS, str(amount), idempotency_key=f"{family.name}-{key}", **chosen)
    return str(sent["request"])


def _text(family: Family, amount: int) -> str:
    return amount_text(amount, asset=family.asset, decimals=family.decimals)
