"""What an operator signs with: a key or a token signs as the roster's passkey, or nothing is sent."""

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.authenticator import SoftwareAuthenticator
from cli.files import read_document
from cli.identities import load_identity
from cli.main import invoke
from cli.parser import build_parser
from cli.passkeys import Enrolled, authenticator_of
from cli.pins import pin_source
from cli.results import Misuse
from cli.security_key import SecurityKey, new_credential
from policy.approval import Credential, verify_assertion
from policy.errors import OperationalError
from tests.fixtures_softhsm import SoftHsm
from tests.unit.virtual_security_key import VirtualSecurityKey

pytest_plugins = ("tests.fixtures_softhsm",)
CHALLENGE = bytes(range(32))
RP_ID, SITE = "custody.example.com", "https://custody.example.com"
PIN = "1357 9"


def credential_on(key: VirtualSecurityKey) -> Credential:
    return new_credential("olga", RP_ID, origin=SITE, pin=lambda: key.pin, devices=lambda: [key])


def signer(key: VirtualSecurityKey, credential: Credential, pin: str = PIN) -> SecurityKey:
    return SecurityKey(credential, lambda: pin, lambda: [key])


@pytest.mark.parametrize("pin", ["", PIN], ids=["finger", "PIN"])
def test_a_security_keys_signature_is_one_of_the_rosters_passkey(pin: str) -> None:
    key = VirtualSecurityKey(pin)
    credential = credential_on(key)

    given = signer(key, credential).assert_(CHALLENGE)

    assert verify_assertion(given, credential=credential, challenge=CHALLENGE) == 7


def test_a_passkey_made_for_one_site_signs_for_no_other() -> None:
    key = VirtualSecurityKey()
    credential = credential_on(key)
    foreign = Credential(credential.id, credential.public_key, "evil.example.com", credential.origins)

    with pytest.raises(OperationalError, match="relying party"):
        Enrolled(signer(key, foreign), credential).assert_(CHALLENGE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda key: key.keys.clear(), "no passkey of the card"),
        (lambda key: setattr(key, "touched", False), "nobody touched it"),
        (lambda key: setattr(key, "pin", "another"), "PIN is wrong"),
    ],
    ids=["another key", "not touched", "wrong PIN"],
)
def test_a_security_key_that_does_not_sign_says_what_to_do(
    change: Callable[[VirtualSecurityKey], None], said: str
) -> None:
    key = VirtualSecurityKey(PIN)
    credential = credential_on(key)
    change(key)

    with pytest.raises(OperationalError, match=said):
        signer(key, credential).assert_(CHALLENGE)


@pytest.mark.parametrize("count", [0, 2])
def test_not_exactly_one_security_key_is_asked_for_nothing(count: int) -> None:
    keys = [VirtualSecurityKey() for _ in range(count)]

    with pytest.raises(OperationalError, match=f"{count} security keys are plugged in"):
        new_credential("olga", RP_ID, origin=SITE, pin=lambda: PIN, devices=lambda: keys)


def pin_file(folder: Path, pin: str) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / "pin"
    path.touch(0o600)
    path.write_text(pin + "\n")
    return str(path)


def enrolled_token(softhsm: SoftHsm, folder: Path) -> tuple[Path, str]:
    """An operator whose passkey is on a token, and the file of its PIN."""
    place, person = softhsm.token(), folder / "otto"
    pin = pin_file(folder, place.user_pin)
    invoke(
        *(
            "identity",
            "create",
            "operator",
            "otto",
            "--dir",
            str(person),
            "--rp-id",
            RP_ID,
            "--with",
            "pkcs11",
        ),
        *("--module", place.module_path, "--token", place.label, "--pin-file", pin),
    )
    return person, pin


