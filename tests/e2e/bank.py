"""A deployment of real nodes that pays in a chain's native asset: asking it, and waiting for its payments."""

from collections.abc import Callable, Mapping
from typing import Any

from cli.demo import policy as names
from cli.demo import scenario
from policy.encoding import Json
from tests.chains.paying_house import Money
from tests.waiting import seen


def open_policy(money: Money, suites: Mapping[str, str], paths: tuple[str, ...]) -> dict[str, Json]:
    """A wallet of its own name for each key; every payment is allowed."""
    chain = money.chain
    members: dict[str, Json] = {"min_signers": 2, "participants": [*names.NODES]}
    return {
        "version": 1,
        "name": chain.partition(":")[0],
        "chains": {chain: {"native": money.asset, "fee_ceiling": str(money.fee_ceiling)}},
        "assets": {money.asset: {"kind": "native", "chain": chain, "decimals": money.decimals}},
        "keys": {name: {"suite": suite, **members} for name, suite in suites.items()},
        "wallets": {name: {"tier": "hot", "key": name, "chain": chain, "paths": [*paths]} for name in suites},
        "lists": {},
        "forbids": [],
        "rules": [{"name": "any", "when": {"assets": [money.asset]}, "then": {"outcome": "allow"}}],
        "limits": [],
        "cancel": {"fee_ceiling": str(money.fee_ceiling)},
    }


class ChainBank:
    """The deployment, asked by its backend and watched by an operator."""

    def __init__(self, deployment: scenario.Deployment, money: Money) -> None:
        self.deployment = deployment
        self.money = money

    def send(self, wallet: str, amount: str) -> str:
        """Ask for a payment to the payee; its id."""
        asset = self.money.asset
        sent = self.deployment.ask(
            names.PAYMENTS,
            *("request", "send", "--wallet", wallet, "--asset", asset, "--to", self.money.payee),
            *("--amount", f"{amount} {asset}", "--idempotency-key", f"{wallet} {amount}"),
        )
        return str(sent["request"])

    def show(self, request: str) -> dict[str, Any]:
        """A request as it stands."""
        return self.deployment.ask(names.OPERATORS[0], "request", "show", request)

    def wait(self, request: str, state: str) -> dict[str, Any]:
        """The request once it is in a state."""
        return seen(lambda: self.show(request), lambda shown: shown["state"] == state, every_s=0.2)

    def until(self, holds: Callable[[], bool]) -> None:
        """Once it is so."""
        seen(holds, every_s=0.2)
