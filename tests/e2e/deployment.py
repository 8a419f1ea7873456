"""Names, amounts and the policy of the deployment that end-to-end tests run."""

from policy.encoding import Json

ORIGIN = "log.example.com/test"
CHAIN = "evm:31337"
NODES = ("node-a", "node-b", "node-c")
WITNESS = "witness-1"
CUSTOMER = "0x" + "c5" * 20
STRANGER = "0x" + "5a" * 20
ETH = 10**18
DAY_MS = 24 * 3600 * 1000


def policy_document(*, daily_eth: int = 10) -> Json:
    return {
        "version": 1,
        "name": "test",
        "chains": {CHAIN: {"native": "eth", "fee_ceiling": str(ETH // 10)}},
        "assets": {"eth": {"chain": CHAIN, "kind": "native", "decimals": 18}},
        "keys": {"hot": {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list(NODES)}},
        "wallets": {"hot": {"tier": "hot", "key": "hot", "chain": CHAIN, "paths": ["m/0/0", "m/0/1"]}},
        "lists": {"customers": [CUSTOMER]},
        "forbids": [],
        "rules": [
            {
                "name": "small",
                "when": {"assets": ["eth"], "destinations": ["customers"], "amount_max": str(ETH)},
                "then": {"outcome": "allow"},
            },
            {
                "name": "large",
                "when": {"assets": ["eth"], "destinations": ["customers"]},
                "then": {"outcome": "approve", "approvals": [{"group": "treasury", "count": 2}]},
            },
        ],
        "limits": [
            {
                "name": "daily-eth",
                "asset": "eth",
                "window_ms": DAY_MS,
                "amount_max": str(daily_eth * ETH),
                "per": ["wallet"],
            }
        ],
        "cancel": {"fee_ceiling": str(ETH // 100)},
    }
