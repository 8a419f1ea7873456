"""Coming and going: login by passkey, logout, language, and the page that makes cards for enrolment."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from custody.api.errors import CallRefused, Code
from custody.console.house import (
    LANGUAGE_COOKIE,
    ChangingDependency,
    VisitDependency,
    answer,
    read_document,
    text_of,
)
from custody.console.sessions import LIFE_MS
from policy.approval import parse_assertion
from policy.errors import MalformedError

LANGUAGE_S = 365 * 24 * 3600
router = APIRouter()


@router.get("/login")
async def show_login(visit: VisitDependency) -> Response:
    """The page to log in."""
    if visit.session is not None:
        return RedirectResponse("/", 303)
    return visit.page("login", {"site": visit.house.site})


@router.post("/login/challenge")
async def begin_login(visit: VisitDependency) -> JSONResponse:
    """A nonce; the page makes the challenge of it."""
    nonce = visit.house.sessions.challenge()
    return answer({"nonce": nonce, "origin": visit.house.parts.sequencer.state.origin})


@router.post("/login")
async def log_in(visit: VisitDependency, request: Request) -> JSONResponse:
    """A session for an assertion over the challenge."""
    document = await read_document(request)
    try:
        credential = bytes.fromhex(text_of(document, "credential"))
        assertion = parse_assertion(document.get("assertion", ""))
    except (ValueError, MalformedError) as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error
    try:
        token = visit.house.sessions.log_in(text_of(document, "nonce"), credential, assertion=assertion)
    except CallRefused:
        visit.house.parts.login_failed("console")
        raise
    response = answer({"to": "/"})
    response.set_cookie(
        visit.house.cookie,
        token,
        max_age=LIFE_MS // 1000,
        path="/",
        httponly=True,
        secure=visit.house.secure,
        samesite="strict",
    )
    return response


@router.post("/logout")
async def log_out(seat: ChangingDependency) -> JSONResponse:
    """The end of a session."""
    seat.house.sessions.log_out(seat.visit.token)
    response = answer({"to": "/login"})
    response.delete_cookie(seat.house.cookie, path="/", secure=seat.house.secure, samesite="strict")
    return response


@router.get("/language/{language}")
async def choose_language(
    visit: VisitDependency, language: Annotated[str, Path(pattern="^(en|zh)$")], *, to: str = "/"
) -> RedirectResponse:
    """Remember a language, and go back to the page."""
    local = to if to.startswith("/") and not to.startswith(("//", "/\\")) else "/"
    response = RedirectResponse(local, 303)
    response.set_cookie(
        LANGUAGE_COOKIE,
        language,
        max_age=LANGUAGE_S,
        secure=visit.house.secure,
        samesite="strict",
        httponly=True,
    )
    return response


@router.get("/enrol")
async def show_enrol(visit: VisitDependency) -> Response:
    """The page that makes a passkey and a card; nothing of it is sent here."""
    return visit.page("enrol", {"site": visit.house.site})
