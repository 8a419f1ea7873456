"""Make the examples of these pages: one short log that holds every kind of entry, from fixed seeds.

``python docs/spec/make_examples.py`` writes ``examples/`` and the shortened copies inside the pages;
``tests/unit/test_docs_examples.py`` makes them again and compares. The keys are seeds of words: never
use one of them for anything.
"""

import hashlib
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE)]

from frost_example import frost_signature  # noqa: E402
from resharing_example import backup_public, resharing  # noqa: E402

from cli.authenticator import SoftwareAuthenticator  # noqa: E402 - the path to the house comes first
from custody.chains.evm.endpoint import Fees  # noqa: E402
from custody.chains.evm.transaction import cancellation, payment  # noqa: E402
from policy import bip32  # noqa: E402
from policy.approval import Approval, Slot, approval_digest  # noqa: E402
from policy.document import policy_hash  # noqa: E402
from policy.encoding import Json, document_hash, parse_canonical, statement  # noqa: E402
from policy.entries import ENTRY_BYTES_MAX, make_entry, parse_entry, signature_list  # noqa: E402
from policy.governance import change_hash  # noqa: E402
from policy.intent import Intent, Request, request_id  # noqa: E402
from policy.ledger import claim_verdict, fold, initial  # noqa: E402
from policy.log.checkpoint import (  # noqa: E402
    Checkpoint,
    Note,
    cosignature,
    cosignature_message,
    log_signature,
    log_signature_message,
)
from policy.log.merkle import Frontier, leaf_hash  # noqa: E402
from policy.replay import Step, judged  # noqa: E402
from policy.state import Outcome, State  # noqa: E402
from policy.transaction_names import evm_name  # noqa: E402
from signer_nodes.api.boot_statement import BootStatement  # noqa: E402
from signer_nodes.witness import Branch  # noqa: E402

ORIGIN = "log.example.com/treasury"
CHAIN = "evm:31337"
START_MS = 1_750_000_000_000
HOUR_MS = 3_600_000
NODES = ("node-a", "node-b", "node-c")
COSIGNERS = (*NODES, "witness-a")
ADMINISTRATORS = ("admin-a", "admin-b", "admin-c")
OPERATORS = ("olga", "peter", "quinn")
OBSERVERS = ("ticker-a", "ticker-b")
CUSTOMER, STRANGER, SUPPLIER = "0x" + "ab" * 20, "0x" + "ef" * 20, "0x" + "5a" * 20
Q = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
FEES = Fees(fee_per_gas=2_000_000_000, priority_per_gas=1_000_000_000, gas=21_000)
FEE_CEILING = 100_000_000_000_000
MARKER = re.compile(r"<!-- example (\S+) -->\n.*?<!-- end -->\n", re.DOTALL)
SHORT = 40


def seed(name: str) -> bytes:
    """32 bytes that belong to a name."""
    return hashlib.sha256(b"quorumkeep example " + name.encode()).digest()


def identity(name: str) -> Ed25519PrivateKey:
    """The Ed25519 key of a name."""
    return Ed25519PrivateKey.from_private_bytes(seed(name))


def public(name: str) -> bytes:
    """Its public key."""
    return identity(name).public_key().public_bytes_raw()


def signed(tag: str, body: Json, *names: str) -> list[Json]:
    """The statement, signed by each name, as it stands in an entry."""
    return signature_list({name: identity(name).sign(statement(tag, body)) for name in names})


def passkey(operator: str) -> SoftwareAuthenticator:
    """The stand-in for an operator's passkey."""
    randomness = seed(operator) + seed(f"{operator} passkey")[:16]
    return SoftwareAuthenticator.create(
        "console.example.com", "https://console.example.com", randomness=randomness
    )


def roster(operators: tuple[str, ...]) -> dict[str, Json]:
    """Three nodes and a witness, three administrators, one backend, and operators."""
    return {
        "cosigners": [
            {"name": name, "key": public(name).hex(), "role": "node" if name in NODES else "witness"}
            for name in COSIGNERS
        ],
        "w": 3,
        "f": 1,
        "log_key": public("log").hex(),
        "administrators": {
            "quorum": 2,
            "members": [{"name": name, "key": public(name).hex()} for name in ADMINISTRATORS],
        },
        "initiators": [{"name": "shop", "key": public("shop").hex(), "people": ["olga"]}],
        "operators": [operator(name) for name in operators],
        "observers": [{"name": name, "key": public(name).hex()} for name in OBSERVERS],
        "policy_delay_ms": HOUR_MS,
    }


