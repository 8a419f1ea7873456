"""An operator's FIDO2 security key at this machine: made into a card, and asked for approvals.

The key shows nothing of what it signs, as in a browser; what is asked of it is decided by the code that runs
here. It verifies its user itself, by its PIN or a finger, and signs for the console's relying party, so that
one key approves here and there.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from cli.authenticator import client_data
from cli.results import progress
from policy.approval import Assertion, Credential
from policy.errors import OperationalError

if TYPE_CHECKING:
    from fido2.client import Fido2Client
    from fido2.ctap import CtapDevice

Devices: TypeAlias = "Callable[[], Sequence[CtapDevice]]"
ES256 = -7
USER_ID_BYTES = 16
CHALLENGE_BYTES = 32
_CREATE, _GET = "webauthn.create", "webauthn.get"


def plugged_in() -> "Sequence[CtapDevice]":
    """The security keys at this machine, by USB."""
    from fido2.hid import CtapHidDevice

    try:
        return list(CtapHidDevice.list_devices())
    except OSError as error:
        raise OperationalError(
            f"the security key cannot be opened: {error.strerror}; "
            "let your user read it, by the udev rules of your system (package libfido2-1)"
        ) from error


@dataclass(frozen=True, slots=True)
class SecurityKey:
    """The key that made ``credential``; ``pin`` is asked only when the key wants it."""

    credential: Credential
    pin: Callable[[], str]
    devices: Devices = plugged_in

    def assert_(self, challenge: bytes) -> Assertion:
        """Have the key sign, once its user is verified. Raises ``OperationalError``."""
        from fido2.webauthn import PublicKeyCredentialRequestOptions

        wanted = PublicKeyCredentialRequestOptions.from_dict(
            {
                "challenge": challenge,
                "rpId": self.credential.rp_id,
                "allowCredentials": [{"type": "public-key", "id": self.credential.id}],
                "userVerification": "required",
            }
        )
        origin = self.credential.origins[0]
        with _client(self.devices, client_data(challenge, origin, kind=_GET), pin=self.pin) as client:
            given = client.get_assertion(wanted).get_response(0).response
        return Assertion(bytes(given.authenticator_data), bytes(given.client_data), given.signature)


def new_credential(
    name: str, rp_id: str, *, origin: str, pin: Callable[[], str], devices: Devices = plugged_in
) -> Credential:
    """Have a security key make a passkey, as the console's page does. Raises ``OperationalError``."""
    from fido2.webauthn import PublicKeyCredentialCreationOptions

    challenge = secrets.token_bytes(CHALLENGE_BYTES)
    wanted = PublicKeyCredentialCreationOptions.from_dict(
        {
            "rp": {"id": rp_id, "name": "Quorumkeep"},
            "user": {"id": secrets.token_bytes(USER_ID_BYTES), "name": name, "displayName": name},
            "challenge": challenge,
            "pubKeyCredParams": [{"type": "public-key", "alg": ES256}],
            "authenticatorSelection": {"residentKey": "required", "userVerification": "required"},
        }
    )
    with _client(devices, client_data(challenge, origin, kind=_CREATE), pin=pin) as client:
        made = client.make_credential(wanted).response.attestation_object.auth_data.credential_data
    if made is None or made.public_key.get(3) != ES256:
        raise OperationalError("the security key made no P-256 key: use another one")
    point = b"\x04" + made.public_key[-2] + made.public_key[-3]
    return Credential(made.credential_id, point, rp_id, (origin,))


@contextlib.contextmanager
def _client(devices: Devices, data: bytes, *, pin: Callable[[], str]) -> "Iterator[Fido2Client]":
    """The library's client of the one key there is; what goes wrong with it becomes our error."""
    from fido2.client import ClientDataCollector, ClientError, Fido2Client, UserInteraction
    from fido2.ctap import CtapError
    from fido2.webauthn import CollectedClientData

    class Ours(ClientDataCollector):
        def collect_client_data(self, options: object) -> tuple[CollectedClientData, str]:
            """What is signed is ours, and so is the relying party: no site asks here."""
            rp_id = getattr(options, "rp_id", None) or options.rp.id  # type: ignore[attr-defined]
            return CollectedClientData(data), rp_id

    class Person(UserInteraction):
        def prompt_up(self) -> None:
            progress("Touch the security key.")

        def request_pin(self, permissions: object, rp_id: str | None) -> str:
            return pin()

    found = devices()
    if len(found) != 1:
        raise OperationalError(
            f"{len(found)} security keys are plugged in: plug in the one that you enrolled, and no other"
        )
    try:
        with found[0] as device:
            yield Fido2Client(device, Ours(), Person())
    except (ClientError, CtapError, ValueError, OSError) as error:
        raise OperationalError(f"the security key did not sign: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What the key said, and what to do about it."""
    from fido2.client import ClientError
    from fido2.ctap import CtapError

    cause = error.cause if isinstance(error, ClientError) else error
    codes = CtapError.ERR
    to_do = {
        codes.NO_CREDENTIALS: "it has no passkey of the card: plug in the one that you enrolled",
        codes.PIN_INVALID: "the PIN is wrong; some wrong ones block the key",
        codes.PIN_AUTH_BLOCKED: "too many wrong PINs: unplug it, plug it in, and try again",
        codes.PIN_BLOCKED: "it is blocked after too many wrong PINs: its owner needs a new passkey",
        codes.OPERATION_DENIED: "it was refused at the key: call again to try again",
        codes.USER_ACTION_TIMEOUT: "nobody touched it in time: call again",
        codes.ACTION_TIMEOUT: "nobody touched it in time: call again",
    }
    if isinstance(cause, CtapError) and cause.code in to_do:
        return to_do[cause.code]
    return f"{cause or error!r}; it must be able to verify its user, by PIN or finger: set one up"
