"""Recovery officers: people who together can open backups of shares. Their cards, compared by fingerprint."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from policy.encoding import Json, canonical, parse_canonical, tagged_hash
from policy.errors import CallerError
from policy.fields import Fields

ROLE: Final = "recovery-officer"
OFFICERS_MAX: Final = 16
CARD_BYTES_MAX: Final = 1024
PUBLIC_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Officer:
    """A recovery officer's name and X25519 public key: also the card, which others must know."""

    name: str
    key: bytes

    def body(self) -> Json:
        """Name and key, as a backup lists them."""
        return {"name": self.name, "key": self.key.hex()}

    def to_bytes(self) -> bytes:
        """The card's file."""
        card: Json = {"role": ROLE, "name": self.name, "key": self.key.hex()}
        return canonical(card)

    @property
    def fingerprint(self) -> str:
        """What the officer reads to whoever makes backups for them."""
        return tagged_hash("card", self.to_bytes()).hex()


def parse_officer(data: bytes) -> Officer:
    """Read a card. Raises ``MalformedError`` naming the field."""
    fields = Fields(parse_canonical(data, bytes_max=CARD_BYTES_MAX), "officer's card")
    fields.choice("role", ROLE)
    officer = read_officer(fields)
    fields.done()
    return officer


def read_officer(fields: Fields) -> Officer:
    """Read ``Officer.body``, and leave the rest of the fields to the caller."""
    return Officer(fields.name("name"), fields.hex("key", length=PUBLIC_KEY_BYTES))


def check_officers(officers: Sequence[Officer], quorum: int) -> None:
    """Refuse, as ``CallerError``, what cannot be: 1 ≤ quorum ≤ m ≤ 16 officers, distinct by name and key."""
    if not 1 <= quorum <= len(officers) <= OFFICERS_MAX:
        raise CallerError(
            f"need 1 <= quorum <= officers <= {OFFICERS_MAX}, got a quorum of {quorum} among {len(officers)}"
        )
    if len({officer.name for officer in officers}) != len(officers):
        raise CallerError("two officers have the same name: name each once")
    if len({officer.key for officer in officers}) != len(officers):
        raise CallerError("two officers have the same key: one person would count twice")
