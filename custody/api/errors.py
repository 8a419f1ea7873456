"""Why the coordinator does not do what it was asked, the same at both ends of the wire and of both doors."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from policy.errors import QuorumkeepError

CODE_METADATA: Final = "quorumkeep-code"


class Code(StrEnum):
    """Stable for programs: a code never changes its meaning."""

    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    BAD_SIGNATURE = "bad-signature"
    FOREIGN_ORIGIN = "foreign-origin"
    UNKNOWN_INITIATOR = "unknown-initiator"
    UNKNOWN_WALLET = "unknown-wallet"
    UNKNOWN_ASSET = "unknown-asset"
    UNKNOWN_KEY = "unknown-key"
    UNKNOWN_REQUEST = "unknown-request"
    UNKNOWN_EVENT = "unknown-event"
    UNKNOWN_ADDRESS = "unknown-address"
    UNKNOWN_DEPOSIT = "unknown-deposit"
    UNKNOWN_WEBHOOK = "unknown-webhook"
    UNKNOWN_PATH = "unknown-path"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    REQUEST_EXPIRED = "request-expired"
    REQUEST_OVER = "request-over"
    IDEMPOTENCY_CONFLICT = "idempotency-conflict"
    LABEL_TAKEN = "label-taken"
    NO_ADDRESS_LEFT = "no-address-left"
    INITIATOR_CANNOT_APPROVE = "initiator-cannot-approve"
    APPROVAL_REFUSED = "approval-refused"
    CHANGE_REFUSED = "change-refused"
    STATEMENT_DIFFERS = "statement-differs"
    LETTER_REFUSED = "letter-refused"
    NO_CEREMONY = "no-ceremony"
    PSBT_REFUSED = "psbt-refused"
    UNKNOWN_DOCUMENT = "unknown-document"
    UNAUTHENTICATED = "unauthenticated"
    CLOCK_SKEW = "clock-skew"
    REPLAYED = "replayed"
    FORBIDDEN = "forbidden"
    TOO_MANY = "too-many"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code means whatever the call: its HTTP status, in a few words, and what to do about it."""

    status: int
    title: str
    to_do: str


