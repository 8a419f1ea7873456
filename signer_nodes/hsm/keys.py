"""The keys of a node's token: one purpose each, none of which can leave or change.

``cosign`` signs every statement of the node, ``prf`` hedges nonces and nothing else,
``seal/<key id>/<epoch>`` wraps file keys by AES-GCM, and ``kek/<key id>/<epoch>`` stands in for it on
an HSM without GCM. No mechanism of PKCS#11 computes a threshold share of a signature.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass, exceptions

from policy.encoding import statement
from policy.errors import CallerError
from signer_nodes.hsm.attributes import Template
from signer_nodes.hsm.errors import HsmError, KeyMissingError
from signer_nodes.hsm.token import Connection, Token

COSIGN_LABEL: Final = "cosign"
PRF_LABEL: Final = "prf"
RANDOM_BYTES_MAX: Final = 65536
SIGNATURE_BYTES: Final = 64
ED25519_PARAMETERS: Final = b"\x13\x0cedwards25519"  # PrintableString, as RFC 8032's curve is named

CLOSED: Final[Template] = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: True,
    Attribute.EXTRACTABLE: False,
    Attribute.MODIFIABLE: False,
    Attribute.COPYABLE: False,
}
CAPABILITIES: Final = {
    Attribute.ENCRYPT: MechanismFlag.ENCRYPT,
    Attribute.DECRYPT: MechanismFlag.DECRYPT,
    Attribute.SIGN: MechanismFlag.SIGN,
    Attribute.VERIFY: MechanismFlag.VERIFY,
    Attribute.WRAP: MechanismFlag.WRAP,
    Attribute.UNWRAP: MechanismFlag.UNWRAP,
    Attribute.DERIVE: MechanismFlag.DERIVE,
}


@dataclass(frozen=True, slots=True)
class KeyTemplate:
    """What one kind of key may do: ``capabilities`` by ``mechanisms``, and nothing else."""

    kind: str
    key_type: KeyType
    capabilities: MechanismFlag
    mechanisms: tuple[Mechanism, ...]
    closed: Template = field(default_factory=lambda: dict(CLOSED))

    @property
    def object_class(self) -> ObjectClass:
        """Private key or secret key."""
        is_pair = self.key_type is KeyType.EC_EDWARDS
        return ObjectClass.PRIVATE_KEY if is_pair else ObjectClass.SECRET_KEY

    def attributes(self) -> Template:
        """What the key that must not leave is made with."""
        attributes = dict(self.closed)
        if self.mechanisms:
            attributes[Attribute.ALLOWED_MECHANISMS] = self.mechanisms
        return attributes


COSIGN: Final = KeyTemplate("cosign", KeyType.EC_EDWARDS, MechanismFlag.SIGN, (Mechanism.EDDSA,))
PRF: Final = KeyTemplate("prf", KeyType.GENERIC_SECRET, MechanismFlag.SIGN, (Mechanism.SHA256_HMAC,))
KEK: Final = KeyTemplate("kek", KeyType.GENERIC_SECRET, MechanismFlag.SIGN, (Mechanism.SHA256_HMAC,))
SEAL: Final = KeyTemplate(
    "seal", KeyType.AES, MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT, (Mechanism.AES_GCM,)
)


def make_identity_keys(token: Token) -> None:
    """Make ``cosign`` and ``prf`` on a token that has neither, at provisioning only.

    Raises ``HsmError`` when one is there: an identity is never replaced in place.
    """

    def work(connection: Connection) -> None:
        for template, label in ((COSIGN, COSIGN_LABEL), (PRF, PRF_LABEL)):
            if connection.key(template.object_class, label) is not None:
                raise HsmError(f"the token already has a key {label!r}: provision a fresh token instead")
        make_key(connection, COSIGN, label=COSIGN_LABEL)
        make_key(connection, PRF, label=PRF_LABEL)

    token.run("make the identity keys", work)


def make_key(connection: Connection, template: KeyTemplate, *, label: str) -> Any:
    """Generate a key on the token. Returns its handle, valid inside this ``Token.run`` only.

    Where the token does not know ALLOWED_MECHANISMS the key is made without; the doctor, which
    tries the other mechanisms, then decides.
    """
    attributes = template.attributes()
    try:
        return _generate(connection, template, label, attributes)
    except exceptions.AttributeTypeInvalid:
        attributes.pop(Attribute.ALLOWED_MECHANISMS)
        return _generate(connection, template, label, attributes)


def find_key(connection: Connection, template: KeyTemplate, *, label: str) -> Any:
    """The key's handle, valid inside this ``Token.run`` only. Raises ``KeyMissingError``."""
    key = connection.key(template.object_class, label)
    if key is None:
        raise KeyMissingError(
            f"the token has no key {label!r}: it is not provisioned, or is not the token of this node"
        )
    return key


def identity_public_key(token: Token) -> bytes:
    """The 32 raw bytes of the node's identity, after a signature proved that they belong to it.

    The probe is a statement with a tag of its own. Raises ``KeyMissingError``, or ``HsmError`` when
    public and private key do not match.
    """

    def work(connection: Connection) -> bytes:
        public = connection.key(ObjectClass.PUBLIC_KEY, COSIGN_LABEL)
        if public is None:
            raise KeyMissingError("the token has no public key 'cosign': provision it")
        return _raw_point(public[Attribute.EC_POINT])

    raw = token.run("read the identity key", work)
    probe = statement("identity-probe", {"public_key": raw.hex()})
    try:
        Ed25519PublicKey.from_public_bytes(raw).verify(sign_statement(token, probe), probe)
    except (InvalidSignature, ValueError) as error:
        raise HsmError("public and private key 'cosign' do not match: do not use this token") from error
    return raw


def sign_statement(token: Token, message: bytes) -> bytes:
    """The 64-byte Ed25519 signature of ``cosign`` over exactly ``message``.

    The caller builds the bytes: a tagged statement, a C2SP cosignature message, or the to-be-signed
    part of the boot certificate. Nothing here can tell what they mean.
    """
    if not message:
        raise CallerError("an empty message is never signed")

    def work(connection: Connection) -> bytes:
        key = find_key(connection, COSIGN, label=COSIGN_LABEL)
        return bytes(key.sign(message, mechanism=Mechanism.EDDSA))

    signature = token.run("sign a statement", work)
    if len(signature) != SIGNATURE_BYTES:
        raise HsmError(f"the HSM made an Ed25519 signature of {len(signature)} bytes, 64 are right")
    return signature


def prf(token: Token, label: str, *, data: bytes) -> bytes:
    """HMAC-SHA256 under ``prf`` of ``label`` and ``data``, each with its length: 32 bytes."""
    name = label.encode()
    message = len(name).to_bytes(8, "big") + name + len(data).to_bytes(8, "big") + data

    def work(connection: Connection) -> bytes:
        key = find_key(connection, PRF, label=PRF_LABEL)
        return bytes(key.sign(message, mechanism=Mechanism.SHA256_HMAC))

    return token.run("compute a PRF", work)


def random_bytes(token: Token, count: int) -> bytes:
    """``count`` fresh random bytes of the HSM, at most 65536 at once."""
    if not 1 <= count <= RANDOM_BYTES_MAX:
        raise CallerError(f"asked for {count} random bytes, 1 to {RANDOM_BYTES_MAX} are possible at once")
    drawn = token.run("draw random bytes", lambda connection: connection.session.generate_random(8 * count))
    if len(drawn) != count:
        raise HsmError(f"the HSM drew {len(drawn)} random bytes, {count} were asked for")
    return bytes(drawn)


def _generate(connection: Connection, template: KeyTemplate, label: str, attributes: Template) -> Any:
    flags = {attribute: bool(flag & template.capabilities) for attribute, flag in CAPABILITIES.items()}
    if template.object_class is ObjectClass.PRIVATE_KEY:
        return _generate_pair(connection, template, label, attributes)
    return connection.session.generate_key(
        template.key_type,
        256,
        label=label,
        store=True,
        capabilities=template.capabilities,
        template=connection.checked({**flags, **attributes, Attribute.LABEL: label}),
    )


def _generate_pair(connection: Connection, template: KeyTemplate, label: str, attributes: Template) -> Any:
    public: Template = {
        Attribute.EC_PARAMS: ED25519_PARAMETERS,
        Attribute.VERIFY: True,
        Attribute.MODIFIABLE: False,
        Attribute.COPYABLE: False,
    }
    _, private = connection.session.generate_keypair(
        template.key_type,
        label=label,
        store=True,
        capabilities=template.capabilities,
        mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
        public_template=connection.checked(public),
        private_template=connection.checked({**attributes, Attribute.LABEL: label}),
    )
    return private


def _raw_point(point: bytes) -> bytes:
    """The point with or without its OCTET STRING header: tokens differ."""
    raw = point[2:] if len(point) == 34 and point.startswith(b"\x04\x20") else point
    if len(raw) != 32:
        raise HsmError(f"the public key 'cosign' has {len(raw)} bytes, an Ed25519 key has 32")
    return raw
