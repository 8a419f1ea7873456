"""Certificates, boot statements and identity files: who is who, and which boot of it."""

import pytest
from cryptography import x509

from policy.errors import (
    CallerError,
    InvalidSignatureError,
    MalformedError,
)
from signer_nodes.api.boot_statement import BootCheck, check_boot, parse_boot, verify_boot
from signer_nodes.api.certificates import read_certificate
from signer_nodes.api.client import (
    PinnedIdentity,
)
from signer_nodes.api.issuing import make_boot_certificate, make_identity_certificate
from tests.conformance.node_door import NOW, ORIGIN, A, B, Identity


def test_higher_boots_pass_lower_are_refused_and_equal_ones_freeze() -> None:
    boot = parse_boot(A.boot(5).statement)
    known = (5, boot.boot_id)

    assert check_boot(None, boot) is BootCheck.OK
    assert check_boot(known, boot) is BootCheck.OK
    assert check_boot((4, bytes(32)), boot) is BootCheck.OK
    assert check_boot((6, boot.boot_id), boot) is BootCheck.REFUSE
    assert check_boot((5, bytes(32)), boot) is BootCheck.FREEZE


def test_boot_statement_survives_its_encoding_and_only_its_author_signed_it() -> None:
    credentials = A.boot(5)
    boot = parse_boot(credentials.statement)

    assert boot.to_bytes() == credentials.statement
    verify_boot(boot.to_bytes(), credentials.signature, origin=ORIGIN, name="node-a", key=A.public_key)
    for origin, name, key in [
        ("other.example.com/log", "node-a", A.public_key),
        (ORIGIN, "node-b", A.public_key),
        (ORIGIN, "node-a", B.public_key),
    ]:
        with pytest.raises(InvalidSignatureError):
            verify_boot(boot.to_bytes(), credentials.signature, origin=origin, name=name, key=key)
    with pytest.raises(MalformedError):
        parse_boot(boot.to_bytes() + b" ")


def test_identity_certificate_is_made_alike_each_time_and_only_by_its_key() -> None:
    pem = make_identity_certificate("node-a", A.public_key, sign=A.key.sign)

    assert pem == make_identity_certificate("node-a", A.public_key, sign=A.key.sign)
    assert PinnedIdentity.of("node-a", pem).key == A.public_key
    with pytest.raises(CallerError):
        make_identity_certificate("node-a", A.public_key, sign=B.key.sign)
    with pytest.raises(CallerError):
        make_boot_certificate("node-a", A.public_key, sign=B.key.sign, not_before=NOW, serial=1)
    with pytest.raises(CallerError):
        make_boot_certificate("10.0.0.1", A.public_key, sign=A.key.sign, not_before=NOW, serial=1)
    with pytest.raises(MalformedError):
        PinnedIdentity.of("node-b", pem)


def test_longest_name_has_certificates() -> None:
    longest = Identity("n" * 63)

    certificate = read_certificate(longest.certificate()[1], "test")

    longest.pin().certifies(certificate)
    with pytest.raises(InvalidSignatureError):
        A.pin("n" * 63).certifies(certificate)


def test_identity_certifies_its_own_name_only() -> None:
    for name in ("node-b", "coordinator"):
        certificate = read_certificate(A.certificate_of_another(name)[1], "test")

        with pytest.raises(InvalidSignatureError, match="alone"):
            A.pin().certifies(certificate)


def test_boot_certificate_is_no_authority() -> None:
    certificate = x509.load_pem_x509_certificate(A.certificate()[1])

    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
