"""Requests over HTTP: hand one in, look at it, wait for it, list."""

import base64
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from custody.adapters.http.calls import Call, CallDependency, Digits
from custody.adapters.http.models import PSBT_TEXT_MAX, Psbt, RequestList, RequestResource, Submission, takes
from custody.adapters.http.views import resource
from custody.api.errors import CallRefused, Code
from custody.listening import WAIT_MAX_MS, Asked
from custody.records import RequestRecord
from custody.requests import State
from policy.eddsa import SIGNATURE_BYTES
from policy.encoding import canonical
from policy.errors import MalformedError

ID = "^[0-9a-f]{64}$"
EVENT = "^[0-9a-f]{8}-(0|[1-9][0-9]{0,17})$"
LIST_MAX = 500
router = APIRouter(tags=["requests"])
RequestId = Annotated[str, Path(pattern=ID, description="A request's id: 64 hex digits.")]


@router.post("/v1/requests", status_code=202, response_model=RequestResource, openapi_extra=takes(Submission))
async def submit_request(call: CallDependency) -> JSONResponse:
    """Hand in a signed request, once for each idempotency key; it is durable when this answers."""
    fields = call.document()
    try:
        document, signature = fields.raw("request"), fields.hex("signature", length=SIGNATURE_BYTES)
        psbt = fields.text("psbt", length_max=PSBT_TEXT_MAX) if fields.has("psbt") else ""
        fields.done()
    except MalformedError as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error
    if isinstance(document, dict) and document.get("initiator", call.caller) != call.caller:
        raise CallRefused(Code.FORBIDDEN, f"{call.caller} hands in its own requests only")
    record = await call.service.submit(canonical(document), signature, psbt=psbt.encode())
    (view,) = await resources(call, record)
    return JSONResponse(view, 202, {"Location": f"/v1/requests/{view['id']}"})


@router.get("/v1/requests/{request}", response_model=RequestResource)
async def get_request(
    call: CallDependency,
    request: RequestId,
    *,
    after: Annotated[
        str | None, Query(pattern=EVENT, description="Wait for a change after this event of it.")
    ] = None,
    wait_ms: Annotated[int, Query(ge=0, le=WAIT_MAX_MS, description="At most so long."), Digits] = 0,
) -> JSONResponse:
    """One request of the caller (people: any), as it is now; with `after`, as soon as it has changed."""
    wanted = bytes.fromhex(request)
    record = await call.service.get(wanted, call.own)
    if after is not None:
        await call.service.feed.events(Asked(after, wanted, call.own, 1, newest=True), wait_ms=wait_ms)
        record = await call.service.get(wanted, call.own)
    (view,) = await resources(call, record)
    return JSONResponse(view)


@router.get("/v1/requests/{request}/psbt", response_model=Psbt)
async def get_request_psbt(
    call: CallDependency,
    request: RequestId,
    *,
    version: Annotated[Literal["0", "2"], Query(description="BIP 174 or BIP 370.")] = "0",
) -> JSONResponse:
    """Its newest transaction as a PSBT, unsigned or finished. Of Bitcoin alone."""
    psbt, signed = await call.service.psbt(bytes.fromhex(request), call.own, version=int(version))
    return JSONResponse({"psbt": base64.b64encode(psbt).decode(), "signed": signed})


@router.get("/v1/requests", response_model=RequestList)
async def list_requests(
    call: CallDependency,
    *,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=LIST_MAX), Digits] = 100,
    before: Annotated[str | None, Query(pattern=ID, description="Continue after this request.")] = None,
) -> JSONResponse:
    """The caller's requests (people: all), newest first."""
    records = await call.service.requests(
        state=state or "", initiator=call.own, limit=limit, before=bytes.fromhex(before or "")
    )
    return JSONResponse({"requests": await resources(call, *records)})


async def resources(call: Call, *records: RequestRecord) -> list[dict[str, Any]]:
    """Requests as this door shows them."""
    state = call.house.parts.sequencer.state
    return [resource(shown, state) for shown in await call.service.shown(*records, own=bool(call.own))]
