"""Amounts between people and base units: exact, by whole numbers alone."""

import re

from cli.results import Misuse
from policy.ids import AMOUNT_MAX

_TEXT = re.compile(r"(?P<whole>[0-9]+)(?:\.(?P<part>[0-9]+))?(?:\s*(?P<unit>[a-z0-9][a-z0-9._-]*))?")
DIGITS_MAX = 100


def parse_amount(text: str, *, asset: str, decimals: int, low: int = 1) -> int:
    """Base units of ``asset`` in ``text``: "1500" are base units, "1.5 eth" is one and a half of it.

    Raises ``Misuse`` for another unit, for more digits than the asset has, and for a fraction without
    a unit, which would leave open what it is a fraction of.
    """
    match = _TEXT.fullmatch(text.strip()) if len(text) <= DIGITS_MAX else None
    if match is None:
        raise Misuse(f"amount {text[:40]!r} is no number: write base units, or '1.5 {asset}'")
    whole, part, unit = match["whole"], match["part"] or "", match["unit"]
    if unit is None and part:
        raise Misuse(f"amount {text!r} has a fraction but no unit: write '{text.strip()} {asset}'")
    if unit not in (None, asset):
        raise Misuse(f"amount {text!r} is in {unit}, but the asset is {asset}: write it in {asset}")
    if len(part) > decimals:
        raise Misuse(f"amount {text!r} has {len(part)} decimals, {asset} has {decimals}: round it yourself")
    amount = int(whole) if unit is None else int(whole + part.ljust(decimals, "0"))
    if not low <= amount <= AMOUNT_MAX:
        raise Misuse(f"amount {text!r} is not from {low} base units to 2**256 - 1: write another one")
    return amount
