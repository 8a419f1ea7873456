"""Signatures of entries checked before the fold comes to them, anywhere and in any order.

What is found here is never more than a reason not to check once more. It names what it was found under: the
roster, and for the signature of a job message and key. Whoever folds compares these with what the log has at
that entry, and checks by itself where they differ, or where nothing was found. So a wrong guess costs time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeAlias

from coincurve import PublicKey

from policy import signatures
from policy.approval import approval_digest, verify_assertion
from policy.encoding import Json
from policy.entries import ApprovalEntry, Entry, RequestEntry, ReserveEntry, SignatureEntry, job_id
from policy.errors import CallerError, ProtocolError
from policy.fact_entries import DepositEntry, HoldingsEntry, ObservationEntry, PriceEntry, ScreeningEntry
from policy.intent import verify_request
from policy.keccak import keccak256
from policy.roster import COORDINATOR, Roster, verified_signers
from policy.shapes import read_entry
from policy.state import PAYMENT, Signing
from policy.suites import DKLS23_SECP256K1

OBSERVED: Final = {
    PriceEntry: "price",
    HoldingsEntry: "holdings",
    ScreeningEntry: "screening",
    DepositEntry: "deposit",
}


class Proof(NamedTuple):
    """All signatures of an entry are good: a job's over ``message`` under ``public_key``, else empty."""

    message: bytes = b""
    public_key: bytes = b""


class Task(NamedTuple):
    """Consecutive entries to look at, and whom the log knew before: ``roster_hash`` names ``roster``."""

    origin: str
    roster: Json
    roster_hash: bytes
    start: int
    entries: Sequence[bytes]


Found: TypeAlias = Mapping[int, Proof]


class Checker(Protocol):
    """Takes tasks and works on them elsewhere."""

    def submit(self, task: Task) -> Callable[[], Found]:
        """Begin; what is returned waits for the result, and gives an empty one rather than fail."""


def precheck(roster: Roster, task: Task) -> dict[int, Proof]:
    """The entries, by index, whose signatures are all good under the roster. Total."""
    found: dict[int, Proof] = {}
    messages: dict[bytes, bytes] = {}
    for index, data in enumerate(task.entries, task.start):
        try:
            entry = read_entry(data).entry
            if isinstance(entry, ReserveEntry) and entry.purpose == PAYMENT:
                messages[job_id(task.origin, index, data=data)] = keccak256(entry.tx)
            proof = _proof(roster, entry, messages)
        except (ProtocolError, CallerError, ValueError):
            continue
        if proof is not None:
            found[index] = proof
    return found


def _proof(roster: Roster, entry: Entry, messages: Mapping[bytes, bytes]) -> Proof | None:
    match entry:
        case RequestEntry():
            initiator = roster.initiators.get(entry.request.initiator)
            if initiator is None:
                return None
            verify_request(entry.body, entry.signature, key=initiator.key)
            return Proof()
        case ApprovalEntry():
            operator = roster.operators.get(entry.approval.operator)
            if operator is None:
                return None
            challenge = approval_digest(entry.body)
            verify_assertion(entry.assertion, credential=operator.credential, challenge=challenge)
            return Proof()
        case PriceEntry() | HoldingsEntry() | ScreeningEntry() | DepositEntry():
            keys: Mapping[str, bytes] = roster.observers
            verified_signers(OBSERVED[type(entry)], entry.body, signatures=entry.signatures, keys=keys)
            return Proof()
        case ObservationEntry():
            keys = {**roster.observers, COORDINATOR: roster.log_key}
            verified_signers("observation", entry.body, signatures=entry.signatures, keys=keys)
            return Proof()
        case SignatureEntry():
            return _signed(entry, messages.get(entry.job))
        case _:
            return None


def _signed(entry: SignatureEntry, message: bytes | None) -> Proof | None:
    """An ECDSA signature says which key it is of; whether that is the job's, only the fold can tell."""
    if message is None or len(entry.signature) != signatures.ECDSA_BYTES:
        return None
    key = PublicKey.from_signature_and_message(entry.signature, message, hasher=None).format()
    signing = Signing("", message, 0, key, None)
    if not signatures.verify(DKLS23_SECP256K1, entry.signature, signing=signing):
        return None
    return Proof(message, key)
