"""What the demo's deployment is allowed to do, and whom it pays."""

from cli.demo.chain import CHAIN, ETHER
from policy.encoding import Json

KEY, WALLET = "main", "hot"
WARM, COLD = "warm", "cold"
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
GROUP = "treasury"
PAYMENTS, DESK, REBALANCER = "payments", "desk", "rebalancer"
OBSERVERS = ("watch-a", "watch-b")
PEOPLE = {PAYMENTS: (), DESK: ("alice",)}
BACKEND_GROUPS = {REBALANCER: "rebalancer"}
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
    """The policy document; ``token`` is the address of the demo's token."""
    return {
        "version": 1,
        "name": "demo",
        "chains": {CHAIN: {"native": ETH, "fee_ceiling": str(FEE_CEILING)}},
        "assets": {
            ETH: {"kind": "native", "chain": CHAIN, "decimals": 18},
            TOKEN: {"kind": "erc20", "chain": CHAIN, "contract": token, "decimals": TOKEN_DECIMALS},
        },
        "keys": {name: _key() for name in (KEY, WARM, COLD)},
        "wallets": {
            WALLET: {"tier": "hot", "key": KEY, "chain": CHAIN, "paths": [PATH_PLAIN, *PATHS_APPROVED]},
            **{
                tier: {"tier": tier, "key": tier, "chain": CHAIN, "paths": [PATH_DEEP]}
                for tier in (WARM, COLD)
            },
        },
        "holdings": {"max_age_ms": HOUR_MS},
        "tiers": [
            {
                "name": "hot",
                "role": "hot",
                "minimum": {"amounts": {ETH: str(HOT_MIN)}},
                "maximum": {"amounts": {ETH: str(HOT_MAX)}},
            },
            {"name": WARM, "role": "warm", "maximum": {"amounts": {ETH: str(WARM_MAX)}}},
            {"name": COLD, "role": "cold"},
        ],
        "lists": {"customers": [CUSTOMER]},
        "forbids": [
            {
                "name": "unknown-destination",
                "when": {"kinds": ["transfer"], "not_destinations": ["customers"]},
            },
            {"name": "mover-moves", "when": {"kinds": ["transfer"], "initiators": [REBALANCER]}},
        ],
        "rules": _rules(),
        "limits": [
            {
                "name": "daily",
                "asset": ETH,
                "window_ms": DAY_MS,
                "amount_max": str(DAILY_MAX),
                "per": ["wallet"],
                "tiers": ["hot"],
            }
        ],
        "cancel": {"fee_ceiling": str(FEE_CEILING)},
    }


def _key() -> Json:
    return {"suite": "dkls23-secp256k1", "min_signers": MIN_SIGNERS, "participants": list(NODES)}


def _rules() -> list[Json]:
    hot: dict[str, Json] = {"tiers": ["hot"]}
    return [
        {"name": "to-safety", "when": {"exposure": ["lowers"]}, "then": {"outcome": "allow"}},
        {"name": "from-warm", "when": {"exposure": ["raises"], "tiers": [WARM]}, "then": _approvals(1)},
        {
            "name": "from-cold",
            "when": {"exposure": ["raises"]},
            "then": {**_approvals(2), "delay_ms": COLD_DELAY_MS},
        },
        {"name": "desk", "when": {**hot, "initiators": [DESK]}, "then": _approvals(1)},
        {
            "name": "small",
            "when": {**hot, "assets": [ETH], "amount_max": str(SMALL_MAX)},
            "then": {"outcome": "allow"},
        },
        {
            "name": "large",
            "when": {**hot, "assets": [ETH], "amount_max": str(LARGE_MAX)},
            "then": _approvals(2),
        },
        {
            "name": "token",
            "when": {**hot, "assets": [TOKEN], "amount_max": str(TOKEN_MAX)},
            "then": {"outcome": "allow"},
        },
    ]


def _approvals(count: int) -> dict[str, Json]:
    return {"outcome": "approve", "approvals": [{"group": GROUP, "count": count}]}
