"""Provisioning, PINs, templates and the hardening of the process that uses the token."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pkcs11
import pytest
from pkcs11 import Attribute, exceptions

from policy.errors import CallerError
from signer_nodes.hsm.attributes import attribute_mapper, check_template
from signer_nodes.hsm.device import Pkcs11Hsm
from signer_nodes.hsm.errors import HsmError
from signer_nodes.hsm.pins import pin_from_credential, pin_from_descriptor
from signer_nodes.hsm.provisioning import provision, vendor_instructions
from signer_nodes.hsm.token import reinitialize

if TYPE_CHECKING:
    from tests.fixtures_softhsm import SoftHsm, TokenPlace

pytest_plugins = ("tests.fixtures_softhsm",)


@pytest.fixture
def place(softhsm: "SoftHsm") -> "TokenPlace":
    return softhsm.token()


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        (Attribute.ALLOWED_MECHANISMS, "not mechanisms"),
        (Attribute.ALLOWED_MECHANISMS, 4231),
        (Attribute.AC_ISSUER, b"no handler"),
        (Attribute.VALUE, 32),
        (Attribute.LABEL, b"bytes"),
        (Attribute.SENSITIVE, "yes"),
        (Attribute.TOKEN, 2),
    ],
)
def test_a_template_that_would_corrupt_the_heap_is_refused_before_the_call(
    attribute: Attribute, value: object
) -> None:
    with pytest.raises(CallerError, match=r"Attribute|attribute"):
        check_template(attribute_mapper(), {attribute: value})


def test_a_new_token_answers_to_its_new_pins_only(softhsm: "SoftHsm", tmp_path: Path) -> None:
    """The arguments of softhsm2-util are caught on the way; none of them opens the token afterwards."""
    arguments = tmp_path / "arguments"
    spy = tmp_path / "softhsm2-util"
    spy.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {arguments}\nexec {real_util()} "$@"\n')
    spy.chmod(0o700)
    with prepended_path(tmp_path):
        place = softhsm.token()
    words = arguments.read_text().splitlines()
    shown = [words[words.index(option) + 1] for option in ("--so-pin", "--pin")]

    assert place.user_pin not in words
    assert place.so_pin not in words
    for pin in shown:
        assert not opens(place, user_pin=pin)
        assert not opens(place, so_pin=pin)
    assert opens(place, user_pin=place.user_pin)
    assert opens(place, so_pin=place.so_pin)


def test_a_token_is_never_provisioned_over(place: "TokenPlace") -> None:
    with pytest.raises(HsmError, match="exists already"):
        provision(place.module_path, place.label, new_so_pin=lambda: "s" * 12, new_user_pin=lambda: "u" * 12)


def test_another_vendors_operator_is_told_to_keep_pins_off_the_command_line() -> None:
    text = vendor_instructions("/opt/vendor/module.so", "node-1")

    assert "'node-1'" in text
    assert "never put a PIN on a command line" in text


@pytest.mark.parametrize(("so_pin", "user_pin"), [("short", "long-enough"), ("same-pin-1", "same-pin-1")])
def test_weak_or_equal_pins_are_refused(softhsm: "SoftHsm", so_pin: str, user_pin: str) -> None:
    with pytest.raises(HsmError) as caught:
        provision(softhsm.module_path, "never", new_so_pin=lambda: so_pin, new_user_pin=lambda: user_pin)

    assert so_pin not in str(caught.value)


def test_a_pin_comes_through_an_inherited_descriptor() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"pin-by-pipe\n")
    os.close(writing)

    assert pin_from_descriptor(reading)() == "pin-by-pipe"
    with pytest.raises(HsmError, match="file descriptor"):
        pin_from_descriptor(reading)


def test_a_pin_comes_through_a_systemd_credential(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("pin-by-credential\n")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}

    assert pin_from_credential("pin", environment)() == "pin-by-credential"
    with pytest.raises(HsmError, match="'missing'"):
        pin_from_credential("missing", environment)()
    with pytest.raises(HsmError, match="LoadCredential"):
        pin_from_credential("pin", {})


def test_softhsm_says_that_it_is_a_stand_in(hsm: Pkcs11Hsm) -> None:
    assert "stand-in" in hsm.notices()[0]


def test_hardening_is_applied_and_read_back() -> None:
    code = (
        "from signer_nodes.adapters.hardening import harden_process, read_hardening;"
        "before = read_hardening(); after = harden_process();"
        "print(before.is_dumpable, after.core_bytes_max, after.is_dumpable, after.has_no_new_privileges)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert printed.split() == ["True", "0", "False", "True"]


def real_util() -> str:
    found = shutil.which("softhsm2-util")
    assert found is not None
    return found


class prepended_path:
    """The folder first on PATH, for as long as the block runs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before = os.environ["PATH"]

    def __enter__(self) -> None:
        os.environ["PATH"] = f"{self._folder}{os.pathsep}{self._before}"

    def __exit__(self, *_: object) -> None:
        os.environ["PATH"] = self._before


def opens(place: "TokenPlace", **pin: str) -> bool:
    """Whether the PIN logs in, by the bare library; finalises afterwards to drop leaked sessions."""
    library: Any = pkcs11.lib(place.module_path)
    try:
        library.get_token(token_label=place.label).open(rw=True, **pin).close()
        return True
    except exceptions.PinIncorrect:
        return False
    finally:
        reinitialize(place.module_path)
