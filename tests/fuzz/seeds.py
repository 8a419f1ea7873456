"""Valid bytes of everything that is decoded, for the fuzzers to start from. Always the same bytes."""

import base64
import json
from functools import cache

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from eth_abi import abi as eth_abi

from custody.chains.bitcoin.foreign import written
from policy.encoding import Json, canonical
from policy.log.tiles import encode_bundle
from policy.roster import COORDINATOR
from policy.schnorr import SchnorrTask
from signer_nodes import worker_frames as frames
from signer_nodes import worker_wire as wire
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import BootStatement
from signer_nodes.api.card import Card
from signer_nodes.api.hello import Hello
from signer_nodes.api.issuing import make_identity_certificate
from signer_nodes.api.letters import Header, write_letter
from signer_nodes.backup import make_backup
from signer_nodes.backup_wire import BackupJob
from signer_nodes.hsm.context import SealContext
from signer_nodes.hsm.envelope import seal_blob
from signer_nodes.imports import Offer
from signer_nodes.mpc.imported import split
from signer_nodes.mpc.nonces import make_nonces
from signer_nodes.officers import Officer
from signer_nodes.schnorr_wire import FinishItem, FinishJob, FinishOutcome, NonceJob, Unsigned
from signer_nodes.token_head import TokenHead
from signer_nodes.witness import Branch
from tests.protocols import dealer
from tests.protocols.keys import deal_key
from tests.simulation.cluster import cosign, cosigned, note_of
from tests.simulation.world import (
    CUSTOMER,
    KEY,
    ORIGIN,
    Book,
    World,
    authenticator,
    identity_key,
    public_key,
    seed,
    unsigned,
)
from tests.unit import test_decode_bitcoin
from tests.unit import test_decode_bitcoin_key_hash as key_hash
from tests.unit import test_decode_solana_tokens as solana_shapes
from tests.unit.typed_data_house import PERMITS, permit, policy_of, request_of

METHODS = ("approve(address spender,uint256 amount)", "f(bytes[][2] a,string b,int8[] c)", "pause()")
WORLD = World()
CONTEXT = SealContext("dkls23-secp256k1", KEY, WORLD.group_key, "node-1", 2, 3, 0)
DEALT = dealer.deal(min_signers=2, n=3)
SEALED = frames.FileSealed(b"f" * 32, b"blob")
HOLDING = frames.Holding(CONTEXT, SEALED)


def calldata() -> list[bytes]:
    """A call of each method: its number, then its arguments."""
    return [
        b"\0" + eth_abi.encode(["address", "uint256"], ["0x" + "22" * 20, 5]),
        b"\1" + eth_abi.encode(["bytes[][2]", "string", "int8[]"], [[[b"ab"], []], "text", [-1, 2]]),
        b"\2",
    ]


@cache
def book() -> Book:
    """A log with an entry of nearly every kind."""
    book = Book(WORLD)
    small = book.request(100)
    job = book.reserve(small, nonce=0)
    book.sign(job)
    book.settle(job)
    large = book.request(700)
    book.approve(large, "alice", nonce=1)
    book.approve(large, "bob", nonce=1)
    spare = book.reserve(large, nonce=1)
    book.burn(spare)
    book.ban("node-1", "node-2")
    book.change("policy", WORLD.policy(name="second"))
    book.change("roster", WORLD.roster(policy_delay_ms=1))
    book.order("veto", bytes(32))
    book.order("freeze", bytes(32))
    return book


def entries() -> list[bytes]:
    """Its entries, and the one that switches to rules which this program does not have."""
    upgraded = book().fork()
    upgraded.version(2, by=WORLD.cosigners)
    return upgraded.entries


def bodies(kind: str) -> list[bytes]:
    """The bodies of its entries of one kind, each in its canonical encoding."""
    documents = [json.loads(entry) for entry in entries()]
    return [canonical(document["body"]) for document in documents if document["kind"] == kind]


def requests() -> list[bytes]:
    """The bodies of its requests, and that of one to sign typed data."""
    return [*bodies("request"), canonical(request_of(permit(), key="permit", now_ms=1).body())]


def policies() -> list[bytes]:
    """A policy, and one that declares typed data."""
    return [canonical(WORLD.policy()), canonical(policy_of(WORLD, PERMITS))]


