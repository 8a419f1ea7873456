"""Addresses under one group key: BIP 32 public derivation, and Ethereum's addresses with EIP-55.

Only non-hardened steps exist here: a hardened one needs the private key, which nobody holds. Tweaks and
chain codes are not secret, but who has them can link all addresses of a key.
"""

import functools
import hmac
import re
from dataclasses import dataclass

from coincurve import PublicKey

from policy.errors import CallerError, MalformedError
from policy.keccak import keccak256

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
LEVELS_MAX = 10
HARDENED = 2**31
KEY_BYTES = 33
CHAIN_CODE_BYTES = 32
CACHE_ENTRIES = 4096
PATH_CHARACTERS_MAX = len("m") + LEVELS_MAX * len("/2147483647")

_STEP = re.compile(r"(0|[1-9][0-9]{0,9})(['hH]?)")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Derived:
    """A derived key: ``public_key`` is the group key plus ``tweak`` (mod q) times the generator."""

    public_key: bytes
    tweak: int
    chain_code: bytes


def parse_path(text: str) -> tuple[int, ...]:
    """Read a path like ``m/0/7``, at most 10 steps. Raises ``MalformedError`` for any other text."""
    if len(text) > PATH_CHARACTERS_MAX:
        raise MalformedError(f"path has {len(text)} characters, at most {PATH_CHARACTERS_MAX} are accepted")
    root, *steps = text.split("/")
    if root != "m" or len(steps) > LEVELS_MAX:
        raise MalformedError(f"path {text!r} must be m and at most {LEVELS_MAX} steps, like m/0/7")
    return tuple(_parse_step(step, text) for step in steps)


def path_text(path: tuple[int, ...]) -> str:
    """The one text of a path that ``parse_path`` reads."""
    _check_path(path)
    return "/".join(("m", *(str(step) for step in path)))


def derive(group_key: bytes, chain_code: bytes, *, path: tuple[int, ...]) -> Derived:
    """The key at ``path`` (from ``parse_path``) under a compressed group key; remembers the last 4096.

    Raises ``MalformedError`` when ``group_key`` is not a point, or (for one path in 2**127) when the
    path has no key: choose another.
    """
    if len(group_key) != KEY_BYTES or len(chain_code) != CHAIN_CODE_BYTES:
        raise MalformedError(
            f"group key and chain code have {KEY_BYTES} and {CHAIN_CODE_BYTES} bytes, "
            f"got {len(group_key)} and {len(chain_code)}"
        )
    _check_path(path)
    return _derive(bytes(group_key), bytes(chain_code), path)


def ethereum_address(public_key: bytes) -> str:
    """The address, in lower case, of a compressed secp256k1 public key of 33 bytes."""
    if len(public_key) != KEY_BYTES:
        raise MalformedError(f"a compressed public key has {KEY_BYTES} bytes, got {len(public_key)}")
    return "0x" + keccak256(_point(public_key).format(compressed=False)[1:])[-20:].hex()


def checksum_address(address: str) -> str:
    """``address``, in whatever case, with the capitals that EIP-55 gives it: for people to read."""
    if not _ADDRESS.fullmatch(address):
        raise MalformedError(f"address {address[:64]!r} must be 0x and 40 hexadecimal digits")
    digits = address[2:].lower()
    marks = keccak256(digits.encode()).hex()
    capitals = (
        digit.upper() if int(mark, 16) >= 8 else digit for digit, mark in zip(digits, marks, strict=False)
    )
    return "0x" + "".join(capitals)


def parse_address(text: str) -> str:
    """Read an address, all lower case or with its EIP-55 capitals, into lower case."""
    expected = checksum_address(text)
    lower = text.lower()
    if text not in (lower, expected):
        raise MalformedError(
            f"address {text} fails its EIP-55 checksum: it was altered; copy it again from its source"
        )
    return lower


@functools.lru_cache(maxsize=CACHE_ENTRIES)
def _derive(group_key: bytes, chain_code: bytes, path: tuple[int, ...]) -> Derived:
    if not path:
        return Derived(_point(group_key).format(), 0, chain_code)
    parent = _derive(group_key, chain_code, path[:-1])
    message = parent.public_key + path[-1].to_bytes(4, "big")
    digest = hmac.digest(parent.chain_code, message, "sha512")
    public_key = _add(parent.public_key, digest[:32], path)
    tweak = (parent.tweak + int.from_bytes(digest[:32], "big")) % ORDER
    return Derived(public_key, tweak, digest[32:])


def _add(public_key: bytes, tweak: bytes, path: tuple[int, ...]) -> bytes:
    """The point plus ``tweak`` times the generator; a tweak not below q, or infinity, is no key (BIP 32)."""
    try:
        return _point(public_key).add(tweak).format()
    except ValueError as error:
        raise MalformedError(f"path {path_text(path)} has no key (BIP 32): use the next index") from error


def _point(public_key: bytes) -> PublicKey:
    try:
        return PublicKey(public_key)
    except ValueError as error:
        raise MalformedError("public key is not a point of secp256k1") from error


def _parse_step(step: str, path: str) -> int:
    match = _STEP.fullmatch(step)
    if match is None:
        raise MalformedError(f"path {path!r}: step {step!r} is not a number without leading zeros")
    if match[2] or int(match[1]) >= HARDENED:
        raise MalformedError(
            f"path {path!r}: step {step!r} is hardened; that needs the private key, which nobody holds: "
            f"use a step below {HARDENED}"
        )
    return int(match[1])


def _check_path(path: tuple[int, ...]) -> None:
    if len(path) > LEVELS_MAX or not all(0 <= step < HARDENED for step in path):
        raise CallerError(f"a path has at most {LEVELS_MAX} steps, each from 0 to {HARDENED - 1}")
