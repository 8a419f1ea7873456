"""An operator's key on a PKCS#11 token, which signs approvals in a passkey's format.

The token holds a P-256 key that never leaves it; its PIN is how it verifies its user. What a browser and a
security key would say around it, this program says. No node's token is touched here.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from cli.authenticator import credential_of, signed_assertion
from cli.files import read_document, write_document
from policy.approval import PUBLIC_KEY_BYTES, Assertion, Credential
from policy.errors import OperationalError

HALF_BYTES = 32


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """Where the key is: the module's path, the token's label, the key's label."""

    module: str
    token: str
    key: str

    def save(self, path: Path) -> None:
        """Write it beside the card; there is no secret in it."""
        write_document(path, {"module": self.module, "token": self.token, "key": self.key})

    @classmethod
    def load(cls, path: Path) -> "TokenPlace":
        """Read what ``save`` wrote. Raises ``OperationalError``."""
        document = read_document(path, "where the token's key is")
        try:
            return cls(str(document["module"]), str(document["token"]), str(document["key"]))
        except KeyError as error:
            raise OperationalError(f"{path} lacks {error}: make the identity anew") from error


@dataclass(frozen=True, slots=True)
class TokenKey:
    """The token's key for the credential that its owner enrolled."""

    place: TokenPlace
    credential: Credential
    pin: Callable[[], str]

    def assert_(self, challenge: bytes) -> Assertion:
        """Have the token sign. Raises ``OperationalError``."""
        site = (self.credential.rp_id, self.credential.origins[0])
        with _session(self.place, self.pin()) as session:
            return signed_assertion(challenge, site, sign=lambda message: self._sign(session, message))

    def _sign(self, session: Any, message: bytes) -> bytes:
        from pkcs11 import KeyType, Mechanism, ObjectClass

        key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, key_type=KeyType.EC, label=self.place.key)
        raw = bytes(key.sign(hashlib.sha256(message).digest(), mechanism=Mechanism.ECDSA))
        if len(raw) != 2 * HALF_BYTES:
            raise OperationalError(f"the token's signature has {len(raw)} bytes: the key is not on P-256")
        r, s = (int.from_bytes(half, "big") for half in (raw[:HALF_BYTES], raw[HALF_BYTES:]))
        return encode_dss_signature(r, s)


def token_credential(
    place: TokenPlace, rp_id: str, *, origin: str, pin: Callable[[], str]
) -> tuple[Credential, bool]:
    """The credential of the token's key of that label, and whether it was made now.

    A key that is there is taken as it is: some tokens have theirs made by their own tool. Raises
    ``OperationalError``.
    """
    from pkcs11 import NoSuchKey

    with _session(place, pin()) as session:
        try:
            point, is_new = _point(session, place.key), False
        except NoSuchKey:
            _generate(session, place.key)
            point, is_new = _point(session, place.key), True
    return credential_of(point, rp_id, origin=origin), is_new


def _generate(session: Any, label: str) -> None:
    from pkcs11 import Attribute, KeyType
    from pkcs11.util.ec import encode_named_curve_parameters

    curve = session.create_domain_parameters(
        KeyType.EC, {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}, local=True
    )
    own = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.SIGN: True}
    identifier = hashlib.sha256(label.encode()).digest()[:HALF_BYTES]
    curve.generate_keypair(id=identifier, label=label, store=True, private_template=own)


def _point(session: Any, label: str) -> bytes:
    from pkcs11 import Attribute, KeyType, ObjectClass
    from pkcs11.util.ec import encode_named_curve_parameters

    key = session.get_key(object_class=ObjectClass.PUBLIC_KEY, key_type=KeyType.EC, label=label)
    encoded = bytes(key[Attribute.EC_POINT])
    point = encoded.removeprefix(b"\x04\x41")  # an octet string in DER, as the standard has it
    on_p256 = bytes(key[Attribute.EC_PARAMS]) == encode_named_curve_parameters("secp256r1")
    if not on_p256 or len(point) != PUBLIC_KEY_BYTES:
        raise OperationalError(f"the token's key {label!r} is not on P-256: choose another label")
    return point


@contextlib.contextmanager
def _session(place: TokenPlace, pin: str) -> Iterator[Any]:
    """A logged-in session. The PIN is tried once: some wrong ones lock a token for good."""
    import pkcs11
    from pkcs11 import exceptions

    try:
        token = pkcs11.lib(os.path.abspath(place.module)).get_token(token_label=place.token)
        with token.open(rw=True, user_pin=pin) as session:
            yield session
    except (exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange) as error:
        raise OperationalError(f"the token {place.token!r} rejects the PIN: try no other blindly") from error
    except exceptions.PinLocked as error:
        raise OperationalError(f"the PIN of token {place.token!r} is locked: reset it by its tool") from error
    except exceptions.NoSuchToken as error:
        raise OperationalError(f"there is no token {place.token!r}: plug it in, or name another") from error
    except (exceptions.NoSuchKey, exceptions.MultipleObjectsReturned) as error:
        raise OperationalError(
            f"the token {place.token!r} has not exactly one key {place.key!r}: plug in the enrolled one"
        ) from error
    except (exceptions.PKCS11Error, RuntimeError) as error:
        raise OperationalError(
            f"the token {place.token!r} fails by {place.module}: {type(error).__name__} {error}"
        ) from error
