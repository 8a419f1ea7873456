"""The console's application: pages, the calls of their scripts, and what they refuse with."""

import logging
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from custody.api.errors import MEANINGS, CallRefused, Code
from custody.console import decisions, entrance, indicators, pages, rebalancing
from custody.console.guard import Guard
from custody.console.house import REFRESH_HEADER, House, LoginNeeded, answer, environment, visit
from custody.console.log_index import LogIndex
from custody.console.people import People
from custody.console.readings import Readings
from custody.console.sessions import Sessions
from custody.parts import Parts
from custody.service import Service
from custody.storage import LeaseLost
from policy.errors import OperationalError

_LOG = logging.getLogger(__name__)
NOTHING_NEW: Final = 204  # of a page that refreshes itself: it stays as it is
_FOLDER: Final = Path(__file__).parent


def build_console(service: Service, parts: Parts, *, site: str) -> Guard:
    """The application of the console that browsers call ``site``."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.house = House(
        service=service,
        parts=parts,
        sessions=Sessions(
            People(parts.auditors.values()), site, state=lambda: parts.sequencer.state, now_ms=parts.now_ms
        ),
        index=LogIndex(parts),
        readings=Readings(parts),
        pages=environment(str(_FOLDER / "templates")),
        site=site,
    )
    for one in (entrance.router, pages.router, decisions.router, rebalancing.router, indicators.router):
        app.include_router(one)
    app.mount("/static", StaticFiles(directory=_FOLDER / "static"))
    app.add_exception_handler(LoginNeeded, _login)
    app.add_exception_handler(CallRefused, _refused)
    app.add_exception_handler(OperationalError, _operational)
    app.add_exception_handler(LeaseLost, _operational)
    app.add_exception_handler(RequestValidationError, _not_found)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(Exception, _defect)
    return Guard(app, site)  # outside of everything: what fails has its headers, too


def _is_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "")


async def _login(request: Request, _: Exception) -> Response:
    if REFRESH_HEADER in request.headers:
        return Response(status_code=NOTHING_NEW)
    if _is_page(request):
        return RedirectResponse("/login", 303)
    return answer({"code": "session-over", "detail": "the session is over: log in again"}, 401)


async def _refused(request: Request, error: Any) -> Response:
    if REFRESH_HEADER in request.headers:
        return Response(status_code=NOTHING_NEW)
    meaning = MEANINGS[Code(error.code)]
    if _is_page(request):
        return visit(request).page("problem", {"reason": error.reason}, code=meaning.status)
    return answer({"code": error.code, "detail": error.reason}, meaning.status)


async def _operational(request: Request, error: Exception) -> Response:
    return await _refused(request, CallRefused(Code.UNAVAILABLE, str(error)))


async def _defect(request: Request, error: Exception) -> Response:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return await _refused(request, CallRefused(Code.INTERNAL, "the coordinator's log has more"))


async def _not_found(request: Request, _: Exception) -> Response:
    refusal = CallRefused(Code.UNKNOWN_PATH, f"there is nothing at {request.url.path[:200]}")
    return await _refused(request, refusal)
