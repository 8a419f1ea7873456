"""Typed data for tests: a permit and an order, as a policy declares them and as documents."""

from typing import Any

from policy.encoding import canonical
from policy.intent import Intent, Request
from tests.simulation.world import CHAIN, CUSTOMER, DAY_MS, ORIGIN, STRANGER, TOKEN, World

Document = dict[str, Any]
ALLOW = {"outcome": "allow"}
PERMIT_TYPES = {
    "Permit": [
        {"name": "owner", "type": "address"},
        {"name": "spender", "type": "address"},
        {"name": "value", "type": "uint256"},
        {"name": "nonce", "type": "uint256"},
        {"name": "deadline", "type": "uint256"},
    ]
}
ORDER_TYPES = {
    "Order": [
        {"name": "maker", "type": "Party"},
        {"name": "sums", "type": "uint64[]"},
        {"name": "open", "type": "bool"},
        {"name": "note", "type": "string"},
        {"name": "legs", "type": "Party[2]"},
    ],
    "Party": [{"name": "wallet", "type": "address"}, {"name": "mark", "type": "bytes4"}],
}
TYPED_DATA: dict[str, dict[str, Any]] = {
    "permit": {
        "chain": CHAIN,
        "contract": TOKEN,
        "domain": {"name": "USD Coin", "version": "2"},
        "primary_type": "Permit",
        "types": PERMIT_TYPES,
    },
    "order": {
        "chain": CHAIN,
        "contract": STRANGER,
        "domain": {"name": "Market", "salt": "07" * 32},
        "primary_type": "Order",
        "types": ORDER_TYPES,
    },
}
PERMITS = {
    "name": "permits",
    "when": {
        "typed_data": ["permit"],
        "arguments": [
            {"argument": "value", "max": "100"},
            {"argument": "spender", "destinations": ["customers"]},
        ],
    },
    "then": ALLOW,
}
DOMAIN_TYPE = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]
PARTY = {"wallet": STRANGER, "mark": "0x01020304"}


def permit(owner: str = CUSTOMER, *, value: int = 5, spender: str = CUSTOMER, nonce: int = 0) -> Document:
    """A permit of the token of the tests, as a document."""
    return {
        "types": {**PERMIT_TYPES, "EIP712Domain": DOMAIN_TYPE},
        "primaryType": "Permit",
        "domain": {"name": "USD Coin", "version": "2", "chainId": "1", "verifyingContract": TOKEN},
        "message": {
            "owner": owner,
            "spender": spender,
            "value": str(value),
            "nonce": str(nonce),
            "deadline": str(2**256 - 1),
        },
    }


def order() -> Document:
    """Typed data with structs, lists and a salt."""
    salt = {"name": "salt", "type": "bytes32"}
    return {
        "types": {**ORDER_TYPES, "EIP712Domain": [*(DOMAIN_TYPE[i] for i in (0, 2, 3)), salt]},
        "primaryType": "Order",
        "domain": {
            "name": "Market",
            "chainId": "1",
            "verifyingContract": STRANGER,
            "salt": "0x" + "07" * 32,
        },
        "message": {
            "maker": PARTY,
            "sums": ["1", "2"],
            "open": True,
            "note": "für",
            "legs": [PARTY, PARTY],
        },
    }


def intent_of(document: Document, **changed: Any) -> Intent:
    """The intent to sign a document."""
    contract = document["domain"].get("verifyingContract", TOKEN)
    fields = {
        "chain": CHAIN,
        "wallet": "hot",
        "asset": "eth",
        "amount": 0,
        "destination": contract,
        "typed_data": canonical(document),
        **changed,
    }
    return Intent(**fields)


def request_of(document: Document, *, key: str, now_ms: int, **changed: Any) -> Request:
    """The request of a backend to sign a document."""
    intent = intent_of(document, **changed)
    return Request(ORIGIN, "backend", intent, 0, key, now_ms, now_ms + DAY_MS)


def policy_of(world: World, *rules: Document, **changed: Any) -> dict[str, Any]:
    """A policy that declares the permit and the order."""
    return world.policy(rules=list(rules), typed_data=TYPED_DATA, **changed)
