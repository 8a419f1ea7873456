"""Names, amounts and the policy of the deployment that end-to-end tests run."""

from policy import bech32
from policy.addresses import solana_address
from policy.encoding import Json
from tests.unit.typed_data_house import TYPED_DATA

ORIGIN = "log.example.com/test"
CHAIN, SOLANA, BITCOIN = "evm:31337", "solana:localnet", "bitcoin:regtest"
NODES = ("node-a", "node-b", "node-c")
WITNESS = "witness-1"
CUSTOMER = "0x" + "c5" * 20
SOL_CUSTOMER = solana_address(b"\x07" * 32)
BTC_CUSTOMER = bech32.encode("bcrt", 0, program=b"\x07" * 20)
STRANGER = "0x" + "5a" * 20
ETH = 10**18
DAY_MS = 24 * 3600 * 1000
PERMIT: Json = {**TYPED_DATA["permit"], "chain": CHAIN, "contract": STRANGER}


def policy_document(*, daily_eth: int = 10) -> Json:
    return {
        "version": 1,
        "name": "test",
        "chains": {
            CHAIN: {"native": "eth", "fee_ceiling": str(ETH // 10)},
            SOLANA: {"native": "sol", "fee_ceiling": "10000"},
            BITCOIN: {"native": "btc", "fee_ceiling": "10000"},
        },
        "assets": {
            "eth": {"chain": CHAIN, "kind": "native", "decimals": 18},
            "sol": {"chain": SOLANA, "kind": "native", "decimals": 9},
            "btc": {"chain": BITCOIN, "kind": "native", "decimals": 8},
        },
        "keys": {
            "hot": {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list(NODES)},
            "old": {
                "suite": "dkls23-secp256k1",
                "imported": True,
                "min_signers": 2,
                "participants": list(NODES),
            },
            "sol": {"suite": "frost-ed25519-sha512", "min_signers": 2, "participants": list(NODES)},
            "btc": {"suite": "frost-secp256k1-taproot", "min_signers": 2, "participants": list(NODES)},
        },
        "wallets": {
            "hot": {"tier": "hot", "key": "hot", "chain": CHAIN, "paths": ["m/0/0", "m/0/1"]},
            "sol": {"tier": "hot", "key": "sol", "chain": SOLANA, "paths": ["m"]},
            "btc": {"tier": "hot", "key": "btc", "chain": BITCOIN, "paths": ["m/0/0", "m/0/1"]},
            "key-hash": {"tier": "hot", "key": "hot", "chain": BITCOIN, "paths": ["m/0/0", "m/0/1"]},
        },
        "lists": {"customers": [CUSTOMER, SOL_CUSTOMER, BTC_CUSTOMER]},
        "typed_data": {"permit": PERMIT},
        "forbids": [],
        "rules": rules(),
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


def rules() -> list[Json]:
    return [
        {
            "name": "permits",
            "when": {
                "typed_data": ["permit"],
                "arguments": [{"argument": "spender", "destinations": ["customers"]}],
            },
            "then": {"outcome": "allow"},
        },
        {
            "name": "small",
            "when": {"assets": ["eth"], "destinations": ["customers"], "amount_max": str(ETH)},
            "then": {"outcome": "allow"},
        },
        {
            "name": "elsewhere",
            "when": {"assets": ["sol", "btc"], "destinations": ["customers"]},
            "then": {"outcome": "allow"},
        },
        {
            "name": "large",
            "when": {"assets": ["eth"], "destinations": ["customers"]},
            "then": {"outcome": "approve", "approvals": [{"group": "treasury", "count": 2}]},
        },
    ]
