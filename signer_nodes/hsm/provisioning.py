"""Make a token with PINs that no command line ever showed.

python-pkcs11 has no C_InitToken, and ``softhsm2-util`` takes PINs as arguments, which every process of
the machine can read. So a SoftHSM token is initialised with two throwaway PINs, both are changed
through PKCS#11 at once, and what the throwaway PINs could have put on it is refused.

SoftHSM keeps its master key when a PIN changes: who saw the throwaway PIN *and* copied the token's
files in that instant can still read them. Provision where nobody else has the node's user id.
"""

import secrets
import subprocess
from collections.abc import Callable
from typing import Any, Final

import pkcs11
from pkcs11 import exceptions

from policy.errors import CallerError
from signer_nodes.hsm.errors import HsmError
from signer_nodes.hsm.token import PROCESS_LOCK, reinitialize, session_mapper

PIN_CHARACTERS_MIN: Final = 8
PIN_BYTES_MAX: Final = 255
FREE_SLOT: Final = "free"
_SOFTHSM_UTIL: Final = "softhsm2-util"
_TIMEOUT_SECONDS: Final = 60


def provision(
    module_path: str,
    token_label: str,
    *,
    slot: str = FREE_SLOT,
    new_so_pin: Callable[[], str],
    new_user_pin: Callable[[], str],
) -> None:
    """Initialise a SoftHSM token in the ``slot`` ("free" or a slot number) and set both PINs.

    The PINs have 8 characters or more and differ. Afterwards only they are valid, and the token is
    empty: ``make_identity_keys`` comes next. Raises ``HsmError``; for another vendor's module its text
    says what to do by hand. Other tokens of this module in this process reconnect at their next use.
    """
    so_pin, user_pin = _checked_pins(new_so_pin(), new_user_pin())
    if slot != FREE_SLOT and not slot.isdecimal():
        raise CallerError("a slot is 'free' or a slot number")
    with PROCESS_LOCK:
        _refuse_other_vendors_and_duplicates(module_path, token_label)
        throwaway_so, throwaway_user = secrets.token_hex(16), secrets.token_hex(16)
        _initialise(module_path, token_label, slot, throwaway_so, throwaway_user)
        reinitialize(module_path)
        token = pkcs11.lib(module_path).get_token(token_label=token_label)
        try:
            _replace_pins(token, throwaway_so, so_pin, throwaway_user, user_pin)
        except exceptions.PKCS11Error as error:
            raise HsmError(
                f"the PINs of token {token_label!r} could not be replaced ({type(error).__name__}): its"
                " throwaway PINs were on a command line; delete the token and provision again"
            ) from error
        finally:
            reinitialize(module_path)


def vendor_instructions(module_path: str, token_label: str) -> str:
    """What an operator does by hand where the token is not SoftHSM's."""
    return (
        f"Initialise a token labelled {token_label!r} with the vendor's own tool for {module_path}. Let the"
        " tool ask for both PINs; never put a PIN on a command line or into an environment variable. Set a"
        " security officer PIN and a user PIN, keep the officer's offline, turn off key backup and export"
        " for this token, and allow AES-GCM, SHA-256 HMAC and Ed25519 (EdDSA). Then start 'doctor'."
    )


def _checked_pins(so_pin: str, user_pin: str) -> tuple[str, str]:
    for name, pin in (("security officer", so_pin), ("user", user_pin)):
        if len(pin) < PIN_CHARACTERS_MIN or len(pin.encode()) > PIN_BYTES_MAX:
            raise HsmError(f"the new {name} PIN must have {PIN_CHARACTERS_MIN} to {PIN_BYTES_MAX} characters")
    if secrets.compare_digest(so_pin.encode(), user_pin.encode()):
        raise HsmError("security officer and user must have different PINs: they are different people")
    return so_pin, user_pin


def _refuse_other_vendors_and_duplicates(module_path: str, token_label: str) -> None:
    try:
        library = pkcs11.lib(module_path)
    except exceptions.PKCS11Error as error:
        raise HsmError(
            f"PKCS#11 module {module_path} cannot be used ({type(error).__name__}): check the path and"
            " SOFTHSM2_CONF"
        ) from error
    if "softhsm" not in library.manufacturer_id.lower():
        raise HsmError(
            "only SoftHSM can be initialised from here. " + vendor_instructions(module_path, token_label)
        )
    reinitialize(module_path)
    if any(True for _ in library.get_tokens(token_label=token_label)):
        raise HsmError(f"a token {token_label!r} exists already: choose another label, or delete that token")


def _initialise(module_path: str, token_label: str, slot: str, so_pin: str, user_pin: str) -> None:
    place = ["--free"] if slot == FREE_SLOT else ["--slot", slot]
    names = ["--module", module_path, "--label", token_label]
    command = [_SOFTHSM_UTIL, "--init-token", *place, *names, "--so-pin", so_pin, "--pin", user_pin]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise HsmError(f"{_SOFTHSM_UTIL} is not installed: install the package softhsm2") from error
    except subprocess.TimeoutExpired:  # Not chained: it holds the command line.
        raise HsmError(
            f"{_SOFTHSM_UTIL} did not end in {_TIMEOUT_SECONDS} s: look for a stuck token lock"
        ) from None
    if done.returncode != 0:
        raise HsmError(
            f"{_SOFTHSM_UTIL} ended with {done.returncode}: check that its token folder is writable and that"
            f" slot {slot!r} is free"
        )


def _replace_pins(token: Any, old_so: str, new_so: str, old_user: str, new_user: str) -> None:
    session = token.open(rw=True, so_pin=old_so, attribute_mapper=session_mapper)
    session.set_pin(old_so, new_so)
    session.close()
    session = token.open(rw=True, user_pin=old_user, attribute_mapper=session_mapper)
    session.set_pin(old_user, new_user)
    planted = len(list(session.get_objects()))
    session.close()
    if planted:
        raise HsmError(
            f"{planted} objects are on a token that is seconds old: somebody used its first PIN; delete it"
        )
