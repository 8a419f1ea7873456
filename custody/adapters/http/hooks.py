"""The caller's webhooks over HTTP: how they are doing, and telling them again."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse

from custody.adapters.http.calls import CallDependency
from custody.adapters.http.models import Resend, Resent, WebhookList, takes
from custody.adapters.http.views import webhook as shown
from custody.api.errors import CallRefused, Code
from policy.errors import MalformedError

EVENT_CHARACTERS_MAX = 40
router = APIRouter(tags=["webhooks"])


@router.get("/v1/webhooks", response_model=WebhookList)
async def list_webhooks(call: CallDependency) -> JSONResponse:
    """The caller's webhooks, and what each is still to be told."""
    key = call.house.parts.hooks.key
    public = key.public_key().public_bytes_raw() if key is not None else b""
    found = await call.service.webhooks(call.caller)
    return JSONResponse({"webhooks": [shown(one, backlog, key=public) for one, backlog in found]})


@router.post(
    "/v1/webhooks/{webhook}/resend", status_code=202, response_model=Resent, openapi_extra=takes(Resend)
)
async def resend_events(
    call: CallDependency,
    webhook: Annotated[str, Path(pattern="^[a-z0-9][a-z0-9._-]{0,62}$", description="A webhook's name.")],
) -> JSONResponse:
    """Have a webhook told these events once more: one, or all from `first` to `last`."""
    fields = call.document()
    try:
        first = fields.text("first", length_max=EVENT_CHARACTERS_MAX)
        last = fields.text("last", length_max=EVENT_CHARACTERS_MAX) if fields.has("last") else first
        fields.done()
    except MalformedError as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error
    count = await call.service.resend(call.caller, webhook, first=first, last=last)
    return JSONResponse({"count": count}, 202)
