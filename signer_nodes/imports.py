"""An import's offers and envelopes: how an existing key comes to the nodes past the coordinator.

Each node offers a one-time X25519 key, signed by its identity, for one run. Whoever has the private key
checks the offers against the identities in the trust file, splits the key, and seals to each node its share.
The coordinator carries offers and envelopes and can open none of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from policy.audit import Trust
from policy.encoding import Json, canonical, parse_canonical, statement
from policy.errors import InvalidSignatureError, MalformedError, OperationalError
from policy.fields import Fields
from policy.log.note import verify_ed25519
from signer_nodes.envelopes import KEY_BYTES, import_info, seal_envelope
from signer_nodes.key_changes import Plan
from signer_nodes.mpc.imported import scalar_of_seed, split

OFFERS_HELD_MAX = 8
OFFER_BYTES_MAX = 4096
OFFERS_BYTES_MAX = 64 * 1024
PARTICIPANTS_MAX = 9
SECRET_LINE_BYTES_MAX = 256


@dataclass(frozen=True, slots=True)
class Offer:
    """One node's one-time key for one run, and the committee it expects to be dealt to."""

    origin: str
    key: str
    suite: str
    min_signers: int
    participants: tuple[str, ...]
    session: bytes
    node: str
    public_key: bytes

    def body(self) -> dict[str, Json]:
        """What the node signs, under ``import-offer``."""
        return {
            "origin": self.origin,
            "key": self.key,
            "suite": self.suite,
            "min_signers": self.min_signers,
            "participants": list(self.participants),
            "session": self.session.hex(),
            "node": self.node,
            "public_key": self.public_key.hex(),
        }

    @property
    def terms(self) -> tuple[object, ...]:
        """What all offers of a run have in common."""
        return self.origin, self.key, self.suite, self.min_signers, self.participants, self.session


def offer_of(planned: Plan, *, origin: str, name: str, session: bytes, public_key: bytes) -> Offer:
    """A node's offer for a run it has planned."""
    return Offer(
        origin=origin,
        key=planned.key_id,
        suite=planned.suite,
        min_signers=planned.min_signers,
        participants=planned.participants,
        session=session,
        node=name,
        public_key=public_key,
    )


def parse_offer(body: Json) -> Offer:
    """Read an offer's body. Raises ``MalformedError``."""
    fields = Fields(body, "offer")
    offer = Offer(
        origin=fields.origin("origin"),
        key=fields.name("key"),
        suite=fields.name("suite"),
        min_signers=fields.integer("min_signers", low=2, high=PARTICIPANTS_MAX),
        participants=fields.names("participants", count_min=2, count_max=PARTICIPANTS_MAX),
        session=fields.hex("session", length=KEY_BYTES),
        node=fields.name("node"),
        public_key=fields.hex("public_key", length=KEY_BYTES),
    )
    fields.done()
    return offer


@dataclass(slots=True)
class OneTimeKeys:
    """The private halves of this node's offers, by session, in memory only; each opens one envelope."""

    _held: dict[bytes, X25519PrivateKey] = field(default_factory=dict, repr=False)

    def make(self, session: bytes) -> bytes:
        """A fresh key for a run: its public half. The oldest offer goes when there are too many."""
        while len(self._held) >= OFFERS_HELD_MAX:
            del self._held[next(iter(self._held))]
        key = self._held[session] = X25519PrivateKey.generate()
        return key.public_key().public_bytes_raw()

    def take(self, session: bytes) -> bytes | None:
        """The private half, once; None when this node made no offer for the run, or has restarted since."""
        key = self._held.pop(session, None)
        return key.private_bytes_raw() if key is not None else None


def verified_offers(data: bytes, trust: Trust) -> tuple[Offer, ...]:
    """The offers in a coordinator's answer, one of each participant, by the identities of a trust file.

    ``data`` is a canonical list of {"body","signature"}. Raises ``MalformedError``, and
    ``InvalidSignatureError`` for an offer of somebody else.
    """
    listed = Fields({"offers": parse_canonical(data, bytes_max=OFFERS_BYTES_MAX)}, "answer")
    signed = listed.objects("offers", lambda f: (f.raw("body"), f.hex("signature", length=64)), count_max=9)
    offers = [_verified(body, signature, trust.cosigners) for body, signature in signed]
    if not offers or {offer.node for offer in offers} != set(offers[0].participants):
        raise MalformedError("need exactly one offer of each participant: ask all nodes again")
    if len(offers) != len(offers[0].participants) or len({offer.terms for offer in offers}) != 1:
        raise MalformedError("the offers are for different runs or committees: ask all nodes again")
    if offers[0].origin != trust.origin:
        raise MalformedError(f"the offers are for {offers[0].origin}, the trust file is of {trust.origin}")
    return tuple(offers)


