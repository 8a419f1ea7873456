"""Amounts, lengths of time and addresses as people read them; exact, by whole numbers alone."""

from policy.addresses import EVM_ADDRESS
from policy.bip32 import checksum_address
from policy.words.language import ENGLISH, Language

WORDS_MS = {"day": 86_400_000, "hour": 3_600_000, "minute": 60_000, "second": 1000, "millisecond": 1}


def amount_text(amount: int, *, asset: str, decimals: int) -> str:
    """``amount`` base units for a person: "1.5 eth"; ``cli.amounts.parse_amount`` is its inverse."""
    digits = str(amount).rjust(decimals + 1, "0")
    whole, part = digits[: len(digits) - decimals], digits[len(digits) - decimals :].rstrip("0")
    return f"{whole}.{part} {asset}" if part else f"{whole} {asset}"


def duration_text(duration: int, language: Language = ENGLISH) -> str:
    """A length of time in the largest unit that it is a whole number of: ``24 hours``, ``7 days``."""
    for word, unit in WORDS_MS.items():
        count, rest = divmod(duration, unit)
        if not rest and (count > 1 or word != "day"):
            return language.counted(word, count)
    return language.counted("millisecond", duration)


def readable_address(address: str) -> str:
    """A canonical address for people to compare."""
    return checksum_address(address) if EVM_ADDRESS.fullmatch(address) else address


def share_text(share: int) -> str:
    """A share of so many basis points; ``cli.policies.units.share_bp`` is its inverse."""
    whole, part = divmod(share, 100)
    return f"{whole}.{part:02}".rstrip("0").rstrip(".") + " %"
