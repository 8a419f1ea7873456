"""What a call to a node may fail with, besides a protocol error in its answer."""

from policy.errors import OperationalError, ProtocolError

REASON_CHARACTERS_MAX = 500


def in_words(details: str) -> str:
    """Why there is no answer, of what the transport says of it: its last error without its way there."""
    if "last error: " in details:
        return f"nothing answers there ({details.rpartition(': ')[2][:REASON_CHARACTERS_MAX]})"
    return "no answer in time" if details.endswith("Deadline Exceeded") else details[:REASON_CHARACTERS_MAX]


class Refused(ProtocolError):
    """A node answered a call with a refusal; raised by a node's handler, it becomes one.

    ``code`` is one word for programs, ``reason`` one sentence for people. A refusal is signed by
    nobody and proves nothing.
    """

    def __init__(self, code: str, reason: str) -> None:
        self.code = code[:REASON_CHARACTERS_MAX]
        self.reason = reason[:REASON_CHARACTERS_MAX]
        super().__init__(f"{self.code}: {self.reason}")


class Unreachable(OperationalError):
    """No answer came from a node. Whether it did what was asked is unknown: ask again."""
