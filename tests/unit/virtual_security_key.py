"""A FIDO2 security key in software, behind the library's own interface to a device: CTAP2 in CBOR.

It verifies its user by a PIN (pinUvAuthProtocol 2) or by a finger that is always there. Only what operators'
machines ask of a key is answered.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from threading import Event
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2 import cbor
from fido2.cose import ES256
from fido2.ctap import CtapDevice, CtapError
from fido2.ctap2.pin import PinProtocolV2

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40
KEY_AGREEMENT = 0x02
CBOR_CAPABILITY = 0x04
PIN_TRIES = 3


class Command(IntEnum):
    """Of CTAP2."""

    MAKE, ASSERT, INFO, PIN = 0x01, 0x02, 0x04, 0x06


@dataclass
class VirtualSecurityKey(CtapDevice):
    """``touched`` says whether somebody touches it; without ``pin`` it reads a finger."""

    pin: str = ""
    touched: bool = True
    keys: dict[bytes, ec.EllipticCurvePrivateKey] = field(default_factory=dict)
    _agreement: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    _token: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    _wrong: int = 0

    @property
    def capabilities(self) -> int:
        return CBOR_CAPABILITY

    @classmethod
    def list_devices(cls) -> Iterator["VirtualSecurityKey"]:
        return iter(())

    def call(
        self, cmd: int, data: bytes = b"", event: Event | None = None, on_keepalive: Any = None
    ) -> bytes:
        asked: Any = cbor.decode(data[1:]) if len(data) > 1 else {}
        try:
            return b"\0" + cbor.encode(self._answer(data[0], asked))
        except CtapError as error:
            return bytes([error.code])

    def _answer(self, command: int, asked: Mapping[int, Any]) -> Mapping[Any, Any]:
        match command:
            case Command.INFO:
                return self._info()
            case Command.PIN:
                return self._client_pin(asked)
            case Command.MAKE:
                return self._make(asked)
            case Command.ASSERT:
                return self._assert(asked)
            case _:
                raise CtapError(CtapError.ERR.INVALID_COMMAND)

    def _info(self) -> Mapping[int, Any]:
        verifies = {"clientPin": True, "pinUvAuthToken": True} if self.pin else {"uv": True}
        options = {"rk": True, "up": True, **verifies}
        return {1: ["FIDO_2_0"], 3: bytes(16), 4: options, 6: [PinProtocolV2.VERSION]}

    def _client_pin(self, asked: Mapping[int, Any]) -> Mapping[int, Any]:
        if asked[2] == KEY_AGREEMENT:
            return {1: _cose(self._agreement) | {3: -25}}
        protocol: Any = PinProtocolV2()
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(asked[3][-2], "big"), int.from_bytes(asked[3][-3], "big"), ec.SECP256R1()
        )
        shared = protocol.kdf(self._agreement.exchange(ec.ECDH(), numbers.public_key()))
        if self._wrong >= PIN_TRIES:
            raise CtapError(CtapError.ERR.PIN_AUTH_BLOCKED)
        if protocol.decrypt(shared, asked[6]) != hashlib.sha256(self.pin.encode()).digest()[:16]:
            self._wrong += 1
            raise CtapError(CtapError.ERR.PIN_INVALID)
        return {2: protocol.encrypt(shared, self._token)}

    def _make(self, asked: Mapping[int, Any]) -> Mapping[int, Any]:
        self._verify(asked[1], asked.get(7, {}), proof=asked.get(8))
        self._touch()
        made = ec.generate_private_key(ec.SECP256R1())
        identifier = secrets.token_bytes(32)
        self.keys[identifier] = made
        public = cbor.encode(_cose(made))
        data = self._data(asked[2]["id"], PRESENT | VERIFIED | ATTESTED)
        return {1: "none", 2: data + bytes(16) + b"\0\x20" + identifier + public, 3: {}}

    def _assert(self, asked: Mapping[int, Any]) -> Mapping[int, Any]:
        options = asked.get(5, {})
        self._verify(asked[2], options, proof=asked.get(6))
        known = [one["id"] for one in asked[3] if one["id"] in self.keys]
        if not known:
            raise CtapError(CtapError.ERR.NO_CREDENTIALS)
        if options.get("up", True):
            self._touch()
        data = self._data(asked[1], VERIFIED | (PRESENT if options.get("up", True) else 0))
        signature = self.keys[known[0]].sign(data + asked[2], ec.ECDSA(hashes.SHA256()))
        return {1: {"id": known[0], "type": "public-key"}, 2: data, 3: signature}

    def _verify(self, client_data_hash: bytes, options: Mapping[str, bool], *, proof: bytes | None) -> None:
        if self.pin:
            protocol: Any = PinProtocolV2()
            mac = protocol.authenticate(self._token, client_data_hash)
            if proof is None or not hmac.compare_digest(proof, mac):
                raise CtapError(CtapError.ERR.PIN_AUTH_INVALID)
        elif not options.get("uv") and options.get("up", True):
            raise CtapError(CtapError.ERR.PUAT_REQUIRED)

    def _touch(self) -> None:
        if not self.touched:
            raise CtapError(CtapError.ERR.USER_ACTION_TIMEOUT)

    @staticmethod
    def _data(rp_id: str, flags: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + (7).to_bytes(4, "big")


def _cose(key: ec.EllipticCurvePrivateKey) -> dict[int, Any]:
    """The public half as COSE has it."""
    numbers = key.public_key().public_numbers()
    return {
        1: 2,
        3: ES256.ALGORITHM,
        -1: 1,
        -2: numbers.x.to_bytes(32, "big"),
        -3: numbers.y.to_bytes(32, "big"),
    }
