"""What bodies of a person's decision look like, for the OpenAPI document."""

from typing import Annotated, Any

from pydantic import Field

from custody.adapters.http.models import Amount, Id, Milliseconds, Model, Name
from policy.bip32 import PATH_CHARACTERS_MAX

HexBytes = Annotated[str, Field(pattern="^([0-9a-f]{2})*$", max_length=4096)]
Signature = Annotated[str, Field(pattern="^[0-9a-f]{128}$", description="Ed25519.")]


class Slot(Model):
    """The one transaction that can confirm."""

    chain: Annotated[str, Field(min_length=1, max_length=39)]
    account: Annotated[str, Field(min_length=1, max_length=75)]
    nonce: Amount


class ApprovedIntent(Model):
    """What the transaction does, and the hash of what it calls."""

    chain: Annotated[str, Field(min_length=1, max_length=39)]
    wallet: Name
    asset: Name
    amount: Amount
    destination: Annotated[str, Field(min_length=1, max_length=90)]
    calldata: Annotated[str | None, Field(pattern="^([0-9a-f]{2}){4,4096}$")] = None
    typed_data: Annotated[str | None, Field(pattern="^([0-9a-f]{2}){1,6144}$")] = None
    source: Annotated[str | None, Field(max_length=PATH_CHARACTERS_MAX)] = None
    calldata_hash: Id


class Draft(Model):
    """An approval that the caller could give, but for its id and their name. Check it against the request."""

    origin: Annotated[str, Field(min_length=1, max_length=128)]
    request: Id
    intent: ApprovedIntent
    fee_ceiling: Amount
    slot: Slot
    policy: Id
    expires_ms: Milliseconds


class Approval(Draft):
    """What an operator's passkey signs: its challenge is the document's tagged hash (entries.md)."""

    approval_id: Annotated[Id, Field(description="32 fresh random bytes.")]
    operator: Name


class Assertion(Model):
    """What the passkey's authenticator answered, in hex."""

    authenticator_data: HexBytes
    client_data: HexBytes
    signature: HexBytes


class ApprovalGiven(Model):
    """An operator's yes."""

    approval: Approval
    assertion: Assertion


class Rejection(Model):
    """A no."""

    origin: Annotated[str, Field(min_length=1, max_length=128)]
    request: Id
    by: Annotated[Name, Field(description="The caller.")]
    reason: Annotated[str, Field(min_length=1, max_length=300)]


class RejectionGiven(Model):
    """A no, and either the caller's signature over it or their passkey's assertion."""

    rejection: Rejection
    signature: Signature | None = None
    assertion: Assertion | None = None


class DraftList(Model):
    """What waits for the caller."""

    drafts: list[Draft]


class HandedIn(Model):
    """An entry that somebody has signed; entries.md has the fields of each kind."""

    kind: Annotated[str, Field(min_length=1, max_length=32)]
    body: dict[str, Any]
    proof: Annotated[dict[str, Any], Field(description="`signatures`, and what else the kind has.")]


class Outcome(Model):
    """What came of it."""

    kind: str
    subject: Annotated[str, Field(description="What it is about: hex.")]
    effective_ms: Annotated[int, Field(ge=0, description="0 where nothing waits.")]
    was_done: bool
    cosigned: Annotated[bool, Field(description="Whether w cosigners have it already.")]
    left: dict[str, Any]
