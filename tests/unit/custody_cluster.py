"""Cosigners in memory behind the coordinator's port: they really fold, cosign, open and sign.

Keys and presignatures come from a dealer who knows everything. What a real node adds (its HSM, its disk,
its gate's caution) is tested where it lives.
"""

import hashlib
import random
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.authenticator import RANDOMNESS_BYTES, SoftwareAuthenticator
from custody.candidates import EMPTY, Tip, extend
from custody.log_key import LogKey
from custody.ports import (
    Appended,
    Declined,
    Finished,
    FinishJob,
    FreshPresignature,
    Head,
    KeyOrder,
    Opening,
    PartialSignature,
)
from policy.approval import approval_digest
from policy.encoding import Json, canonical, parse_canonical, statement
from policy.entries import ENTRY_BYTES_MAX, make_entry, parse_entry, signature_list
from policy.errors import OperationalError, ProtocolError
from policy.intent import Intent, Request
from policy.log.checkpoint import cosignature, cosignature_message, parse_checkpoint, parse_note
from policy.log.merkle import frontier_at, leaf_hash, leaf_reader
from policy.log.note import Note
from policy.program import about
from policy.reading import reading
from policy.roster import parse_roster, verify_statement
from policy.state import Job, JobStatus
from signer_nodes.api.errors import Refused
from signer_nodes.api.presignature_ids import presignature_id
from signer_nodes.key_changes import Order, plan
from signer_nodes.witness import Branch, Cosigner, Identity, InForce, check_fork, parse_branch
from tests.unit.custody_dealer import Dealer, Dealt

ORIGIN = "log.example.com/test"
SKEW_MS = 2000
NODES = ("node-a", "node-b", "node-c")
COSIGNERS = (*NODES, "witness")
KEY = "hot"
WALLET = "hot-wallet"
ETHER = 10**18
ANVIL_CHAIN = "evm:31337"
PAYEE = "0x" + "11" * 20
FEE_CEILING = 10**16


def identity(name: str) -> Ed25519PrivateKey:
    """A key that is the same in every run."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public(name: str) -> bytes:
    return identity(name).public_key().public_bytes_raw()


def authenticator(name: str) -> SoftwareAuthenticator:
    randomness = random.Random(name).randbytes(RANDOMNESS_BYTES)
    return SoftwareAuthenticator.create("example.com", "https://custody.example.com", randomness=randomness)


def roster_document(**changed: Json) -> dict[str, Json]:
    """Three nodes and a witness, w = 3, f = 1; one backend, two operators, one administrator."""
    return {**_roster(), **changed}


def _roster() -> dict[str, Json]:
    return {
        "cosigners": [
            {"name": n, "key": public(n).hex(), "role": "witness" if n == "witness" else "node"}
            for n in COSIGNERS
        ],
        "w": 3,
        "f": 1,
        "log_key": public("log").hex(),
        "administrators": {"quorum": 1, "members": [{"name": "admin", "key": public("admin").hex()}]},
        "initiators": [
            {"name": "shop", "key": public("shop").hex(), "people": ["olga"]},
            {"name": "desk", "key": public("desk").hex(), "people": []},
        ],
        "operators": [_operator("olga"), _operator("otto"), _operator("clerk", group="office")],
        "observers": [],
        "policy_delay_ms": 0,
    }


def policy_document(token: str | None = None) -> dict[str, Json]:
    """Up to one ether without approval, up to ten with one, ten ether a day; tokens freely."""
    assets: dict[str, Json] = {"eth": {"kind": "native", "chain": ANVIL_CHAIN, "decimals": 18}}
    rules: list[Json] = [
        {
            "name": "small",
            "when": {"assets": ["eth"], "amount_max": str(ETHER)},
            "then": {"outcome": "allow"},
        },
        {
            "name": "large",
            "when": {"assets": ["eth"], "amount_max": str(10 * ETHER)},
            "then": {"outcome": "approve", "approvals": [{"group": "desk", "count": 1}]},
        },
    ]
    if token is not None:
        assets["tok"] = {"kind": "erc20", "chain": ANVIL_CHAIN, "contract": token, "decimals": 6}
        rules.append({"name": "token", "when": {"assets": ["tok"]}, "then": {"outcome": "allow"}})
    return {
        "version": 1,
        "name": "test",
        "chains": {ANVIL_CHAIN: {"native": "eth", "fee_ceiling": str(FEE_CEILING)}},
        "assets": assets,
        "keys": {KEY: {"suite": "dkls23-secp256k1", "min_signers": 2, "participants": list(NODES)}},
        "wallets": {
            WALLET: {"tier": "hot", "key": KEY, "chain": ANVIL_CHAIN, "paths": ["m/0/0", "m/0/1", "m/0/2"]}
        },
        "lists": {},
        "forbids": [],
        "rules": rules,
        "limits": [
            {
                "name": "daily",
                "asset": "eth",
                "window_ms": 86_400_000,
                "amount_max": str(20 * ETHER),
                "per": ["wallet"],
            }
        ],
        "cancel": {"fee_ceiling": str(FEE_CEILING)},
    }


def genesis_entry(policy: Json, *, time_ms: int = 1_000, roster: Json | None = None) -> bytes:
    """The first entry, signed by every administrator of its roster."""
    document = roster or roster_document()
    body: Json = {"origin": ORIGIN, "rules": 1, "roster": document, "policy": policy}
    message = statement("genesis", body)
    signed = {name: identity(name).sign(message) for name in parse_roster(document).administrators}
    return make_entry("genesis", time_ms, body=body, signatures=signature_list(signed))


def make_request(
    name: str,
    *,
    amount: int,
    now_ms: int,
    expires_ms: int = 0,
    asset: str = "eth",
    source: str | None = None,
) -> tuple[Request, bytes, bytes]:
    """A request of the shop: the document, its bytes, and the shop's signature."""
    request = Request(
        origin=ORIGIN,
        initiator="shop",
        intent=Intent(ANVIL_CHAIN, WALLET, asset, amount, PAYEE, source=source),
        fee_ceiling=FEE_CEILING,
        idempotency_key=name,
        created_ms=now_ms,
        expires_ms=expires_ms or now_ms + 600_000,
    )
    body = request.body()
    return request, canonical(body), identity("shop").sign(statement("request", body))