def operator(name: str) -> dict[str, Json]:
    """An operator of the treasury."""
    credential = passkey(name).credential()
    return {
        "name": name,
        "key": public(name).hex(),
        "groups": ["treasury"],
        "credential": {
            "id": credential.id.hex(),
            "public_key": credential.public_key.hex(),
            "rp_id": credential.rp_id,
            "origins": list(credential.origins),
        },
    }


def key_of_a_tier() -> dict[str, Json]:
    """A key that any two nodes can sign with."""
    return {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list(NODES)}


def policy(daily: int) -> dict[str, Json]:
    """Up to 1 ether alone, more with two approvals, ``daily`` a day."""
    allow: dict[str, Json] = {"outcome": "allow"}
    hot: dict[str, Json] = {"tiers": ["hot"]}
    approve: dict[str, Json] = {"outcome": "approve", "approvals": [{"group": "treasury", "count": 2}]}
    return {
        "version": 1,
        "name": "treasury",
        "chains": {CHAIN: {"native": "eth", "fee_ceiling": str(FEE_CEILING)}},
        "assets": {"eth": {"chain": CHAIN, "kind": "native", "decimals": 18}},
        "keys": {name: key_of_a_tier() for name in ("hot", "cold")},
        "wallets": {
            "hot": {"tier": "hot", "key": "hot", "chain": CHAIN, "paths": ["m/0/0", "m/0/1"]},
            "cold": {"tier": "cold", "key": "cold", "chain": CHAIN, "paths": ["m/0/0"]},
        },
        "holdings": {"max_age_ms": HOUR_MS},
        "tiers": [
            {"name": "hot", "role": "hot", "maximum": {"amounts": {"eth": str(20 * 10**18)}}},
            {"name": "cold", "role": "cold", "share_min_bp": 8000},
        ],
        "lists": {
            "customers": {
                "addresses": [{"address": CUSTOMER, "label": "the shop's account at an exchange"}],
                "quorum": 1,
                "cool_down_ms": HOUR_MS,
            }
        },
        "prices": {"unit": "usd", "decimals": 8, "max_age_ms": HOUR_MS},
        "forbids": [],
        "rules": [
            {
                "name": "small",
                "when": {**hot, "assets": ["eth"], "destinations": ["customers"], "amount_max": str(10**18)},
                "then": allow,
            },
            {
                "name": "large",
                "when": {**hot, "assets": ["eth"], "destinations": ["customers"]},
                "then": approve,
            },
        ],
        "limits": [
            {
                "name": "daily",
                "asset": "eth",
                "window_ms": 24 * HOUR_MS,
                "amount_max": str(daily),
                "per": ["wallet"],
            }
        ],
        "cancel": {"fee_ceiling": str(FEE_CEILING)},
    }


@dataclass(frozen=True, slots=True)
class Example:
    """One entry of the example log, and what it came to."""

    name: str
    entry: bytes
    outcome: Outcome


