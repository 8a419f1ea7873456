"""Which authenticator an operator signs with at this machine.

The folder says it: a software authenticator, or where the token's key is; else it is the security key that
made the card's passkey. Whatever signs is checked against the card before anything is sent.
"""

from argparse import Namespace
from dataclasses import dataclass
from typing import Protocol

from cli.authenticator import SoftwareAuthenticator
from cli.identities import PASSKEY, TOKEN, Identity
from cli.pins import pin_source
from cli.security_key import SecurityKey
from cli.token_key import TokenKey, TokenPlace
from policy.approval import Assertion, Credential, verify_assertion
from policy.errors import OperationalError, ProtocolError

SOFTWARE, FIDO2, PKCS11 = "software", "fido2", "pkcs11"


class Authenticator(Protocol):
    """What answers for a person, once it has verified them."""

    def assert_(self, challenge: bytes) -> Assertion:
        """Sign 32 bytes in WebAuthn's format. Raises ``OperationalError``."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An authenticator that must be the one of the card: another's signature would be refused everywhere."""

    authenticator: Authenticator
    credential: Credential

    def assert_(self, challenge: bytes) -> Assertion:
        """Sign, and check it as every node will. Raises ``OperationalError``."""
        given = self.authenticator.assert_(challenge)
        try:
            verify_assertion(given, credential=self.credential, challenge=challenge)
        except ProtocolError as error:
            raise OperationalError(
                f"{error}: use the authenticator that you enrolled; nothing was sent"
            ) from error
        return given


def authenticator_of(identity: Identity, arguments: Namespace) -> Enrolled:
    """The operator's authenticator, by ``--with`` or by what their folder has."""
    credential, pin = identity.credential(), pin_source(arguments.pin_file)
    kind = arguments.authenticator or _kind(identity)
    if kind == SOFTWARE:
        return Enrolled(SoftwareAuthenticator.load(identity.folder / PASSKEY), credential)
    if kind == PKCS11:
        return Enrolled(TokenKey(TokenPlace.load(identity.folder / TOKEN), credential, pin), credential)
    return Enrolled(SecurityKey(credential, pin), credential)


def _kind(identity: Identity) -> str:
    if (identity.folder / PASSKEY).exists():
        return SOFTWARE
    return PKCS11 if (identity.folder / TOKEN).exists() else FIDO2
