"""Make what these pages say of the API: the OpenAPI document, its calls, its codes, the states of a request.

``python docs/spec/make_api.py`` writes the files; ``tests/unit/test_docs_api.py`` makes them again and
compares.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1])]

from custody.adapters.http.app import skeleton  # noqa: E402 - the path to the house comes first
from custody.api.errors import MEANINGS  # noqa: E402
from custody.requests import STATES, SUBSTATES, mermaid, substates  # noqa: E402
from custody.roles import OPEN, TABLE, Role  # noqa: E402

MADE = "<!-- Made by docs/spec/make_api.py: change what it is made from. -->"


def files() -> dict[str, str]:
    """Every file that is made, by its name in this folder."""
    document = skeleton().openapi()
    return {
        "openapi.json": json.dumps(document, indent=2, sort_keys=True) + "\n",
        "http-api.md": "\n".join(api_page(document)) + "\n",
        "problem-codes.md": "\n".join(codes_page()) + "\n",
        "request-states.md": "\n".join(states_page()) + "\n",
        "roles.md": "\n".join(roles_page(document)) + "\n",
    }


def states_page() -> Iterator[str]:
    """States and sub-states, as a table and a diagram."""
    yield from ("# The states of a request", "", MADE, "")
    yield "A request is in one `state`, and its `substate` says what the coordinator is at."
    yield "Both are the same through every door; [backends.md](../backends.md) says how to watch them."
    yield from ("", "| state | means | sub-states |", "|---|---|---|")
    for state, possible in substates().items():
        yield f"| `{state}` | {STATES[state]} | {', '.join(f'`{one}`' for one in possible)} |"
    yield from ("", "| sub-state | what is going on |", "|---|---|")
    yield from (f"| `{one}` | {text} |" for one, text in SUBSTATES.items())
    yield from ("", "Each arrow is an event and, after the slash, what is then owed to the world:", "")
    yield from ("```mermaid", mermaid().rstrip(), "```")


def roles_page(document: dict[str, Any]) -> Iterator[str]:
    """Who may ask for what."""
    paths = {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    yield from ("# Who may ask for what", "", MADE, "")
    yield "What somebody is to a deployment says its roster; auditors are named in the configuration of the"
    yield "coordinator ([console.md](../console.md)). `own` is what is the caller's: a"
    yield "backend's requests, addresses and webhooks, an operator's approvals. Empty is `forbidden`."
    yield "What changes something counts by the signatures inside it, which every node checks by the roster."
    yield from ("", f"| what | {' | '.join(Role)} |", "|---|" + "---|" * len(Role))
    for access in TABLE:
        yield f"| {access.what} | {' | '.join(access.may.get(role, '') for role in Role)} |"
    yield from ("", "Strangers are answered, too: " + OPEN.what + ".", "")
    yield from ("| what | over HTTP | over gRPC | pages of the console |", "|---|---|---|---|")
    for access in (OPEN, *TABLE):
        calls = ([paths[name] for name in access.http], access.grpc, access.pages)
        yield f"| {access.what} | {' | '.join('<br>'.join(f'`{one}`' for one in group) for group in calls)} |"
    yield from (
        "",
        "Ceremonies, new keys and forks have no HTTP call: the command line asks for them over gRPC.",
    )


def codes_page() -> Iterator[str]:
    """The codes of refusals."""
    yield from ("# Codes of refusals", "", MADE, "")
    yield "A refused call says its `code`, the same through both doors: in the problem document of an HTTP"
    yield "answer (RFC 9457), in the trailing metadata `quorumkeep-code` over gRPC. A code never changes its"
    yield "meaning; `detail` says what is wrong with this call."
    yield from ("", "| code | HTTP | means | what to do |", "|---|---|---|---|")
    for code, meaning in sorted(MEANINGS.items()):
        yield f"| `{code}` | {meaning.status} | {meaning.title} | {meaning.to_do} |"


def api_page(document: dict[str, Any]) -> Iterator[str]:
    """Every call, and what goes in and comes out."""
    yield from (f"# {document['info']['title']}: the calls over HTTP", "", MADE, "")
    yield f"{document['info']['description']} [openapi.json](openapi.json) is the same for programs."
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from ("", f"## {method.upper()} {path}", "", operation["description"], "")
            yield from call(operation)
    yield from ("", "# What goes in and comes out", "")
    for name, schema in document["components"]["schemas"].items():
        if "properties" in schema:
            yield from ("", f"## {name}", "", schema.get("description", ""), "")
            yield from fields(schema)


def call(operation: dict[str, Any]) -> Iterator[str]:
    """Parameters, body and answer of a call."""
    if operation.get("parameters"):
        yield from ("| parameter | in | type | |", "|---|---|---|---|")
        for one in operation["parameters"]:
            said = one.get("description") or one["schema"].get("description", "")
            yield f"| `{one['name']}` | {one['in']} | {kind(one['schema'])} | {said} |"
        yield ""
    body = operation.get("requestBody", {}).get("content", {})
    yield from (f"Takes {kind(one['schema'])}." for one in body.values())
    for status, answer in operation["responses"].items():
        for media, one in answer.get("content", {}).items():
            name = "Refused" if status == "default" else f"Answers {status}"
            yield f"{name} with {kind(one['schema'])} (`{media}`)."


def fields(schema: dict[str, Any]) -> Iterator[str]:
    """The fields of an object."""
    yield from ("| field | type | |", "|---|---|---|")
    for name, one in schema["properties"].items():
        optional = "" if name in schema.get("required", ()) else "May be left out. "
        yield f"| `{name}` | {kind(one)} | {optional}{one.get('description', '')} |"


def kind(schema: dict[str, Any]) -> str:
    """A type in words."""
    if "$ref" in schema:
        return f"`{schema['$ref'].rpartition('/')[2]}`"
    if "anyOf" in schema:
        return " or ".join(kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {kind(schema['items'])}"
    bounds = [f"{schema[low]} to {schema[high]}" for low, high in LIMITS if low in schema and high in schema]
    pattern = [f"`{schema['pattern'].replace('|', chr(92) + '|')}`"] if "pattern" in schema else []
    return ", ".join([schema.get("type", "text"), *bounds, *pattern])


LIMITS = (("minimum", "maximum"), ("minLength", "maxLength"))


def main() -> None:
    """Write the files."""
    for name, text in files().items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