class Log:
    """The example log while it is written."""

    def __init__(self) -> None:
        self.state: State = initial()
        self.frontier = Frontier()
        self.time_ms = START_MS
        self.examples: list[Example] = []
        self.notes: dict[str, str] = {}

    def write(self, name: str, kind: str, body: Json, *, inert: bool = False, **proof: Json) -> bytes:
        """Append an entry; the subject of its outcome. An entry that is inert must say so."""
        self.time_ms += 1000
        if kind in ("request", "reserve"):
            proof["verdict"] = claim_verdict(self.state, kind, body=body, time_ms=self.time_ms)
        entry = make_entry(kind, self.time_ms, body=body, **proof)
        self.state, outcome = fold(self.state, entry)
        if outcome.accepted == inert:
            raise ValueError(f"example {name}: {outcome.reason or 'it was taken in'}")
        self.frontier = self.frontier.append(leaf_hash(entry))
        self.examples.append(Example(name, entry, outcome))
        return outcome.subject

    def administer(self, name: str, kind: str, body: Json, *signers: str) -> bytes:
        """Append an entry of the administrators."""
        return self.write(name, kind, body, signatures=signed(kind, body, *signers))

    def request(self, name: str, amount: int, destination: str, *, inert: bool = False) -> bytes:
        """Append a request of the shop."""
        intent = Intent(CHAIN, "hot", "eth", amount, destination)
        body = Request(
            origin=ORIGIN,
            initiator="shop",
            intent=intent,
            fee_ceiling=FEE_CEILING,
            idempotency_key=f"order-{len(self.examples)}",
            created_ms=self.time_ms,
            expires_ms=self.time_ms + HOUR_MS,
        ).body()
        signature = identity("shop").sign(statement("request", body))
        self.write(name, "request", body, inert=inert, signature=signature.hex())
        return request_id(body)

    def approve(self, name: str, request: bytes, by: str, *, path: str) -> None:
        """Append an operator's approval of the request on the account at ``path``, nonce 0."""
        intent = self.state.requests[request].request.intent
        body = Approval(
            origin=ORIGIN,
            request=request,
            intent=intent,
            calldata_hash=intent.calldata_hash(native=True),
            fee_ceiling=FEE_CEILING,
            slot=Slot(CHAIN, self.account(path), 0),
            policy=self.state.policy_hash,
            expires_ms=self.time_ms + HOUR_MS // 4,
            approval_id=seed(f"approval by {by}"),
            operator=by,
        ).body()
        self.write(name, "approval", body, assertion=passkey(by).assert_(approval_digest(body)).body())

    def reserve(self, name: str, request: bytes, *, path: str, purpose: str = "payment") -> bytes:
        """Append a reservation of nonce 0 of the account at ``path`` by nodes a and b."""
        tx = payment(self.state.requests[request].request.intent, contract=None, nonce=0, fees=FEES)
        if purpose == "cancel":
            tx = cancellation(CHAIN, account=self.account(path), nonce=0, fees=FEES)
        body: Json = {
            "request": request.hex(),
            "purpose": purpose,
            "tx": tx.hex(),
            "key": "hot",
            "epoch": 0,
            "paths": [path],
            "signers": ["node-a", "node-b"],
            "presignatures": [seed(f"presignature {name}").hex()],
        }
        return self.write(name, "reserve", body)

    def account(self, path: str) -> str:
        """The address at ``path``."""
        key = self.state.keys["hot"]
        return bip32.ethereum_address(
            bip32.derive(key.group_key, key.chain_code, path=bip32.parse_path(path)).public_key
        )

    def checkpoint(self) -> Note:
        """The head as the log signed it and nodes a, b and the witness cosigned it."""
        body = Checkpoint(ORIGIN, self.frontier.size, self.frontier.root(), self.state.digest).body()
        note = Note(body).with_signatures(
            log_signature(ORIGIN, public("log"), signature=identity("log").sign(log_signature_message(body)))
        )
        time_s = self.time_ms // 1000 + 1
        message = cosignature_message(body, time_s=time_s)
        for name in ("node-a", "node-b", "witness-a"):
            line = cosignature(name, public(name), time_s=time_s, signature=identity(name).sign(message))
            note = note.with_signatures(line)
        return note


def secret() -> int:
    """The private key that the example's shares belong to; no real key exists in one place."""
    return int.from_bytes(seed("hot"), "big") % Q


def share(index: int) -> int:
    """Party ``index``'s share of a line through the key."""
    return (secret() + index * int.from_bytes(seed("slope"), "big")) % Q


def point(scalar: int) -> str:
    """A compressed point."""
    return PrivateKey(scalar.to_bytes(32, "big")).public_key.format().hex()


def found(log: Log) -> None:
    """Genesis and key."""
    genesis: Json = {"origin": ORIGIN, "rules": 1, "roster": roster(OPERATORS[:3]), "policy": policy(10**19)}
    log.administer("genesis", "genesis", genesis, "admin-a", "admin-b")
    key = key_body()
    log.write("key", "key", key, signatures=signed("keygen", key, *NODES))