def complete_approval(draft: Json, operator: str) -> tuple[bytes, bytes]:
    """An operator's completed draft, and their authenticator's assertion over it."""
    assert isinstance(draft, dict)
    body: dict[str, Json] = {**draft, "operator": operator}
    body["approval_id"] = hashlib.sha256(canonical(body)).hexdigest()
    assertion = authenticator(operator).assert_(approval_digest(body))
    return canonical(body), canonical(assertion.body())


def log_key() -> LogKey:
    return LogKey(identity("log"))


class FakeNode:
    """One cosigner. For tests: ``down`` (no answer), ``mute`` (no partials), ``idle`` (no presignatures),
    ``misreads`` (what it states otherwise than it finds).

    ``orders`` are those for changes of the key, and ``before_change`` may fail one.
    """

    def __init__(self, name: str, dealer: Dealer) -> None:
        self.name = name
        self.boots = 1
        self.down = False
        self.mute = False
        self.idle = False
        self.clock: Callable[[], int] | None = None
        self.bans: list[Json] = []
        self.quorum_note = b""
        self.heard: list[int] = []
        self.stated: list[Branch] = []
        self.floor = 0
        self.tip: Tip = EMPTY
        self.log: list[bytes] = []
        self.note: Note | None = None
        self.appends: list[tuple[int, tuple[bytes, ...], bytes]] = []
        self.before_append: Callable[[], None] = lambda: None
        self.misreads: dict[str, Json] = {}
        self.orders: list[KeyOrder] = []
        self.before_change: Callable[[], None] = lambda: None
        self._dealer = dealer
        self._pool: dict[bytes, Dealt] = {}
        self._sent: dict[bytes, list[bytes]] = {}
        self._burned: set[bytes] = set()

    @property
    def boot(self) -> str:
        return "" if self.down else f"{self.boots:02}"

    async def head(self) -> Head:
        self._check_up()
        note = self.note.to_bytes() if self.note else b""
        return Head(len(self.log), note, self.quorum_note)

    async def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        self._check_up()
        return tuple(self.log[start : min(stop, start + 3)])

    async def append(self, start: int, entries: tuple[bytes, ...], *, note: bytes) -> Appended:
        self._check_up()
        self.before_append()
        self.appends.append((start, entries, note))
        if start != len(self.log):
            raise ProtocolError(f"at {len(self.log)}, not {start}")
        tip, openings, declined = self.tip, [], []
        for entry in entries:
            tip, folded = extend(tip, entry)
            if folded.outcome.kind == "reserve" and folded.outcome.accepted:
                job = tip.state.jobs[folded.outcome.subject]
                if self.name in job.signers:
                    mine = [self._pool[one] for one in job.presignatures if one in self._pool]
                    if len(mine) < len(job.presignatures):
                        declined.append(Declined(job.job_id, "no such presignature"))
                    else:
                        openings += [Opening(job.job_id, i, one.rho) for i, one in enumerate(mine)]
        parsed = parse_note(note, 10_000)
        if parse_checkpoint(parsed.body) != tip.checkpoint():
            raise ProtocolError("the checkpoint is not over these entries")
        if self.clock is not None and (ahead_ms := tip.state.time_ms - self.clock() - SKEW_MS) > 0:
            raise Refused("clock", f"the log's time is {ahead_ms} ms ahead of this clock and its skew")
        if len(self.log) + len(entries) <= self.floor:
            raise ProtocolError(f"only heads above {self.floor} are cosigned")
        self.tip = tip
        self.log += entries
        signature = identity(self.name).sign(cosignature_message(parsed.body, time_s=1))
        line = cosignature(self.name, public(self.name), time_s=1, signature=signature)
        self.note = parsed.with_signatures(line)
        only = Note(parsed.body, (line,)).to_bytes()[len(parsed.body) + 1 :]
        return Appended(only, tuple(openings), tuple(declined))

    async def quorum(self, note: bytes) -> None:
        self._check_up()
        self.quorum_note = note
        self.heard.append(parse_checkpoint(parse_note(note, 10_000).body).size)

    async def finish(self, note: bytes, jobs: tuple[FinishJob, ...]) -> Finished:
        self._check_up()
        if self.mute:
            raise OperationalError(f"{self.name} gives no partial signatures")
        partials = [one for job in jobs for one in self._partials(self.tip.state.jobs[job.job], job)]
        return Finished(tuple(partials), ())

    async def change_key(self, order: KeyOrder) -> tuple[bytes, bytes]:
        self._check_up()
        self.orders.append(order)
        asked = Order(order.key, order.change, order.attempt, order.dealers)
        planned = plan(self.tip.state, asked, name=self.name)
        self.before_change()
        body = self._dealer.key_body(planned, order.attempt)
        return canonical(body), identity(self.name).sign(statement("keygen", body))

    async def import_offer(self, key: str, attempt: int) -> bytes:
        raise ProtocolError(f"{self.name} takes in no key from outside")

    async def presign(
        self, key: str, signers: tuple[str, ...], *, epoch: int, batch_id: int, batch: int
    ) -> tuple[FreshPresignature, ...]:
        self._check_up()
        if self.idle:
            raise OperationalError(f"{self.name} makes no presignatures")
        if {str(ban["body"]["against"]) for ban in self.bans} & set(signers):  # type: ignore[index, call-overload]
            raise ProtocolError(f"{self.name} runs no session with one of {signers}")
        record = self.tip.state.keys.get(key)
        if record is None or record.epoch != epoch:
            raise ProtocolError(f"{self.name} has no {key} in epoch {epoch}")
        parties = {name: record.index_of(name) for name in signers}
        mine = [shares[self.name] for shares in self._dealer.deal(parties, batch_id, batch)]
        ids = [presignature_id(one.session, one.index) for one in mine]
        self._pool.update(zip(ids, mine, strict=True))
        return tuple(FreshPresignature(i, one.R) for i, one in zip(ids, mine, strict=True))

    async def burn(self, job: bytes) -> bytes:
        self._check_up()
        if job in self._sent:
            raise ProtocolError("a partial signature is out")
        self._burned.add(job)
        return identity(self.name).sign(statement("burn", {"origin": ORIGIN, "job": job.hex()}))

    def gave(self, job: bytes) -> bool:
        """Whether a partial signature of a job is out."""
        return job in self._sent

    async def abandon(self, body: bytes) -> bytes:
        self._check_up()
        statement_body = parse_canonical(body, bytes_max=4096)
        name, branch = parse_branch(statement_body, ORIGIN)
        leaves = [leaf_hash(entry) for entry in self.log]
        assert name == self.name
        if branch.q_size > len(leaves) or _root(leaves, branch.q_size) != branch.q_root:
            raise ProtocolError("that head is not known here")
        if leaves[branch.q_size : branch.q_size + 1] == [branch.entry]:
            raise ProtocolError("this cosigner is on that branch")
        self.stated.append(branch)
        return identity(self.name).sign(statement("abandon", statement_body))

    async def leave(self, statements: tuple[bytes, ...]) -> None:
        self._check_up()
        names = set()
        for data in statements:
            document = parse_canonical(data, bytes_max=8192)
            assert isinstance(document, dict)
            body, signature = document["body"], bytes.fromhex(str(document["signature"]))
            name, branch = parse_branch(body, ORIGIN)
            verify_statement("abandon", body, key=public(name), signature=signature, signer=name)
            names.add(name)
        leaves = [leaf_hash(entry) for entry in self.log]
        if len(names - {self.name}) < 3 or branch.entry != leaves[branch.q_size]:
            raise ProtocolError("too few statements, or of another branch")
        self._go_back(branch.q_size)

    async def leave_by_fork(self, entry: bytes) -> None:
        self._check_up()
        leaves = [leaf_hash(one) for one in self.log]
        known = parse_checkpoint(parse_note(self.quorum_note, 10_000).body) if self.quorum_note else None
        cosigner = Cosigner(
            Identity(self.name, ORIGIN, leaves[0], public("log")),
            self.tip.state,
            self.tip.frontier,
            (InForce(1, self.tip.state.roster, self.tip.state.roster_document),),
            known,
        )
        self._go_back(check_fork(cosigner, entry, root_at=lambda size: _root(leaves, size)))

    def _go_back(self, size: int) -> None:
        self.floor = len(self.log)
        self.log, self.tip, self.note = self.log[:size], EMPTY, None
        for entry in self.log:
            self.tip, _ = extend(self.tip, entry)

    async def read(self, reservation: bytes) -> tuple[bytes, bytes]:
        self._check_up()
        body, root = parse_canonical(reservation, bytes_max=ENTRY_BYTES_MAX), self.tip.frontier.root()
        found = reading(self.tip.state, body, node=self.name, root=root, time_ms=0) | self.misreads
        return canonical(found), identity(self.name).sign(statement("reading", found))

    async def status(self) -> bytes:
        self._check_up()
        vitals: dict[str, Json] = (
            {} if self.clock is None else {"clock_ms": self.clock(), "disk_free_bytes": 1, **about()}
        )
        return canonical({"bans": self.bans, "shreds": self._receipts(), **vitals})

    def _receipts(self) -> list[Json]:
        """It has destroyed every epoch that is over."""
        found: list[Json] = []
        for key in self.tip.state.keys.values():
            for epoch in range(key.epoch if self.name in key.participants else 0):
                body: Json = {"origin": ORIGIN, "key": key.key, "epoch": epoch, "by": self.name}
                signature = identity(self.name).sign(statement("shred", body))
                found.append({"body": body, "signature": signature.hex()})
        return found

    def ban(self, against: str) -> None:
        """Run no sessions with a peer any more, and say so in the status document."""
        body: Json = {
            "origin": ORIGIN,
            "key": KEY,
            "epoch": 0,
            "by": self.name,
            "against": against,
            "reason": "cheated",
        }
        signature = identity(self.name).sign(statement("ban", body))
        self.bans.append({"body": body, "signature": signature.hex()})

    async def close(self) -> None:
        return

    def restart(self) -> None:
        """A new boot: presignatures are gone."""
        self.boots += 1
        self._pool.clear()

    def kinds(self) -> list[str]:
        """The kinds of the entries it holds."""
        return [parse_entry(entry).kind for entry in self.log]

    def _partials(self, job: Job, finish: FinishJob) -> list[PartialSignature]:
        newest = self.tip.state.newest_job(job.request_id)
        over = job.epoch != self.tip.state.keys[job.key].epoch
        if job.status is not JobStatus.RESERVED or newest != job or job.job_id in self._burned or over:
            raise ProtocolError(f"job {job.job_id.hex()} is not to be signed")
        if job.job_id not in self._sent:
            record = self.tip.state.keys[job.key]
            self._sent[job.job_id] = []
            for index, name_of_one in enumerate(job.presignatures):
                presignature = self._pool.pop(name_of_one)
                parties = {record.index_of(name): rho for at, name, rho in finish.rhos if at == index}
                partial = self._dealer.partial(presignature, job, index, openings=parties)
                self._sent[job.job_id].append(partial)
        return [PartialSignature(job.job_id, index, one) for index, one in enumerate(self._sent[job.job_id])]

    def _check_up(self) -> None:
        if self.down:
            raise OperationalError(f"{self.name} is down")


def _root(leaves: list[bytes], size: int) -> bytes:
    return frontier_at(leaf_reader(leaves), size).root()


def _operator(name: str, *, group: str = "desk") -> Json:
    credential = authenticator(name).credential()
    return {
        "name": name,
        "key": public(name).hex(),
        "groups": [group],
        "credential": {
            "id": credential.id.hex(),
            "public_key": credential.public_key.hex(),
            "rp_id": credential.rp_id,
            "origins": list(credential.origins),
        },
    }
