"""People and backends: their keys, the cards by which others enrol them, the fingerprints they compare.

An identity is a folder: ``key.pem`` (Ed25519, its owner's alone), ``card.json`` (public), and for an
operator who has neither a security key nor a token, ``passkey`` (a software authenticator: the stand-in for
one); with a token, ``token.json`` says where its key is.
"""

import secrets
from argparse import Namespace
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.authenticator import RANDOMNESS_BYTES, SoftwareAuthenticator
from cli.files import load_key, new_folder, new_key, read_bytes, write_document
from cli.pins import pin_source
from cli.results import Misuse, Result, progress
from cli.security_key import new_credential
from cli.token_key import TokenPlace, token_credential
from policy.approval import Credential
from policy.encoding import Json, canonical, parse_canonical, tagged_hash
from policy.errors import MalformedError, OperationalError
from policy.fields import NAME, Fields

CARD, KEY, PASSKEY, TOKEN = "card.json", "key.pem", "passkey", "token.json"
KINDS = ("operator", "backend", "administrator", "observer", "auditor")
CARD_BYTES_MAX = 8192
CARD_TAG = "card"


@dataclass(frozen=True, slots=True)
class PersonCard:
    """What others must know of a person or backend; ``credential`` is an operator's or auditor's passkey."""

    kind: str
    name: str
    key: bytes
    credential: dict[str, Json] | None

    def body(self) -> dict[str, Json]:
        """The document; ``parse_person_card`` is its inverse."""
        body: dict[str, Json] = {"kind": self.kind, "name": self.name, "key": self.key.hex()}
        return body if self.credential is None else {**body, "credential": self.credential}

    @property
    def fingerprint(self) -> str:
        """What two people read to one another before one enrols the other."""
        return tagged_hash(CARD_TAG, canonical(self.body())).hex()


@dataclass(frozen=True, slots=True)
class Identity:
    """A person or backend at this machine."""

    card: PersonCard
    folder: Path
    key: Ed25519PrivateKey = field(repr=False)

    def authenticator(self) -> SoftwareAuthenticator:
        """The operator's software authenticator. Raises ``OperationalError``."""
        return SoftwareAuthenticator.load(self.folder / PASSKEY)

    def credential(self) -> Credential:
        """The passkey of an operator's card. Raises ``Misuse``."""
        if self.card.credential is None:
            raise Misuse(f"{self.card.name} is no operator: give an operator's folder to --as")
        return _read_credential(Fields(self.card.credential, "credential"))


def create(arguments: Namespace) -> Result:
    """``identity create``: make keys and a card."""
    folder, kind, name = Path(arguments.dir), arguments.kind, arguments.name
    if not NAME.fullmatch(name):
        raise Misuse(f"{name[:64]!r} is no name: use lower-case letters, digits, '.', '_' and '-'")
    new_folder(folder, holds=KEY)
    credential = _new_passkey(folder, arguments) if kind == "operator" else None
    key = new_key(folder / KEY)
    card = PersonCard(kind, name, key.public_key().public_bytes_raw(), credential)
    write_document(folder / CARD, card.body())
    return Result(
        {"kind": kind, "name": name, "card": str(folder / CARD), "fingerprint": card.fingerprint},
        (
            f"{kind} {name}: the card to hand over is {folder / CARD}, its fingerprint is",
            f"  {card.fingerprint}",
            "Whoever enrols it compares this fingerprint with you by voice, not by the way the card came.",
        ),
    )


def fingerprint(arguments: Namespace) -> Result:
    """``identity fingerprint``: for the owner of a card to read out."""
    data = read_bytes(Path(arguments.card), "the card")
    try:
        document = parse_canonical(data, bytes_max=CARD_BYTES_MAX)
        name = Fields(document, "card").name("name")
    except MalformedError as error:
        raise OperationalError(f"{arguments.card} is no card: {error}; give the file card.json") from error
    found = tagged_hash(CARD_TAG, data).hex()
    return Result({"name": name, "fingerprint": found}, (found,))


def load_identity(folder: Path) -> Identity:
    """The identity in a folder. Raises ``OperationalError``."""
    try:
        card = parse_person_card(read_bytes(folder / CARD, "the card"))
    except MalformedError as error:
        raise OperationalError(f"{folder / CARD}: {error}; make the identity anew") from error
    key = load_key(folder / KEY)
    if key.public_key().public_bytes_raw() != card.key:
        raise OperationalError(f"the key in {folder} is not that of its card: make the identity anew")
    return Identity(card, folder, key)


def parse_person_card(data: bytes) -> PersonCard:
    """Read a card. Raises ``MalformedError``."""
    fields = Fields(parse_canonical(data, bytes_max=CARD_BYTES_MAX), "card")
    kind = fields.choice("kind", *KINDS)
    name, key = fields.name("name"), fields.hex("key", length=32)
    credential = None
    if kind == "operator" or (kind == "auditor" and fields.has("credential")):
        credential = _credential_body(_read_credential(fields.nested("credential")))
    fields.done()
    return PersonCard(kind, name, key, credential)


def _new_passkey(folder: Path, arguments: Namespace) -> dict[str, Json]:
    rp_id, origin = arguments.rp_id, arguments.site or f"https://{arguments.rp_id}"
    pin = pin_source(arguments.pin_file)
    if arguments.authenticator == "fido2":
        return _credential_body(new_credential(arguments.name, rp_id, origin=origin, pin=pin))
    if arguments.authenticator == "pkcs11":
        if not arguments.module or not arguments.token:
            raise Misuse("a token's key needs --module, the PKCS#11 module's path, and --token, its label")
        place = TokenPlace(arguments.module, arguments.token, arguments.key_label or arguments.name)
        credential, is_new = token_credential(place, rp_id, origin=origin, pin=pin)
        progress(f"the token {place.token} {'has made' if is_new else 'had'} the key {place.key}")
        place.save(folder / TOKEN)
        return _credential_body(credential)
    passkey = SoftwareAuthenticator.create(rp_id, origin, randomness=secrets.token_bytes(RANDOMNESS_BYTES))
    passkey.save(folder / PASSKEY)
    return _credential_body(passkey.credential())


def _credential_body(credential: Credential) -> dict[str, Json]:
    return {
        "id": credential.id.hex(),
        "public_key": credential.public_key.hex(),
        "rp_id": credential.rp_id,
        "origins": list(credential.origins),
    }


def _read_credential(fields: Fields) -> Credential:
    credential = Credential(
        id=fields.hex("id", length_max=1023),
        public_key=fields.hex("public_key", length=65),
        rp_id=fields.text("rp_id", length_max=253),
        origins=fields.items("origins", _read_origin, count_max=8),
    )
    fields.done()
    return credential


def _read_origin(value: Json) -> str:
    return Fields({"origin": value}, "origins").text("origin", length_max=300)