def key_body(epoch: int = 0) -> dict[str, Json]:
    """The key as it is made, or as it is refreshed into a later epoch."""
    line = range(epoch + 1, epoch + 4)  # other shares of the same secret would do; these are points on a line
    return {
        "origin": ORIGIN,
        "key": "hot",
        "epoch": epoch,
        "suite": "dkls23-secp256k1",
        "change": "refresh" if epoch else "generate",
        "dealers": list(NODES),
        "min_signers": 2,
        "participants": list(NODES),
        "group_key": point(secret()),
        "chain_code": seed("chain code").hex(),
        "public_shares": [point(share(index)) for index in line],
        "transcript": seed(f"transcript {epoch}").hex(),
    }


def refresh(log: Log) -> None:
    """The key's next epoch, and a node's word that it forgot the one before."""
    key = key_body(1)
    log.write("key-refreshed", "key", key, signatures=signed("keygen", key, *NODES))
    shred: Json = {"origin": ORIGIN, "key": "hot", "epoch": 0, "by": "node-b"}
    log.write("shred", "shred", shred, signatures=signed("shred", shred, "node-b"))


def pay(log: Log) -> None:
    """A small payment from its request to the chain."""
    request = log.request("request", 5 * 10**17, CUSTOMER)
    job = log.reserve("reserve", request, path="m/0/0")
    (signing,) = log.state.jobs[job].signings
    key = PrivateKey(((secret() + signing.tweak) % Q).to_bytes(32, "big"))
    signature = key.sign_recoverable(signing.message, hasher=None)
    log.write("signature", "signature", {"job": job.hex(), "index": 0, "signature": signature.hex()})
    body: Json = {
        "origin": ORIGIN,
        "fact": "settled",
        "request": request.hex(),
        "job": job.hex(),
        "tx_hash": evm_name(log.state.jobs[job].tx, signature).hex(),
        "block": 7,
        "success": True,
    }
    observed = signature_list({"coordinator": identity("log").sign(statement("observation", body))})
    log.write("observation", "observation", body, signatures=observed)


def review(log: Log) -> bytes:
    """A large payment: denied to a stranger, approved for a customer, burned once, tried again."""
    log.request("request-denied", 10**18, STRANGER, inert=True)
    request = log.request("request-waiting", 2 * 10**18, CUSTOMER)
    log.approve("approval", request, "peter", path="m/0/1")
    log.approve("approval-second", request, "quinn", path="m/0/1")
    job = log.reserve("reserve-approved", request, path="m/0/1")
    body: Json = {"origin": ORIGIN, "job": job.hex()}
    log.write("burn", "burn", body, signatures=signed("burn", body, "node-a", "node-b"))
    log.reserve("reserve-retry", request, path="m/0/1")
    return request


def state_facts(log: Log, approved: bytes) -> None:
    """What observers say of a price, a wallet and a request, and an operator's no to it.

    ``approved`` is a request with a job that is not signed: what the wallet holds may yet go out by it.
    """
    price: Json = {
        "origin": ORIGIN,
        "asset": "eth",
        "unit": "usd/8",
        "price": str(2_500 * 10**8),
        "observed_ms": log.time_ms,
    }
    log.write("price", "price", price, signatures=signed("price", price, *OBSERVERS))
    holdings: Json = {
        "origin": ORIGIN,
        "wallet": "hot",
        "asset": "eth",
        "amount": str(10 * 10**18),
        "observed_ms": log.time_ms,
        "size": log.state.size,
        "pending": [approved.hex()],
    }
    log.write("holdings", "holdings", holdings, signatures=signed("holdings", holdings, *OBSERVERS))
    deposit: Json = {
        "origin": ORIGIN,
        "fact": "confirmed",
        "chain": CHAIN,
        "tx": seed("deposit").hex(),
        "index": 0,
        "wallet": "hot",
        "address": log.account("m/0/1"),
        "asset": "eth",
        "amount": str(3 * 10**18),
        "block": 9,
        "turn": 0,
        "uses": {"chain": CHAIN, "account": CUSTOMER, "nonce": "4"},
    }
    log.write("deposit", "deposit", deposit, signatures=signed("deposit", deposit, *OBSERVERS))
    request = log.request("request-rejected", 3 * 10**18, CUSTOMER)
    screening: Json = {
        "origin": ORIGIN,
        "request": request.hex(),
        "result": "review",
        "risk": 70,
        "observed_ms": log.time_ms,
        "basis": {
            "model": "open-1",
            "list": "5b" * 32,
            "shares": [{"feature": "lookalike", "points": 60}, {"feature": "amount", "points": 10}],
        },
    }
    log.write("screening", "screening", screening, signatures=signed("screening", screening, *OBSERVERS))
    reject: Json = {
        "origin": ORIGIN,
        "request": request.hex(),
        "by": "quinn",
        "reason": "the customer did not confirm it by telephone",
    }
    log.write("reject", "reject", reject, signatures=signed("reject", reject, "quinn"))
    note: Json = {
        "origin": ORIGIN,
        "by": "shop",
        "about": "eth",
        "text": "no-price: there is no price that is new enough",
        "noted_ms": log.time_ms,
    }
    log.write("note", "note", note, signatures=signed("note", note, "shop"))


