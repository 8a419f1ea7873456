"""What bodies look like, for the OpenAPI document; what is received is read by the house's own readers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from custody.api.errors import Code
from custody.chains.bitcoin.foreign import FILE_BYTES_MAX
from custody.requests import State, Substate
from policy.bip32 import PATH_CHARACTERS_MAX
from policy.encoding import INTEGER_MAX

PSBT_TEXT_MAX = 4 * FILE_BYTES_MAX // 3 + 4
TAKEN: list[type[BaseModel]] = []
"""The models of bodies that calls send, which no route tells the framework of."""

Id = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")]
Amount = Annotated[
    str,
    Field(pattern="^(0|[1-9][0-9]{0,77})$", description="In base units, as a decimal string below 2**256."),
]
EventId = Annotated[
    str,
    Field(pattern="^[0-9a-f]{8}-(0|[1-9][0-9]{0,17})$", description="The feed's name and a number in it."),
]
Transaction = Annotated[
    str,
    Field(description="As explorers write it: EVM `0x` and hex, Bitcoin hex, Solana base58."),
]
Milliseconds = Annotated[int, Field(ge=0, le=INTEGER_MAX, description="Milliseconds since 1970.")]


class Model(BaseModel):
    """A body that has its fields and no others."""

    model_config = ConfigDict(extra="forbid")


class RequestDocument(Model):
    """What is asked for; its RFC 8785 encoding is what the backend signs and what nodes verify."""

    origin: Annotated[str, Field(min_length=1, max_length=128, description="Of the log.")]
    initiator: Name
    chain: Annotated[str, Field(min_length=1, max_length=39, examples=["evm:1"])]
    wallet: Name
    asset: Name
    amount: Amount
    destination: Annotated[
        str, Field(min_length=1, max_length=90, description="An address in its chain's canonical form.")
    ]
    calldata: Annotated[
        str | None,
        Field(pattern="^([0-9a-f]{2}){4,4096}$", description="Of a call of the contract `destination`."),
    ] = None
    typed_data: Annotated[
        str | None,
        Field(pattern="^([0-9a-f]{2}){1,6144}$", description="A canonical EIP-712 document to sign, in hex."),
    ] = None
    source: Annotated[
        str | None,
        Field(
            max_length=PATH_CHARACTERS_MAX,
            examples=["m/0/17"],
            description="The path of the account that is to pay.",
        ),
    ] = None
    fee_ceiling: Amount
    idempotency_key: Annotated[
        str, Field(min_length=1, max_length=64, description="Names this request among the initiator's.")
    ]
    created_ms: Milliseconds
    expires_ms: Milliseconds


class Submission(Model):
    """A request and the initiator's signature over it."""

    request: RequestDocument
    signature: Annotated[
        str,
        Field(
            pattern="^[0-9a-f]{128}$",
            description='Ed25519 over "quorumkeep/v1 request\\n" and the request\'s RFC 8785 encoding.',
        ),
    ]
    psbt: Annotated[
        str | None,
        Field(max_length=PSBT_TEXT_MAX, description="Pay by its coins and outputs (BIP 174, 370), base64."),
    ] = None


class Psbt(Model):
    """A request's newest transaction for other wallets."""

    psbt: Annotated[str, Field(description="In base64.")]
    signed: Annotated[bool, Field(description="Finished, to be sent by whoever has it.")]


class GatheredCoins(Model):
    """A PSBT to ask with: coins of a wallet as one."""

    psbt: Annotated[str, Field(description="In base64.")]
    destination: str
    amount: Annotated[Amount, Field(description="What arrives.")]
    fee: Amount
    coins: Annotated[int, Field(ge=1, description="How many are spent.")]
    left: Annotated[int, Field(ge=0, description="How many others are confirmed and free.")]


