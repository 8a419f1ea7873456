"""Base58 without a checksum, as Solana writes keys: one text for each string of bytes."""

from policy.errors import MalformedError

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
CHARACTERS_MAX = 128
_DIGITS = {character: value for value, character in enumerate(ALPHABET)}


def encode(data: bytes) -> str:
    """Every leading zero byte is a ``1``; the rest is one big number."""
    value, digits = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        digits = ALPHABET[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def decode(text: str) -> bytes:
    """The bytes of at most 128 characters. Raises ``MalformedError``."""
    if len(text) > CHARACTERS_MAX or not all(character in _DIGITS for character in text):
        raise MalformedError(
            f"{text[:CHARACTERS_MAX]!r} is not base58 of at most {CHARACTERS_MAX} characters"
        )
    value = 0
    for character in text:
        value = value * 58 + _DIGITS[character]
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")