def govern(log: Log) -> None:
    """A ban, and changes of the rules."""
    ban: Json = {
        "origin": ORIGIN,
        "key": "hot",
        "epoch": 0,
        "by": "node-a",
        "against": "node-c",
        "reason": "the OT extension's consistency check failed",
    }
    log.write("ban", "ban", ban, signatures=signed("ban", ban, "node-a"))
    listing: Json = {
        "origin": ORIGIN,
        "policy": log.state.policy_hash.hex(),
        "list": "customers",
        "action": "add",
        "address": SUPPLIER,
        "label": "a supplier's account",
        "nonce": seed("listing").hex(),
    }
    log.administer("address", "address", listing, "admin-c")
    changed: Json = {"origin": ORIGIN, "policy": policy(2 * 10**19), "previous": log.state.policy_hash.hex()}
    digest = log.administer("policy", "policy", changed, "admin-a", "admin-b")
    reason = "twice the daily limit was not agreed"
    log.administer("veto", "veto", {"origin": ORIGIN, "target": digest.hex(), "reason": reason}, "admin-c")
    new: Json = {
        "origin": ORIGIN,
        "roster": roster((*OPERATORS, "rosa")),
        "previous": log.state.roster_hash.hex(),
    }
    log.administer("roster", "roster", new, "admin-a", "admin-c")
    freeze: Json = {"origin": ORIGIN, "target": seed("freeze").hex(), "reason": "a laptop was lost"}
    frozen = log.administer("freeze", "freeze", freeze, "admin-b")
    unfreeze: Json = {"origin": ORIGIN, "target": frozen.hex(), "reason": "the laptop was found"}
    log.administer("unfreeze", "unfreeze", unfreeze, "admin-a", "admin-b")
    stopped: Json = {**freeze, "by": "quinn", "reason": "a payment that nobody knows"}
    stopped = {**stopped, "expires_ms": log.time_ms + 600_000}
    assertion = passkey("quinn").assert_(change_hash("freeze", stopped)).body()
    log.write("freeze-by-passkey", "freeze", stopped, assertion=assertion)
    ended: Json = {**unfreeze, "target": log.state.freeze.hex(), "reason": "it was a test"}
    log.administer("unfreeze-again", "unfreeze", ended, "admin-a", "admin-b")


def end(log: Log, request: bytes) -> None:
    """An expired request's nonce is used up; the record of a resolved split; a version."""
    log.time_ms += 2 * HOUR_MS
    log.reserve("reserve-cancel", request, path="m/0/1", purpose="cancel")
    log.notes["checkpoint.txt"] = log.checkpoint().to_bytes().decode()
    fork: Json = {
        "origin": ORIGIN,
        "size": log.frontier.size,
        "root": log.frontier.root().hex(),
        "abandoned": [],
    }
    log.write("fork", "fork", fork, signatures=signed("fork", fork, "admin-a", "admin-b"), burns=[])
    refresh(log)
    version: Json = {"origin": ORIGIN, "rules": 2}
    log.write(
        "version", "version", version, signatures=signed("ready", version, "node-a", "node-b", "witness-a")
    )


def statements(log: Log) -> dict[str, Json]:
    """Signed words of a node that are no entries."""
    branch = Branch(q_size=3, q_root=seed("root"), entry=seed("entry")).body(ORIGIN, "node-a")
    boot = BootStatement(
        ORIGIN, "node-a", 7, seed("boot"), seed("tls key"), log.frontier.size, log.frontier.root()
    )
    found: dict[str, Json] = {}
    for tag, body in (("abandon", branch), ("boot", boot.body())):
        signature = identity("node-a").sign(statement(tag, body))
        found[f"{tag}-statement"] = {"body": body, "signature": signature.hex()}
    return found