class RequestResource(Model):
    """A request as the coordinator has it."""

    id: Id
    event: Annotated[EventId, Field(description="Its newest; wait for what comes after it.")]
    state: State
    substate: Substate
    over: Annotated[bool, Field(description="Nothing is going to change for the initiator.")]
    rule: Annotated[str | None, Field(description="The rule or forbid of the policy that decided.")]
    error: Annotated[str | None, Field(description="Why it waits or is refused, and what to do.")]
    approvals: Annotated[int, Field(ge=0, description="How many the log has.")]
    account: Annotated[str | None, Field(description="What it is paid from.")]
    nonce: Annotated[str | None, Field(description="Of the account, a decimal string.")]
    job: Annotated[str | None, Field(description="The latest try to sign it.")]
    tx_hash: Transaction | None
    block: int | None
    signature: Annotated[str | None, Field(description="Of typed data once delivered: r, s, v.")]
    updated_ms: Milliseconds
    request: RequestDocument


class Event(Model):
    """One change of one request, as the feed and webhooks tell it."""

    id: EventId
    sequence: Annotated[int, Field(ge=1, description="Rises in the caller's feed.")]
    request: Id
    state: State
    substate: Substate
    approvals: Annotated[int, Field(ge=0)]
    time_ms: Milliseconds
    rule: str | None = None
    tx_hash: Transaction | None = None
    block: int | None = None
    error: str | None = None


class DepositStatement(Model):
    """What observers signed: `custody.client.verify_deposit` checks it."""

    body: Annotated[dict[str, Any], Field(description="The body of the log's entry (entries.md).")]
    signatures: Annotated[list[dict[str, str]], Field(description="By `name`, Ed25519 in hex.")]


class Deposit(Model):
    """A payment from outside to a wallet, on the word of f + 1 observers."""

    id: Id
    chain: str
    tx: Annotated[str, Field(pattern="^([0-9a-f]{2}){32,64}$", description="The transaction's name in hex.")]
    index: Annotated[int, Field(ge=0, description="Its place in the transaction.")]
    wallet: Name
    address: str
    label: Annotated[str, Field(description="Of the address; empty for one that nobody was given.")]
    asset: Name
    amount: Amount
    block: Annotated[int, Field(ge=0)]
    gone: Annotated[bool, Field(description="A reorganisation took it: the chain has it no more.")]
    statement: DepositStatement


class DepositList(Model):
    """Deposits, in the order in which they were first stated."""

    deposits: list[Deposit]


class DepositEvent(Model):
    """What observers stated of a deposit to an address that the caller was given."""

    id: EventId
    sequence: Annotated[int, Field(ge=1, description="Rises in the caller's feed.")]
    event: Literal["deposit.confirmed", "deposit.gone"]
    deposit: Deposit
    time_ms: Milliseconds


class EventPage(Model):
    """Events in order, and what to continue after."""

    events: list[Event | DepositEvent]
    next: EventId


class Wallet(Model):
    """A wallet of the policy."""

    name: Name
    chain: str
    tier: Name
    paths: Annotated[int, Field(ge=1, description="How many paths, so addresses, the policy gives it.")]


class WalletList(Model):
    """The policy's wallets."""

    wallets: list[Wallet]


LabelText = Annotated[
    str,
    Field(
        pattern="^[ -~]{1,128}$",
        description="Names the address among the caller's of this wallet; 1 to 128 visible characters.",
    ),
]


class NewAddress(Model):
    """What the address is for."""

    label: LabelText
    path: Annotated[
        str | None,
        Field(
            pattern="^m(/(0|[1-9][0-9]{0,8})){0,10}$",
            description="That path and no other, as one notes it for the day when the database is lost.",
        ),
    ] = None


class Label(Model):
    """Another label."""

    label: LabelText


class DepositAddress(Model):
    """An address to be paid at."""

    address: str
    chain: str
    wallet: Name
    path: str
    label: str
    in_policy: Annotated[bool, Field(description="False: have nobody pay there, nodes do not sign for it.")]
    created_ms: Milliseconds


class AddressList(Model):
    """Addresses, oldest first."""

    addresses: list[DepositAddress]


class Webhook(Model):
    """Where the coordinator tells of events."""

    name: Name
    url: str
    key: Annotated[str, Field(description="Ed25519, hex; compare with what the administrators told you.")]
    waiting: Annotated[int, Field(ge=0, description="Events that it has not taken yet.")]
    error: Annotated[str | None, Field(description="Why the oldest of them was not taken.")]


class WebhookList(Model):
    """The caller's webhooks."""

    webhooks: list[Webhook]


class Resend(Model):
    """Which events: one, or a range."""

    first: EventId
    last: EventId | None = None


