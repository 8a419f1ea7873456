"""A small organisation with real keys and a log to write, for tests: no I/O, no clock, no chance.

``World`` is who exists: every identity's key follows from its name, the threshold key is held whole.
``Book`` is one branch of the log, folded as it is written; each short method writes one entry with
real signatures and returns what the test needs next. ``book.last`` is what the entry came to.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, cast

import rlp
from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.authenticator import SoftwareAuthenticator
from policy import bip32, ecdsa, ledger
from policy.approval import Approval, Slot, approval_digest
from policy.encoding import Json, document_hash, statement, tagged_hash
from policy.entries import job_id, make_entry
from policy.intent import Intent, Request, request_id, request_message, transfer_calldata
from policy.listing import listing_id
from policy.log.merkle import Frontier, leaf_hash
from policy.roster import COORDINATOR
from policy.state import CANCEL, PAYMENT, Job, Outcome, State
from tests.simulation.names import name_of

ORIGIN, CHAIN, KEY, PATH = "log.example.com/custody", "evm:1", "main", "m/0/0"
START_MS, DAY_MS = 1_800_000_000_000, 86_400_000
CUSTOMER, OTHER, STRANGER, SANCTIONED = ("0x" + mark * 20 for mark in ("ab", "ac", "ef", "66"))
TOKEN = "0x" + "cd" * 20
ADMINISTRATORS, OBSERVERS, INITIATORS = ("ada", "adam", "agnes"), ("oskar", "olga"), ("desk", "backend")
OPERATORS = {"alice": ["treasury"], "bob": ["treasury"], "carol": ["treasury"], "dave": ["risk"]}
LIMIT, TOKEN_LIMIT, SMALL_MAX, CANCEL_FEE_MAX, FEE_MAX = 1000, 5000, 600, 50, 200
PAIR = ("node-1", "node-2")


def seed(name: str) -> bytes:
    """32 bytes that are always the same for a name."""
    return tagged_hash("test seed", name.encode())


def identity_key(name: str) -> Ed25519PrivateKey:
    """The Ed25519 key of an identity, by its name."""
    return Ed25519PrivateKey.from_private_bytes(seed(name))


def public_key(name: str) -> bytes:
    """The public half of ``identity_key``."""
    return identity_key(name).public_key().public_bytes_raw()


def state_as(tag: str, body: Any, name: str) -> bytes:
    """The signature of ``name`` over a statement."""
    return identity_key(name).sign(statement(tag, body))


def signatures(tag: str, body: Any, names: Iterable[str]) -> list[Json]:
    """The signature list of an entry."""
    return [{"name": name, "signature": state_as(tag, body, name).hex()} for name in sorted(names)]


def authenticator(operator: str) -> SoftwareAuthenticator:
    """The passkey of an operator."""
    randomness, site = hashlib.sha512(seed(operator)).digest()[:48], "console.example.com"
    return SoftwareAuthenticator.create(site, f"https://{site}", randomness=randomness)


def unsigned(to: str, value: int, *, nonce: int, fee: int, data: bytes = b"", chain_id: int = 1) -> bytes:
    """An unsigned EIP-1559 transaction that can cost ``fee`` at most."""
    fields = [chain_id, nonce, 0, fee, 1, bytes.fromhex(to[2:]), value, data, []]
    return b"\x02" + cast("bytes", rlp.encode(fields))


class World:
    """Who exists and what is allowed at first: three nodes and a witness, any three cosigners, f = 1."""

    def __init__(self, *, nodes: int = 3, witnesses: int = 1, w: int = 3, f: int = 1) -> None:
        self.nodes = tuple(f"node-{i}" for i in range(1, nodes + 1))
        self.witnesses = tuple(f"witness-{i}" for i in range(1, witnesses + 1))
        self.w, self.f = w, f
        self.secret = int.from_bytes(seed("group key"), "big") % ecdsa.Q
        self.group_key = PrivateKey(self.secret.to_bytes(32, "big")).public_key.format()
        self.chain_code = seed("chain code")

    @property
    def cosigners(self) -> tuple[str, ...]:
        """The names of all cosigners."""
        return self.nodes + self.witnesses

    def roster(self, **changed: Any) -> dict[str, Json]:
        """The roster document, with some fields changed."""
        operators: list[Json] = []
        for name, groups in OPERATORS.items():
            credential = authenticator(name).credential()
            operators.append(
                {
                    "name": name,
                    "key": public_key(name).hex(),
                    "groups": cast("list[Json]", groups),
                    "credential": {
                        "id": credential.id.hex(),
                        "public_key": credential.public_key.hex(),
                        "rp_id": credential.rp_id,
                        "origins": list(credential.origins),
                    },
                }
            )
        document: dict[str, Any] = {
            "cosigners": [cosigner_of(n, "node") for n in self.nodes]
            + [cosigner_of(n, "witness") for n in self.witnesses],
            "w": self.w,
            "f": self.f,
            "log_key": public_key(COORDINATOR).hex(),
            "administrators": {"quorum": 2, "members": [key_of(n) for n in ADMINISTRATORS]},
            "initiators": [{**key_of(n), "people": ["carol"] if n == "desk" else []} for n in INITIATORS],
            "operators": operators,
            "observers": [key_of(n) for n in OBSERVERS],
            "policy_delay_ms": DAY_MS,
        }
        return cast("dict[str, Json]", {**document, **changed})

    def policy(self, **changed: Any) -> dict[str, Json]:
        """The policy document, with some fields changed."""
        asset = {"chain": CHAIN, "deposit_min": "1"}
        document: dict[str, Any] = {
            "version": 1,
            "name": "first",
            "chains": {CHAIN: {"native": "eth", "fee_ceiling": str(FEE_MAX)}},
            "assets": {
                "eth": {**asset, "kind": "native", "decimals": 18},
                "usdc": {**asset, "kind": "erc20", "contract": TOKEN, "decimals": 6},
            },
            "keys": {KEY: {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list(self.nodes)}},
            "wallets": {"hot": {"tier": "hot", "key": KEY, "chain": CHAIN, "paths": [PATH, "m/0/1"]}},
            "lists": {"customers": [CUSTOMER, OTHER, SANCTIONED], "sanctioned": [SANCTIONED]},
            "forbids": [{"name": "sanctions", "when": {"destinations": ["sanctioned"]}}],
            "rules": [
                {
                    "name": "small",
                    "when": {"assets": ["eth"], "destinations": ["customers"], "amount_max": str(SMALL_MAX)},
                    "then": {"outcome": "allow"},
                },
                {
                    "name": "large",
                    "when": {"assets": ["eth"], "destinations": ["customers"]},
                    "then": {"outcome": "approve", "approvals": [{"group": "treasury", "count": 2}]},
                },
                {
                    "name": "tokens",
                    "when": {"assets": ["usdc"], "destinations": ["customers"]},
                    "then": {"outcome": "allow"},
                },
            ],
            "limits": [limit("daily", "eth", LIMIT), limit("tokens-daily", "usdc", TOKEN_LIMIT)],
            "cancel": {"fee_ceiling": str(CANCEL_FEE_MAX)},
        }
        return cast("dict[str, Json]", {**document, **changed})

    def account(self, path: str = PATH) -> str:
        """The address of an account of the key."""
        return bip32.ethereum_address(self._derived(path).public_key)

    def slot(self, nonce: int) -> Slot:
        """The anchor of a nonce of the first account."""
        return Slot(CHAIN, self.account(), nonce)

    def signature(self, job: Job, *, nonce: int | None = None) -> bytes:
        """What a job's signers would come to; ``nonce`` is the secret one, chosen to show its repetition."""
        (signing,) = job.signings
        secret = (self.secret + signing.tweak) % ecdsa.Q
        if nonce is None:
            key = PrivateKey(secret.to_bytes(32, "big"))
            return key.sign_recoverable(signing.message, hasher=None)
        point = PrivateKey(nonce.to_bytes(32, "big")).public_key.format()
        r, recovery_id = ecdsa.nonce_point(point, 1)
        message = int.from_bytes(signing.message, "big")
        s = pow(nonce, -1, ecdsa.Q) * (message + r * secret) % ecdsa.Q
        signature = ecdsa.low_s(r, s, recovery_id=recovery_id)
        return signature.to_bytes() + bytes([signature.recovery_id])

    def _derived(self, path: str) -> bip32.Derived:
        return bip32.derive(self.group_key, self.chain_code, path=bip32.parse_path(path))


