"""A log with tiers: hot, warm and cold, each with a wallet and a key of its own, and what observers state."""

from collections.abc import Iterable
from typing import Any, cast

from coincurve import PrivateKey

from policy import ecdsa, ledger
from policy.approval import Slot
from policy.encoding import Json
from policy.evaluate import Verdict
from policy.state import PAYMENT, Outcome, State
from tests.simulation.world import (
    CHAIN,
    KEY,
    OBSERVERS,
    ORIGIN,
    PATH,
    Book,
    World,
    seed,
    signatures,
    unsigned,
)

MINUTE_MS = 60_000
AGE_MS = 60 * MINUTE_MS
PATHS = {"hot": PATH, "warm": "m/1/0", "cold": "m/2/0"}
KEYS = {"hot": KEY, "warm": "warm", "cold": "cold"}
WALLETS = tuple(PATHS)
ASSETS = ("eth", "usdc")
APPROVED = {"outcome": "approve", "approvals": [{"group": "treasury", "count": 1}]}
COLD = APPROVED | {"delay_ms": MINUTE_MS}
RULES: list[dict[str, Any]] = [
    {"name": "down", "when": {"exposure": ["lowers"], "amount_max": "500", "assets": ["eth"]}, "then": None},
    {"name": "down-large", "when": {"exposure": ["lowers"]}, "then": APPROVED},
    {"name": "up", "when": {"exposure": ["raises"], "tiers": ["warm"]}, "then": APPROVED},
    {"name": "from-cold", "when": {"exposure": ["raises"], "tiers": ["cold"]}, "then": COLD},
    {"name": "pay", "when": {"tiers": ["hot"], "kinds": ["transfer"]}, "then": {"outcome": "allow"}},
    {"name": "pay-warm", "when": {"tiers": ["warm"], "kinds": ["transfer"]}, "then": APPROVED},
    {"name": "pay-cold", "when": {"tiers": ["cold"], "kinds": ["transfer"]}, "then": COLD},
]


def level(value: int | None = None, **amounts: int) -> dict[str, Any]:
    """So much of a tier."""
    found: dict[str, Any] = {} if value is None else {"value": str(value)}
    return found | ({"amounts": {name: str(one) for name, one in amounts.items()}} if amounts else {})


def tiered(world: World, *, hot: Any = None, warm: Any = None, cold: Any = None, **parts: Any) -> Json:
    """A policy with three tiers; ``hot``, ``warm`` and ``cold`` are their bounds.

    What one whole eth is makes amounts and values the same at a price of 1.
    """
    document: dict[str, Any] = dict(world.policy())
    key = document["keys"][KEY]
    document["assets"]["eth"]["decimals"] = document["assets"]["usdc"]["decimals"] = 0
    document["keys"] = dict.fromkeys(KEYS.values(), key)
    document["wallets"] = {
        name: {"tier": name, "key": KEYS[name], "chain": CHAIN, "paths": [path]}
        for name, path in PATHS.items()
    }
    rules = [one | {"then": one["then"] or {"outcome": "allow"}} for one in RULES]
    tiers = [
        {"name": name, "role": name, **(bounds or {})}
        for name, bounds in (("hot", hot), ("warm", warm), ("cold", cold))
    ]
    document |= {
        "lists": {},
        "forbids": [],
        "rules": rules,
        "limits": [],
        "prices": {"unit": "usd", "decimals": 0, "max_age_ms": AGE_MS},
        "holdings": {"max_age_ms": AGE_MS},
        "tiers": tiers,
    }
    return cast("Json", document | parts)


def _holder(key: str) -> World:
    """A world that holds another key than the first."""
    world = World()
    if key != KEY:
        world.secret = int.from_bytes(seed(f"group key {key}"), "big") % ecdsa.Q
        world.group_key = PrivateKey(world.secret.to_bytes(32, "big")).public_key.format()
    return world