class Resent(Model):
    """How many events are to be told."""

    count: Annotated[int, Field(ge=0)]


class RequestList(Model):
    """Requests, newest first."""

    requests: list[RequestResource]


BookHash = Annotated[
    str, Field(pattern="^([0-9a-f]{64})?$", description="Of the address book; empty while it has no row.")
]


class Status(BaseModel):
    """How the deployment is; what may be missing is for people."""

    origin: str
    time_ms: Milliseconds
    rules: int
    policy: Id
    book: BookHash
    frozen: bool
    requests: Annotated[dict[str, int], Field(description="How many are in each state; a backend's its own.")]
    size: Annotated[int | None, Field(ge=0, description="Of the log.")] = None
    quorum_size: Annotated[int | None, Field(ge=0, description="As far as enough cosigners have signed.")] = (
        None
    )
    program: Annotated[str | None, Field(description="The coordinator's; each node has its own.")] = None
    rules_supported: Annotated[int | None, Field(ge=1, description="The newest rules that it has.")] = None
    roster: Id | None = None
    freeze: str | None = None
    pending: list[dict[str, Any]] | None = None
    lists: Any = None
    keys: list[dict[str, Any]] | None = None
    nodes: list[dict[str, Any]] | None = None
    pools: list[dict[str, Any]] | None = None
    indicators: dict[str, Any] | None = None


class PolicySection(Model):
    """Part of the policy in words."""

    title: str
    sentences: list[str]


class Policy(Model):
    """The policy in force."""

    name: str
    hash: Annotated[Id, Field(description="The tagged hash of `document`, which approvals name.")]
    book: BookHash
    document: dict[str, Any]
    sentences: list[PolicySection]


class Document(Model):
    """A document of the status, by its hash."""

    kind: str
    text: Annotated[str, Field(description="Its canonical encoding, which is what was hashed.")]


class WalletAddress(Model):
    """Where a wallet is paid to."""

    address: str
    path: str
    chain: str
    public_key: Annotated[str, Field(description="The key's group key, hex.")]


class Checkpoint(Model):
    """A signed note (log.md)."""

    note: str


class EntryList(Model):
    """Entries of the log."""

    start: Annotated[int, Field(ge=0)]
    entries: Annotated[list[str], Field(description="Each its bytes, which are JSON.")]


class ShadowReport(Model):
    """What another policy would have said."""

    policy: str
    name: str
    errors: Annotated[int, Field(ge=0)]
    verdicts: list[dict[str, Any]]


class Holdings(Model):
    """What wallets hold, what is on its way, and prices."""

    time_ms: Milliseconds
    policy: Id
    accounts: list[dict[str, Any]]
    open: list[dict[str, Any]]
    prices: list[dict[str, Any]]
    next: Annotated[int, Field(ge=0, description="Where to go on for more accounts; 0 with the last.")]


class Movement(Model):
    """A signed payment."""

    number: Annotated[int, Field(ge=0)]
    request: Id
    signed_ms: Milliseconds
    wallet: Name
    asset: Name
    amount: Amount
    to: str | None = None


class MovementList(Model):
    """Payments in the order of the log."""

    movements: list[Movement]
    next: Annotated[int, Field(ge=0)]


class Problem(Model):
    """Why a call is refused (RFC 9457)."""

    type: Annotated[str, Field(description="Where the code is explained.")]
    title: str
    status: int
    detail: Annotated[str, Field(description="What is wrong with this call: field, rule, numbers.")]
    code: Annotated[Code, Field(description="Stable for programs.")]
    to_do: Annotated[str, Field(description="What to do about it.")]


class ProblemMeaning(Model):
    """What a code means whatever the call."""

    code: Code
    title: str
    status: int
    to_do: str


def takes(model: type[BaseModel]) -> dict[str, Any]:
    """The part of the OpenAPI document about a body that the route reads by itself."""
    TAKEN.append(model)
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def streams() -> dict[int | str, dict[str, Any]]:
    """The part of the OpenAPI document about an answer of server-sent events."""
    schema = {"type": "string", "description": "`id:` an event's id, `data:` an Event as one line of JSON."}
    return {
        200: {"description": "Events as they come.", "content": {"text/event-stream": {"schema": schema}}}
    }
