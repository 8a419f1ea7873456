"""Certificates of a file-held identity: what nodes and clients pin, and what one process shows them."""

import secrets
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from signer_nodes.api.certificates import Credentials

IDENTITY_FROM = datetime(2000, 1, 1, tzinfo=UTC)
NEVER_EXPIRES = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
CREDENTIALS_FOR = timedelta(days=1)
CLOCK_SLACK = timedelta(hours=1)


def identity_certificate(name: str, key: Ed25519PrivateKey) -> bytes:
    """The self-signed certificate (PEM) by which others know ``name``; an identity ends by the roster."""
    builder = _builder(name, key.public_key(), x509.Name([_common_name(name)]))
    builder = builder.serial_number(1).not_valid_before(IDENTITY_FROM).not_valid_after(NEVER_EXPIRES)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_signs_certificates(), critical=True)
    return builder.sign(key, None).public_bytes(Encoding.PEM)


def tls_credentials(name: str, identity: Ed25519PrivateKey) -> Credentials:
    """A fresh TLS key certified by ``identity`` for a day; who holds the identity's file can make these."""
    key = generate_private_key(SECP256R1())
    organisation = x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "quorumkeep boot")
    builder = _builder(name, key.public_key(), x509.Name([organisation, _common_name(name)]))
    now = datetime.now(UTC)
    builder = builder.serial_number(secrets.randbits(158) + 1)
    builder = builder.not_valid_before(now - CLOCK_SLACK).not_valid_after(now + CREDENTIALS_FOR)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    certificate = builder.sign(identity, None).public_bytes(Encoding.PEM)
    return Credentials(
        name, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), certificate
    )


def _builder(
    issuer: str, key: Ed25519PublicKey | EllipticCurvePublicKey, subject: x509.Name
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().issuer_name(x509.Name([_common_name(issuer)]))
    return builder.subject_name(subject).public_key(key)


def _common_name(name: str) -> x509.NameAttribute[str]:
    return x509.NameAttribute(x509.NameOID.COMMON_NAME, name)


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