def receipt_of(log: Log, name: str) -> Json:
    """The receipt of the verdict on one of the log's entries."""
    state = initial()
    for index, example in enumerate(log.examples):
        after, outcome = fold(state, example.entry)
        if example.name == name:
            found = judged(Step(state, index, example.entry, parse_entry(example.entry), outcome, after))
            if found is not None:
                return found.receipt
        state = after
    raise ValueError(f"the log has no verdict {name}")


def record_ceremony(log: Log) -> None:
    """A ceremony that came to nothing, on the word of the people who were there."""
    there = {"admin-a": "conductor", "admin-b": "witness", "admin-c": "custodian"}
    body: Json = {
        "origin": ORIGIN,
        "ceremony": seed("ceremony").hex(),
        "key": "hot",
        "nodes": ["node-a", "node-b"],
        "began_ms": log.time_ms - 900_000,
        "ended_ms": log.time_ms,
        "outcome": "failed",
        "checklist": ["the seals of both machines were whole", "node-b lost its power in the second pass"],
        "witnesses": [{"name": name, "role": role} for name, role in there.items()],
    }
    log.write("ceremony", "ceremony", body, signatures=signed("ceremony", body, *there))


def write_log() -> Log:
    """The whole example log."""
    log = Log()
    found(log)
    pay(log)
    request = review(log)
    state_facts(log, request)
    govern(log)
    record_ceremony(log)
    end(log, request)
    return log


def files() -> dict[str, str]:
    """Every file of ``examples/``, by name."""
    log = write_log()
    made: dict[str, Json] = {}
    index: list[Json] = []
    for number, example in enumerate(log.examples):
        made[example.name] = parse_canonical(example.entry, bytes_max=ENTRY_BYTES_MAX)
        index.append(
            {
                "index": number,
                "file": f"{example.name}.json",
                "bytes": len(example.entry),
                "leaf": leaf_hash(example.entry).hex(),
                "outcome": example.outcome.to_json(),
                "reason": example.outcome.reason,
            }
        )
    made["log"] = {
        "entries": index,
        "root": log.frontier.root().hex(),
        "state": log.state.digest.hex(),
        "policy_at_genesis": policy_hash(policy(10**19)).hex(),
        "roster_at_genesis": document_hash("roster", roster(OPERATORS)).hex(),
    }
    made |= statements(log)
    made["receipt"] = receipt_of(log, "reserve-approved")
    made["frost"] = frost_signature(seed)
    made["resharing"], made["backup-public"] = resharing(seed), backup_public(seed)
    texts = {
        f"{name}.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for name, document in made.items()
    }
    return texts | log.notes


def shortened(document: Json) -> Json:
    """``document`` with long hex cut, for reading."""
    if isinstance(document, dict):
        return {name: shortened(value) for name, value in document.items()}
    if isinstance(document, list):
        return [shortened(value) for value in document]
    if isinstance(document, str) and len(document) > 2 * SHORT:
        return f"{document[:16]}…({len(document) // 2} bytes)"
    return document


def page(text: str, made: dict[str, str]) -> str:
    """A page with the examples it asks for between its markers."""

    def block(match: re.Match[str]) -> str:
        name = match[1]
        content = made[name]
        if name.endswith(".json"):
            content = json.dumps(shortened(json.loads(content)), indent=2, ensure_ascii=False) + "\n"
        language = "json" if name.endswith(".json") else "text"
        return f"<!-- example {name} -->\n```{language}\n{content}```\n<!-- end -->\n"

    return MARKER.sub(block, text)


def pages() -> tuple[Path, ...]:
    """The pages that may hold examples."""
    return tuple(sorted(HERE.glob("*.md")))


def main() -> None:
    """Write the files and the pages."""
    made = files()
    folder = HERE / "examples"
    folder.mkdir(exist_ok=True)
    for name, text in made.items():
        (folder / name).write_text(text)
    for path in pages():
        path.write_text(page(path.read_text(), made))


if __name__ == "__main__":
    main()