def part(kind: str, name: str) -> list[bytes]:
    """The same for another field of them."""
    documents = [json.loads(entry) for entry in entries()]
    return [canonical(document[name]) for document in documents if document["kind"] == kind]


def note() -> bytes:
    """A checkpoint with cosignatures."""
    plain = note_of(book())
    return cosigned(plain, *(cosign(name, plain) for name in WORLD.cosigners))


def certificate() -> bytes:
    """An identity certificate, PEM."""
    return make_identity_certificate("node-1", public_key("node-1"), sign=identity_key("node-1").sign)


def card() -> bytes:
    """A cosigner's card."""
    return Card("node-1", "node", ORIGIN, public_key("node-1"), certificate()).to_bytes()


def person_card() -> bytes:
    """An operator's card."""
    credential = authenticator("alice").credential()
    body: Json = {
        "kind": "operator",
        "name": "alice",
        "key": public_key("alice").hex(),
        "credential": {
            "id": credential.id.hex(),
            "public_key": credential.public_key.hex(),
            "rp_id": credential.rp_id,
            "origins": list(credential.origins),
        },
    }
    return canonical(body)


def hello() -> bytes:
    """A cold node's hello, with a signature of the right form."""
    return Hello(boot(), bytes(range(32)), 0).to_bytes(bytes(64))


def letter() -> bytes:
    """A letter of the coordinator to a cold node that all of them could be."""
    key = X25519PrivateKey.from_private_bytes(bytes(31) + b"\x01").public_key().public_bytes_raw()
    header = Header(ORIGIN, bytes(32), COORDINATOR, "cold-a", bytes(32), 1, 0, 1000, key)
    return write_letter(header, [(b"C", b"a call")], key=key, sign=identity_key(COORDINATOR).sign)


def boot() -> BootStatement:
    """A boot statement."""
    return BootStatement(ORIGIN, "node-1", 3, seed("boot"), seed("tls"), 2, bytes(32))


def token_head() -> bytes:
    """What a token remembers."""
    return TokenHead(3, bytes(32), 2, bytes(32), 1, 0).to_bytes()


def branch() -> bytes:
    """An abandon statement's body."""
    return canonical(Branch(1, bytes(32), bytes(32)).body(ORIGIN, "node-1"))


def trust() -> bytes:
    """What an auditor pins."""
    cosigners: list[Json] = [{"name": name, "key": public_key(name).hex()} for name in WORLD.cosigners]
    body: Json = {
        "origin": ORIGIN,
        "log_key": public_key(COORDINATOR).hex(),
        "genesis": bytes(32).hex(),
        "cosigners": cosigners,
        "w": 3,
    }
    return canonical(body)


def solana_messages() -> list[bytes]:
    """Payments of lamports and of tokens, and cancellations, with a priority fee and without."""
    return list(solana_shapes.SHAPES.values())


def psbts() -> list[bytes]:
    """A payment from one input, and one from two; of both kinds of outputs."""
    mine = [test_decode_bitcoin.MINE, test_decode_bitcoin.CHANGE]
    taproot = [test_decode_bitcoin.psbt(), test_decode_bitcoin.psbt(spent=mine)]
    return [*taproot, key_hash.psbt([9_000], proven=set()), key_hash.psbt([9_000, 8_000], proven={0, 1})]


def foreign_psbts() -> list[bytes]:
    """The same in both versions, and as text."""
    found = [written(one, version=version) for one in psbts() for version in (0, 2)]
    return [*found, base64.b64encode(found[0])]


def transactions() -> list[bytes]:
    """Unsigned transactions that decode."""
    fork = book().fork()
    token = fork.tx(fork.request(10, asset="usdc"), nonce=0)
    return [unsigned(CUSTOMER, 5, nonce=1, fee=3), unsigned(CUSTOMER, 0, nonce=1, fee=3), token]


def bundle() -> bytes:
    """A bundle of three entries."""
    return encode_bundle([b"one", b"", b"three"])


def calls() -> list[bytes]:
    """Calls of the node's door."""
    job = pb.FinishJob(job=bytes(32), opened=[pb.Opened(index=0, signer="node-1", rho=bytes(32))])
    return [
        pb.Call(call=1, hello=pb.Hello(statement=boot().to_bytes(), nonce=bytes(32))).SerializeToString(),
        pb.Call(call=2, append=pb.Append(start=0, entries=entries()[:2])).SerializeToString(),
        pb.Call(call=3, finish=pb.Finish(note=note(), jobs=[job])).SerializeToString(),
        pb.Call(call=4, protocol=pb.Protocol(session=bytes(32), payload=b"\x01")).SerializeToString(),
    ]


