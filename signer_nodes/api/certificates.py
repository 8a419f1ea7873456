"""Reading certificates: whose pinned identity issued this one, and which TLS key it certifies.

A node's identity key is a tiny certificate authority of its own; its self-signed *identity certificate*
is pinned by everybody. At each boot it certifies one fresh P-256 TLS key for its own name only. TLS
accepts a chain to any pinned identity, so every acceptance also asks ``PinnedIdentity.certifies``.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from policy.errors import CallerError, InvalidSignatureError, MalformedError
from policy.fields import NAME

# What cryptography raises, some of it only when a part is looked at, for a certificate that does not parse.
_UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one process shows at the other end of a connection.

    ``key_pem`` is the secret TLS key of this boot, ``certificate_pem`` its certificate; ``statement``
    and ``signature`` are the boot statement and its identity's signature, empty for the coordinator.
    """

    name: str
    key_pem: bytes = field(repr=False)
    certificate_pem: bytes = field(repr=False)
    statement: bytes = field(default=b"", repr=False)
    signature: bytes = field(default=b"", repr=False)

    def sign(self, message: bytes) -> bytes:
        """An ECDSA signature (DER) of this boot's TLS key."""
        key = load_pem_private_key(self.key_pem, password=None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise CallerError(f"the TLS key of {self.name!r} is a {type(key).__name__}, not a P-256 key")
        return key.sign(message, ECDSA(hashes.SHA256()))

    def certificate_der(self) -> bytes:
        """The certificate's DER."""
        return read_certificate(self.certificate_pem, "own TLS certificate").public_bytes(Encoding.DER)


@dataclass(frozen=True, slots=True)
class PinnedIdentity:
    """The identity certificate (PEM) that ``name`` is known by; ``key`` is its Ed25519 key."""

    name: str
    certificate_pem: bytes = field(repr=False)
    key: bytes

    @classmethod
    def of(cls, name: str, certificate_pem: bytes) -> "PinnedIdentity":
        """Pin a certificate. Raises ``MalformedError`` unless it is ``name``'s own, self-signed."""
        if not NAME.fullmatch(name):
            raise CallerError(f"{name[:64]!r} is not a name")
        certificate = read_certificate(certificate_pem, f"identity certificate of {name!r}")
        public_key = certificate.public_key()
        if not isinstance(public_key, Ed25519PublicKey):
            raise MalformedError(f"identity certificate of {name!r}: its key is not an Ed25519 key")
        if _common_name(certificate) != name:
            raise MalformedError(f"identity certificate of {name!r} names {_common_name(certificate)!r}")
        _check_issued(certificate, certificate, name)
        return cls(name, certificate_pem, public_key.public_bytes(Encoding.Raw, PublicFormat.Raw))

    def certifies(self, certificate: x509.Certificate) -> None:
        """Raise ``InvalidSignatureError`` unless this identity itself issued ``certificate`` to its name.

        Not a chain: a certificate under another authority, though that one be pinned or issued by a
        pinned one, is refused.
        """
        if certificate_names(certificate) != (self.name,):
            raise InvalidSignatureError(
                f"certificate for {certificate_names(certificate)} is not one for {self.name!r} alone"
            )
        pinned = read_certificate(self.certificate_pem, f"identity certificate of {self.name!r}")
        _check_issued(certificate, pinned, self.name)


def read_certificate(pem: bytes, what: str) -> x509.Certificate:
    """Read one PEM certificate; raises ``MalformedError`` that says ``what`` it should have been."""
    try:
        certificates = x509.load_pem_x509_certificates(pem)
        if len(certificates) != 1:
            raise MalformedError(f"{what} has {len(certificates)} certificates, expected 1")
        return _readable(certificates[0])
    except _UNREADABLE as error:
        raise MalformedError(f"{what} is not a PEM certificate: {error}") from error


def read_certificate_der(der: bytes, what: str) -> x509.Certificate:
    """Read one DER certificate; raises ``MalformedError``."""
    try:
        return _readable(x509.load_der_x509_certificate(der))
    except _UNREADABLE as error:
        raise MalformedError(f"{what} is not a DER certificate: {error}") from error


def certificate_names(certificate: x509.Certificate) -> tuple[str, ...]:
    """The DNS names that a certificate is for."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return ()
    return tuple(str(name.value) for name in names)


def certificate_hash(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the certificate's DER."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()


def tls_key_hash(certificate: x509.Certificate) -> bytes:
    """SHA-256 of the SubjectPublicKeyInfo of the key that the certificate certifies."""
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).digest()


def verify_tls_signature(certificate: x509.Certificate, signature: bytes, *, message: bytes) -> None:
    """Raise ``InvalidSignatureError`` unless the certified P-256 key signed ``message``."""
    key = certificate.public_key()
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise InvalidSignatureError("the certificate's TLS key is not a P-256 key")
    try:
        key.verify(signature, message, ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise InvalidSignatureError("the proof of the TLS key does not verify") from error


def _readable(certificate: x509.Certificate) -> x509.Certificate:
    """The certificate, once those of its parts have been parsed that are read elsewhere."""
    certificate.public_key()
    certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return certificate


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _check_issued(certificate: x509.Certificate, issuer: x509.Certificate, name: str) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (TypeError, InvalidSignature, *_UNREADABLE) as error:
        raise InvalidSignatureError(
            f"certificate was not issued by the pinned identity of {name!r}"
        ) from error
