"""A cosigner's card: what others must know to enrol it, compared by fingerprint out of band."""

from dataclasses import dataclass

from policy.encoding import Json, canonical, parse_canonical, tagged_hash
from policy.errors import MalformedError
from policy.fields import Fields
from signer_nodes.api.certificates import PinnedIdentity

CARD_BYTES_MAX = 8192
PEM_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class Card:
    """Name, role (``node``, ``witness``, ``cold``), log, identity key and identity certificate of a node."""

    name: str
    role: str
    origin: str
    key: bytes
    certificate: bytes

    def body(self) -> Json:
        """The document; ``parse_card`` is its inverse."""
        return {
            "name": self.name,
            "role": self.role,
            "origin": self.origin,
            "key": self.key.hex(),
            "certificate": self.certificate.hex(),
        }

    def to_bytes(self) -> bytes:
        """The file's bytes."""
        return canonical(self.body())

    @property
    def fingerprint(self) -> str:
        """What two people read to one another before one enrols the other's node."""
        return tagged_hash("card", self.to_bytes()).hex()


def parse_card(data: bytes) -> Card:
    """Read a card. Raises ``MalformedError``, also when key and certificate disagree."""
    fields = Fields(parse_canonical(data, bytes_max=CARD_BYTES_MAX), "card")
    card = Card(
        name=fields.name("name"),
        role=fields.choice("role", "node", "witness", "cold"),
        origin=fields.origin("origin"),
        key=fields.hex("key", length=32),
        certificate=fields.hex("certificate", length_max=PEM_BYTES_MAX),
    )
    fields.done()
    if PinnedIdentity.of(card.name, card.certificate).key != card.key:
        raise MalformedError("card: the certificate is not that of the key")
    return card
