"""What a call to a node may fail with, besides a protocol error in its answer."""

from policy.errors import OperationalError, ProtocolError

REASON_CHARACTERS_MAX = 500


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
