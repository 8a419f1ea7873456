"""The coordinator for Python backends and the command line: typed, small.

``CustodyClient`` speaks gRPC; ``HttpClient`` and ``AsyncHttpClient`` speak HTTP, and are imported when they
are asked for. Imports only policy, grpc, httpx and the API's own parts. Every method raises ``CallRefused``
with a stable code; ``unavailable`` means that no answer came, and that the same call may be made again: a
request is accepted once, whatever is repeated.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from google.protobuf.message import Message

from custody.api import custody_pb2 as pb
from custody.api.calls import sign_call
from custody.api.custody_pb2_grpc import CustodyStub
from custody.api.deposit_signing import verify_deposit
from custody.api.errors import CODE_METADATA, CallRefused, Code
from custody.api.webhook_signing import verify_webhook
from policy.encoding import Json, canonical, document_hash, parse_canonical
from policy.errors import MalformedError, OperationalError
from policy.fields import Fields
from policy.intent import Request, request_message
from policy.listing import listing_id

if TYPE_CHECKING:
    from custody.http_client import AsyncHttpClient, HttpClient, HttpEndpoint

__all__ = [
    "AsyncHttpClient",
    "CallRefused",
    "Caller",
    "Code",
    "CustodyClient",
    "Endpoint",
    "HttpClient",
    "HttpEndpoint",
    "RequestView",
    "verify_deposit",
    "verify_webhook",
]
_OVER_HTTP = frozenset({"AsyncHttpClient", "HttpClient", "HttpEndpoint"})

STATUS_BYTES_MAX = 4 * 1024 * 1024
REPLY_BYTES_MAX = 16 * 1024 * 1024  # 500 of the largest requests, or drafts of approvals of them
ENACT_S, DRAFT_FORK_S, COLD_S, HOLDINGS_S = 60.0, 300.0, 60.0, 60.0
PAGE_MAX, PAGES_BYTES_MAX = 1024, 64 * 1024 * 1024
ANSWERS_NOT = "the coordinator does not answer"
LOOK = "call again, and look whether it runs and the address is right"
FINAL = frozenset({"delivered", "settled", "failed", "denied", "expired", "cancelled"})
"""States after which nothing is paid any more."""
CallT = TypeVar("CallT", bound=Message)
ReplyT = TypeVar("ReplyT")


def __getattr__(name: str) -> Any:
    """The clients over HTTP, whose library the command line does not wait for."""
    if name in _OVER_HTTP:
        from custody import http_client

        return getattr(http_client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the coordinator is, and the certificate (PEM) it must show; ``tls_name`` is in it."""

    address: str
    certificate_pem: bytes
    origin: str
    tls_name: str = "coordinator"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a name of the roster and its Ed25519 key."""

    name: str
    key: Ed25519PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class RequestView:
    """A request as the coordinator shows it; what is not known yet is empty or 0.

    ``signature`` is that of typed data: r, s and v, which is 27 or 28; 65 bytes.
    """

    request: bytes
    body: bytes
    state: str
    rule: str
    account: str
    nonce: int
    job: bytes
    tx_hash: str
    block: int
    error: str
    updated_ms: int
    approvals: int
    signature: bytes
    substate: str = ""
    event: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing is going to change for the initiator."""
        return self.state in FINAL


@dataclass(frozen=True, slots=True)
class GatheredCoins:
    """Coins of a wallet as one: how many they are, how many are left; amounts are in base units."""

    psbt: bytes
    destination: str
    amount: int
    fee: int
    coins: int
    left: int


@dataclass(frozen=True, slots=True)
class WalletAddress:
    """An address to be paid at; with the label that a backend gave it, if one did.

    Unless ``in_policy``, the wallet has it no more, and nodes do not sign for it.
    """

    address: str
    path: str
    chain: str
    label: str = ""
    in_policy: bool = True


