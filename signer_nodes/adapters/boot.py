"""Certificates of an identity whose private key never leaves its HSM.

``cryptography`` wants to sign what it builds, so a certificate is built and signed with a throwaway key
of the same kind; only the part to be signed is kept, and the HSM's signature put under it.
"""

import ipaddress
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from policy.errors import CallerError, InvariantError, OperationalError, ProtocolError
from policy.fields import NAME
from signer_nodes.api.certificates import PinnedIdentity

IDENTITY_FROM = datetime(2000, 1, 1, tzinfo=UTC)
NEVER_EXPIRES = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
BOOT_CERTIFICATE_DAYS = 825
CLOCK_SLACK = timedelta(hours=1)
SERIAL_MAX = 2**159 - 1
_ED25519_ALGORITHM = bytes.fromhex("300506032b6570")
_SIGNATURE_BYTES = 64

Sign = Callable[[bytes], bytes]


def make_identity_certificate(name: str, public_key: bytes, *, sign: Sign) -> bytes:
    """The self-signed certificate (PEM) of an identity: the same bytes whenever it is made.

    ``sign`` gives the Ed25519 signature of the identity's private key (the HSM's ``cosign``). The
    certificate does not expire: an identity ends by the roster. Raises ``CallerError`` when ``sign``
    is another key's.
    """
    _check_name(name)
    builder = _builder(name, subject=_common_name(name), key=Ed25519PublicKey.from_public_bytes(public_key))
    builder = builder.serial_number(1).not_valid_before(IDENTITY_FROM).not_valid_after(NEVER_EXPIRES)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(ca=True), critical=True)
    pem = _signed_by(builder, sign)
    _check_own(name, public_key, pem)
    return pem


def make_boot_certificate(
    name: str, ca_public_key: bytes, *, sign: Sign, not_before: datetime, serial: int
) -> tuple[bytes, bytes]:
    """A fresh P-256 TLS key and its certificate by the identity: ``(key PEM, certificate PEM)``.

    The key is SECRET and meant to stay in memory. ``serial``: 1 to 2**159 - 1, new for each boot.
    Valid from an hour before ``not_before`` for 825 days: restart a node more often than that.
    """
    _check_name(name)
    if not 1 <= serial <= SERIAL_MAX or not_before.tzinfo is None:
        raise CallerError("serial is from 1 to 2**159 - 1 and not_before has a time zone")
    key = generate_private_key(SECP256R1())
    builder = _builder(name, subject=_boot_subject(name), key=key.public_key())
    builder = builder.serial_number(serial).not_valid_before(not_before - CLOCK_SLACK)
    builder = builder.not_valid_after(not_before + timedelta(days=BOOT_CERTIFICATE_DAYS))
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    builder = builder.add_extension(_key_usage(ca=False), critical=True)
    certificate = _signed_by(builder, sign)
    _check_issuer(ca_public_key, certificate, name)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), certificate


def file_identity(path: Path) -> tuple[bytes, Sign]:
    """The Ed25519 identity of a process without an HSM (the coordinator): public key and ``sign``.

    A missing file is created with a new key and mode 0600. Raises ``OperationalError`` for a file that
    others may read or that holds something else.
    """
    try:
        if not path.exists():
            _create_identity(path)
        if path.stat().st_mode & 0o077:
            raise OperationalError(f"identity file {path} is open to others: chmod 600 it, or make a new one")
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise OperationalError(f"identity file {path} cannot be used: {type(error).__name__}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise OperationalError(f"identity file {path} holds no Ed25519 key: put the right one there")
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw), key.sign


def _create_identity(path: Path) -> None:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    partial = path.with_name(f"{path.name}.new")  # a crash leaves this name, never half a key in `path`
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    os.link(partial, path)  # fails if another process was first: its key stays
    partial.unlink()


def _builder(
    name: str, *, subject: x509.Name, key: Ed25519PublicKey | EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder().issuer_name(_common_name(name)).subject_name(subject).public_key(key)


def _signed_by(builder: x509.CertificateBuilder, sign: Sign) -> bytes:
    tbs = builder.sign(Ed25519PrivateKey.generate(), None).tbs_certificate_bytes
    signature = sign(tbs)
    if len(signature) != _SIGNATURE_BYTES:
        raise CallerError(f"an Ed25519 signature has {_SIGNATURE_BYTES} bytes, got {len(signature)}")
    content = tbs + _ED25519_ALGORITHM + b"\x03\x41\x00" + signature
    der = b"\x30" + _der_length(len(content)) + content
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def _der_length(length: int) -> bytes:
    size = (length.bit_length() + 7) // 8
    return bytes([0x80 + size]) + length.to_bytes(size, "big")  # a certificate has 128 bytes and more


def _check_own(name: str, public_key: bytes, pem: bytes) -> None:
    try:
        pinned = PinnedIdentity.of(name, pem)
    except ProtocolError as error:
        raise CallerError(f"identity of {name!r}: sign() does not belong to the public key") from error
    if pinned.key != public_key:
        raise InvariantError(f"identity certificate of {name!r} carries another key")


def _check_issuer(ca_public_key: bytes, certificate_pem: bytes, name: str) -> None:
    certificate = x509.load_pem_x509_certificate(certificate_pem)
    try:
        Ed25519PublicKey.from_public_bytes(ca_public_key).verify(
            certificate.signature, certificate.tbs_certificate_bytes
        )
    except InvalidSignature as error:
        raise CallerError(f"boot certificate of {name!r}: sign() is not the identity's key") from error


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise CallerError(f"{name[:64]!r} is not a name of lower-case letters, digits, '.', '_' and '-'")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return
    raise CallerError(f"{name!r} reads as an address: TLS would look for it elsewhere, choose another name")


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _boot_subject(name: str) -> x509.Name:
    organisation = x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "quorumkeep boot")
    return x509.Name([organisation, x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
