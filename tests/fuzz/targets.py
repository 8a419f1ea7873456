"""Every decoder of bytes that others send, and the errors it may answer with; anything else is a bug.

``run.py`` fuzzes these with atheris, ``test_decoders.py`` with hypothesis on every run of the tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cli.identities import parse_person_card
from custody.adapters.risk_files import parse_offered
from custody.branches import read_head
from custody.chains.bitcoin.foreign import read_file
from custody.ports import Head
from custody.risk.sanctions import parse_list
from policy import bip32, ledger
from policy.addresses import is_address, is_address_somewhere, is_slot_account
from policy.approval import parse_approval, parse_assertion, verify_assertion
from policy.audit import parse_trust
from policy.decode import bitcoin, evm, solana
from policy.decode.abi import OtherCall, decode_call, parse_method
from policy.decode.decoded import Cancel, Decoder, Source, Transfer, Undecodable
from policy.decode.eip712 import parse_typed_data
from policy.document import parse_policy
from policy.ecdsa import Partial
from policy.encoding import Json, canonical, parse_ascii, parse_canonical
from policy.entries import ENTRY_BYTES_MAX, TimedEntry, parse_entry, parse_reserve
from policy.errors import FaultyParticipant, InvalidSignatureError, InvariantError, MalformedError
from policy.intent import parse_request
from policy.log.checkpoint import parse_checkpoint, verify_cosignatures
from policy.log.merkle import Frontier
from policy.log.note import parse_note, parse_vkey
from policy.log.tiles import decode_bundle, parse_tile_path
from policy.roster import COORDINATOR, parse_roster
from policy.shapes import shaped
from policy.suites import FROST_ED25519
from signer_nodes import worker_frames as frames
from signer_nodes import worker_wire as wire
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.bbqr import Reader, split
from signer_nodes.api.boot_statement import parse_boot, verify_boot
from signer_nodes.api.card import parse_card
from signer_nodes.api.certificates import certificate_names, read_certificate, read_certificate_der
from signer_nodes.api.envelope import parse_call, parse_reply, unwrap
from signer_nodes.api.errors import Refused
from signer_nodes.api.hello import unverified_name
from signer_nodes.api.letters import Inbox, LetterRefused, read_header
from signer_nodes.backup import parse_backup
from signer_nodes.envelopes import EnvelopeError, open_envelope
from signer_nodes.hsm.envelope import open_blob
from signer_nodes.hsm.errors import SealedBlobError
from signer_nodes.imports import parse_offer
from signer_nodes.mpc import vole
from signer_nodes.mpc.imported import DealtShare
from signer_nodes.mpc.keyshare import KeyShare, PairState
from signer_nodes.mpc.nonces import NoncePair
from signer_nodes.mpc.ot.extension import Direction
from signer_nodes.mpc.presign_messages import parse_commit, parse_multiply
from signer_nodes.mpc.presignature import Presignature
from signer_nodes.officers import parse_officer
from signer_nodes.token_head import TokenHead
from signer_nodes.witness import NOTE_BYTES_MAX, parse_branch
from tests.fuzz import seeds
from tests.fuzz.edits import edited_document, feed
from tests.protocols import dealer
from tests.protocols.adapters_ecdsa import finish_protocol, presign_protocol
from tests.protocols.adapters_frost import frost_protocol
from tests.protocols.adapters_keys import dkg_protocol, setup_protocol
from tests.protocols.adapters_redeal import import_protocol, refresh_protocol, reshare_protocol
from tests.protocols.attack_model import Protocol
from tests.protocols.mutator import transcript
from tests.simulation.world import ORIGIN, authenticator, public_key
from tests.unit import test_decode_bitcoin, test_decode_evm, test_decode_solana
from tests.unit.test_decode_eip712 import MAIL
from tests.unit.typed_data_house import permit

DIRECTION = Direction(b"s" * 32, sender=2, receiver=1, batch=4)
Seeds = Callable[[], list[bytes]]


@dataclass(frozen=True, slots=True)
class Target:
    """A decoder: ``run`` raises nothing but ``errors``. ``slow`` ones take milliseconds an input."""

    name: str
    run: Callable[[bytes], object]
    seeds: Seeds
    errors: tuple[type[Exception], ...] = (MalformedError,)
    slow: bool = False

    def __call__(self, data: bytes) -> None:
        """Decode; a documented error is an answer."""
        try:
            self.run(data)
        except self.errors:
            return


def document(name: str, parse: Callable[[Json], object], bodies: Seeds) -> list[Target]:
    """Two targets for the parser of a document: its bytes, and its values edited."""
    known = cache(bodies)

    def by_bytes(data: bytes) -> object:
        return parse(parse_canonical(data, bytes_max=ENTRY_BYTES_MAX))

    def by_edits(data: bytes) -> object:
        found = known()
        return by_bytes(edited_document(found[data[0] % len(found)], data[1:]) if data else b"")

    return [Target(name, by_bytes, known), Target(f"{name}-edited", by_edits, _edit_seeds)]


def machine(protocol: Protocol) -> Target:
    """A target for ``Rounds.receive`` of a protocol."""
    name = protocol.name.replace(" ", "-")
    return Target(f"machine-{name}", lambda data: feed(protocol, data), _edit_seeds, errors=(), slow=True)


def _edit_seeds() -> list[bytes]:
    return [b"", bytes(12), b"\0\0\0\0\7\1" + b"\1\3\0\0\0\0", b"\2\7\0\1\0\5\1\4\0\0\0\0"]


def _text(parse: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: parse(data.decode(errors="replace"))


def _transaction(decoder: Decoder, source: Source) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        for found in (decoder.decode(data, source), decoder.decode_cancel(data, source)):
            assert isinstance(found, Transfer | Cancel | Undecodable)

    return run


def _calldata(data: bytes) -> None:
    method = parse_method(seeds.METHODS[data[0] % len(seeds.METHODS)] if data else seeds.METHODS[0])
    decode_call(method, method.selector + data[1:])


def _typed_data(data: bytes) -> None:
    evm.decode_typed_data(data, test_decode_evm.SOURCE)


def _note(data: bytes) -> None:
    note = parse_note(data, NOTE_BYTES_MAX)
    parse_checkpoint(note.body)
    verify_cosignatures(note, {name: public_key(name) for name in seeds.WORLD.cosigners})


def _head(data: bytes) -> None:
    read_head(Head(20, data, b""), origin=ORIGIN, log_key=public_key(COORDINATOR))


def _boot(data: bytes) -> None:
    verify_boot(data, bytes(64), origin=ORIGIN, name="node-1", key=public_key("node-1"))


def _assertion(body: Json) -> None:
    verify_assertion(
        parse_assertion(body), credential=authenticator("alice").credential(), challenge=bytes(32)
    )


def _certificate(data: bytes) -> None:
    for read in (read_certificate, read_certificate_der):
        try:
            certificate_names(read(data, "certificate"))
        except MalformedError:
            continue


def _reply(data: bytes) -> None:
    reply = parse_reply(data)
    for kind in (pb.HeadReply, pb.EntriesReply, pb.HelloReply):
        try:
            unwrap(reply, kind, name="node-1")
        except (MalformedError, Refused):
            continue


def _outcome(data: bytes) -> None:
    """Read as the outcome of every kind of job."""
    parts = frames.split(data)[1]
    for job in (wire.parse_job(frames.split(job)[1]) for job in seeds.jobs()):
        try:
            wire.parse_outcome(job, parts)
        except MalformedError:
            continue


def _envelope(data: bytes) -> None:
    open_envelope(X25519PrivateKey.from_private_bytes(bytes(31) + b"\x01"), data, info=b"fuzz")


def _letter(data: bytes) -> None:
    read_header(data)
    box = Inbox(
        "cold-a", ORIGIN, bytes(32), X25519PrivateKey.from_private_bytes(bytes(31) + b"\x01"), COORDINATOR
    )
    box.open(data, {COORDINATOR: public_key(COORDINATOR)}, now_ms=0)


def _code(data: bytes) -> None:
    reader = Reader()
    reader.see(data.decode(errors="replace"))
    assert reader.missing or reader.whole is not None


def _any_address(text: str) -> None:
    for chain in ("evm:1", "bitcoin:regtest", "bitcoin:mainnet", "solana:localnet"):
        is_address(chain, text)
        is_slot_account(chain, text)
    is_address_somewhere(text)


def _entry(data: bytes) -> TimedEntry:
    """Field by field, which is what a shape reads too, if it reads it."""
    found = shaped(parse_ascii(data))
    try:
        entry = parse_entry(data)
    except MalformedError as error:
        if found is not None:
            raise InvariantError("a shape reads an entry that is malformed") from error
        raise
    if found not in (None, entry):
        raise InvariantError("a shape reads another entry")
    return entry


def _fold(data: bytes) -> None:
    """Total: an entry that is no good is inert."""
    ledger.fold(seeds.book().state, data)


def _presign(number: int) -> Seeds:
    def found() -> list[bytes]:
        protocol = presign_protocol(2, 3)
        payloads = transcript(protocol, 1)
        return [payload[1:] for (r, _, _), payload in payloads.items() if r == number]

    return found


def _product_seeds() -> list[bytes]:
    return [body[64 + 4 * 164 :] for body in _presign(2)()]


def _stored(kind: str) -> Seeds:
    def found() -> list[bytes]:
        share = seeds.DEALT.shares[1]
        presignature = dealer.presign(seeds.DEALT, (1, 2))[1].presignatures[0]
        pair = seeds.DEALT.pairs[1][2]
        stored = {"share": share.to_bytes(), "pair": pair.to_bytes(), "presignature": presignature.to_bytes()}
        return [stored[kind]]

    return found


FAULT = (FaultyParticipant,)
BYTES = [
    Target("note", _note, lambda: [seeds.note()], errors=(MalformedError, InvalidSignatureError)),
    Target("head", _head, lambda: [seeds.note()], errors=(MalformedError, InvalidSignatureError)),
    Target("checkpoint", parse_checkpoint, lambda: [parse_note(seeds.note(), NOTE_BYTES_MAX).body]),
    Target("bundle", lambda data: decode_bundle(data, 3), lambda: [seeds.bundle()]),
    Target("frontier", Frontier.from_bytes, lambda: [seeds.book().frontier.to_bytes()]),
    Target("evm", _transaction(evm, test_decode_evm.SOURCE), seeds.transactions, errors=()),
    Target("solana", _transaction(solana, test_decode_solana.SOURCE), seeds.solana_messages, errors=()),
    Target("bitcoin", _transaction(bitcoin, test_decode_bitcoin.TWO), seeds.psbts, errors=()),
    Target("psbt", read_file, seeds.foreign_psbts),
    Target("method", _text(parse_method), lambda: [method.encode() for method in seeds.METHODS]),
    Target("typed-data-signed", _typed_data, lambda: [canonical(permit())], errors=()),
    Target("calldata", _calldata, seeds.calldata, errors=(OtherCall,)),
    Target("boot", parse_boot, lambda: [seeds.boot().to_bytes()]),
    Target("boot-signed", _boot, lambda: [seeds.boot().to_bytes()], (MalformedError, InvalidSignatureError)),
    Target("card", parse_card, lambda: [seeds.card()], errors=(MalformedError, InvalidSignatureError)),
    Target("person-card", parse_person_card, lambda: [seeds.person_card()]),
    Target("certificate", _certificate, lambda: [seeds.certificate()], errors=()),
    Target("call", parse_call, seeds.calls),
    Target("reply", _reply, seeds.replies),
    Target("token-head", TokenHead.from_bytes, lambda: [seeds.token_head()]),
    Target("fold", _fold, seeds.entries, errors=()),
    Target("partial", Partial.from_bytes, lambda: [bytes(64)]),
    Target("share", KeyShare.from_bytes, _stored("share")),
    Target("pair", PairState.from_bytes, _stored("pair")),
    Target("presignature", Presignature.from_bytes, _stored("presignature")),
    Target("presign-commit", lambda data: parse_commit(data, DIRECTION), _presign(1), FAULT),
    Target("presign-multiply", lambda data: parse_multiply(data, DIRECTION), _presign(2), FAULT, slow=True),
    Target("product", lambda data: vole.parse(DIRECTION, data), _product_seeds, FAULT, slow=True),
    Target("frame", frames.split, seeds.jobs),
    Target(
        "frame-length",
        lambda data: frames.frame_length(data[: frames.LENGTH_BYTES]),
        lambda: [b"\0\0\0\4"],
    ),
    Target("job", lambda data: wire.parse_job(frames.split(data)[1]), seeds.jobs),
    Target("outcome", _outcome, seeds.outcomes),
    Target(
        "blob",
        lambda data: open_blob(b"f" * 32, data, context=seeds.CONTEXT),
        lambda: [seeds.blob()],
        errors=(SealedBlobError,),
    ),
    Target("letter", _letter, lambda: [seeds.letter()], errors=(LetterRefused,)),
    Target("hello", unverified_name, lambda: [seeds.hello()]),
    Target("code", _code, lambda: [split(bytes(20), version=11)[0].encode(), b"B$HB0100CAFE"]),
    Target("envelope", _envelope, lambda: [bytes(80)], errors=(EnvelopeError,)),
    Target("backup", parse_backup, lambda: [seeds.backup()]),
    Target("officer", parse_officer, lambda: [seeds.officer().to_bytes()]),
    Target("dealt-share", DealtShare.from_bytes, lambda: [seeds.dealt_share()]),
    Target("nonces", NoncePair.from_bytes, lambda: [seeds.nonces()]),
    Target(
        "any-address",
        _text(_any_address),
        lambda: [b"bcrt1p" + b"q" * 52, b"11111111111111111111111111111111", b"0x" + b"ab" * 20],
        errors=(),
    ),
    Target("sanctions", parse_list, lambda: [seeds.sanctions()]),
    Target("offered", lambda data: parse_offered("olga", data), lambda: [seeds.offered()]),
    Target("path", _text(bip32.parse_path), lambda: [b"m/0/7"]),
    Target("address", _text(bip32.parse_address), lambda: [b"0x" + b"ab" * 20]),
    Target("tile-path", _text(parse_tile_path), lambda: [b"tile/entries/x001/234.p/5", b"tile/0/067"]),
    Target("verifier-key", _text(parse_vkey), lambda: [b"log.example.com+00000000+AQ=="]),
]
DOCUMENTS = [
    *document("entry", lambda body: _entry(canonical(body)), seeds.entries),
    *document("fold-value", lambda body: _fold(canonical(body)), seeds.entries),
    *document("request", parse_request, seeds.requests),
    *document("reserve", parse_reserve, lambda: seeds.bodies("reserve")),
    *document("approval", parse_approval, lambda: seeds.bodies("approval")),
    *document("typed-data", lambda body: parse_typed_data(canonical(body)), lambda: [canonical(MAIL)]),
    *document("policy", parse_policy, seeds.policies),
    *document("roster", parse_roster, lambda: [canonical(seeds.WORLD.roster())]),
    *document("trust", parse_trust, lambda: [seeds.trust()]),
    *document("branch", lambda body: parse_branch(body, ORIGIN), lambda: [seeds.branch()]),
    *document("offer", parse_offer, lambda: [seeds.offer()]),
    *document("backup-value", lambda body: parse_backup(canonical(body)), lambda: [seeds.backup()]),
    *document("fault", lambda body: wire.parse_fault(canonical(body)), lambda: [seeds.fault()]),
    *document(
        "context",
        lambda body: frames.parse_context(canonical(body)),
        lambda: [seeds.CONTEXT.canonical_bytes()],
    ),
]
ASSERTIONS = [
    Target(target.name, target.run, target.seeds, errors=(MalformedError, InvalidSignatureError))
    for target in document("assertion", _assertion, lambda: seeds.part("approval", "assertion"))
]
MACHINES = [
    machine(protocol)
    for protocol in (
        dkg_protocol(2, 3),
        dkg_protocol(2, 3, FROST_ED25519),
        setup_protocol(2),
        presign_protocol(2, 3),
        finish_protocol(2, 3),
        refresh_protocol(2, 3),
        reshare_protocol(),
        reshare_protocol(dealing=False),
        import_protocol(2, 3),
        frost_protocol(2, 3),
        frost_protocol(2, 3, FROST_ED25519),
    )
]
TARGETS = {target.name: target for target in (*BYTES, *DOCUMENTS, *ASSERTIONS, *MACHINES)}