class TierBook(Book):
    """A log that begins with three tiers and their keys; nothing is stated yet."""

    def __init__(self, *, state: State | None = None, **bounds: Any) -> None:
        super().__init__(World(), start=False)
        self.state = state or self.state
        self.genesis(policy=tiered(self.world, **bounds))
        self.holders = {wallet: _holder(KEYS[wallet]) for wallet in WALLETS}
        for wallet, key in KEYS.items():
            self.key(key=key, group_key=self.holders[wallet].group_key.hex())
        self.nonces = dict.fromkeys(WALLETS, 0)

    def address(self, wallet: str) -> str:
        """Where a wallet is paid to."""
        return self.holders[wallet].account(PATHS[wallet])

    def sign(self, job: bytes, *, nonce: int | None = None) -> Outcome:
        """Log the finished signature of a job, by its own key."""
        wallet = next(name for name, key in KEYS.items() if key == self.state.jobs[job].key)
        signature = self.holders[wallet].signature(self.state.jobs[job], nonce=nonce)
        return self.write("signature", {"job": job.hex(), "index": 0, "signature": signature.hex()})

    def state_holdings(
        self,
        wallet: str,
        amount: int,
        *,
        asset: str = "eth",
        pending: Iterable[bytes] = (),
        by: Iterable[str] = OBSERVERS,
        **changed: Any,
    ) -> Outcome:
        """Log what a wallet holds, by observers who saw the whole log but for what is pending."""
        self.advance(1)
        body: dict[str, Any] = {
            "origin": ORIGIN,
            "wallet": wallet,
            "asset": asset,
            "amount": str(amount),
            "observed_ms": self.now_ms,
            "size": self.state.size,
            "pending": [one.hex() for one in pending],
            **changed,
        }
        return self.write("holdings", body, signatures=signatures("holdings", body, by))

    def state_all(self, hot: int, warm: int, cold: int) -> None:
        """Log what every wallet holds of eth, and that none holds of the other asset."""
        for wallet, amount in (("hot", hot), ("warm", warm), ("cold", cold)):
            self.state_holdings(wallet, amount)
            self.state_holdings(wallet, 0, asset="usdc")

    def state_price(self, price: int = 1, **changed: Any) -> None:
        """Log what one eth is worth."""
        self.advance(1)
        self.price(price, **{"unit": "usd/0", **changed})

    def move(self, amount: int, source: str, destination: str, **changed: Any) -> bytes:
        """Log the request of a move between tiers; its id."""
        return self.request(amount, to=self.address(destination), wallet=source, **changed)

    def asked_verdict(self, amount: int, source: str, destination: str, **changed: Any) -> Verdict:
        """What a request would come to now; ``destination`` is a wallet or an address."""
        to = self.address(destination) if destination in PATHS else destination
        request = self.asked(amount, to=to, wallet=source, **changed)
        return ledger.judge(self.state, "request", body=request.body(), time_ms=self.now_ms)

    def body_of(self, request: bytes, *, fee: int = 10, nonce: int | None = None) -> dict[str, Any]:
        """The body of a reservation of a request, from its wallet."""
        wallet = self.state.requests[request].request.intent.wallet
        number = self.nonces[wallet] if nonce is None else nonce
        return self.reservation(request, nonce=number, fee=fee, key=KEYS[wallet], paths=[PATHS[wallet]])

    def verdict_of(self, request: bytes, **changed: Any) -> Verdict:
        """What the reservation of a request would come to now."""
        body = self.body_of(request, **changed)
        return ledger.judge(self.state, "reserve", body=body, time_ms=self.now_ms)

    def agree(self, request: bytes, operator: str = "alice", *, nonce: int | None = None) -> None:
        """Log an approval, and let the delay pass that cold has."""
        wallet = self.state.requests[request].request.intent.wallet
        number = self.nonces[wallet] if nonce is None else nonce
        self.approve(request, operator, nonce=number, slot=Slot(CHAIN, self.address(wallet), number))
        self.advance(MINUTE_MS)

    def take(self, request: bytes, **changed: Any) -> bytes:
        """Log the reservation of a request; the id of its job, if it is admitted."""
        wallet = self.state.requests[request].request.intent.wallet
        job = self.log_reservation(self.body_of(request, **changed))
        if self.last.accepted and "nonce" not in changed:
            self.nonces[wallet] += 1
        return job

    def tx(self, request: bytes, *, nonce: int, fee: int = 10, purpose: str = PAYMENT) -> bytes:
        """The unsigned transaction; a cancellation is of the request's own wallet."""
        if purpose != PAYMENT:
            wallet = self.state.requests[request].request.intent.wallet
            return unsigned(self.address(wallet), 0, nonce=nonce, fee=fee)
        return super().tx(request, nonce=nonce, fee=fee, purpose=purpose)
