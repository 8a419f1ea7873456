"""A log of any length to measure with: payments of ten wallets, some approved by two people, some prices.

Everything in it is signed by keys that follow from names, and each entry is accepted.
"""

import functools
import hashlib
from collections.abc import Iterator

import rlp
from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.authenticator import SoftwareAuthenticator
from cli.policies.sample_policy import DAY_MS, ETHER, GROUPS, WALLETS, listed, sample_document
from policy import bip32, ecdsa
from policy.approval import approval_digest
from policy.encoding import Json, document_hash, statement, tagged_hash
from policy.entries import job_id, make_entry
from policy.intent import request_id, request_message
from policy.keccak import keccak256
from policy.roster import COORDINATOR
from policy.transaction_names import evm_name

ORIGIN = "log.example.com/sample"
RULES = 40
START_MS, STEP_MS = 1_800_000_000_000, 25_000
PRICE_EVERY, APPROVED_EVERY = 20, 5
NODES, OPERATORS, OBSERVERS = ("a", "b", "c"), ("alice", "bob"), ("olga", "oskar")
FEE = 10**15


def sample_entries() -> Iterator[bytes]:
    """The entries of the sample, one after the other, without end; each of them is accepted."""
    return _Sample().entries()


def sample_policy() -> dict[str, Json]:
    """Forty rules and three limits, over ten wallets."""
    return sample_document(RULES)


def seed(text: str) -> bytes:
    """32 bytes that are always the same for a text."""
    return tagged_hash("sample log", text.encode())


