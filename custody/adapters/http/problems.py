"""What went wrong with a call, as RFC 9457 has it: one document with a stable code for every refusal."""

import logging
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from custody.api.errors import MEANINGS, CallRefused, Code
from custody.storage import LeaseLost
from policy.errors import CallerError, MalformedError, OperationalError

MEDIA_TYPE: Final = "application/problem+json"
DETAIL_CHARACTERS_MAX = 2000
RETRY_AFTER_S = 1
_OF_STATUS: Final = {404: Code.UNKNOWN_PATH, 405: Code.METHOD_NOT_ALLOWED}
_LOG = logging.getLogger(__name__)


def problem(code: Code, detail: str, *, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer to a call that is refused."""
    meaning = MEANINGS[code]
    document = {
        "type": f"/v1/problems/{code}",
        "title": meaning.title,
        "status": meaning.status,
        "detail": detail[:DETAIL_CHARACTERS_MAX],
        "code": code,
        "to_do": meaning.to_do,
    }
    headers = dict(headers or {})
    if meaning.status == 401:
        headers["WWW-Authenticate"] = "Signature"
    if meaning.status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse(document, meaning.status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Have every exception answered by a problem document."""
    app.add_exception_handler(CallRefused, _refused)
    app.add_exception_handler(OperationalError, _operational)
    app.add_exception_handler(LeaseLost, _operational)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _no_such)
    app.add_exception_handler(Exception, _defect)


async def _refused(_: Request, error: Any) -> JSONResponse:
    return problem(Code(error.code), error.reason)


async def _operational(_: Request, error: Exception) -> JSONResponse:
    return problem(Code.UNAVAILABLE, str(error))


async def _invalid(_: Request, error: Any) -> JSONResponse:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return problem(Code.MALFORMED, f"{where}: {first['msg']}")


async def _no_such(request: Request, error: Any) -> JSONResponse:
    code = _OF_STATUS.get(error.status_code, Code.MALFORMED)
    detail = f"{request.method} {request.url.path[:200]}: {error.detail}"
    return problem(code, detail, headers=error.headers)


async def _defect(request: Request, error: Exception) -> JSONResponse:
    _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(Code.INTERNAL, "the coordinator's log has more")


def readable(error: MalformedError | CallerError) -> CallRefused:
    """The refusal of what cannot be read."""
    return CallRefused(Code.MALFORMED, str(error))