def test_a_tokens_signature_is_one_of_the_rosters_passkey(softhsm: SoftHsm, tmp_path: Path) -> None:
    person, pin = enrolled_token(softhsm, tmp_path)
    identity = load_identity(person)
    arguments = build_parser().parse_args(["approve", "ab", "--as", str(person), "--pin-file", pin])

    given = authenticator_of(identity, arguments).assert_(CHALLENGE)

    assert verify_assertion(given, credential=identity.credential(), challenge=CHALLENGE) == 0
    assert identity.credential().origins == (SITE,)
    assert not (person / "passkey").exists()


def test_a_wrong_pin_of_a_token_is_tried_once_and_stands_in_no_message(
    softhsm: SoftHsm, tmp_path: Path
) -> None:
    person, _ = enrolled_token(softhsm, tmp_path)
    wrong = pin_file(tmp_path, "secret-and-wrong")
    arguments = build_parser().parse_args(["approve", "ab", "--as", str(person), "--pin-file", wrong])

    with pytest.raises(OperationalError, match="rejects the PIN") as refused:
        authenticator_of(load_identity(person), arguments).assert_(CHALLENGE)
    assert "secret-and-wrong" not in str(refused.value)


def test_a_token_that_has_the_key_keeps_it(softhsm: SoftHsm, tmp_path: Path) -> None:
    person, pin = enrolled_token(softhsm, tmp_path)
    where = read_document(person / "token.json", "token.json")
    invoke(
        *("identity", "create", "operator", "otto", "--dir", str(tmp_path / "again"), "--rp-id", RP_ID),
        *("--with", "pkcs11", "--module", where["module"], "--token", where["token"], "--pin-file", pin),
    )

    assert load_identity(tmp_path / "again").credential() == load_identity(person).credential()


def test_another_tokens_key_signs_nothing_that_is_sent(softhsm: SoftHsm, tmp_path: Path) -> None:
    person, pin = enrolled_token(softhsm, tmp_path)
    other, _ = enrolled_token(softhsm, tmp_path / "other")
    os.replace(other / "token.json", person / "token.json")
    arguments = build_parser().parse_args(["approve", "ab", "--as", str(person), "--pin-file", pin])

    with pytest.raises(OperationalError, match="nothing was sent"):
        authenticator_of(load_identity(person), arguments).assert_(CHALLENGE)


def test_a_pins_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = Path(pin_file(tmp_path, PIN))
    path.chmod(stat.S_IMODE(path.stat().st_mode) | stat.S_IRGRP)

    with pytest.raises(OperationalError, match="chmod 600"):
        pin_source(str(path))()


@pytest.mark.parametrize("content", ["", "two\nlines", "p" * 256])
def test_a_file_without_one_line_is_no_pin(tmp_path: Path, content: str) -> None:
    with pytest.raises(OperationalError, match="no PIN of one line"):
        pin_source(pin_file(tmp_path, content))()


def test_without_a_terminal_nobody_is_asked_for_a_pin() -> None:
    with pytest.raises(Misuse, match="--pin-file"):
        pin_source("")()


@pytest.mark.parametrize("words", [("approve", "ab"), ("request", "reject", "ab", "--reason", "r")])
def test_no_argument_takes_a_pin_itself(words: tuple[str, ...]) -> None:
    arguments = build_parser().parse_args([*words, "--as", "olga", "--pin-file", "here"])

    assert {name for name in vars(arguments) if "pin" in name} == {"pin_file"}


def test_a_software_authenticator_signs_when_the_folder_has_one(tmp_path: Path) -> None:
    invoke("identity", "create", "operator", "olga", "--dir", str(tmp_path / "olga"), "--rp-id", RP_ID)
    identity = load_identity(tmp_path / "olga")
    arguments = build_parser().parse_args(["approve", "ab", "--as", str(identity.folder)])

    found = authenticator_of(identity, arguments)

    assert isinstance(found.authenticator, SoftwareAuthenticator)
    assert (
        verify_assertion(found.assert_(CHALLENGE), credential=identity.credential(), challenge=CHALLENGE) == 0
    )
