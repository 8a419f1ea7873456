"""Which program this is, as processes tell one another: its version and the newest rules that it has."""

from typing import Final

from policy.encoding import Json
from policy.governance import RULES_SUPPORTED

PROGRAM: Final = "0.1.0"  # a test holds it to the package's own version


def about() -> dict[str, Json]:
    """What a status says of the program."""
    return {"program": PROGRAM, "rules_supported": RULES_SUPPORTED}
