"""A software authenticator: the stand-in for a passkey, for demonstrations, scripts and tests.

It produces WebAuthn's exact formats, so nothing that verifies an approval can tell it from a
passkey; but its key lies in a file, and whoever reads the file is the operator. It always claims to
have verified its user. Operators who approve other people's money use a passkey in the console.
"""

import hashlib
import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from policy.approval import Assertion, Credential, challenge_text
from policy.errors import CallerError, OperationalError

RANDOMNESS_BYTES = 48
FLAGS_PRESENT_VERIFIED = 0x05
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_NOTE = "The stand-in for a passkey: whoever can read this file can approve as its operator."


@dataclass(frozen=True, slots=True)
class SoftwareAuthenticator:
    """One P-256 key for one relying party and one origin. Its sign counter stays 0, as passkeys' do."""

    rp_id: str
    origin: str
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, rp_id: str, origin: str, *, randomness: bytes) -> "SoftwareAuthenticator":
        """Make a new authenticator from 48 fresh secret bytes, used for nothing else."""
        if len(randomness) != RANDOMNESS_BYTES:
            raise CallerError(f"need {RANDOMNESS_BYTES} random bytes, got {len(randomness)}")
        # 128 bits more than the order make the bias of the remainder negligible (FIPS 186-5, A.2.1).
        secret = int.from_bytes(randomness, "big") % (_ORDER - 1) + 1
        return cls(rp_id, origin, ec.derive_private_key(secret, ec.SECP256R1()))

    def credential(self) -> Credential:
        """What the roster stores: the credential id is the hash of the public key."""
        point = self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return credential_of(point, self.rp_id, origin=self.origin)

    def assert_(self, challenge: bytes) -> Assertion:
        """Answer ``navigator.credentials.get`` for ``challenge``; the same challenge, the same bytes."""
        algorithm = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
        return signed_assertion(
            challenge, (self.rp_id, self.origin), sign=lambda message: self._key.sign(message, algorithm)
        )

    def save(self, path: Path) -> None:
        """Write a new file that only its owner can read. Raises ``OperationalError`` if it exists."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        header = json.dumps({"note": _NOTE, "rp_id": self.rp_id, "origin": self.origin})
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(header.encode() + b"\n" + pem)
        except OSError as error:
            raise OperationalError(f"cannot write a new authenticator to {path}: {error}") from error

    @classmethod
    def load(cls, path: Path) -> "SoftwareAuthenticator":
        """Read what ``save`` wrote. Raises ``OperationalError`` for a file that others can read."""
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            header, pem = path.read_bytes().split(b"\n", 1)
            names = json.loads(header)
            key = serialization.load_pem_private_key(pem, password=None)
            rp_id, origin = str(names["rp_id"]), str(names["origin"])
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise OperationalError(f"cannot read an authenticator from {path}: {error}") from error
        if mode & 0o077:
            raise OperationalError(f"others can read {path} (mode {mode:o}): run chmod 600 on it")
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise OperationalError(f"the key in {path} is not a P-256 key")
        return cls(rp_id, origin, key)


def credential_of(point: bytes, rp_id: str, *, origin: str) -> Credential:
    """The credential of a key that no authenticator named: its id is the hash of its public half."""
    return Credential(hashlib.sha256(point).digest(), point, rp_id, (origin,))


def signed_assertion(challenge: bytes, site: tuple[str, str], *, sign: Callable[[bytes], bytes]) -> Assertion:
    """An assertion for a relying party and origin by a bare key: ``sign`` gives ES256 in DER."""
    rp_id, origin = site
    data = client_data(challenge, origin)
    authenticator_data = hashlib.sha256(rp_id.encode()).digest() + bytes([FLAGS_PRESENT_VERIFIED]) + bytes(4)
    signature = sign(authenticator_data + hashlib.sha256(data).digest())
    return Assertion(authenticator_data, data, signature)


def client_data(challenge: bytes, origin: str, *, kind: str = "webauthn.get") -> bytes:
    """``clientDataJSON`` in the serialization of WebAuthn Level 3, section 5.8.1.1."""
    fields = {"type": kind, "challenge": challenge_text(challenge), "origin": origin, "crossOrigin": False}
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
