"""Making certificates: an identity's own, and the one it gives a process for its TLS key.

An identity's private key may be in an HSM, but ``cryptography`` wants to sign what it builds. So a
certificate is built and signed with a throwaway key of the same kind; only the part to be signed is
kept, and the identity's signature put under it.
"""

import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

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
)

from policy.errors import CallerError, InvariantError, ProtocolError
from policy.fields import NAME
from signer_nodes.api.certificates import Credentials, PinnedIdentity

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


def issue_credentials(
    name: str, identity: Ed25519PrivateKey, *, not_before: datetime, serial: int
) -> Credentials:
    """A fresh TLS key for one process of an identity without an HSM, such as the coordinator."""
    public_key = identity.public_key().public_bytes_raw()
    key_pem, certificate = make_boot_certificate(
        name, public_key, sign=identity.sign, not_before=not_before, serial=serial
    )
    return Credentials(name, key_pem, certificate)


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
