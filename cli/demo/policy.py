"""What the demo's deployment is allowed to do, and whom it pays."""

from cli.demo.chain import CHAIN, ETHER
from policy.encoding import Json
from policy.suites import DKLS23_SECP256K1

KEY, WALLET = "main", "hot"
HOT, WARM, COLD = "hot", "warm", "cold"
PATH_DEEP = "m/0/0"
"""Of the warm and the cold wallet, whose keys have their tier's name."""
ETH, TOKEN, TOKEN_DECIMALS = "eth", "exd", 6
PATH_PLAIN = "m/0/0"
PATHS_APPROVED = ("m/0/1", "m/0/2")
NODES, WITNESS = ("node-a", "node-b", "node-c"), "witness"
MIN_SIGNERS, W, F, QUORUM = 2, 3, 1, 2
POLICY_DELAY_MS = 20_000  # a real one takes a day: nobody waits for that here
ADMINISTRATORS = ("anna", "berta")
OPERATORS = ("alice", "bob", "carol")
GROUP, CUSTOMERS = "treasury", "customers"
PAYMENTS, DESK, REBALANCER, SWEEPER = "payments", "desk", "rebalancer", "sweeper"
OBSERVERS = ("watch-a", "watch-b")
PEOPLE = {PAYMENTS: (), DESK: ("alice",)}
BACKEND_GROUPS = {REBALANCER: "rebalancer", SWEEPER: "sweeper"}
CUSTOMER = "0x8ba1f109551bd432803012645ac136ddd64dba72"
STRANGER = "0x000000000000000000000000000000000000dead"
DAY_MS = 24 * 3600 * 1000
FEE_CEILING = ETHER // 100
SMALL_MAX, LARGE_MAX, DAILY_MAX = ETHER, 50 * ETHER, 90 * ETHER
TOKEN_MAX = 1000 * 10**TOKEN_DECIMALS
HOT_MAX, HOT_MIN, WARM_MAX = 220 * ETHER, 20 * ETHER, 1000 * ETHER
HOUR_MS, COLD_DELAY_MS = 3600 * 1000, 1000
"""A day in earnest: long enough for somebody to say no."""


def demo_policy(token: str) -> dict[str, Json]:
    """The policy document of the demo on EVM alone; ``token`` is the address of the demo's token."""
    return {
        **base_policy(),
        "chains": {CHAIN: {"native": ETH, "fee_ceiling": str(FEE_CEILING)}},
        "assets": {
            ETH: {"kind": "native", "chain": CHAIN, "decimals": 18},
            TOKEN: {"kind": "erc20", "chain": CHAIN, "contract": token, "decimals": TOKEN_DECIMALS},
        },
        "keys": {name: key_of(DKLS23_SECP256K1) for name in (KEY, WARM, COLD)},
        "wallets": {
            WALLET: {"tier": HOT, "key": KEY, "chain": CHAIN, "paths": [PATH_PLAIN, *PATHS_APPROVED]},
            **{
                tier: {"tier": tier, "key": tier, "chain": CHAIN, "paths": [PATH_DEEP]}
                for tier in (WARM, COLD)
            },
        },
        "tiers": [
            {
                "name": HOT,
                "role": "hot",
                "minimum": {"amounts": {ETH: str(HOT_MIN)}},
                "maximum": {"amounts": {ETH: str(HOT_MAX)}},
            },
            {"name": WARM, "role": "warm", "maximum": {"amounts": {ETH: str(WARM_MAX)}}},
            {"name": COLD, "role": "cold"},
        ],
        "lists": {CUSTOMERS: [CUSTOMER]},
        "rules": _rules(),
        "limits": [daily_limit("daily", asset=ETH, most=DAILY_MAX)],
    }


def base_policy() -> dict[str, Json]:
    """What holds on every chain: customers alone are paid, and people approve what goes up."""
    return {
        "version": 1,
        "name": "demo",
        "chains": {},
        "assets": {},
        "keys": {},
        "wallets": {},
        "holdings": {"max_age_ms": HOUR_MS},
        "tiers": [{"name": tier, "role": tier} for tier in (HOT, WARM)],
        "lists": {CUSTOMERS: []},
        "forbids": [
            {
                "name": "unknown-destination",
                "when": {"kinds": ["transfer"], "not_destinations": [CUSTOMERS]},
            },
            {"name": "mover-moves", "when": {"kinds": ["transfer"], "initiators": [REBALANCER]}},
        ],
        "rules": _moves(),
        "limits": [],
        "cancel": {"fee_ceiling": str(FEE_CEILING)},
    }


def key_of(suite: str) -> Json:
    """A key of all nodes."""
    return {"suite": suite, "min_signers": MIN_SIGNERS, "participants": list(NODES)}


def daily_limit(name: str, *, asset: str, most: int) -> Json:
    """What may leave one hot wallet in a day."""
    return {
        "name": name,
        "asset": asset,
        "window_ms": DAY_MS,
        "amount_max": str(most),
        "per": ["wallet"],
        "tiers": [HOT],
    }


def _moves() -> list[Json]:
    return [
        {"name": "to-safety", "when": {"exposure": ["lowers"]}, "then": {"outcome": "allow"}},
        {"name": "from-warm", "when": {"exposure": ["raises"], "tiers": [WARM]}, "then": approvals(1)},
    ]


def _rules() -> list[Json]:
    hot: dict[str, Json] = {"tiers": [HOT]}
    return [
        *_moves(),
        {
            "name": "from-cold",
            "when": {"exposure": ["raises"]},
            "then": {**approvals(2), "delay_ms": COLD_DELAY_MS},
        },
        {"name": "desk", "when": {**hot, "initiators": [DESK]}, "then": approvals(1)},
        {
            "name": "small",
            "when": {**hot, "assets": [ETH], "amount_max": str(SMALL_MAX)},
            "then": {"outcome": "allow"},
        },
        {
            "name": "large",
            "when": {**hot, "assets": [ETH], "amount_max": str(LARGE_MAX)},
            "then": approvals(2),
        },
        {
            "name": "token",
            "when": {**hot, "assets": [TOKEN], "amount_max": str(TOKEN_MAX)},
            "then": {"outcome": "allow"},
        },
    ]


def approvals(count: int) -> dict[str, Json]:
    """The outcome of a rule that asks people."""
    return {"outcome": "approve", "approvals": [{"group": GROUP, "count": count}]}
