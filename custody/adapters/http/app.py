"""The application behind the HTTP door, and the OpenAPI document that says what it answers."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, FastAPI, Path
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from custody.adapters.http import decisions, deployment, events, hooks, problems, requests, wallets
from custody.adapters.http.calls import House
from custody.adapters.http.models import TAKEN, Problem, ProblemMeaning
from custody.adapters.http.signatures import HOW, Callers
from custody.api.errors import MEANINGS, Code
from custody.parts import Parts
from custody.service import Service

TITLE, VERSION = "Quorumkeep", "1.1.0"
REFERENCE: Final = "#/components/schemas/{model}"
DESCRIPTION: Final = (
    "Asks a coordinator of Quorumkeep for payments, approves and stops them, and reads. Every call but those "
    f"about this API itself is signed: {HOW}. The coordinator has no authority: what nodes sign is what the "
    "backend signed in the request and operators in their approvals. docs/spec/roles.md: who may ask what."
)
router = APIRouter(tags=["about"])
ROUTERS: Final = (
    requests.router,
    events.router,
    wallets.router,
    hooks.router,
    decisions.router,
    deployment.router,
    router,
)


@router.get("/v1/problems/{code}", response_model=ProblemMeaning)
async def explain_problem(code: Annotated[Code, Path(description="A code of a problem.")]) -> JSONResponse:
    """What a code means; for anybody."""
    meaning = MEANINGS[code]
    return JSONResponse(
        {"code": code, "title": meaning.title, "status": meaning.status, "to_do": meaning.to_do}
    )


def build_app(service: Service, parts: Parts) -> FastAPI:
    """The application over one service."""
    app = skeleton()
    callers = Callers(
        lambda: parts.sequencer.state.origin, parts.key_of, storage=parts.feeds, now_ms=parts.now_ms
    )
    app.state.house = House(service, parts, callers)
    return app


def skeleton() -> FastAPI:
    """The application without what answers: enough for its OpenAPI document."""
    app = FastAPI(
        title=TITLE,
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for one in ROUTERS:
        app.include_router(one)
    problems.install(app)
    app.openapi = lambda: openapi(app)  # type: ignore[method-assign]
    return app


def openapi(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI 3.1 document: every refusal is a problem, and every call but ``about`` is signed."""
    if app.openapi_schema:
        return app.openapi_schema
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    sent: list[tuple[type[BaseModel], Literal["validation"]]] = [(model, "validation") for model in TAKEN]
    _, definitions = models_json_schema([*sent, (Problem, "validation")], ref_template=REFERENCE)
    components = document["components"]
    components["schemas"] |= definitions["$defs"]
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    components["schemas"] = dict(sorted(components["schemas"].items()))
    components["securitySchemes"] = {
        "signature": {"type": "apiKey", "in": "header", "name": "Signature", "description": HOW}
    }
    refusal = {
        "description": "Refused; the status is the code's.",
        "content": {problems.MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(model="Problem")}}},
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = refusal
            if operation["tags"] != ["about"]:
                operation["security"] = [{"signature": []}]
    app.openapi_schema = _without_absent_nulls(document)
    return document


def _without_absent_nulls(part: Any) -> Any:
    """What may be left out is left out: a null in its place is refused, whatever the framework says."""
    if isinstance(part, dict):
        for name, inner in part.get("properties", {}).items():
            if name not in part.get("required", ()):
                _never_null(inner)
        if "schema" in part and part.get("in") == "query":
            _never_null(part["schema"])
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _without_absent_nulls(inner)
    return part


def _never_null(schema: dict[str, Any]) -> None:
    kinds = [kind for kind in schema.pop("anyOf", ()) if kind != {"type": "null"}]
    if "default" in schema and schema["default"] is None:
        del schema["default"]
    for kind in kinds:
        schema.update(kind)
