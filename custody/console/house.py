"""What every call of the console is answered from, and who makes it."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import ClientDisconnect

from custody.api.errors import CallRefused, Code
from custody.bodies import read_body
from custody.console.log_index import LogIndex
from custody.console.people import OPERATOR
from custody.console.readings import Readings
from custody.console.sessions import Session, Sessions, same_text
from custody.console.texts import LANGUAGES, preferred, script_texts, text
from custody.parts import Parts
from custody.service import Service
from policy.ids import transaction_name
from policy.words.units import duration_text, readable_address

CSRF_HEADER: Final = "X-Quorumkeep-Csrf"
REFRESH_HEADER: Final = "HX-Request"
LANGUAGE_COOKIE: Final = "language"


@dataclass(frozen=True, slots=True)
class House:
    """The parts of the console; an application keeps one in its state. ``site`` is its origin."""

    service: Service
    parts: Parts
    sessions: Sessions
    index: LogIndex
    readings: Readings
    pages: Environment
    site: str

    @property
    def cookie(self) -> str:
        """The session's cookie: under TLS one that no other host can set."""
        return "__Host-session" if self.secure else "session"

    @property
    def secure(self) -> bool:
        """Whether browsers come by TLS."""
        return self.site.startswith("https:")


class LoginNeeded(Exception):
    """A page was asked for by nobody who is logged in."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One call: in which language, and by whom if anybody has logged in."""

    house: House
    language: str
    session: Session | None
    token: str = field(repr=False)
    here: str

    def page(self, page: str, values: dict[str, Any] | None = None, *, code: int = 200) -> HTMLResponse:
        """A page in the visitor's language."""
        template = self.house.pages.get_template(f"{page}.html")
        return HTMLResponse(template.render(_values(self, page, values=values or {})), code)


@dataclass(frozen=True, slots=True)
class Seat:
    """A call by somebody who has logged in."""

    visit: Visit
    session: Session

    @property
    def house(self) -> House:
        """What answers it."""
        return self.visit.house

    def operator(self) -> str:
        """The operator who calls. Raises ``CallRefused`` for an auditor."""
        if self.session.person.role != OPERATOR:
            raise CallRefused(Code.FORBIDDEN, "an auditor reads: approving and rejecting are for operators")
        return self.session.person.name


def visit(request: Request) -> Visit:
    """Who calls, as far as their cookie says."""
    house: House = request.app.state.house
    token = request.cookies.get(house.cookie, "")
    language = request.cookies.get(LANGUAGE_COOKIE, "")
    if language not in LANGUAGES:
        language = preferred(request.headers.get("accept-language", ""))
    here = request.url.path if request.method == "GET" else "/"
    used = REFRESH_HEADER not in request.headers  # a page that keeps itself up to date is used by nobody
    session = house.sessions.find(token, touch=used) if token else None
    return Visit(house, language, session, token, here)


def seat(request: Request) -> Seat:
    """Somebody who has logged in. Raises ``LoginNeeded``."""
    found = visit(request)
    if found.session is None:
        raise LoginNeeded
    return Seat(found, found.session)


def seat_that_changes(request: Request) -> Seat:
    """The same, for a call with the session's token from one of this site's pages."""
    found = seat(request)
    if not same_text(request.headers.get(CSRF_HEADER, ""), found.session.csrf):
        raise CallRefused(Code.FORBIDDEN, "the call does not come from a page of this session: load it again")
    return found


VisitDependency = Annotated[Visit, Depends(visit)]
SeatDependency = Annotated[Seat, Depends(seat)]
ChangingDependency = Annotated[Seat, Depends(seat_that_changes)]


async def read_document(request: Request) -> dict[str, Any]:
    """The JSON object of a call. Raises ``CallRefused``."""
    length = request.headers.get("content-length", "0")
    body = await read_body(request.stream(), length=length, left=ClientDisconnect)
    try:
        found = json.loads(body.decode())
    except (ValueError, RecursionError) as error:
        raise CallRefused(Code.MALFORMED, f"the body is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise CallRefused(Code.MALFORMED, "the body is no JSON object")
    return found


def text_of(document: dict[str, Any], name: str) -> str:
    """A text of a call's document. Raises ``CallRefused``."""
    found = document.get(name)
    if not isinstance(found, str):
        raise CallRefused(Code.MALFORMED, f"{name} is missing or no text")
    return found


def answer(document: dict[str, Any], status: int = 200) -> JSONResponse:
    """A JSON answer for the page's own scripts."""
    return JSONResponse(document, status)


def environment(folder: str) -> Environment:
    """The templates: everything is escaped, and a name that is not there is an error."""
    pages = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "address": readable_address,
        "time": _time,
        "day": _day,
        "duration": duration_text,
        "grouped": _grouped,
        "json": _pretty,
    }
    pages.globals["transaction_name"] = transaction_name
    return pages


def _values(visit: Visit, page: str, *, values: dict[str, Any]) -> dict[str, Any]:
    def translated(key: str, /, **inserted: object) -> str:
        return text(visit.language, key, **inserted)

    state = visit.house.parts.sequencer.state
    return {
        "t": translated,
        "language": visit.language,
        "languages": LANGUAGES,
        "script_texts": script_texts(visit.language),
        "page": page,
        "here": visit.here,
        "session": visit.session,
        "frozen": state.frozen,
        "log_origin": state.origin,
        "now_ms": visit.house.parts.now_ms(),
        **values,
    }


def _time(time_ms: int) -> Markup:
    """A time that the page's script shows in the reader's own zone."""
    try:
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return Markup("{}").format(time_ms)
    machine, shown = moment.strftime("%Y-%m-%dT%H:%M:%SZ"), moment.strftime("%Y-%m-%d %H:%M:%S")
    return Markup('<time datetime="{}">{} UTC</time>').format(machine, shown)


def _day(time_ms: int) -> str:
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"


def _grouped(text: str, size: int = 8) -> Markup:
    """A long hash in groups, which break a line between them and copy as one word."""
    parts = (text[i : i + size] for i in range(0, len(text), size))
    return Markup("<wbr>").join(parts)


def _pretty(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, sort_keys=True)
