"""An operator's approval from the command line: read what will happen, check it, sign it.

The coordinator's draft is not believed: the approval is built here from the request and the policy this
operator holds, and only what only the coordinator can know (the conflict slot) is taken over, shown.
"""

import secrets
import sys
import time
from argparse import Namespace

from cli.connection import Connection, caller, load_connection
from cli.requests import intent_text, read_request_id, request_of, view_document
from cli.results import REFUSED, Misuse, Result, progress
from policy.approval import Approval, Slot, approval_digest, digest_slot, parse_approval
from policy.encoding import Json, canonical
from policy.errors import MalformedError, OperationalError
from policy.ids import family
from policy.intent import Request
from policy.model import COLD
from policy.values import replace
from policy.words.units import amount_text, readable_address

APPROVAL_MS_MAX = 60 * 60 * 1000


def approve(arguments: Namespace) -> Result:
    """``approve``: show what will happen, ask, sign with the software authenticator, hand in."""
    connection, identity = load_connection(arguments), caller(arguments)
    if identity.card.kind != "operator":
        raise Misuse(f"{identity.card.name} is no operator: give an operator's folder to --as")
    authenticator = identity.authenticator()
    identifier = read_request_id(arguments.request)
    with connection.open(identity) as client:
        request = request_of(client.get(identifier))
        drafts = client.pending(identity.card.name)
        found = [draft for draft in drafts if draft.get("request") == identifier.hex()]
        if not found:
            raise OperationalError(
                f"the request waits for no approval of {identity.card.name}: they gave theirs, they stand "
                "behind its initiator, or it is decided; look with quorumkeep request show"
            )
        approval = checked(found[0], request, connection=connection, operator=identity.card.name)
        sentence = approval_text(approval, request, connection=connection)
        if not _agreed(sentence, arguments):
            return Result({"approved": False, "request": identifier.hex()}, ("Not approved.",), REFUSED)
        assertion = authenticator.assert_(approval_digest(approval.body()))
        view = client.approve(canonical(approval.body()), canonical(assertion.body()))
    document = {"approved": True, "operator": identity.card.name, "sentence": sentence, **view_document(view)}
    return Result(document, (f"{identity.card.name} has approved; the request is {view.state}.",))


def checked(draft: dict[str, Json], request: Request, *, connection: Connection, operator: str) -> Approval:
    """The approval to sign, made from what this operator knows. Raises ``OperationalError``."""
    try:
        given = parse_approval({**draft, "approval_id": secrets.token_hex(32), "operator": operator})
    except MalformedError as error:
        raise OperationalError(f"the coordinator's draft is no approval: {error}; do not sign") from error
    own = replace(
        given,
        origin=connection.origin,
        intent=request.intent,
        calldata_hash=request.intent.calldata_hash(native=connection.asset(request.intent.asset).native),
        policy=connection.policy_hash,
    )
    if given.policy != connection.policy_hash:
        raise OperationalError(
            f"the draft is under policy {given.policy.hex()}, yours is {connection.policy_hash.hex()}: "
            "get the new client.json from the administrators, or do not sign"
        )
    if own != given:
        raise OperationalError("the draft is not for this request: do not sign, tell the others")
    if request.intent.typed_data is not None and given.slot != _digest_slot(given):
        raise OperationalError("the draft is not for this digest: do not sign, tell the others")
    now_ms = time.time_ns() // 1_000_000
    expires_ms = min(given.expires_ms, _last_ms(request, connection, now_ms=now_ms))
    return replace(own, fee_ceiling=min(given.fee_ceiling, request.fee_ceiling), expires_ms=expires_ms)


def _last_ms(request: Request, connection: Connection, *, now_ms: int) -> int:
    """Until when an approval may count at most: past every delay; for a cold tier as long as the request."""
    policy = connection.policy
    wallet = policy.wallets.get(request.intent.wallet)
    cold = {tier.name for tier in policy.tiers if tier.role == COLD}
    if wallet is not None and wallet.tier in cold:
        return request.expires_ms
    return min(request.expires_ms, now_ms + APPROVAL_MS_MAX + policy.delay_ms_max())


def approval_text(approval: Approval, request: Request, *, connection: Connection) -> str:
    """What will happen, in one sentence with every number that is signed."""
    minutes = max(0, approval.expires_ms - time.time_ns() // 1_000_000) // 60_000
    asked = f"as {request.initiator} asked under {request.idempotency_key!r}"
    if approval.intent.typed_data is not None:
        return (
            f"Sign {intent_text(approval.intent, connection)}, {asked}, with account "
            f"{readable_address(approval.slot.account)}; whoever has the signature can use it, and nothing "
            f"here takes it back; this approval holds for {minutes} minutes"
        )
    chain = connection.policy.chains[approval.intent.chain]
    native = connection.asset(chain.native)
    fee = amount_text(approval.fee_ceiling, asset=chain.native, decimals=native.decimals)
    readable = replace(approval.intent, destination=readable_address(approval.intent.destination))
    return (
        f"Pay {intent_text(readable, connection)} ({approval.intent.amount} base units), {asked}, "
        f"for a network fee of at most {fee}, "
        f"by {_slot_text(approval.slot)}; "
        f"this approval holds for {minutes} minutes"
    )


def _digest_slot(approval: Approval) -> Slot:
    """The place of the typed data's signature by the draft's account."""
    slot = approval.slot
    return digest_slot(slot.chain, slot.account, digest=approval.calldata_hash)


def _slot_text(slot: Slot) -> str:
    """The one transaction that can confirm, in words."""
    match family(slot.chain):
        case "bitcoin":
            return f"a transaction that spends {slot.account}"
        case "solana":
            return f"the value {slot.nonce:064x} of nonce account {slot.account}"
        case _:
            return f"transaction {slot.nonce} of account {readable_address(slot.account)}"


def _agreed(sentence: str, arguments: Namespace) -> bool:
    progress(sentence + ".")
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise Misuse("there is nobody to ask: read the sentence, then call again with --yes")
    print("Approve? Type yes: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == "yes"
