"""What the demo's deployment is allowed to do, and whom it pays."""

from cli.demo.chain import CHAIN, ETHER
from policy.encoding import Json

KEY, WALLET = "main", "hot"
ETH, TOKEN, TOKEN_DECIMALS = "eth", "exd", 6
PATH_PLAIN = "m/0/0"
PATHS_APPROVED = ("m/0/1", "m/0/2")
NODES, WITNESS = ("node-a", "node-b", "node-c"), "witness"
MIN_SIGNERS, W, F, QUORUM = 2, 3, 1, 2
ADMINISTRATORS = ("anna", "berta")
OPERATORS = ("alice", "bob", "carol")
GROUP = "treasury"
PAYMENTS, DESK, REBALANCER = "payments", "desk", "rebalancer"
PEOPLE = {PAYMENTS: (), DESK: ("alice",)}
BACKEND_GROUPS = {REBALANCER: "rebalancer"}
CUSTOMER = "0x8ba1f109551bd432803012645ac136ddd64dba72"
STRANGER = "0x000000000000000000000000000000000000dead"
DAY_MS = 24 * 3600 * 1000
FEE_CEILING = ETHER // 100
SMALL_MAX, LARGE_MAX, DAILY_MAX = ETHER, 50 * ETHER, 90 * ETHER
TOKEN_MAX = 1000 * 10**TOKEN_DECIMALS


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
        "keys": {KEY: {"suite": "dkls23-secp256k1", "min_signers": MIN_SIGNERS, "participants": list(NODES)}},
        "wallets": {
            WALLET: {"tier": "hot", "key": KEY, "chain": CHAIN, "paths": [PATH_PLAIN, *PATHS_APPROVED]}
        },
        "lists": {"customers": [CUSTOMER]},
        "forbids": [{"name": "unknown-destination", "when": {"not_destinations": ["customers"]}}],
        "rules": [
            {"name": "desk", "when": {"initiators": [DESK]}, "then": _approvals(1)},
            {
                "name": "small",
                "when": {"assets": [ETH], "amount_max": str(SMALL_MAX)},
                "then": {"outcome": "allow"},
            },
            {"name": "large", "when": {"assets": [ETH], "amount_max": str(LARGE_MAX)}, "then": _approvals(2)},
            {
                "name": "token",
                "when": {"assets": [TOKEN], "amount_max": str(TOKEN_MAX)},
                "then": {"outcome": "allow"},
            },
        ],
        "limits": [
            {
                "name": "daily",
                "asset": ETH,
                "window_ms": DAY_MS,
                "amount_max": str(DAILY_MAX),
                "per": ["wallet"],
            }
        ],
        "cancel": {"fee_ceiling": str(FEE_CEILING)},
    }


def _approvals(count: int) -> Json:
    return {"outcome": "approve", "approvals": [{"group": GROUP, "count": count}]}
