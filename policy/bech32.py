"""Bitcoin's segwit addresses: Bech32 for witness version 0 (BIP 173), Bech32m for 1 (BIP 350).

What is read: lower case, P2WPKH, P2WSH and P2TR alone. BIP 173 lets addresses be all upper case and a
later version come; neither is canonical here.
"""

from collections.abc import Iterable, Sequence

from policy.errors import CallerError, MalformedError

ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
PROGRAM_BYTES = {0: (20, 32), 1: (32,)}
CHARACTERS_MAX = 90
_CHECKSUM_CHARACTERS = 6
_CONSTANTS = {0: 1, 1: 0x2BC830A3}
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_DIGITS = {character: value for value, character in enumerate(ALPHABET)}


def encode(prefix: str, version: int, *, program: bytes) -> str:
    """The address of a witness program. Raises ``CallerError`` for one that is not read either."""
    if len(program) not in PROGRAM_BYTES.get(version, ()):
        raise CallerError(
            f"a witness program of version {version} and {len(program)} bytes has no address here"
        )
    values = [version, *_regroup(program, 8, 5)]
    checksum = _polymod([*_expanded(prefix), *values, *[0] * _CHECKSUM_CHARACTERS]) ^ _CONSTANTS[version]
    tail = [(checksum >> 5 * (5 - place)) & 31 for place in range(_CHECKSUM_CHARACTERS)]
    return prefix + "1" + "".join(ALPHABET[value] for value in (*values, *tail))


def decode(prefix: str, text: str) -> tuple[int, bytes]:
    """Witness version and program of an address under ``prefix``. Raises ``MalformedError``."""
    digits = text[len(prefix) + 1 :]
    if not text.startswith(prefix + "1") or len(text) > CHARACTERS_MAX:
        raise MalformedError(f"address {text[:CHARACTERS_MAX]!r} does not begin with {prefix}1")
    values = [_DIGITS.get(digit, -1) for digit in digits]
    if -1 in values or len(values) <= _CHECKSUM_CHARACTERS:
        raise MalformedError(f"address {text!r} is not lower-case bech32")
    version = values[0]
    if _polymod([*_expanded(prefix), *values]) != _CONSTANTS.get(version, -1):
        raise MalformedError(f"address {text!r} fails its checksum: copy it again from its source")
    program = bytes(_regroup(values[1:-_CHECKSUM_CHARACTERS], 5, 8))
    if len(program) not in PROGRAM_BYTES[version] or encode(prefix, version, program=program) != text:
        raise MalformedError(f"address {text!r} is no canonical P2WPKH, P2WSH or P2TR address")
    return version, program


def _regroup(values: Iterable[int], width: int, into: int) -> list[int]:
    """The same bits in groups of ``into``: zeros fill up 5, and what does not fill 8 is left out."""
    bits, count, groups = 0, 0, []
    for value in values:
        bits, count = (bits << width) | value, count + width
        while count >= into:
            count -= into
            groups.append((bits >> count) & (2**into - 1))
    if count and into < width:
        groups.append((bits << (into - count)) & (2**into - 1))
    return groups


def _expanded(prefix: str) -> list[int]:
    codes = prefix.encode()
    return [*(code >> 5 for code in codes), 0, *(code & 31 for code in codes)]


def _polymod(values: Sequence[int]) -> int:
    checksum = 1
    for value in values:
        top = checksum >> 25
        checksum = (checksum & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(_GENERATOR):
            if top >> place & 1:
                checksum ^= generator
    return checksum