class _Sample:
    def __init__(self) -> None:
        self.index = 0
        self.now_ms = START_MS
        self.policy = document_hash("policy", sample_policy())
        self.chain_code = seed("chain code")
        self.derived = [
            bip32.derive(_point("group"), self.chain_code, path=(0, wallet)) for wallet in range(WALLETS)
        ]

    def entries(self) -> Iterator[bytes]:
        genesis, key = self._genesis(), self._key_entry()
        yield self._write("genesis", genesis, signatures=_signed("genesis", genesis, ("ada",)))
        yield self._write("key", key, signatures=_signed("keygen", key, NODES))
        number = 0
        while True:
            if number % PRICE_EVERY == 0:
                yield self._price(number)
            yield from self._payment(number)
            number += 1

    def _write(self, kind: str, body: Json, **proof: Json) -> bytes:
        self.index += 1
        self.now_ms += STEP_MS
        return make_entry(kind, self.now_ms, body=body, **proof)

    def _genesis(self) -> Json:
        return {"origin": ORIGIN, "rules": 1, "roster": _roster(), "policy": sample_policy()}

    def _key_entry(self) -> Json:
        return {
            "origin": ORIGIN,
            "key": "main",
            "epoch": 0,
            "suite": "dkls23-secp256k1",
            "change": "generate",
            "dealers": list(NODES),
            "min_signers": 2,
            "participants": list(NODES),
            "group_key": _point("group").hex(),
            "chain_code": self.chain_code.hex(),
            "public_shares": [_point(f"share {name}").hex() for name in NODES],
            "transcript": seed("transcript").hex(),
        }

    def _price(self, number: int) -> bytes:
        body: Json = {
            "origin": ORIGIN,
            "asset": "eth",
            "unit": "usd/2",
            "price": str(200_000 + number % 1_000),
            "observed_ms": self.now_ms,
        }
        return self._write("price", body, signatures=_signed("price", body, OBSERVERS))

    def _payment(self, number: int) -> Iterator[bytes]:
        """One payment from its request to its settlement: 4 entries, or 6 with the approvals."""
        wallet, nonce = number % WALLETS, number // WALLETS
        approved = number % APPROVED_EVERY == 0
        amount = (3 * ETHER if approved else ETHER // 1000) + number % 1000
        destination = listed(5 if approved else 2, number % 20)
        rule = f"rule-{wallet + 30 if approved else wallet}"
        intent: dict[str, Json] = {
            "chain": "evm:1",
            "wallet": f"wallet-{wallet}",
            "asset": "eth",
            "amount": str(amount),
            "destination": destination,
        }
        body = self._request(number, intent)
        signature = sample_key("shop").sign(request_message(body))
        yield self._write(
            "request",
            body,
            signature=signature.hex(),
            verdict={"outcome": "wait" if approved else "allow", "rule": rule},
        )
        request = request_id(body).hex()
        for operator in OPERATORS if approved else ():
            yield self._approval(operator, request=request, intent=intent, wallet=wallet, nonce=nonce)
        tx = b"\x02" + rlp.encode(
            [1, nonce, 1, FEE // 50_000, 21_000, bytes.fromhex(destination[2:]), amount, b"", []]
        )
        reserved: Json = {
            "request": request,
            "purpose": "payment",
            "tx": tx.hex(),
            "key": "main",
            "epoch": 0,
            "paths": [f"m/0/{wallet}"],
            "signers": ["a", "b"],
            "presignatures": [seed(f"presignature {number}").hex()],
        }
        index = self.index
        entry = self._write("reserve", reserved, verdict={"outcome": "allow", "rule": rule})
        yield entry
        job = job_id(ORIGIN, index, data=entry).hex()
        signature = self._sign(wallet, keccak256(tx))
        yield self._write("signature", {"job": job, "index": 0, "signature": signature.hex()})
        settled: Json = {
            "fact": "settled",
            "origin": ORIGIN,
            "request": request,
            "job": job,
            "tx_hash": evm_name(tx, signature).hex(),
            "block": number,
            "success": True,
        }
        yield self._write("observation", settled, signatures=_signed("observation", settled, (COORDINATOR,)))

    def _request(self, number: int, intent: dict[str, Json]) -> Json:
        return {
            "origin": ORIGIN,
            "initiator": "shop",
            **intent,
            "fee_ceiling": str(FEE),
            "idempotency_key": f"payment-{number}",
            "created_ms": self.now_ms,
            "expires_ms": self.now_ms + DAY_MS,
        }

    def _approval(
        self, operator: str, *, request: str, intent: dict[str, Json], wallet: int, nonce: int
    ) -> bytes:
        body: Json = {
            "origin": ORIGIN,
            "request": request,
            "intent": {**intent, "calldata_hash": keccak256(b"").hex()},
            "fee_ceiling": str(FEE),
            "slot": {
                "chain": "evm:1",
                "account": bip32.ethereum_address(self.derived[wallet].public_key),
                "nonce": str(nonce),
            },
            "policy": self.policy.hex(),
            "expires_ms": self.now_ms + DAY_MS,
            "approval_id": seed(f"approval {self.index}").hex(),
            "operator": operator,
        }
        assertion = _authenticator(operator).assert_(approval_digest(body))
        return self._write("approval", body, assertion=assertion.body())

    def _sign(self, wallet: int, message: bytes) -> bytes:
        secret = (_scalar("group") + self.derived[wallet].tweak) % ecdsa.Q
        return PrivateKey(secret.to_bytes(32, "big")).sign_recoverable(message, hasher=None)


def _scalar(text: str) -> int:
    return int.from_bytes(seed(text), "big") % ecdsa.Q


def _point(text: str) -> bytes:
    return PrivateKey(_scalar(text).to_bytes(32, "big")).public_key.format()


@functools.cache
def sample_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed(name))


@functools.cache
def _authenticator(operator: str) -> SoftwareAuthenticator:
    randomness, site = hashlib.sha512(seed(operator)).digest()[:48], "console.example.com"
    return SoftwareAuthenticator.create(site, f"https://{site}", randomness=randomness)


def _signed(tag: str, body: Json, names: tuple[str, ...]) -> list[Json]:
    return [
        {"name": name, "signature": sample_key(name).sign(statement(tag, body)).hex()}
        for name in sorted(names)
    ]


def _named(name: str) -> dict[str, Json]:
    return {"name": name, "key": sample_key(name).public_key().public_bytes_raw().hex()}


def _operator(name: str) -> dict[str, Json]:
    credential = _authenticator(name).credential()
    return {
        **_named(name),
        "groups": [f"group-{number}" for number in range(GROUPS)],
        "credential": {
            "id": credential.id.hex(),
            "public_key": credential.public_key.hex(),
            "rp_id": credential.rp_id,
            "origins": list(credential.origins),
        },
    }


def _roster() -> dict[str, Json]:
    return {
        "cosigners": [{**_named(name), "role": "node"} for name in NODES],
        "w": 3,
        "f": 1,
        "log_key": _named(COORDINATOR)["key"],
        "administrators": {"quorum": 1, "members": [_named("ada")]},
        "initiators": [{**_named("shop"), "people": []}],
        "operators": [_operator(name) for name in OPERATORS],
        "observers": [_named(name) for name in OBSERVERS],
        "policy_delay_ms": DAY_MS,
    }
