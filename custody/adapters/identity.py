"""The coordinator's identity toward nodes and clients: a file-held Ed25519 key that is a tiny authority.

Nodes and clients pin its self-signed certificate; each start certifies one fresh P-256 TLS key with it.
"""

import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from policy.errors import OperationalError
from signer_nodes.api.certificates import Credentials

BOOT_CERTIFICATE_DAYS = 825


def load_identity(path: Path) -> Ed25519PrivateKey:
    """Read the identity key (PEM, PKCS #8). Raises ``OperationalError``."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise OperationalError(f"cannot read the identity key {path}: {error}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise OperationalError(f"the identity key {path} is no Ed25519 key: make a new one and pin it")
    return key


def boot_credentials(name: str, identity: Ed25519PrivateKey) -> Credentials:
    """A fresh TLS key and its certificate by the identity, for this process only."""
    key = generate_private_key(SECP256R1())
    now = datetime.now(UTC)
    common_name = x509.NameAttribute(x509.NameOID.COMMON_NAME, name)
    organisation = x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "quorumkeep boot")
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(x509.Name([common_name]))
        .subject_name(x509.Name([organisation, common_name]))
        .public_key(key.public_key())
        .serial_number(secrets.randbits(158) + 1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=BOOT_CERTIFICATE_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(identity, None)
    )
    key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Credentials(name, key_pem, certificate.public_bytes(Encoding.PEM))
