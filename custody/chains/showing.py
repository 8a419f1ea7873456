"""What of an endpoint's answer stands in a message."""

from decimal import Decimal


def shown(value: object, characters: int) -> str:
    """The beginning of text or a number, else only what it is: lists may be nested too deep to be shown."""
    if value is None or isinstance(value, str | int | float | Decimal):
        return repr(str(value)[:characters])
    return f"a {type(value).__name__}"


def words(told: object, characters: int) -> str:
    """The beginning of what an endpoint says in words, as it can be stored and printed; else what it is."""
    text = told[:characters] if isinstance(told, str) else shown(told, characters)
    return "".join(one if one.isprintable() else "?" for one in text)
