"""Amounts, lengths of time, hours and approvals as people write them; exact, by whole numbers alone.

Every reader raises ``ValueError`` saying what was expected.
"""

import re

from cli.amounts import DIGITS_MAX
from policy.encoding import Json
from policy.fields import NAME
from policy.ids import AMOUNT_MAX
from policy.model import WHOLE_BP
from policy.rules import DAYS
from policy.words.units import duration_text

UNITS_MS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
AMOUNT = rf"(?P<whole>0|[1-9][0-9]*)(?:\.(?P<part>[0-9]+))? (?P<unit>{NAME.pattern})"
DURATION = rf"(?P<count>[1-9][0-9]{{0,11}}) (?P<unit>{'|'.join(UNITS_MS)})"
_TIME = r"(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]|24:00)"
_DAY = "|".join(DAYS)
SPAN = (
    rf"(?P<days>(?:{_DAY})(?:-(?:{_DAY}))?(?: (?:{_DAY})(?:-(?:{_DAY}))?)*)"
    rf" (?P<start>{_TIME})-(?P<end>{_TIME}) UTC"
)
SHARE = r"(?P<whole>0|[1-9][0-9]{0,2})(?:\.(?P<part>[0-9]{1,2}))? %"
APPROVAL = rf"(?P<count>[1-9][0-9]?) of (?P<group>{NAME.pattern})"


def amount_unit(text: str) -> str:
    """The unit of an amount such as ``1.5 eth``."""
    match = re.fullmatch(AMOUNT, text) if len(text) <= DIGITS_MAX else None
    if match is None:
        number = re.fullmatch(r"[0-9.]+", text)
        wrong = "has no unit" if number else "is no amount"
        raise ValueError(f"{text[:40]!r} {wrong}: write it as in '{text[:20] if number else '1.5'} eth'")
    return match["unit"]


def base_units(text: str, *, decimals: int) -> int:
    """The base units of an amount, whatever its unit is called."""
    match = re.fullmatch(AMOUNT, text)
    if match is None:
        raise ValueError(f"{text[:40]!r} is no amount such as '1.5 eth'")
    part = match["part"] or ""
    if len(part) > decimals:
        raise ValueError(
            f"{text!r} has {len(part)} decimals, {match['unit']} has {decimals}: round it yourself"
        )
    amount = int(match["whole"] + part.ljust(decimals, "0"))
    if amount > AMOUNT_MAX:
        raise ValueError(f"{text!r} is above 2**256 - 1 base units: no transaction can move it")
    return amount


def duration_ms(text: object, *, high: int) -> int:
    """The milliseconds of a length of time such as ``24 h``, at most ``high``."""
    match = re.fullmatch(DURATION, text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is no length of time such as '24 h', '15 min' or '7 d'")
    found = int(match["count"]) * UNITS_MS[match["unit"]]
    if found > high:
        raise ValueError(f"{text!r} is too long: at most {duration_text(high)}")
    return found


def span_document(text: object) -> Json:
    """The canonical form of hours such as ``mon-fri 09:00-17:00 UTC``."""
    match = re.fullmatch(SPAN, text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} are no hours such as 'mon-fri 09:00-17:00 UTC'")
    days: list[Json] = []
    for part in match["days"].split(" "):
        first, _, last = part.partition("-")
        low, high = DAYS.index(first), DAYS.index(last or first)
        if low > high:
            raise ValueError(
                f"{part!r} ends before it begins: the week goes from mon to sun, write two parts"
            )
        days += DAYS[low : high + 1]
    if match["start"] >= match["end"]:
        raise ValueError(f"{text!r} ends before it begins: write two spans, the first until 24:00")
    return {"days": days, "from": match["start"], "to": match["end"]}


def share_bp(text: object) -> int:
    """The basis points of a share such as ``95 %``."""
    match = re.fullmatch(SHARE, text) if isinstance(text, str) else None
    found = int(match["whole"] + (match["part"] or "").ljust(2, "0")) if match else WHOLE_BP + 1
    if found > WHOLE_BP:
        raise ValueError(f"{text!r} is no share such as '5 %' or '97.5 %', of 100 % at most")
    return found


def approval_document(text: object) -> Json:
    """The canonical form of an approval such as ``2 of treasury``."""
    match = re.fullmatch(APPROVAL, text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} are no approvals such as '2 of treasury'")
    return {"group": match["group"], "count": int(match["count"])}
