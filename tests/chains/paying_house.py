"""What the houses of chains have in common: a policy of two steps, and a shop that asks for payments."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from policy.encoding import Json, canonical, statement
from policy.intent import Intent, Request
from tests.unit.custody_cluster import KEY, NODES, ORIGIN, WALLET, identity, policy_document
from tests.unit.custody_house import Clock, House, Running


@dataclass(frozen=True)
class Money:
    """The native asset of a chain, what a payment of it may cost, and whom the shop pays."""

    chain: str
    asset: str
    decimals: int
    fee_ceiling: int
    payee: str

    def policy(self, *, suite: str, paths: Sequence[str]) -> dict[str, Json]:
        """One wallet: up to one unit without approval, up to ten with one."""
        unit = 10**self.decimals
        approved: Json = {"outcome": "approve", "approvals": [{"group": "desk", "count": 1}]}
        return policy_document() | {
            "chains": {self.chain: {"native": self.asset, "fee_ceiling": str(self.fee_ceiling)}},
            "assets": {self.asset: {"kind": "native", "chain": self.chain, "decimals": self.decimals}},
            "keys": {KEY: {"suite": suite, "min_signers": 2, "participants": [*NODES]}},
            "wallets": {WALLET: {"tier": "hot", "key": KEY, "chain": self.chain, "paths": [*paths]}},
            "rules": [
                self._rule("small", unit, {"outcome": "allow"}),
                self._rule("large", 10 * unit, approved),
            ],
            "limits": [],
        }

    def _rule(self, name: str, most: int, then: Json) -> Json:
        return {"name": name, "when": {"assets": [self.asset], "amount_max": str(most)}, "then": then}


class PayingHouse(House):
    """A house whose shop pays in a chain's own money."""

    def __init__(
        self, folder: Path, money: Money, *, policy: dict[str, Json], roster: Json | None = None
    ) -> None:
        super().__init__(folder, policy=policy, roster=roster)
        self.money = money
        self.now_ms = self.clock = Clock()

    def request(
        self,
        name: str,
        amount: int,
        *,
        life_ms: int = 600_000,
        destination: str = "",
        fee: int | None = None,
        asset: str = "",
    ) -> tuple[bytes, bytes]:
        """A request of the shop, and its signature; without more words the payee's, in the native asset."""
        now, money = self.now_ms(), self.money
        body = Request(
            origin=ORIGIN,
            initiator="shop",
            intent=Intent(money.chain, WALLET, asset or money.asset, amount, destination or money.payee),
            fee_ceiling=money.fee_ceiling if fee is None else fee,
            idempotency_key=name,
            created_ms=now,
            expires_ms=now + life_ms,
        ).body()
        return canonical(body), identity("shop").sign(statement("request", body))

    async def pay(self, running: Running, name: str, amount: int, **options: Any) -> bytes:
        """Submit a request; its id."""
        return (await running.service.submit(*self.request(name, amount, **options))).request
