"""Why the coordinator does not do what it was asked, the same at both ends of the wire."""

from enum import StrEnum
from typing import Final

from policy.errors import QuorumkeepError

CODE_METADATA: Final = "quorumkeep-code"


class Code(StrEnum):
    """Stable for programs: a code never changes its meaning."""

    MALFORMED = "malformed"
    BAD_SIGNATURE = "bad-signature"
    FOREIGN_ORIGIN = "foreign-origin"
    UNKNOWN_INITIATOR = "unknown-initiator"
    UNKNOWN_WALLET = "unknown-wallet"
    UNKNOWN_ASSET = "unknown-asset"
    UNKNOWN_KEY = "unknown-key"
    UNKNOWN_REQUEST = "unknown-request"
    REQUEST_EXPIRED = "request-expired"
    REQUEST_OVER = "request-over"
    IDEMPOTENCY_CONFLICT = "idempotency-conflict"
    INITIATOR_CANNOT_APPROVE = "initiator-cannot-approve"
    APPROVAL_REFUSED = "approval-refused"
    CHANGE_REFUSED = "change-refused"
    LETTER_REFUSED = "letter-refused"
    UNKNOWN_DOCUMENT = "unknown-document"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    UNAVAILABLE = "unavailable"


class CallRefused(QuorumkeepError):
    """A call was refused: ``code`` for programs, the message says what to do."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
