"""A person's yes and no over HTTP, and what else people sign: what counts is the signature inside."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from custody.adapters.http.calls import Call, CallDependency
from custody.adapters.http.decision_models import (
    ApprovalGiven,
    DraftList,
    HandedIn,
    Outcome,
    RejectionGiven,
)
from custody.adapters.http.models import RequestResource, takes
from custody.adapters.http.requests import RequestId, resources
from custody.api.errors import CallRefused, Code
from custody.enacting import Signed
from policy.eddsa import SIGNATURE_BYTES
from policy.encoding import Json, canonical, parse_canonical
from policy.errors import MalformedError

DRAFT_BYTES_MAX = 64 * 1024
router = APIRouter(tags=["decisions"])


@router.get("/v1/approvals", response_model=DraftList)
async def list_drafts(call: CallDependency) -> JSONResponse:
    """What waits for the caller's approval, each as the document to complete: with an id and their name."""
    found = [
        parse_canonical(one, bytes_max=DRAFT_BYTES_MAX) for one in await call.service.pending(call.caller)
    ]
    return JSONResponse({"drafts": found})


@router.post(
    "/v1/requests/{request}/approval", response_model=RequestResource, openapi_extra=takes(ApprovalGiven)
)
async def approve_request(call: CallDependency, request: RequestId) -> JSONResponse:
    """Approve: the completed document, and the passkey's assertion over it. In the log when this answers."""
    document, proof = _both(call, "approval", "assertion")
    _same_request(document, request)
    record = await call.service.approve(canonical(document), canonical(proof))
    (view,) = await resources(call, record)
    return JSONResponse(view)


@router.post(
    "/v1/requests/{request}/rejection", response_model=RequestResource, openapi_extra=takes(RejectionGiven)
)
async def reject_request(call: CallDependency, request: RequestId) -> JSONResponse:
    """Stop a request for good: a document signed by the caller's key, or asserted by their passkey."""
    await call.service.get(bytes.fromhex(request), call.own)
    fields = call.document()
    try:
        document = fields.raw("rejection")
        if fields.has("assertion"):
            proof: dict[str, Json] = {"assertion": fields.raw("assertion")}
        else:
            signature = fields.hex("signature", length=SIGNATURE_BYTES).hex()
            proof = {"signatures": [{"name": call.caller, "signature": signature}]}
        fields.done()
    except MalformedError as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error
    _same_request(document, request)
    await call.service.enact(call.caller, Signed("reject", canonical(document), canonical(proof)))
    (view,) = await resources(call, await call.service.get(bytes.fromhex(request), call.own))
    return JSONResponse(view)


@router.post("/v1/statements", response_model=Outcome, openapi_extra=takes(HandedIn))
async def hand_in(call: CallDependency) -> JSONResponse:
    """Put into the log what observers have stated or administrators have signed, with their signatures."""
    fields = call.document()
    try:
        kind = fields.text("kind", length_max=32)
        body, proof = fields.raw("body"), fields.raw("proof")
        fields.done()
    except MalformedError as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error
    outcome = await call.service.enact(call.caller, Signed(kind, canonical(body), canonical(proof)))
    return JSONResponse(parse_canonical(outcome, bytes_max=DRAFT_BYTES_MAX))


def _both(call: Call, *names: str) -> list[Json]:
    fields = call.document()
    try:
        found = [fields.raw(name) for name in names]
        fields.done()
    except MalformedError as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error
    return found


def _same_request(document: Any, request: str) -> None:
    if not isinstance(document, dict) or document.get("request") != request:
        raise CallRefused(Code.MALFORMED, "the document is for another request than the path: name one")
