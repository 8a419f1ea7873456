"""Requests over HTTP: hand one in, look at it, wait for it, list."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse

from custody.adapters.http.calls import Call, CallDependency
from custody.adapters.http.models import RequestList, RequestResource, Submission, takes
from custody.adapters.http.views import resource
from custody.api.errors import CallRefused, Code
from custody.requests import State
from policy.encoding import canonical
from policy.errors import MalformedError
from policy.intent import SIGNATURE_BYTES

ID = "^[0-9a-f]{64}$"
LIST_MAX = 500
router = APIRouter(tags=["requests"])
RequestId = Annotated[str, Path(pattern=ID, description="A request's id: 64 hex digits.")]


@router.post("/v1/requests", status_code=202, response_model=RequestResource, openapi_extra=takes(Submission))
async def submit_request(call: CallDependency) -> JSONResponse:
    """Hand in a signed request, once for each idempotency key; it is durable when this answers."""
    fields = call.document()
    try:
        document, signature = fields.raw("request"), fields.hex("signature", length=SIGNATURE_BYTES)
        fields.done()
    except MalformedError as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error
    if isinstance(document, dict) and document.get("initiator", call.caller) != call.caller:
        raise CallRefused(Code.FORBIDDEN, f"{call.caller} hands in its own requests only")
    record = await call.service.submit(canonical(document), signature)
    view = resource(record, call.house.parts.sequencer.state)
    return JSONResponse(view, 202, {"Location": f"/v1/requests/{view['id']}"})


@router.get("/v1/requests/{request}", response_model=RequestResource)
async def get_request(call: CallDependency, request: RequestId) -> JSONResponse:
    """One request of the caller, as it is now."""
    record = await call.service.get(bytes.fromhex(request), call.caller)
    return JSONResponse(resource(record, call.house.parts.sequencer.state))


@router.get("/v1/requests", response_model=RequestList)
async def list_requests(
    call: CallDependency,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    limit: Annotated[int, Query(ge=1, le=LIST_MAX)] = 100,
    before: Annotated[str | None, Query(pattern=ID, description="Continue after this request.")] = None,
) -> JSONResponse:
    """The caller's requests, newest first."""
    records = await call.service.requests(
        state=state or "", initiator=call.caller, limit=limit, before=bytes.fromhex(before or "")
    )
    return _listed(call, [resource(one, call.house.parts.sequencer.state) for one in records])


def _listed(_: Call, resources: list[dict[str, Any]]) -> JSONResponse:
    return JSONResponse({"requests": resources})
