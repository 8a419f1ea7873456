"""The feed over HTTP: pages, with a long poll for the next one, and a stream of server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import JSONResponse, StreamingResponse

from custody.adapters.http.calls import Call, CallDependency, Digits
from custody.adapters.http.models import EventPage, streams
from custody.adapters.http.requests import ID
from custody.api.errors import CallRefused
from custody.feeds import Event
from custody.listening import EVENTS_MAX, KEEP_ALIVE_MS, OPEN_MAX_MS, WAIT_MAX_MS, Asked
from custody.webhooks import event_document
from policy.encoding import canonical

AFTER = "^(newest|[0-9a-f]{8}-(0|[1-9][0-9]{0,17}))$"
router = APIRouter(tags=["events"])
After = Annotated[
    str | None,
    Query(pattern=AFTER, description="Continue after this event; `newest` for what comes from now on."),
]
OfRequest = Annotated[str | None, Query(pattern=ID, description="Of this request alone.")]
WaitMs = Annotated[
    int,
    Query(ge=0, le=WAIT_MAX_MS, description="When there is nothing yet, wait so long for something."),
    Digits,
]


@router.get("/v1/events", response_model=EventPage)
async def list_events(
    call: CallDependency,
    *,
    after: After = None,
    request: OfRequest = None,
    limit: Annotated[int, Query(ge=1, le=EVENTS_MAX), Digits] = 100,
    wait_ms: WaitMs = 0,
) -> JSONResponse:
    """Every change of the caller's requests (people: of all), in order, from the first one on."""
    asked = await _asked(call, after, request=request, limit=limit)
    found = await call.service.feed.events(asked, wait_ms=wait_ms)
    following = found[-1].id if found else asked.after
    return JSONResponse({"events": [event_document(event) for event in found], "next": following})


@router.get("/v1/events/stream", response_class=StreamingResponse, responses=streams())
async def stream_events(
    call: CallDependency,
    *,
    after: After = None,
    request: OfRequest = None,
    last_event_id: Annotated[
        str | None, Header(pattern=AFTER, description="As `after`, by which a reader resumes by itself.")
    ] = None,
    open_ms: Annotated[
        int,
        Query(ge=0, le=OPEN_MAX_MS, description="End after so long: the reader signs and resumes."),
        Digits,
    ] = OPEN_MAX_MS,
) -> StreamingResponse:
    """The same, as server-sent events."""
    asked = await _asked(call, last_event_id or after, request=request, limit=EVENTS_MAX)
    return StreamingResponse(
        _lines(call, asked, open_s=open_ms / 1000),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


async def _asked(call: Call, after: str | None, *, request: str | None, limit: int) -> Asked:
    wanted = bytes.fromhex(request or "")
    if wanted:
        await call.service.get(wanted, call.own)
    position = await call.service.feed.position(after or "", call.own)
    return Asked(position, wanted, call.own, limit)


async def _lines(call: Call, asked: Asked, *, open_s: float) -> AsyncIterator[bytes]:
    yield b": the feed of Quorumkeep\n\n"
    clock = asyncio.get_running_loop().time
    until, every_ms = clock() + open_s, min(KEEP_ALIVE_MS, int(open_s * 1000))
    try:
        async with aclosing(call.service.feed.stream(asked, every_ms=every_ms)) as stream:
            async for found in stream:
                yield b"".join(map(_message, found)) or b": nothing new\n\n"
                if clock() >= until:
                    return
    except CallRefused as refusal:
        yield (
            b"event: refused\ndata: " + canonical({"code": refusal.code, "detail": refusal.reason}) + b"\n\n"
        )


def _message(event: Event) -> bytes:
    return b"id: " + event.id.encode() + b"\ndata: " + canonical(event_document(event)) + b"\n\n"