MEANINGS: Final[dict[Code, Meaning]] = {
    Code.MALFORMED: Meaning(400, "It cannot be read", "Correct the field that `detail` names."),
    Code.TOO_LARGE: Meaning(413, "It is too large", "Send less; nothing of it was read."),
    Code.UNSUPPORTED_MEDIA_TYPE: Meaning(
        415, "A body of another kind is expected", "Send `Content-Type: application/json`."
    ),
    Code.BAD_SIGNATURE: Meaning(
        403,
        "The document's signature does not verify",
        "Sign the canonical document with the initiator's key; compare with the key in the roster.",
    ),
    Code.FOREIGN_ORIGIN: Meaning(
        422, "The document is for another log", "Use the `origin` of the deployment's `client.json`."
    ),
    Code.UNKNOWN_INITIATOR: Meaning(
        403, "The roster has no such initiator", "Use the name that the backend was enrolled under."
    ),
    Code.UNKNOWN_WALLET: Meaning(
        404, "The policy has no such wallet, or not on this chain", "Correct wallet and chain by the policy."
    ),
    Code.UNKNOWN_ASSET: Meaning(
        404, "The policy has no such asset, or not on this chain", "Correct asset and chain by the policy."
    ),
    Code.UNKNOWN_KEY: Meaning(
        404,
        "There is no such key, or not yet",
        "Correct its name by the policy, or have an administrator make the key; then ask again.",
    ),
    Code.UNKNOWN_REQUEST: Meaning(
        404, "The caller has no such request", "Look at the id; a backend sees its own requests only."
    ),
    Code.UNKNOWN_EVENT: Meaning(
        404,
        "The event is none of this feed, or what came after it is gone",
        "Read requests by their ids, then the feed from its beginning.",
    ),
    Code.UNKNOWN_ADDRESS: Meaning(
        404, "The caller has no such deposit address", "List the wallet's addresses, or derive one."
    ),
    Code.UNKNOWN_DEPOSIT: Meaning(
        404, "The caller has no such deposit of the wallet", "List the wallet's deposits from the beginning."
    ),
    Code.UNKNOWN_WEBHOOK: Meaning(
        404, "No such webhook is configured for the caller", "Use a name of `GET /v1/webhooks`."
    ),
    Code.UNKNOWN_PATH: Meaning(404, "There is nothing at this path", "Use a path of the OpenAPI document."),
    Code.METHOD_NOT_ALLOWED: Meaning(
        405, "This path has no such method", "Use a method that the header `Allow` names."
    ),
    Code.REQUEST_EXPIRED: Meaning(
        422, "The request was over before it arrived", "Ask anew, with a later `expires_ms` and another key."
    ),
    Code.REQUEST_OVER: Meaning(409, "The request is over", "Nothing: it changes no more."),
    Code.IDEMPOTENCY_CONFLICT: Meaning(
        409, "The idempotency key names another request", "Send the first request again, or use a new key."
    ),
    Code.LABEL_TAKEN: Meaning(
        409, "Another address of the wallet has this label", "Choose another label, or use that address."
    ),
    Code.NO_ADDRESS_LEFT: Meaning(
        409,
        "Every path that the policy gives the wallet is in use",
        "Have the administrators add paths to the wallet by a change of the policy.",
    ),
    Code.INITIATOR_CANNOT_APPROVE: Meaning(
        403, "Who can use the initiator's key cannot approve", "Have another operator approve."
    ),
    Code.APPROVAL_REFUSED: Meaning(
        409, "The log would refuse this approval", "Fetch a fresh draft and approve that."
    ),
    Code.CHANGE_REFUSED: Meaning(
        409, "The log would refuse this change", "Draft it anew on what is in force, as `detail` says."
    ),
    Code.STATEMENT_DIFFERS: Meaning(
        409,
        "The log has something else, stated by f + 1 observers",
        "Compare the observer's endpoint with the others', and with an explorer; the log keeps what it has.",
    ),
    Code.LETTER_REFUSED: Meaning(
        422,
        "The letter of a cold node is not taken in",
        "Look at the reason; carry the letters of this ceremony, each once, in their order.",
    ),
    Code.NO_CEREMONY: Meaning(
        409, "No ceremony is under way", "Nothing: it is over; ask how it ended, or begin another one."
    ),
    Code.PSBT_REFUSED: Meaning(
        422,
        "There is no PSBT of it, or the PSBT cannot be used",
        "Look at the reason; make the PSBT anew, or ask without one.",
    ),
    Code.UNKNOWN_DOCUMENT: Meaning(
        404, "Nothing in force or pending has this hash", "Use a hash of the status."
    ),
    Code.UNAUTHENTICATED: Meaning(
        401, "The call is not signed by anybody of the roster", "Sign the call itself, as `detail` says."
    ),
    Code.CLOCK_SKEW: Meaning(
        401, "The call or the request is of another time than now", "Set the clock, sign again, send again."
    ),
    Code.REPLAYED: Meaning(
        401, "The call may have been made before", "Sign it again, with a fresh nonce, and send it."
    ),
    Code.FORBIDDEN: Meaning(403, "The caller may not ask this", "Have somebody ask whose it is to ask."),
    Code.TOO_MANY: Meaning(
        429, "Too many calls of the caller are open", "Close some, wait a second, and call again."
    ),
    Code.UNAVAILABLE: Meaning(
        503,
        "The coordinator cannot answer now",
        "Send the same call again: what is asked twice is done once.",
    ),
    Code.INTERNAL: Meaning(
        500, "A defect of the coordinator", "Send the same call again; tell the operators when it stays."
    ),
}


class CallRefused(QuorumkeepError):
    """A call was refused: ``code`` for programs, the message says what to do."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason
