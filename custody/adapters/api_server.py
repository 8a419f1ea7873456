"""The coordinator's gRPC door: envelopes in and out, callers authenticated, refusals with their codes."""

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from custody.api import custody_pb2 as pb
from custody.api import custody_pb2_grpc
from custody.api.calls import authenticate
from custody.api.errors import CODE_METADATA, CallRefused, Code
from custody.cold import ColdStep
from custody.deposits import in_policy
from custody.enacting import Signed
from custody.feeds import DepositAddress, Event, deposit_document
from custody.holdings import holdings, movements
from custody.keys import Import
from custody.listening import EVENTS_MAX, OPEN_MAX_MS, Asked
from custody.parts import Parts
from custody.projection import typed_data_signature
from custody.records import RequestRecord
from custody.reports import take_report
from custody.roles import permit
from custody.service import Service, Shown
from custody.storage import LeaseLost
from custody.webhooks import event_document
from policy.encoding import INTEGER_MAX, canonical
from policy.errors import OperationalError
from policy.ids import transaction_name
from policy.state import State

MESSAGE_BYTES_MAX = 2 * 1024 * 1024  # a cold node's letter with its round of presigning for eight others
_STATUS = {
    Code.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Code.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Code.UNKNOWN_REQUEST: grpc.StatusCode.NOT_FOUND,
    Code.UNKNOWN_DOCUMENT: grpc.StatusCode.NOT_FOUND,
    Code.UNKNOWN_EVENT: grpc.StatusCode.NOT_FOUND,
    Code.UNKNOWN_ADDRESS: grpc.StatusCode.NOT_FOUND,
    Code.TOO_MANY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Code.IDEMPOTENCY_CONFLICT: grpc.StatusCode.ALREADY_EXISTS,
    Code.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Code.INTERNAL: grpc.StatusCode.INTERNAL,
}
_LOG = logging.getLogger(__name__)
CallT = TypeVar("CallT", bound=Message)
ReplyT = TypeVar("ReplyT")
_Context = Any  # grpc.aio.ServicerContext is generic over messages that differ in each method


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The certificate clients pin, and its key, as PEM."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


def view(record: RequestRecord, log: State, *, event: Event | None = None) -> pb.RequestView:
    """A request as the API shows it; the signature of typed data is what the log has."""
    return pb.RequestView(
        request=record.request,
        body=record.body,
        state=record.state,
        rule=record.rule,
        account=record.account,
        nonce=str(record.nonce or 0),
        job=record.job,
        tx_hash=transaction_name(record.chain, record.tx_hash) if record.tx_hash else "",
        block=record.block,
        error=record.error,
        updated_ms=record.updated_ms,
        approvals=record.approvals,
        signature=typed_data_signature(log, record),
        substate=event.substate if event else "",
        event=event.id if event else "",
    )


def _refusals(
    method: Callable[[Any, CallT, _Context], Awaitable[ReplyT]],
) -> Callable[[Any, CallT, _Context], Awaitable[ReplyT]]:
    """Answer what a method raises with a status and a code."""

    @functools.wraps(method)
    async def answer(self: Any, call: CallT, context: _Context) -> ReplyT:
        try:
            return await method(self, _read(call), context)
        except Exception as error:  # noqa: BLE001 - the next line tells a defect from a refusal
            refused = _refusal(method.__name__, error)
        return await _abort(context, refused)

    return answer


def _stream_refusals(
    method: Callable[[Any, CallT, _Context], AsyncIterator[ReplyT]],
) -> Callable[[Any, CallT, _Context], AsyncIterator[ReplyT]]:
    """The same for a method that answers more than once."""

    @functools.wraps(method)
    async def answer(self: Any, call: CallT, context: _Context) -> AsyncIterator[ReplyT]:
        try:
            async for reply in method(self, _read(call), context):
                yield reply
            return
        except Exception as error:  # noqa: BLE001 - as above
            refused = _refusal(method.__name__, error)
        await _abort(context, refused)

    return answer


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What came in place of a call, and why it is none."""

    reason: str


def _read(call: CallT | Unreadable) -> CallT:
    if isinstance(call, Unreadable):
        raise CallRefused(Code.MALFORMED, call.reason)
    for given, value in call.ListFields():
        if isinstance(value, str) and "\0" in value:  # nothing is called so, and PostgreSQL refuses to look
            raise CallRefused(Code.MALFORMED, f"{given.name} has a NUL character: leave it out")
    return call


def _parser(kind: type[Message]) -> Callable[[bytes], Message | Unreadable]:
    """Parses calls. Raising would have gRPC answer without a code, and log a traceback for any stranger."""

    def parse(data: bytes) -> Message | Unreadable:
        try:
            call = kind.FromString(data)
        except DecodeError:
            return Unreadable(f"this is no {kind.DESCRIPTOR.name}: send it as custody.proto has it")
        if len(unknown := UnknownFieldSet(call)):
            return Unreadable(
                f"{kind.DESCRIPTOR.name} has no field {unknown[0].field_number} here: leave it out, or have "
                "the coordinator upgraded"
            )
        return call

    return parse


def _refusal(method: str, error: Exception) -> CallRefused:
    if isinstance(error, CallRefused):
        return error
    if isinstance(error, OperationalError | LeaseLost):
        return CallRefused(Code.UNAVAILABLE, str(error))
    _LOG.error("%s failed", method, exc_info=error)
    return CallRefused(Code.INTERNAL, "the coordinator's log has more")


class CustodyServicer(custody_pb2_grpc.CustodyServicer):
    """Every method of the service, over one ``Service``."""

    def __init__(self, service: Service, parts: Parts) -> None:
        self._service = service
        self._parts = parts

    @_refusals
    async def Submit(self, call: pb.SubmitCall, context: _Context) -> pb.RequestView:
        return await self._view(
            await self._service.submit(call.body, call.signature, psbt=call.psbt), own=True
        )

    @_refusals
    async def Gather(self, call: pb.GatherCall, context: _Context) -> pb.GatherReply:
        self._caller("Gather", call, context)
        destination, found = await self._service.gather(
            call.wallet, to_wallet=call.to_wallet, coins_max=call.coins_max
        )
        return pb.GatherReply(
            psbt=found.psbt,
            destination=destination,
            amount=str(found.amount),
            fee=str(found.fee),
            coins=found.coins,
            left=found.left,
        )

    @_refusals
    async def Psbt(self, call: pb.PsbtCall, context: _Context) -> pb.PsbtReply:
        caller = self._own_only(self._caller("Psbt", call, context))
        psbt, signed = await self._service.psbt(call.request, caller, version=call.version)
        return pb.PsbtReply(psbt=psbt, signed=signed)

    @_refusals
    async def Get(self, call: pb.GetCall, context: _Context) -> pb.RequestView:
        caller = self._own_only(self._caller("Get", call, context))
        return await self._view(await self._service.get(call.request, caller), own=bool(caller))

    @_refusals
    async def List(self, call: pb.ListCall, context: _Context) -> pb.ListReply:
        caller = self._own_only(self._caller("List", call, context))
        records = await self._service.requests(
            state=call.state, initiator=caller, limit=call.limit, before=call.before
        )
        shown = await self._service.shown(*records, own=bool(caller))
        return pb.ListReply(requests=[self._with_event(one) for one in shown])

    @_stream_refusals
    async def Watch(self, call: pb.WatchCall, context: _Context) -> AsyncIterator[pb.RequestView]:
        caller = self._own_only(self._caller("Watch", call, context))
        async for record in self._service.watch(call.request, caller):
            yield view(record, self._parts.sequencer.state)

    @_stream_refusals
    async def Events(self, call: pb.EventsCall, context: _Context) -> AsyncIterator[pb.EventView]:
        caller = self._own_only(self._caller("Events", call, context))
        if call.request:
            await self._service.get(call.request, caller)
        asked = Asked(call.after, call.request, caller, EVENTS_MAX)
        async for event in self._service.feed.until(asked, open_ms=call.open_ms or OPEN_MAX_MS):
            yield pb.EventView(document=canonical(event_document(event)))

    @_refusals
    async def GiveAddress(self, call: pb.GiveAddressCall, context: _Context) -> pb.DepositAddress:
        caller = self._caller("GiveAddress", call, context)
        given = await self._service.give_address(caller, call.wallet, label=call.label, path=call.path)
        return _address(given, self._parts.sequencer.state)

    @_refusals
    async def LabelAddress(self, call: pb.LabelAddressCall, context: _Context) -> pb.DepositAddress:
        caller = self._caller("LabelAddress", call, context)
        changed = await self._service.label_address(
            caller, call.wallet, address=call.address, label=call.label
        )
        return _address(changed, self._parts.sequencer.state)

    @_refusals
    async def Addresses(self, call: pb.AddressesCall, context: _Context) -> pb.AddressesReply:
        caller = self._caller("Addresses", call, context)
        found = await self._service.addresses(caller, call.wallet, after=call.after, limit=call.limit or 100)
        return pb.AddressesReply(addresses=[_address(one, self._parts.sequencer.state) for one in found])

    @_refusals
    async def Deposits(self, call: pb.DepositsCall, context: _Context) -> pb.DepositsReply:
        caller = self._caller("Deposits", call, context)
        found = await self._service.deposits(caller, call.wallet, after=call.after, limit=call.limit or 100)
        return pb.DepositsReply(documents=[canonical(deposit_document(one)) for one in found])

    @_refusals
    async def Webhooks(self, call: pb.WebhooksCall, context: _Context) -> pb.WebhooksReply:
        found = await self._service.webhooks(self._caller("Webhooks", call, context))
        key = self._parts.hooks.key
        views = [
            pb.WebhookView(name=one.name, url=one.url, waiting=backlog.waiting, error=backlog.error)
            for one, backlog in found
        ]
        return pb.WebhooksReply(webhooks=views, key=key.public_key().public_bytes_raw() if key else b"")

    @_refusals
    async def Resend(self, call: pb.ResendCall, context: _Context) -> pb.ResendReply:
        caller = self._caller("Resend", call, context)
        count = await self._service.resend(
            caller, call.webhook, first=call.first, last=call.last or call.first
        )
        return pb.ResendReply(count=count)

    @_refusals
    async def Pending(self, call: pb.PendingCall, context: _Context) -> pb.PendingReply:
        caller = self._caller("Pending", call, context)
        if caller != call.operator:
            raise CallRefused(Code.FORBIDDEN, f"{caller} sees no drafts of others: ask for your own")
        return pb.PendingReply(drafts=await self._service.pending(caller))

    @_refusals
    async def Approve(self, call: pb.ApproveCall, context: _Context) -> pb.ApproveReply:
        record = await self._service.approve(call.body, call.assertion)
        return pb.ApproveReply(request=await self._view(record, own=False))

    @_refusals
    async def Address(self, call: pb.AddressCall, context: _Context) -> pb.AddressReply:
        self._caller("Address", call, context)
        account, chain, public_key = self._service.address(call.wallet, call.path)
        return pb.AddressReply(address=account.address, path=account.path, chain=chain, public_key=public_key)

    @_refusals
    async def Status(self, call: pb.StatusCall, context: _Context) -> pb.StatusReply:
        caller = self._own_only(self._caller("Status", call, context))
        return pb.StatusReply(document=canonical(await self._service.status(caller)))

    @_refusals
    async def ChangeKey(self, call: pb.ChangeKeyCall, context: _Context) -> pb.ChangeKeyReply:
        caller = self._caller("ChangeKey", call, context)
        envelopes = tuple((one.node, one.sealed) for one in call.envelopes)
        if call.attempt and not envelopes:
            raise CallRefused(
                Code.MALFORMED,
                "an attempt is that of an import's offers: bring its envelopes, or leave it out",
            )
        dealt = Import(call.attempt, envelopes) if envelopes else None
        body = await self._service.change_key(caller, call.key, change=call.change, dealt=dealt)
        return pb.ChangeKeyReply(body=body)

    @_refusals
    async def ImportOffers(self, call: pb.ImportOffersCall, context: _Context) -> pb.ImportOffersReply:
        caller = self._caller("ImportOffers", call, context)
        attempt, offers = await self._service.import_offers(caller, call.key)
        return pb.ImportOffersReply(attempt=attempt, offers=offers)

    @_refusals
    async def Policy(self, call: pb.PolicyCall, context: _Context) -> pb.PolicyReply:
        self._caller("Policy", call, context)
        return pb.PolicyReply(document=canonical(self._service.policy()))

    @_refusals
    async def Log(self, call: pb.LogCall, context: _Context) -> pb.LogReply:
        self._caller("Log", call, context)
        return pb.LogReply(note=self._service.log_note())

    @_refusals
    async def Entries(self, call: pb.EntriesCall, context: _Context) -> pb.EntriesReply:
        self._caller("Entries", call, context)
        start, stop = (min(place, INTEGER_MAX) for place in (call.start, call.stop))
        return pb.EntriesReply(entries=await self._parts.database.entries(start, stop))

    @_refusals
    async def Enact(self, call: pb.EnactCall, context: _Context) -> pb.EnactReply:
        caller = self._caller("Enact", call, context)
        signed = Signed(call.kind, call.body, call.proof)
        return pb.EnactReply(outcome=await self._service.enact(caller, signed))

    @_refusals
    async def Document(self, call: pb.DocumentCall, context: _Context) -> pb.DocumentReply:
        kind, document = self._service.document(self._caller("Document", call, context), call.hash)
        return pb.DocumentReply(kind=kind, document=document)

    @_refusals
    async def DraftFork(self, call: pb.DraftForkCall, context: _Context) -> pb.DraftForkReply:
        caller = self._caller("DraftFork", call, context)
        return pb.DraftForkReply(draft=await self._service.draft_fork(caller, call.cosigner))

    @_refusals
    async def Shadow(self, call: pb.ShadowCall, context: _Context) -> pb.ShadowReply:
        self._caller("Shadow", call, context)
        document = await self._service.shadow(flips=call.flips, limit=call.limit or 100)
        return pb.ShadowReply(document=canonical(document))

    @_refusals
    async def Cold(self, call: pb.ColdCall, context: _Context) -> pb.ColdReply:
        caller = self._caller("Cold", call, context)
        try:
            request = bytes.fromhex(call.request)
        except ValueError as error:
            raise CallRefused(Code.UNKNOWN_REQUEST, "a request's id is hexadecimal: copy it whole") from error
        ended_by = caller if call.end else ""
        wanted = ColdStep(tuple(call.files), request, call.key, call.change, ended_by)
        document, letters = await self._service.cold(caller, wanted)
        return pb.ColdReply(
            document=document,
            letters=[pb.ColdLetter(node=node, number=number, data=data) for node, number, data in letters],
        )

    @_refusals
    async def Holdings(self, call: pb.HoldingsCall, context: _Context) -> pb.HoldingsReply:
        self._caller("Holdings", call, context)
        return pb.HoldingsReply(document=canonical(await holdings(self._parts, call.after, limit=call.limit)))

    @_refusals
    async def Movements(self, call: pb.MovementsCall, context: _Context) -> pb.MovementsReply:
        self._caller("Movements", call, context)
        found = movements(self._parts.sequencer.state, call.after, limit=call.limit)
        return pb.MovementsReply(document=canonical(found))

    @_refusals
    async def Report(self, call: pb.ReportCall, context: _Context) -> pb.ReportReply:
        caller = self._caller("Report", call, context)
        await take_report(self._parts, caller, body=call.body, signature=call.signature)
        return pb.ReportReply()

    async def _view(self, record: RequestRecord, *, own: bool) -> pb.RequestView:
        (shown,) = await self._service.shown(record, own=own)
        return self._with_event(shown)

    def _with_event(self, shown: Shown) -> pb.RequestView:
        return view(shown.record, self._parts.sequencer.state, event=shown.event)

    def _own_only(self, caller: str) -> str:
        """The initiator whose requests alone the caller may see; empty for people."""
        return caller if caller in self._parts.sequencer.state.roster.initiators else ""

    def _caller(self, method: str, call: Message, context: _Context) -> str:
        state = self._parts.sequencer.state
        try:
            caller = authenticate(
                method,
                call,
                metadata=context.invocation_metadata() or (),
                key_of=self._parts.key_of,
                origin=state.origin,
                now_ms=self._parts.now_ms(),
            )
        except CallRefused:
            self._parts.login_failed("grpc")
            raise
        permit(method, caller, roster=state.roster, auditors=self._parts.auditors)
        return caller


def _address(given: DepositAddress, log: State) -> pb.DepositAddress:
    return pb.DepositAddress(
        address=given.address,
        chain=given.chain,
        wallet=given.wallet,
        path=given.path,
        label=given.label,
        created_ms=given.created_ms,
        in_policy=in_policy(log, given),
    )


def _handler(servicer: CustodyServicer, method: MethodDescriptor) -> "grpc.RpcMethodHandler[Any, Any]":
    made = grpc.unary_unary_rpc_method_handler
    if method.server_streaming:
        made = grpc.unary_stream_rpc_method_handler
    return made(
        getattr(servicer, method.name),
        request_deserializer=_parser(getattr(pb, method.input_type.name)),
        response_serializer=getattr(pb, method.output_type.name).SerializeToString,
    )


async def start_server(
    servicer: CustodyServicer, listen: str, *, tls: ServerTls
) -> tuple[grpc.aio.Server, int]:
    """A server on ``listen`` (``host:port``, port 0 for any), and the port it got."""
    server = grpc.aio.server(
        options=(("grpc.max_receive_message_length", MESSAGE_BYTES_MAX), ("grpc.so_reuseport", 0))
    )
    service = pb.DESCRIPTOR.services_by_name["Custody"]
    handlers = {method.name: _handler(servicer, method) for method in service.methods}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    credentials = grpc.ssl_server_credentials([(tls.key_pem, tls.certificate_pem)])
    try:
        port = server.add_secure_port(listen, credentials)
    except RuntimeError as error:
        raise OperationalError(f"cannot listen on {listen}: {error}; choose another port") from error
    await server.start()
    return server, port


async def _abort(context: _Context, refusal: CallRefused) -> NoReturn:
    status = _STATUS.get(Code(refusal.code), grpc.StatusCode.FAILED_PRECONDITION)
    await context.abort(status, refusal.reason[:2000], trailing_metadata=((CODE_METADATA, refusal.code),))
    raise refusal  # abort has raised already