def check_committee(offers: Sequence[Offer], committee: str) -> None:
    """Refuse offers of another committee than the dealer wants the key with: ``2:node-a,node-b,node-c``.

    The nodes' word is not enough: a few corrupt ones could offer themselves as the whole committee, and
    the coordinator hide the offers of the others. Raises ``OperationalError``.
    """
    number, _, names = committee.partition(":")
    wanted = tuple(sorted(names.split(",")))
    if not number.isdecimal() or "" in wanted or len(set(wanted)) != len(wanted):
        raise OperationalError(f"{committee[:200]!r} is no committee: give one like 2:node-a,node-b,node-c")
    first = offers[0]
    if (first.min_signers, tuple(sorted(first.participants))) != (int(number), wanted):
        raise OperationalError(
            f"the offers are for {first.min_signers} of {', '.join(first.participants)}, "
            "not the committee you gave: stop, and compare it with the policy in force"
        )


def _verified(body: Json, signature: bytes, known: Mapping[str, bytes]) -> Offer:
    offer = parse_offer(body)
    key = known.get(offer.node)
    try:
        if key is None:
            raise InvalidSignatureError(f"the trust file names no cosigner {offer.node}")
        message = statement("import-offer", body)
        verify_ed25519(key, signature, message=message, author=offer.node)
    except InvalidSignatureError as error:
        raise InvalidSignatureError(
            f"the offer of {offer.node} is not to be trusted: {error}. Stop: somebody wants to read the key, "
            "or the trust file is older than the roster"
        ) from error
    return offer


def dealt_envelopes(
    offers: Sequence[Offer], private_key: bytes, *, chain_code: bytes | None, randomness: bytes, is_seed: bool
) -> dict[str, bytes]:
    """Split a private key and seal each node's share to its offer: envelopes by node name.

    ``private_key``: 32 bytes, the scalar, or with ``is_seed`` an Ed25519 seed. ``randomness``: 32 fresh
    bytes.
    """
    first = offers[0]
    scalar = scalar_of_seed(private_key) if is_seed else private_key
    shares = split(
        scalar,
        suite=first.suite,
        min_signers=first.min_signers,
        participants=first.participants,
        chain_code=chain_code,
        randomness=randomness,
    )
    dealt = dict(zip(first.participants, shares, strict=True))
    return {
        offer.node: seal_envelope(
            offer.public_key,
            dealt[offer.node].to_bytes(),
            info=import_info(offer.session, offer.suite, key_id=offer.key, node=offer.node),
        )
        for offer in offers
    }


def read_private_key(line: bytes) -> bytes:
    """32 bytes from a line of 64 hex digits, with or without 0x. The text is never repeated in an error."""
    text = line.strip().removeprefix(b"0x")
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except (UnicodeDecodeError, ValueError) as error:
        raise OperationalError(
            "the private key is not hexadecimal: give one line of 64 hex digits"
        ) from error
    if len(key) != KEY_BYTES:
        raise OperationalError(f"private_key: has {len(key)} bytes, 32 are right: give 64 hex digits")
    return key


def read_chain_code(text: str) -> bytes:
    """32 bytes from 64 hex digits."""
    try:
        code = bytes.fromhex(text.removeprefix("0x"))
    except ValueError as error:
        raise OperationalError("chain_code: is not hexadecimal: give 64 hex digits") from error
    if len(code) != KEY_BYTES:
        raise OperationalError(f"chain_code: has {len(code)} bytes, 32 are right: give 64 hex digits")
    return code


def encode_offer(offer: Offer, signature: bytes) -> bytes:
    """What a node answers."""
    return canonical({"body": offer.body(), "signature": signature.hex()})
