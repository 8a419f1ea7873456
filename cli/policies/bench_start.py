"""What a node's start costs on a log of any length: the log is made here, a node's program starts on it."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cli.programs import NODE, program
from policy.encoding import Json, statement, tagged_hash
from policy.entries import make_entry, signature_list
from policy.errors import OperationalError
from policy.intent import Intent, Request, request_message
from policy.ledger import claim_verdict, fold, initial

ENTRIES = 20_000
ORIGIN = "log.example.com/bench"
START_MS, PAUSE_MS, DAY_MS = 1_700_000_000_000, 1_000, 86_400_000
NODES = ("node-1", "node-2", "node-3")
CUSTOMERS = 200


def start_s(entries: int = ENTRIES) -> float:
    """Seconds of processor time from opening the disk to a cosigner at the log's end."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as lines:
            lines.writelines(f"{entry.hex()}\n" for entry in sample_log(entries))
        command = program(NODE, "bench", "--start", str(log), "--json")
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OperationalError(f"the node's program ended with {done.returncode}: {done.stderr[-300:]}")
    return float(json.loads(done.stdout)["start_s"])


def sample_log(entries: int) -> Iterator[bytes]:
    """A log of a genesis entry and requests of one backend, each taken in."""
    now_ms, state, entry = START_MS, initial(), _genesis()
    for number in range(entries):
        if number:
            now_ms += PAUSE_MS
            body = _asked(number, now_ms)
            claim = claim_verdict(state, "request", body=body, time_ms=now_ms)
            signature = _key("desk").sign(request_message(body)).hex()
            entry = make_entry("request", now_ms, body=body, signature=signature, verdict=claim)
        state, outcome = fold(state, entry)
        if not outcome.accepted:
            raise OperationalError(f"entry {number} of the sample is inert: {outcome.reason}")
        yield entry


def _genesis() -> bytes:
    body: Json = {"origin": ORIGIN, "rules": 1, "roster": _roster(), "policy": _policy()}
    signed = {"ada": _key("ada").sign(statement("genesis", body))}
    return make_entry("genesis", START_MS, body=body, signatures=signature_list(signed))


def _asked(number: int, now_ms: int) -> Json:
    customer = f"0x{number % CUSTOMERS:040x}"
    intent = Intent("evm:1", "hot", "eth", 10**15, customer)
    return Request(ORIGIN, "desk", intent, 10**15, f"payment {number}", now_ms, now_ms + DAY_MS).body()


def _roster() -> Json:
    return {
        "cosigners": [{**_named(name), "role": "node"} for name in NODES],
        "w": 2,
        "f": 0,
        "log_key": _public("coordinator"),
        "administrators": {"quorum": 1, "members": [_named("ada")]},
        "initiators": [{**_named("desk"), "people": []}],
        "operators": [],
        "observers": [],
        "policy_delay_ms": DAY_MS,
    }


def _policy() -> Json:
    return {
        "version": 1,
        "name": "bench",
        "chains": {"evm:1": {"native": "eth", "fee_ceiling": str(10**18)}},
        "assets": {"eth": {"chain": "evm:1", "kind": "native", "decimals": 18}},
        "keys": {"main": {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list(NODES)}},
        "wallets": {"hot": {"tier": "hot", "key": "main", "chain": "evm:1", "paths": ["m/0/0"]}},
        "lists": {},
        "forbids": [],
        "rules": [{"name": "all", "when": {"assets": ["eth"]}, "then": {"outcome": "allow"}}],
        "limits": [
            {"name": "day", "asset": "eth", "amount_max": str(10**24), "window_ms": DAY_MS, "per": []}
        ],
        "cancel": {"fee_ceiling": str(10**18)},
    }


def _named(name: str) -> dict[str, Json]:
    return {"name": name, "key": _public(name)}


def _public(name: str) -> str:
    return _key(name).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(tagged_hash("bench key", name.encode()))