def key_of(name: str) -> dict[str, Json]:
    """A name and its key, as a roster has them."""
    return {"name": name, "key": public_key(name).hex()}


def cosigner_of(name: str, role: str) -> dict[str, Json]:
    """A cosigner, as a roster has it."""
    return {**key_of(name), "role": role}


def limit(name: str, asset: str, amount_max: int, **changed: Any) -> dict[str, Any]:
    """A limit of a policy, over a day and all wallets."""
    return {
        "name": name,
        "asset": asset,
        "window_ms": DAY_MS,
        "amount_max": str(amount_max),
        "per": [],
        **changed,
    }


class Book:
    """One branch of the log. ``now_ms`` is the time of the next entry."""

    def __init__(self, world: World, *, start: bool = True) -> None:
        self.world = world
        self.state: State = ledger.initial()
        self.entries: list[bytes] = []
        self.frontier = Frontier()
        self.outcomes: list[Outcome] = []
        self.past = [(self.state, self.frontier)]
        self.now_ms = START_MS
        if start:
            self.genesis()
            self.key()

    @property
    def last(self) -> Outcome:
        """What the last entry came to."""
        return self.outcomes[-1]

    def fork(self, size: int | None = None) -> "Book":
        """Another branch that begins like this one, or like its first ``size`` entries."""
        size = len(self.entries) if size is None else size
        other = Book(self.world, start=False)
        other.now_ms, other.past = self.now_ms, self.past[: size + 1]
        other.state, other.frontier = self.past[size]
        other.entries, other.outcomes = self.entries[:size], self.outcomes[:size]
        return other

    def append(self, entry: bytes) -> Outcome:
        """Put any bytes into the log."""
        self.state, outcome = ledger.fold(self.state, entry)
        self.entries.append(entry)
        self.frontier = self.frontier.append(leaf_hash(entry))
        self.outcomes.append(outcome)
        self.past.append((self.state, self.frontier))
        return outcome

    def write(self, kind: str, body: Any, **proof: Any) -> Outcome:
        """Put an entry into the log."""
        return self.append(make_entry(kind, self.now_ms, body=body, **proof))

    def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        self.now_ms += milliseconds

    # What starts a log.

    def genesis(
        self,
        *,
        roster: Any = None,
        policy: Any = None,
        by: Iterable[str] = ("ada", "adam"),
    ) -> Outcome:
        """The genesis entry."""
        body: Json = {
            "origin": ORIGIN,
            "rules": 1,
            "roster": roster or self.world.roster(),
            "policy": policy or self.world.policy(),
        }
        return self.write("genesis", body, signatures=signatures("genesis", body, by))

    def key(self, *, by: Iterable[str] | None = None, **changed: Any) -> Outcome:
        """The entry of the one key, signed by its participants."""
        world = self.world
        points = [PrivateKey(seed(f"share {n}")).public_key.format().hex() for n in world.nodes]
        body: dict[str, Json] = {
            "origin": ORIGIN,
            "key": KEY,
            "epoch": 0,
            "suite": "dkls23-secp256k1",
            "change": "generate",
            "dealers": list(world.nodes),
            "min_signers": 2,
            "participants": list(world.nodes),
            "group_key": world.group_key.hex(),
            "chain_code": world.chain_code.hex(),
            "public_shares": cast("list[Json]", points),
            "transcript": seed("transcript").hex(),
            **changed,
        }
        return self.write("key", body, signatures=signatures("keygen", body, by or world.nodes))

    # What is asked and approved.

    def asked(self, amount: int = 100, *, to: str = CUSTOMER, **changed: Any) -> Request:
        """A request, not yet logged. ``changed`` are fields of it, or ``asset`` and ``wallet``."""
        intent = Intent(CHAIN, changed.pop("wallet", "hot"), changed.pop("asset", "eth"), amount, to)
        fields = {
            "origin": ORIGIN,
            "initiator": "desk",
            "fee_ceiling": 100,
            "idempotency_key": f"payment {len(self.entries)}",
            "created_ms": self.now_ms,
            "expires_ms": self.now_ms + DAY_MS,
            **changed,
        }
        return Request(intent=intent, **fields)

    def request(self, amount: int = 100, *, to: str = CUSTOMER, **changed: Any) -> bytes:
        """Log a request with the true verdict; its id."""
        request = self.asked(amount, to=to, **changed)
        self.log_request(request)
        return request_id(request.body())

    def log_request(self, request: Request, *, claim: Any = None, by: str = "") -> Outcome:
        """Log a request; ``claim`` is a verdict to claim instead of the true one, ``by`` another signer."""
        body = request.body()
        verdict = claim or ledger.claim_verdict(self.state, "request", body=body, time_ms=self.now_ms)
        signature = identity_key(by or request.initiator).sign(request_message(body))
        return self.write("request", body, signature=signature.hex(), verdict=verdict)

    def approval(self, request: bytes, operator: str, *, nonce: int, **changed: Any) -> Approval:
        """An approval, not yet signed."""
        asked = self.state.requests[request].request
        native = asked.intent.asset == "eth"
        fields = {
            "origin": ORIGIN,
            "request": request,
            "intent": asked.intent,
            "calldata_hash": asked.intent.calldata_hash(native=native),
            "fee_ceiling": asked.fee_ceiling,
            "slot": self.world.slot(nonce),
            "policy": self.state.policy_hash,
            "expires_ms": self.now_ms + DAY_MS,
            "approval_id": seed(f"approval {len(self.entries)} {operator}"),
            "operator": operator,
            **changed,
        }
        return Approval(**fields)

    def approve(self, request: bytes, operator: str, *, nonce: int, **changed: Any) -> Outcome:
        """Log an operator's approval of ``request`` with this nonce."""
        return self.log_approval(self.approval(request, operator, nonce=nonce, **changed))

    def log_approval(self, approval: Approval, *, passkey: str = "") -> Outcome:
        """Sign and log an approval; ``passkey`` is another operator whose passkey signs it."""
        body = approval.body()
        assertion = authenticator(passkey or approval.operator).assert_(approval_digest(body))
        return self.write("approval", body, assertion=assertion.body())

    # What is reserved and signed.

    def tx(self, request: bytes, *, nonce: int, fee: int = 10, purpose: str = PAYMENT) -> bytes:
        """The unsigned transaction for a request."""
        if purpose == CANCEL:
            return unsigned(self.world.account(), 0, nonce=nonce, fee=fee)
        intent = self.state.requests[request].request.intent
        if intent.asset == "eth":
            return unsigned(intent.destination, intent.amount, nonce=nonce, fee=fee)
        data = transfer_calldata(intent.destination, intent.amount)
        return unsigned(TOKEN, 0, nonce=nonce, fee=fee, data=data)

    def reservation(self, request: bytes, *, nonce: int = 0, fee: int = 10, **changed: Any) -> dict[str, Any]:
        """The body of a reservation, by default with a new presignature."""
        purpose = changed.get("purpose", PAYMENT)
        tx = changed.pop("tx", None) or self.tx(request, nonce=nonce, fee=fee, purpose=purpose)
        body: dict[str, Json] = {
            "request": request.hex(),
            "purpose": purpose,
            "tx": tx.hex(),
            "key": KEY,
            "epoch": 0,
            "paths": [PATH],
            "signers": list(PAIR),
            "presignatures": [seed(f"presignature {len(self.entries)} {self.now_ms}").hex()],
        }
        return {**body, **changed}

    def reserve(self, request: bytes, *, nonce: int = 0, fee: int = 10, **changed: Any) -> bytes:
        """Log a reservation with the true verdict; the id of its job, if it is admitted."""
        return self.log_reservation(self.reservation(request, nonce=nonce, fee=fee, **changed))

    def log_reservation(self, body: Any, *, claim: Any = None) -> bytes:
        """Log a reservation; ``claim`` is a verdict to claim instead of the true one."""
        verdict = claim or ledger.claim_verdict(self.state, "reserve", body=body, time_ms=self.now_ms)
        entry = make_entry("reserve", self.now_ms, body=body, verdict=verdict)
        identifier = job_id(ORIGIN, self.state.size, data=entry)
        self.append(entry)
        return identifier

    def sign(self, job: bytes, *, nonce: int | None = None) -> Outcome:
        """Log the finished signature of a job."""
        signature = self.world.signature(self.state.jobs[job], nonce=nonce)
        return self.write("signature", {"job": job.hex(), "index": 0, "signature": signature.hex()})

    def burn(self, job: bytes, *, by: Iterable[str] | None = None) -> Outcome:
        """Log the burn statements of a job's signers."""
        body: Json = {"origin": ORIGIN, "job": job.hex()}
        signers = self.state.jobs[job].signers if by is None else by
        return self.write("burn", body, signatures=signatures("burn", body, signers))

    def settle(self, job: bytes, *, by: Iterable[str] = (COORDINATOR,), **changed: Any) -> Outcome:
        """Log that a job's transaction is mined."""
        body: dict[str, Json] = {
            "origin": ORIGIN,
            "fact": "settled",
            "request": self.state.jobs[job].request_id.hex(),
            "job": job.hex(),
            "tx_hash": name_of(self.state.jobs[job]).hex(),
            "block": 7,
            "success": True,
            **changed,
        }
        return self.write("observation", body, signatures=signatures("observation", body, by))

    def pay(self, amount: int = 100, *, nonce: int, fee: int = 10, **changed: Any) -> bytes:
        """Request, reserve and sign a payment; the job."""
        job = self.reserve(self.request(amount, **changed), nonce=nonce, fee=fee)
        self.sign(job)
        return job

    # What people and observers state.

    def reject(self, request: bytes, *, by: str, signer: str = "") -> Outcome:
        """Log somebody's no."""
        body: Json = {"origin": ORIGIN, "request": request.hex(), "by": by, "reason": "a test"}
        return self.write("reject", body, signatures=signatures("reject", body, [signer or by]))

    def price(self, price: int, *, by: Iterable[str] = OBSERVERS, **changed: Any) -> Outcome:
        """Log what one whole eth is worth, in dollars of two places."""
        body: dict[str, Json] = {
            "origin": ORIGIN,
            "asset": "eth",
            "unit": "usd/2",
            "price": str(price),
            "observed_ms": self.now_ms,
            **changed,
        }
        return self.write("price", body, signatures=signatures("price", body, by))

    def screen(self, request: bytes, *, by: Iterable[str] = OBSERVERS, **changed: Any) -> Outcome:
        """Log what a screening of a request found."""
        body: dict[str, Json] = {
            "origin": ORIGIN,
            "request": request.hex(),
            "result": "clear",
            "risk": 10,
            "observed_ms": self.now_ms,
            **changed,
        }
        return self.write("screening", body, signatures=signatures("screening", body, by))

    def ban(self, by: str, against: str, *, signer: str = "") -> Outcome:
        """Log a node's word that it runs no more sessions with a peer."""
        body: Json = {"origin": ORIGIN, "key": KEY, "epoch": 0, "by": by, "against": against, "reason": "ot"}
        return self.write("ban", body, signatures=signatures("ban", body, [signer or by]))

    def change(self, kind: str, document: Any, *, by: Iterable[str] = ("ada", "adam")) -> bytes:
        """Log a new policy or roster; the hash of its document."""
        previous = self.state.policy_hash if kind == "policy" else self.state.roster_hash
        body: Json = {"origin": ORIGIN, kind: document, "previous": previous.hex()}
        self.write(kind, body, signatures=signatures(kind, body, by))
        return document_hash(kind, document)

    def list_address(self, action: str, address: str, *, by: Iterable[str] = ("ada",), **more: Any) -> bytes:
        """Log an address put on the list of customers, or taken off it; the hash that a veto names."""
        label = {"label": "Acme"} if action == "add" else {}
        body: dict[str, Json] = {
            "origin": ORIGIN,
            "policy": self.state.policy_hash.hex(),
            "list": "customers",
            "action": action,
            "address": address,
            "nonce": seed(f"listing {len(self.entries)}").hex(),
            **label,
            **more,
        }
        self.write("address", body, signatures=signatures("address", body, by))
        return listing_id(body)

    def order(self, kind: str, target: bytes, *, by: Iterable[str] = ("ada",)) -> Outcome:
        """Log a veto, freeze or unfreeze."""
        body: Json = {"origin": ORIGIN, "target": target.hex(), "reason": "a test"}
        return self.write(kind, body, signatures=signatures(kind, body, by))

    def version(self, rules: int, *, by: Iterable[str]) -> Outcome:
        """Log a switch to another version of the rules."""
        body: Json = {"origin": ORIGIN, "rules": rules}
        return self.write("version", body, signatures=signatures("ready", body, by))

    def idle(self) -> Outcome:
        """Log an entry that does nothing but carry the time."""
        return self.order("veto", bytes(32))

    def used(self, name: str = "daily", scope: str = "") -> int:
        """What counts in a limit now."""
        window = self.state.windows.get((name, scope))
        lengths: Mapping[str, int] = {limit.name: limit.window_ms for limit in self.state.policy.limits}
        return window.expired(self.now_ms, window_ms=lengths[name]).total if window else 0
