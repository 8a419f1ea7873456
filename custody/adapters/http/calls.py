"""A call as it arrives: bounded, then authenticated, and only then read."""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Final, NoReturn

from fastapi import Depends, Request
from pydantic import BeforeValidator
from starlette.requests import ClientDisconnect

from custody.adapters.http.signatures import Callers, FieldLines, Received
from custody.api.errors import CallRefused, Code
from custody.bodies import read_body
from custody.parts import Parts
from custody.roles import permit
from custody.service import Service
from policy.encoding import Json, canonical
from policy.errors import CallerError, MalformedError
from policy.fields import Fields

HEADER_BYTES_MAX: Final = 16 * 1024
NUMBER_CHARACTERS_MAX: Final = 20
JSON_TYPE: Final = "application/json"


def _digits(value: Any) -> Any:
    """The framework takes ``0.0`` and `` 1`` for integers, too; a default is one already."""
    if isinstance(value, str) and not (value.isascii() and value.isdecimal()):
        raise ValueError("a whole number in digits")
    return value


def _true_or_false(value: Any) -> Any:
    if isinstance(value, str) and value not in ("true", "false"):
        raise ValueError("true or false")
    return value


Digits: Final = BeforeValidator(_digits)
TrueOrFalse: Final = BeforeValidator(_true_or_false)


@dataclass(frozen=True, slots=True)
class House:
    """What every call is answered from; an application keeps one in its state."""

    service: Service
    parts: Parts
    callers: Callers


@dataclass(frozen=True, slots=True)
class Call:
    """An authenticated call: by whom, with which body, and what answers it.

    ``own`` is the initiator whose own things alone the caller sees; empty for people, who see all there is.
    """

    caller: str
    body: bytes
    house: House

    @property
    def own(self) -> str:
        """See above."""
        return self.caller if self.caller in self.house.parts.sequencer.state.roster.initiators else ""

    @property
    def service(self) -> Service:
        """What backends and operators can ask of the coordinator."""
        return self.house.service

    def document(self) -> Fields:
        """The body as an object. Raises ``CallRefused``."""
        try:
            return Fields(read_json(self.body), "")
        except MalformedError as error:
            raise CallRefused(Code.MALFORMED, str(error)) from error


async def _authenticated(request: Request) -> Call:
    house: House = request.app.state.house
    headers = request.scope["headers"]
    if sum(len(name) + len(value) for name, value in headers) > HEADER_BYTES_MAX:
        raise CallRefused(Code.TOO_LARGE, f"headers have at most {HEADER_BYTES_MAX} bytes")
    body = await read_body(
        request.stream(), length=request.headers.get("content-length", "0"), left=ClientDisconnect
    )
    query = request.scope["query_string"]
    if len({name for name, _ in request.query_params.multi_items()}) != len(
        request.query_params.multi_items()
    ):
        raise CallRefused(Code.MALFORMED, "the query has the same parameter twice: name each once")
    path = request.scope["raw_path"].decode("latin-1")
    url = f"https://{request.headers.get('host', '')}{path}{'?' + query.decode('latin-1') if query else ''}"
    received = Received(request.method, url, FieldLines(headers), body)
    try:
        caller = await house.callers.authenticate(received)
    except CallRefused:
        house.parts.login_failed("http")
        raise
    roster = house.parts.sequencer.state.roster
    permit(request.scope["route"].name, caller, roster=roster, auditors=house.parts.auditors)
    if body and request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON_TYPE:
        raise CallRefused(Code.UNSUPPORTED_MEDIA_TYPE, "the body is JSON: send its media type")
    return Call(caller, body, house)


CallDependency = Annotated[Call, Depends(_authenticated)]


def read_json(data: bytes) -> Json:
    """JSON without floats, nulls, wide integers and repeated names. Raises ``MalformedError``."""
    try:
        value: Json = json.loads(
            data.decode(),
            object_pairs_hook=_once,
            parse_float=_no_float,
            parse_int=_integer,
            parse_constant=_no_float,
        )
        canonical(value)
    except (ValueError, RecursionError, CallerError) as error:
        raise MalformedError(f"the body cannot be read as JSON: {error}") from error
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same name twice")
    return found


def _no_float(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]!r}: amounts are decimal strings in base units, other numbers are integers")


def _integer(text: str) -> int:
    if len(text) > NUMBER_CHARACTERS_MAX:
        raise ValueError("integers beyond 2**53 must be decimal strings")
    return int(text)