def replies() -> list[bytes]:
    """Its answers."""
    return [
        pb.Reply(call=1, head=pb.HeadReply(head=note(), size=3)).SerializeToString(),
        pb.Reply(call=2, refusal=pb.Refusal(code="no", reason="no")).SerializeToString(),
        pb.Reply(call=3, entries=pb.EntriesReply(entries=entries()[:2])).SerializeToString(),
    ]


def jobs() -> list[bytes]:
    """Contents of frames that start a worker's run, of every kind."""
    old = wire.OldKey(0, 2, WORLD.nodes, WORLD.group_key, bytes(32), (WORLD.group_key,) * 3)
    key = ("dkls23-secp256k1", KEY, 1, 2, WORLD.nodes, WORLD.nodes, 1, WORLD.nodes)
    task = SchnorrTask("frost-secp256k1-sha256", b"message", WORLD.group_key, 5, None, bytes(32), 0)
    item = FinishItem(b"nonces", {1: bytes(66), 2: bytes(66)}, task)
    found: list[wire.Job] = [
        wire.KeyJob(bytes(32), "refresh", *key, old=old, holding=HOLDING),
        wire.KeyJob(bytes(32), "import", *key, dealt=wire.DealtEnvelope(bytes(32), b"envelope")),
        wire.PresignJob(bytes(32), 8, 1, (1, 2), HOLDING, {2: SEALED}),
        NonceJob(bytes(32), 8, 1, (1, 2), HOLDING),
        FinishJob(bytes(32), HOLDING, (item,)),
        BackupJob(bytes(32), HOLDING, (officer(),), 1),
    ]
    return [frames.frame(frames.RUN, *job.to_parts())[frames.LENGTH_BYTES :] for job in found]


def outcomes() -> list[bytes]:
    """Contents of frames that end one: of a key's run, then of partial signatures."""
    pairs = {2: SEALED, 3: SEALED}
    key = wire.KeyOutcome(CONTEXT, (WORLD.group_key,) * 3, bytes(32), bytes(32), SEALED, pairs)
    finish = FinishOutcome((bytes(32), Unsigned(2, "its opening is no point")))
    parts = (key.to_parts(), finish.to_parts())
    return [frames.frame(frames.RESULT, *part)[frames.LENGTH_BYTES :] for part in parts]


def officer() -> Officer:
    """A recovery officer."""
    return Officer("rita", bytes(31) + b"\x09")


def fault() -> bytes:
    """A fault, as a worker tells it."""
    return canonical({"participant": 2, "reason": "a check failed", "ban": True})


def blob() -> bytes:
    """State sealed under a file key."""
    return seal_blob(b"f" * 32, b"state", context=CONTEXT, nonce=bytes(12))


def backup() -> bytes:
    """A backup of a share for one officer."""
    return make_backup(DEALT.shares[1], (officer(),), quorum=1, randomness=bytes(32))


def dealt_share() -> bytes:
    """What an importing dealer hands to one party."""
    shares = split(
        (7).to_bytes(32, "big"),
        suite="frost-secp256k1-sha256",
        min_signers=2,
        participants=WORLD.nodes,
        chain_code=None,
        randomness=bytes(32),
    )
    return shares[0].to_bytes()


def nonces() -> bytes:
    """A nonce pair on its way from worker to node."""
    share = deal_key(2, 3)[1]
    return make_nonces(share, session=bytes(32), batch=1, signers=(1, 2), randomness=bytes(32))[0].to_bytes()


def offer() -> bytes:
    """A node's offer to take part in an import."""
    made = Offer(ORIGIN, KEY, "frost-secp256k1-sha256", 2, WORLD.nodes, bytes(32), "node-1", bytes(32))
    return canonical(made.body())


def sanctions() -> bytes:
    """A sanctions list."""
    return json.dumps({"source": "s", "as_of": "2026-11-25", "addresses": [CUSTOMER, "bc1qxyz"]}).encode()


def offered() -> bytes:
    """A statement that an observer left for the others."""
    return canonical({"body": {"risk": 5, "result": "clear"}, "signature": "ab" * 64})