class CustodyClient:
    """One connection to the coordinator. Use as a context manager, or ``close`` it."""

    def __init__(self, endpoint: Endpoint, caller: Caller, *, timeout_s: float = 15.0) -> None:
        self._caller = caller
        self._origin = endpoint.origin
        self._timeout_s = timeout_s
        options = (
            ("grpc.ssl_target_name_override", endpoint.tls_name),
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", REPLY_BYTES_MAX),
        )
        credentials = grpc.ssl_channel_credentials(root_certificates=endpoint.certificate_pem)
        self._channel = grpc.secure_channel(endpoint.address, credentials, options=options)
        self._stub = CustodyStub(self._channel)

    def __enter__(self) -> "CustodyClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._channel.close()

    def submit(self, request: Request) -> RequestView:
        """Sign a request as this caller and submit it."""
        body = request.body()
        return self.submit_signed(canonical(body), self._caller.key.sign(request_message(body)))

    def submit_signed(self, body: bytes, signature: bytes, *, psbt: bytes = b"") -> RequestView:
        """Submit a request that somebody signed; the same one again gives the same answer."""
        call = pb.SubmitCall(body=body, signature=signature, psbt=psbt)
        return _view(self._answer(lambda: self._stub.Submit(call, timeout=self._timeout_s)))

    def gather(self, wallet: str, *, to_wallet: str = "", coins_max: int = 0) -> GatheredCoins:
        """A PSBT to ask with: a wallet's smallest coins as one, at an address of a wallet."""
        call = pb.GatherCall(wallet=wallet, to_wallet=to_wallet, coins_max=coins_max)
        found = self._ask("Gather", call, self._stub.Gather)
        numbers = (int(found.amount), int(found.fee), found.coins, found.left)
        return GatheredCoins(found.psbt, found.destination, *numbers)

    def psbt(self, request: bytes, *, version: int = 0) -> tuple[bytes, bool]:
        """A request's newest transaction as a PSBT, and whether it is signed."""
        found = self._ask("Psbt", pb.PsbtCall(request=request, version=version), self._stub.Psbt)
        return found.psbt, found.signed

    def get(self, request: bytes) -> RequestView:
        """One request."""
        return _view(self._ask("Get", pb.GetCall(request=request), self._stub.Get))

    def requests(self, *, state: str = "", limit: int = 100, before: bytes = b"") -> list[RequestView]:
        """Requests, newest first."""
        call = pb.ListCall(state=state, limit=limit, before=before)
        return [_view(one) for one in self._ask("List", call, self._stub.List).requests]

    def watch(self, request: bytes = b"", *, timeout_s: float | None = None) -> Iterator[RequestView]:
        """A request as it is and whenever it changes, until it is final or the time is over.

        Every request for empty bytes.
        """
        call, started = pb.WatchCall(request=request), time.monotonic()
        try:
            for one in self._stub.Watch(call, timeout=timeout_s, metadata=self._signed("Watch", call)):
                yield _view(one)
        except grpc.RpcError as error:
            if timeout_s is None or time.monotonic() - started < timeout_s:
                raise _refused(error) from error

    def wait(self, request: bytes, *, timeout_s: float = 60.0) -> RequestView:
        """The request once it is over. Raises ``CallRefused`` (unavailable) when that takes longer."""
        shown = ""
        for view in self.watch(request, timeout_s=timeout_s):
            if view.over:
                return view
            shown = f"it is {view.state} still{f' ({view.error})' if view.error else ''}"
        raise CallRefused(Code.UNAVAILABLE, f"{shown or 'nothing was told of it'}: wait again")

    def approve(self, body: bytes, assertion: bytes) -> RequestView:
        """Hand in an approval: canonical bodies of the document and of the passkey's assertion."""
        call = pb.ApproveCall(body=body, assertion=assertion)
        return _view(self._answer(lambda: self._stub.Approve(call, timeout=self._timeout_s)).request)

    def pending(self, operator: str) -> list[dict[str, Json]]:
        """Approvals ``operator`` could give, to be completed with ``approval_id`` and ``operator``."""
        reply = self._ask("Pending", pb.PendingCall(operator=operator), self._stub.Pending)
        drafts = [parse_canonical(draft, bytes_max=STATUS_BYTES_MAX) for draft in reply.drafts]
        return [draft for draft in drafts if isinstance(draft, dict)]

    def address(self, wallet: str, path: str = "") -> WalletAddress:
        """The address of a wallet, at its first path unless another is named."""
        reply = self._ask("Address", pb.AddressCall(wallet=wallet, path=path), self._stub.Address)
        return WalletAddress(reply.address, reply.path, reply.chain)

    def give_address(self, wallet: str, label: str, *, path: str = "") -> WalletAddress:
        """This backend's address with this label, a fresh one if there is none."""
        call = pb.GiveAddressCall(wallet=wallet, label=label, path=path)
        return _address(self._ask("GiveAddress", call, self._stub.GiveAddress))

    def label_address(self, wallet: str, address: str, *, label: str) -> WalletAddress:
        """Give an address another label."""
        call = pb.LabelAddressCall(wallet=wallet, address=address, label=label)
        return _address(self._ask("LabelAddress", call, self._stub.LabelAddress))

    def addresses(self, wallet: str, *, after: str = "", limit: int = 100) -> list[WalletAddress]:
        """The addresses that this backend was given, oldest first; people see all."""
        call = pb.AddressesCall(wallet=wallet, after=after, limit=limit)
        return [_address(one) for one in self._ask("Addresses", call, self._stub.Addresses).addresses]

    def deposits(self, wallet: str, *, after: bytes = b"", limit: int = 100) -> list[dict[str, Json]]:
        """What observers stated was paid at the addresses that this backend was given, in order."""
        call = pb.DepositsCall(wallet=wallet, after=after, limit=limit)
        found = self._ask("Deposits", call, self._stub.Deposits).documents
        return [_object(one) for one in found]

    def events(self, *, after: str = "", request: bytes = b"", open_ms: int = 0) -> Iterator[dict[str, Json]]:
        """Events after one of this id, as they come, until ``open_ms`` are over (0: an hour)."""
        call = pb.EventsCall(after=after, request=request, open_ms=open_ms)
        try:
            for one in self._stub.Events(call, metadata=self._signed("Events", call)):
                yield _object(one.document)
        except grpc.RpcError as error:
            raise _refused(error) from error

    def resend(self, webhook: str, first: str, *, last: str = "") -> int:
        """Have a webhook told events once more, by their ids; how many they are."""
        call = pb.ResendCall(webhook=webhook, first=first, last=last)
        return self._ask("Resend", call, self._stub.Resend).count

    def status(self) -> dict[str, Json]:
        """Nodes, heads, pools and requests in numbers."""
        return _object(self._ask("Status", pb.StatusCall(), self._stub.Status).document)

    def policy(self) -> dict[str, Json]:
        """The policy in force, its hash, and what it says in sentences."""
        return _object(self._ask("Policy", pb.PolicyCall(), self._stub.Policy).document)

    def import_offers(self, key: str) -> tuple[int, bytes]:
        """Have the nodes offer one-time keys for an import: the attempt, and the signed offers."""
        call = pb.ImportOffersCall(key=key)
        reply = self._ask("ImportOffers", call, self._stub.ImportOffers)
        return reply.attempt, reply.offers

    def import_key(
        self, key: str, *, attempt: int, envelopes: Mapping[str, bytes], timeout_s: float = 120.0
    ) -> bytes:
        """Bring a dealer's envelopes to the nodes that made the offers; the key's entry."""
        sealed = [pb.Envelope(node=node, sealed=data) for node, data in sorted(envelopes.items())]
        call = pb.ChangeKeyCall(key=key, change="import", attempt=attempt, envelopes=sealed)
        return self._ask("ChangeKey", call, self._stub.ChangeKey, timeout_s=timeout_s).body

    def change_key(self, key: str, change: str, *, timeout_s: float = 120.0) -> bytes:
        """Have the nodes make a key (as an administrator); the canonical body of its entry."""
        call = pb.ChangeKeyCall(key=key, change=change)
        return self._ask("ChangeKey", call, self._stub.ChangeKey, timeout_s=timeout_s).body

    def cold(
        self,
        *,
        files: Sequence[bytes] = (),
        request: str = "",
        key: str = "",
        change: str = "",
        end: bool = False,
    ) -> tuple[dict[str, Json], list[tuple[str, int, bytes]]]:
        """A step of a cold ceremony: how it stands, and the letters to carry now (node, number, bytes)."""
        call = pb.ColdCall(files=files, request=request, key=key, change=change, end=end)
        reply = self._ask("Cold", call, self._stub.Cold, timeout_s=COLD_S)
        return _object(reply.document), [(one.node, one.number, one.data) for one in reply.letters]

    def enact(self, kind: str, body: Json, *, proof: dict[str, Json]) -> dict[str, Json]:
        """Have an entry that administrators signed logged (as one of them); what came of it."""
        call = pb.EnactCall(kind=kind, body=canonical(body), proof=canonical(proof))
        return _object(self._ask("Enact", call, self._stub.Enact, timeout_s=ENACT_S).outcome)

    def document(self, wanted: bytes) -> tuple[str, Json]:
        """Kind and document of what has this hash, in force or pending (as an administrator)."""
        reply = self._ask("Document", pb.DocumentCall(hash=wanted), self._stub.Document)
        found = parse_canonical(reply.document, bytes_max=STATUS_BYTES_MAX)
        digest = listing_id(found) if reply.kind == "address" else document_hash(reply.kind, found)
        if digest != wanted:
            raise MalformedError(f"the coordinator shows another {reply.kind} than that: do not trust it")
        return reply.kind, found

    def draft_fork(self, cosigner: str) -> dict[str, Json]:
        """Body and burns of the fork entry that a cosigner on another branch needs (as an administrator)."""
        call = pb.DraftForkCall(cosigner=cosigner)
        return _object(self._ask("DraftFork", call, self._stub.DraftFork, timeout_s=DRAFT_FORK_S).draft)

    def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Entries from ``start`` on, as many as fit; to be checked against the note."""
        call = pb.EntriesCall(start=start, stop=stop)
        return tuple(self._ask("Entries", call, self._stub.Entries).entries)

    def shadow(self, *, flips: bool = False, limit: int = 100) -> dict[str, Json]:
        """What the shadow policy would have said of the newest requests and reservations."""
        call = pb.ShadowCall(flips=flips, limit=limit)
        return _object(self._ask("Shadow", call, self._stub.Shadow).document)

    def holdings(self, *, at_once: int = 0) -> dict[str, Json]:
        """What every wallet holds now and what is on its way, as ``custody/holdings.py`` says.

        Asked for some accounts at once, each time within a minute. Raises ``OperationalError`` when another
        policy comes into force meanwhile.
        """
        accounts: list[Json] = []
        first: dict[str, Json] = {}
        size = 0
        while True:
            before = len(accounts)
            call = pb.HoldingsCall(after=before, limit=at_once)
            reply = self._ask("Holdings", call, self._stub.Holdings, timeout_s=HOLDINGS_S)
            page = Fields(_object(reply.document), "holdings")
            rest = {name: page.raw(name) for name in ("time_ms", "policy", "open", "prices")}
            accounts += page.items("accounts", lambda one: one, count_max=PAGE_MAX)
            first = first or rest  # its time is that of the oldest balance
            if first["policy"] != rest["policy"]:
                raise OperationalError("another policy came into force meanwhile: ask again")
            after, size = page.integer("next"), size + len(reply.document)
            page.done()
            if not after:
                return {**rest, "time_ms": first["time_ms"], "accounts": accounts}
            if not before < after == len(accounts) or size > PAGES_BYTES_MAX:  # it could go on for ever
                raise MalformedError(
                    f"the coordinator goes on from {after} after {len(accounts)} accounts: do not trust it"
                )

    def movements(self, after: int, *, limit: int = 0) -> dict[str, Json]:
        """Signed payments in the order of the log, from a number on; ``next`` is where to go on."""
        call = pb.MovementsCall(after=after, limit=limit)
        return _object(self._ask("Movements", call, self._stub.Movements).document)

    def report(self, body: bytes, signature: bytes) -> None:
        """Hand in a report that its author signed; see ``custody/rebalance_report.py``."""
        self._ask("Report", pb.ReportCall(body=body, signature=signature), self._stub.Report)

    def log_note(self) -> bytes:
        """The newest checkpoint with w cosignatures."""
        return self._ask("Log", pb.LogCall(), self._stub.Log).note

    def _ask(
        self,
        method: str,
        call: CallT,
        stub: Callable[..., ReplyT],
        *,
        timeout_s: float | None = None,
    ) -> ReplyT:
        metadata = self._signed(method, call)
        return self._answer(lambda: stub(call, timeout=timeout_s or self._timeout_s, metadata=metadata))

    def _signed(self, method: str, call: Message) -> tuple[tuple[str, str | bytes], ...]:
        return sign_call(
            method,
            call,
            origin=self._origin,
            time_ms=time.time_ns() // 1_000_000,
            caller=self._caller.name,
            key=self._caller.key,
        )

    def _answer(self, ask: Callable[[], ReplyT]) -> ReplyT:
        try:
            return ask()
        except grpc.RpcError as error:
            raise _refused(error) from error


def _refused(error: grpc.RpcError) -> CallRefused:
    if not isinstance(error, grpc.Call):
        return CallRefused(Code.UNAVAILABLE, f"{error}: call again")
    codes = dict(error.trailing_metadata() or ())
    code = codes.get(CODE_METADATA, b"")
    if not code:  # no coordinator said so
        said = error.details() or "the connection broke"
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return CallRefused(
                Code.UNKNOWN_PATH, "the coordinator does not know this call: its program is older, upgrade it"
            )
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and said.startswith("SERVER"):
            return CallRefused(Code.TOO_LARGE, f"{said}: send less")
        return CallRefused(Code.UNAVAILABLE, f"{ANSWERS_NOT}: {said}; {LOOK}")
    return CallRefused(code if isinstance(code, str) else code.decode(), error.details() or "no reason given")


def _address(given: pb.DepositAddress) -> WalletAddress:
    return WalletAddress(given.address, given.path, given.chain, given.label, given.in_policy)


def _object(data: bytes) -> dict[str, Json]:
    document = parse_canonical(data, bytes_max=STATUS_BYTES_MAX)
    return document if isinstance(document, dict) else {}


def _view(message: pb.RequestView) -> RequestView:
    return RequestView(
        request=message.request,
        body=message.body,
        state=message.state,
        rule=message.rule,
        account=message.account,
        nonce=int(message.nonce or "0"),
        job=message.job,
        tx_hash=message.tx_hash,
        block=message.block,
        error=message.error,
        updated_ms=message.updated_ms,
        approvals=message.approvals,
        signature=message.signature,
        substate=message.substate,
        event=message.event,
    )
