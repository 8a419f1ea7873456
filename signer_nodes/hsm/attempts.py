"""The doctor's instruments: calls that must fail on a closed key and work on a weak one.

python-pkcs11 offers a method only where an attribute of the key allows it, which would make the
library refuse what the token might do. ``open_object`` gives a handle every method, so that the
token itself has to refuse.

Only mechanisms of a key's own family are tried on it: SoftHSM 2.6.1 does not check that a key fits a
mechanism and ends the whole process when an Ed25519 key is given to CKM_RSA_X_509.
"""

import functools
import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11 import (
    KDF,
    Attribute,
    CTRParams,
    GCMParams,
    KeyType,
    Mechanism,
    MechanismFlag,
    ObjectClass,
    exceptions,
)

from signer_nodes.hsm.attributes import Template
from signer_nodes.hsm.keys import ED25519_PARAMETERS, SEAL, KeyTemplate
from signer_nodes.hsm.token import Connection

ANYTHING: Final = (
    MechanismFlag.ENCRYPT
    | MechanismFlag.DECRYPT
    | MechanismFlag.SIGN
    | MechanismFlag.VERIFY
    | MechanismFlag.WRAP
    | MechanismFlag.UNWRAP
    | MechanismFlag.DERIVE
)
WEAK: Final[Template] = {
    Attribute.PRIVATE: True,
    Attribute.SENSITIVE: False,
    Attribute.EXTRACTABLE: True,
    Attribute.MODIFIABLE: True,
    Attribute.COPYABLE: True,
}
RSA_BITS: Final = 2048
_BLOCKS: Final = bytes(32)
_PARAMETERS: Final[dict[Mechanism, Any]] = {
    Mechanism.AES_CBC: bytes(16),
    Mechanism.AES_CBC_PAD: bytes(16),
    Mechanism.AES_CTR: CTRParams(bytes(12)),
    Mechanism.AES_GCM: GCMParams(bytes(12), b"attempt"),
    Mechanism.DES3_CBC: bytes(8),
    Mechanism.DES3_CBC_PAD: bytes(8),
    Mechanism.AES_ECB_ENCRYPT_DATA: _BLOCKS,
    Mechanism.AES_CBC_ENCRYPT_DATA: (bytes(16), _BLOCKS),
    Mechanism.ECDH1_DERIVE: (KDF.NULL, None, b"\x09" + bytes(31)),
}
_FAMILIES: Final[dict[KeyType, re.Pattern[str]]] = {
    KeyType.AES: re.compile(r"AES_(?!.*(KEY_GEN|GENERAL)).*"),
    KeyType.DES3: re.compile(r"DES3_(?!.*(KEY_GEN|GENERAL)).*"),
    KeyType.RSA: re.compile(r"RSA_(PKCS|PKCS_OAEP|X_509)"),
    KeyType.GENERIC_SECRET: re.compile(r".*_(HMAC|KEY_DERIVATION)"),
    KeyType.EC_EDWARDS: re.compile(r"EDDSA|ECDH1_(COFACTOR_)?DERIVE"),
}
_BLOCK_MODES: Final = (Mechanism.AES_ECB, Mechanism.AES_CBC, Mechanism.AES_CTR)
_library: Any = importlib.import_module("pkcs11._pkcs11")
_METHODS: Final = tuple(
    getattr(_library, name)
    for name in (
        "EncryptMixin",
        "DecryptMixin",
        "SignMixin",
        "VerifyMixin",
        "WrapMixin",
        "UnwrapMixin",
        "DeriveMixin",
    )
)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call on a key; it worked unless it raises."""

    name: str
    call: Callable[[Any], object] = field(compare=False)


def can(attempt: Attempt, key: Any) -> bool:
    """Whether the attempt works on this key.

    A lost connection also says no: the doctor ends with the key's own work, which must say yes.
    """
    try:
        attempt.call(open_object(key))
    except (exceptions.PKCS11Error, NotImplementedError, TypeError, ValueError):
        return False
    return True


def open_object(key: Any) -> Any:
    """The same handle with every method that python-pkcs11 knows."""
    base = _library.PrivateKey if isinstance(key, _library.PrivateKey) else _library.SecretKey
    return type("OpenObject", (base, *_METHODS, _library.Object), {})(key.wrapper)


class Bench:
    """The attempts that one token's mechanisms make possible; lives inside one ``Token.run``."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._slot = connection.session.token.slot
        self._offered = sorted(self._slot.get_mechanisms())
        self._mechanisms = [known for known in self._offered if isinstance(known, Mechanism)]
        self._wrapping_keys = self._make_wrapping_keys()

    def control(self, template: KeyTemplate) -> Any:
        """A session key of the template's type that may do everything."""
        session, checked = self._connection.session, self._connection.checked
        if template.object_class is ObjectClass.PRIVATE_KEY:
            _, private = session.generate_keypair(
                template.key_type,
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY | MechanismFlag.DERIVE,
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                public_template=checked({Attribute.EC_PARAMS: ED25519_PARAMETERS}),
                private_template=checked(dict(WEAK)),
            )
            return private
        return session.generate_key(
            template.key_type, 256, capabilities=ANYTHING, template=checked(dict(WEAK))
        )

    def reads(self) -> list[Attempt]:
        """Read the secret value."""
        return [Attempt("read VALUE", lambda key: key[Attribute.VALUE])]

    def copies(self) -> list[Attempt]:
        """Copy the key as it is, and to weaker attributes."""
        wanted: dict[str, Template] = {
            "copy": {},
            "copy out of the token": {Attribute.TOKEN: False},
            "copy to extractable": {Attribute.TOKEN: False, Attribute.EXTRACTABLE: True},
            "copy to not sensitive": {Attribute.TOKEN: False, Attribute.SENSITIVE: False},
        }
        return [Attempt(name, self._copying(template)) for name, template in wanted.items()]

    def changes(self, label: str) -> list[Attempt]:
        """Change an attribute in place, among them the ``label`` to what it is."""
        wanted: dict[Attribute, Any] = {Attribute.LABEL: label, Attribute.EXTRACTABLE: True}
        wanted |= {Attribute.SENSITIVE: True, Attribute.DERIVE: True}
        return [Attempt(f"set {name.name}", _setting(name, value)) for name, value in wanted.items()]

    def wraps(self) -> list[Attempt]:
        """Wrap the key by every AES, DES3 and RSA mechanism that the token offers."""
        return [
            Attempt(f"wrap by {mechanism.name}", _wrapping(wrapping_key, mechanism))
            for key_type, wrapping_key in self._wrapping_keys.items()
            for mechanism in self._family(key_type)
        ]

    def untried_wrapping(self) -> list[str]:
        """Mechanisms that say they wrap and of whose family no wrapping key is made here."""
        tried = {known for key_type in self._wrapping_keys for known in self._family(key_type)}
        return [
            getattr(mechanism, "name", hex(mechanism))
            for mechanism in self._offered
            if mechanism not in tried and self._slot.get_mechanism_info(mechanism).flags & MechanismFlag.WRAP
        ]

    def uses(self, template: KeyTemplate) -> list[Attempt]:
        """Use the key in every way but its own."""
        found: list[Attempt] = []
        for mechanism in self._family(template.key_type):
            found += self._uses_of(mechanism, template)
        return found

    @staticmethod
    def own_use(template: KeyTemplate) -> Attempt:
        """What a key of this template is for."""
        mechanism = template.mechanisms[0] if template.mechanisms else SEAL.mechanisms[0]
        if template.capabilities & MechanismFlag.ENCRYPT:
            return Attempt(f"encrypt by {mechanism.name}", _encrypting(mechanism))
        return Attempt(f"sign by {mechanism.name}", _signing(mechanism))

    def _family(self, key_type: KeyType) -> list[Mechanism]:
        return [known for known in self._mechanisms if _FAMILIES[key_type].fullmatch(known.name)]

    def _uses_of(self, mechanism: Mechanism, template: KeyTemplate) -> list[Attempt]:
        own = template.capabilities if mechanism in template.mechanisms else MechanismFlag(0)
        calls: list[tuple[MechanismFlag, str, Callable[[Any], object]]] = [
            (MechanismFlag.ENCRYPT, "encrypt", _encrypting(mechanism)),
            (MechanismFlag.SIGN, "sign", _signing(mechanism)),
            (MechanismFlag.WRAP, "wrap another key", self._wrapping_another(mechanism)),
            (MechanismFlag.DERIVE, "derive", _deriving(mechanism)),
        ]
        if mechanism in _BLOCK_MODES:
            calls.append((MechanismFlag.DECRYPT, "decrypt", _decrypting(mechanism)))
        return [Attempt(f"{verb} by {mechanism.name}", call) for flag, verb, call in calls if not flag & own]

    def _copying(self, template: Template) -> Callable[[Any], object]:
        checked = self._connection.checked(template)
        return lambda key: key.copy(checked).destroy()

    def _wrapping_another(self, mechanism: Mechanism) -> Callable[[Any], object]:
        other = self._wrapping_keys[KeyType.AES]
        return lambda key: _wrapping(key, mechanism)(other)

    def _make_wrapping_keys(self) -> dict[KeyType, Any]:
        session, checked = self._connection.session, self._connection.checked
        weak = checked(dict(WEAK))
        keys = {KeyType.AES: session.generate_key(KeyType.AES, 256, capabilities=ANYTHING, template=weak)}
        if Mechanism.DES3_KEY_GEN in self._mechanisms:
            keys[KeyType.DES3] = session.generate_key(KeyType.DES3, capabilities=ANYTHING, template=weak)
        keys[KeyType.RSA] = session.create_object(checked(_rsa_public_template()))
        return keys


