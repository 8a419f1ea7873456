"""An operator's approval from the command line: read what will happen, check it, sign it.

The coordinator's draft is not believed: the approval is built here from the request and the policy this
operator holds, and only what only the coordinator can know (the conflict slot) is taken over, shown.
"""

import secrets
import sys
import time
from argparse import Namespace
from typing import TYPE_CHECKING

from cli.connection import Connection, caller, load_connection
from cli.files import same_fingerprint
from cli.passkeys import Authenticator, authenticator_of
from cli.requests import call_text, read_request_id, request_of, view_document
from cli.results import REFUSED, Document, Misuse, Result, progress, time_text
from cli.typed_data import typed_data_text
from custody.console.texts import LANGUAGES, text
from policy.approval import (
    Approval,
    Slot,
    approval_digest,
    comparison_digest,
    digest_slot,
    parse_approval,
)
from policy.encoding import Json, canonical
from policy.errors import MalformedError, OperationalError
from policy.ids import family
from policy.intent import Request
from policy.model import COLD
from policy.values import replace
from policy.words.units import amount_text, readable_address

if TYPE_CHECKING:
    from custody.client import CustodyClient

DIFFERS = "the other screen shows another payment: do not sign, tell the others"
APPROVAL_MS_MAX = 60 * 60 * 1000


def approve(arguments: Namespace) -> Result:
    """``approve``: show what will happen, compare, ask, have the authenticator sign, hand in."""
    connection, identity = load_connection(arguments), caller(arguments)
    authenticator = authenticator_of(identity, arguments)
    with connection.open(identity) as client:
        return decide(client, connection, arguments=arguments, signer=(identity.card.name, authenticator))


def decide(
    client: "CustodyClient",
    connection: Connection,
    *,
    arguments: Namespace,
    signer: tuple[str, Authenticator],
) -> Result:
    """An operator's decision about one request that waits for it."""
    identifier, (operator, authenticator) = read_request_id(arguments.request), signer
    request = request_of(client.get(identifier))
    found = [draft for draft in client.pending(operator) if draft.get("request") == identifier.hex()]
    if not found:
        raise OperationalError(
            f"the request waits for no approval of {operator}: they gave theirs, they stand "
            "behind its initiator, or it is decided; look with quorumkeep request show"
        )
    approval = checked(found[0], request, connection=connection, operator=operator)
    digest = comparison_digest(approval).hex()
    if arguments.digest:
        same_fingerprint(arguments.digest, digest, of="what this machine reads", then=DIFFERS, word="digest")
    said = sentence(approval, request, connection=connection, language=arguments.language)
    progress("\n".join([said, *details(approval, connection), f"digest {grouped(digest)}"]))
    told: Document = {"operator": operator, "sentence": said, "digest": digest}
    if not _agreed(arguments):
        return Result({"approved": False, "request": identifier.hex(), **told}, ("Not approved.",), REFUSED)
    assertion = authenticator.assert_(approval_digest(approval.body()))
    view = client.approve(canonical(approval.body()), canonical(assertion.body()))
    document = {"approved": True, **told, **view_document(view)}
    return Result(document, (f"{operator} has approved; the request is {view.state}.",))


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


def sentence(
    approval: Approval, request: Request, *, connection: Connection, language: str = LANGUAGES[0]
) -> str:
    """What will happen, in the console's own sentence, from what this machine has read and will sign."""
    intent, policy = approval.intent, connection.policy
    native = policy.chains[intent.chain].native
    kind = "js.sign_pay" if intent.calldata is None else "js.sign_call"
    return text(
        language,
        "js.sign_typed_data" if intent.typed_data is not None else kind,
        amount=_amount(intent.amount, intent.asset, connection=connection),
        wallet=intent.wallet,
        chain=intent.chain,
        destination=readable_address(intent.destination),
        fee=_amount(approval.fee_ceiling, native, connection=connection),
        initiator=request.initiator,
        key=request.idempotency_key,
        account=approval.slot.account,
    )


def details(approval: Approval, connection: Connection) -> list[str]:
    """What else is signed: what a call or typed data says, exact units, the slot, the policy."""
    intent, lines = approval.intent, []
    if intent.typed_data is not None:
        lines += [
            f"  {typed_data_text(connection.policy, intent)}",
            f"  digest to sign {_calldata(approval)}",
        ]
        lines += [f"  by account {readable_address(approval.slot.account)}"]
    else:
        if intent.calldata is not None:
            lowered = replace(intent, destination=intent.destination.lower())
            lines += [f"  {call_text(lowered, connection)}", f"  calldata {_calldata(approval)}"]
        lines += [f"  {intent.amount} base units of {intent.asset}, by {_slot_text(approval.slot)}"]
    if intent.source is not None:
        lines += [f"  out of the wallet's account at path {intent.source}"]
    until = time_text(approval.expires_ms)
    return [*lines, f"  under policy {approval.policy.hex()}; the approval holds until {until}"]


def grouped(digest: str) -> str:
    """A digest for a person to compare, as the console shows it."""
    return " ".join(digest[place : place + 8] for place in range(0, len(digest), 8))


def _amount(units: int, asset: str, *, connection: Connection) -> str:
    return amount_text(units, asset=asset, decimals=connection.asset(asset).decimals)


def _calldata(approval: Approval) -> str:
    return approval.calldata_hash.hex()


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


def _agreed(arguments: Namespace) -> bool:
    if arguments.yes:
        return True
    if not sys.stdin.isatty():
        raise Misuse("there is nobody to ask: read the sentence, then call again with --yes")
    print("Approve? Type yes: ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() == "yes"
