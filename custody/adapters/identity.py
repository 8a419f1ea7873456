"""The coordinator's identity toward nodes and clients: a file-held Ed25519 key that is a tiny authority.

Nodes and clients pin its self-signed certificate; each start certifies one fresh P-256 TLS key with it.
"""

import secrets
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from policy.errors import OperationalError
from signer_nodes.api.certificates import Credentials
from signer_nodes.api.issuing import issue_credentials


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
    serial = secrets.randbits(158) + 1
    return issue_credentials(name, identity, not_before=datetime.now(UTC), serial=serial)