def _rsa_public_template() -> Template:
    return {
        Attribute.CLASS: ObjectClass.PUBLIC_KEY,
        Attribute.KEY_TYPE: KeyType.RSA,
        Attribute.TOKEN: False,
        Attribute.WRAP: True,
        Attribute.ENCRYPT: True,
        Attribute.MODULUS: _rsa_modulus(),
        Attribute.PUBLIC_EXPONENT: b"\x01\x00\x01",
    }


@functools.cache
def _rsa_modulus() -> bytes:
    """A fresh key's modulus, once a process; its private half is thrown away at once."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return key.public_key().public_numbers().n.to_bytes(RSA_BITS // 8, "big")


def _wrapping(wrapping_key: Any, mechanism: Mechanism) -> Callable[[Any], object]:
    parameter = _PARAMETERS.get(mechanism)
    return lambda key: wrapping_key.wrap_key(key, mechanism=mechanism, mechanism_param=parameter)


def _encrypting(mechanism: Mechanism) -> Callable[[Any], object]:
    parameter = _PARAMETERS.get(mechanism)
    return lambda key: key.encrypt(_BLOCKS, mechanism=mechanism, mechanism_param=parameter)


def _decrypting(mechanism: Mechanism) -> Callable[[Any], object]:
    parameter = _PARAMETERS.get(mechanism)
    return lambda key: key.decrypt(_BLOCKS, mechanism=mechanism, mechanism_param=parameter)


def _signing(mechanism: Mechanism) -> Callable[[Any], object]:
    return lambda key: key.sign(_BLOCKS, mechanism=mechanism)


def _deriving(mechanism: Mechanism) -> Callable[[Any], object]:
    parameter = _PARAMETERS.get(mechanism)

    def derive(key: Any) -> None:
        key.derive_key(
            KeyType.AES, 256, mechanism=mechanism, mechanism_param=parameter, template=dict(WEAK)
        ).destroy()

    return derive


def _setting(attribute: Attribute, value: Any) -> Callable[[Any], object]:
    def change(key: Any) -> None:
        key[attribute] = value

    return change
