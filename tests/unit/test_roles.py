"""Who may ask for what: every call and page stands in the table once, and each door answers by it."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from fastapi.routing import APIRoute

from custody.adapters.api_server import CustodyServicer
from custody.adapters.http.app import ROUTERS
from custody.api import custody_pb2 as pb
from custody.api.calls import sign_call
from custody.api.errors import CallRefused
from custody.auditors import Auditor
from custody.console import decisions, entrance, indicators, pages, rebalancing
from custody.console.app import build_console
from custody.roles import BACKENDS, OPEN, TABLE, Access, Role, Scope, permit, roles_of
from policy.encoding import Json
from policy.roster import parse_roster
from tests.unit.custody_cluster import (
    ETHER,
    ORIGIN,
    authenticator,
    identity,
    make_request,
    public,
    roster_document,
)
from tests.unit.custody_house import House
from tests.unit.http_house import HttpDoor, http_opened, submission
from tests.unit.test_console_pages import SITE, reading

ROWS = (OPEN, *TABLE)
CALLERS = {
    Role.BACKEND: "shop",
    Role.REBALANCER: "mover",
    Role.SWEEPER: "sweeper",
    Role.OPERATOR: "otto",
    Role.ADMINISTRATOR: "admin",
    Role.OBSERVER: "feed",
    Role.AUDITOR: "anna",
}
ANNA = Auditor("anna", authenticator("anna").credential(), public("anna"))


def roster() -> dict[str, Json]:
    """Somebody of each role."""
    document: dict[str, Any] = roster_document()
    movers = [
        {"name": name, "key": public(name).hex(), "people": [], "groups": [group]}
        for name, group in (("mover", "rebalancer"), ("sweeper", "sweeper"))
    ]
    observer = {"name": "feed", "key": public("feed").hex()}
    return {**document, "initiators": [*document["initiators"], *movers], "observers": [observer]}


def every(*lists: tuple[str, ...]) -> list[str]:
    return sorted(one for listed in lists for one in listed)


def test_every_call_and_page_stands_in_the_table_once() -> None:
    methods = [name for name in vars(CustodyServicer) if name[0].isupper()]
    operations = [route.name for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    shown = [
        f"{method} {route.path}"
        for router in (one.router for one in (entrance, pages, rebalancing, decisions, indicators))
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    ]

    assert every(*(row.grpc for row in ROWS)) == sorted(methods)
    assert every(*(row.http for row in ROWS)) == sorted(operations)
    assert every(*(row.pages for row in ROWS)) == sorted(shown)


def test_everybody_of_the_roster_has_the_role_it_gives() -> None:
    found = parse_roster(roster())

    assert {role: roles_of(name, found, auditors=["anna", "otto"]) for role, name in CALLERS.items()} == {
        role: {role} for role in CALLERS
    }
    assert roles_of("mallory", found) == roles_of("anna", found) == frozenset()


@pytest.mark.parametrize("call", ["Nothing", "", "explain_problem"])
def test_a_call_that_is_not_in_the_table_is_answered_to_nobody(call: str) -> None:
    for name in CALLERS.values():
        with pytest.raises(CallRefused, match="forbidden"):
            permit(call, name, roster=parse_roster(roster()), auditors=["anna"])


def test_an_auditors_word_changes_nothing() -> None:
    changing = {
        "submit_request",
        "give_address",
        "label_address",
        "resend_events",
        "hand_in",
        "approve_request",
    }

    assert not [row.what for row in TABLE if Role.AUDITOR in row.may and changing & set(row.http)]


@pytest.fixture(scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[HttpDoor]:
    house = House(tmp_path_factory.mktemp("roles"), roster=roster())
    house.auditors = (ANNA,)
    async with http_opened(house) as found:
        _, body, signature = make_request("large", amount=5 * ETHER, now_ms=found.house.now_ms())
        taken = await found.ask("POST", "/v1/requests", submission(body, signature))
        await found.running.until(bytes.fromhex(taken.json()["id"]), "waiting")
        yield found


BODIES: dict[str, Any] = {
    "submit_request": {},
    "approve_request": {},
    "reject_request": {},
    "give_address": {},
    "label_address": {},
    "resend_events": {},
    "hand_in": {"kind": "reject", "body": {}, "proof": {}},
}


def asked(path: str, state: Any) -> str:
    """A path with what there is in its places."""
    filled = path.replace("{request}", "00" * 32).replace("{wallet}", "hot").replace("{address}", "0x0")
    filled = filled.replace("{webhook}", "none").replace("{hash}", state.policy_hash.hex())
    return f"{filled}?open_ms=0" if filled.endswith("/stream") else filled


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
async def test_the_http_door_answers_by_the_table(door: HttpDoor, row: Access) -> None:
    routes = {route.name: route for one in ROUTERS for route in one.routes if isinstance(route, APIRoute)}
    answered = {}
    for operation in row.http:
        method = min(routes[operation].methods or ())
        path = asked(routes[operation].path, door.running.parts.sequencer.state)
        for role, name in CALLERS.items():
            answer = await door.ask(method, path, BODIES.get(operation), name=name)
            forbidden = answer.status_code == 403 and answer.json()["code"] == "forbidden"
            answered[operation, role] = not forbidden

    assert answered == {(one, role): role in row.may for one in row.http for role in CALLERS}


async def test_what_is_own_is_shown_to_its_backend_alone_and_all_to_people(door: HttpDoor) -> None:
    counted = {}
    for role, name in CALLERS.items():
        requests = (await door.ask("GET", "/v1/requests", name=name)).json()["requests"]
        events = (await door.ask("GET", "/v1/events", name=name)).json()["events"]
        totals = (await door.ask("GET", "/v1/status", name=name)).json()["requests"]
        counted[role] = (len(requests), bool(events), sum(totals.values()))

    (shown,) = [row for row in TABLE if "list_requests" in row.http]
    assert [counted.pop(role) for role in (Role.REBALANCER, Role.SWEEPER)] == [(0, False, 0)] * 2
    assert set(counted.values()) == {(1, True, 1)}
    assert {role: shown.may[role] for role in CALLERS} == {
        role: Scope.OWN if role in BACKENDS else Scope.ALL for role in CALLERS
    }


async def test_a_backends_status_says_nothing_of_what_others_ask_for(door: HttpDoor) -> None:
    shown = {name: (await door.ask("GET", "/v1/status", name=name)).json() for name in ("shop", "otto")}

    assert set(shown["shop"]) == {"origin", "time_ms", "rules", "policy", "book", "frozen", "requests"}
    assert set(shown["otto"]) - set(shown["shop"]) >= {"size", "quorum_size", "nodes", "pools", "keys"}


class Refused(Exception):
    """A gRPC call that was refused, by its status."""


class Context:
    """What a gRPC method is given, as far as the methods look at it."""

    def __init__(self, metadata: tuple[tuple[str, str | bytes], ...]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        return self._metadata

    async def abort(self, code: grpc.StatusCode, details: str, *, trailing_metadata: Any) -> None:
        raise Refused(dict(trailing_metadata)["quorumkeep-code"])


UNSIGNED = {"Submit", "Approve"}  # what they take in is signed itself


def call_of(method: str, caller: str) -> Any:
    """A call that is refused for who asks, or for something else."""
    match method:
        case "Pending":
            return pb.PendingCall(operator=caller)
        case "Enact":
            return pb.EnactCall(kind="reject")
        case _:
            return getattr(pb, f"{method}Call")()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.what)
async def test_the_grpc_door_answers_by_the_table(door: HttpDoor, row: Access) -> None:
    servicer = CustodyServicer(door.running.service, door.running.parts)
    answered, expected = {}, {}
    for method in set(row.grpc) - UNSIGNED:
        for role, name in CALLERS.items():
            call = call_of(method, name)
            now = door.house.now_ms()
            signed = sign_call(method, call, origin=ORIGIN, time_ms=now, caller=name, key=identity(name))
            answered[method, role] = await answers(servicer, method, call, Context(signed))
            expected[method, role] = role in row.may

    assert answered == expected


async def answers(servicer: Any, method: str, call: Any, context: Context) -> bool:
    """Whether a call is answered, or refused for another reason than who asks."""
    made = getattr(servicer, method)(call, context)
    try:
        if hasattr(made, "__anext__"):
            async with asyncio.timeout(0.2):
                await anext(made)
        else:
            await made
    except (TimeoutError, StopAsyncIteration):
        return True
    except Refused as refusal:
        return str(refusal) != "forbidden"
    return True


def placed(page: str, request: str) -> list[str]:
    """Method and path of a page of the table."""
    names = {"{request}": request, "{index}": "0", "{by}": "mover", "{route:path}": "eth"}
    for name, value in names.items():
        page = page.replace(name, value)
    return page.split()


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.AUDITOR])
async def test_the_console_answers_by_the_table(door: HttpDoor, role: Role) -> None:
    (found,) = (await door.ask("GET", "/v1/requests")).json()["requests"]
    name = "otto" if role is Role.OPERATOR else "anna"
    answered, expected = {}, {}
    async with reading(door.running, name) as client:
        token = (await client.get("/")).text.partition('name="csrf" content="')[2][:64]
        for row in TABLE:
            for page in set(row.pages) - {"GET /live"}:  # it would not end
                method, path = placed(page, found["id"])
                answer = await client.request(
                    method, path, headers={"X-Quorumkeep-Csrf": token, "Accept": "*/*"}, json={}
                )
                answered[page] = answer.status_code != 403
                expected[page] = role in row.may

    assert token
    assert answered == expected


async def test_a_stranger_sees_no_page_but_those_to_log_in_and_enrol(door: HttpDoor) -> None:
    app = build_console(door.running.service, door.running.parts, site=SITE)
    headers = {"Origin": SITE}
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url=SITE, headers=headers) as client:
        codes = {
            page: (await client.request(*placed(page, "00" * 32))) for row in TABLE for page in row.pages
        }

    assert {page for page, answer in codes.items() if answer.status_code != 401} == set()


def test_the_page_says_what_the_table_says() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/spec/roles.md").read_text()
    rows = [re.split(r" ?\| ?", line)[1:-1] for line in page.splitlines() if line.startswith("|")]

    said = {row[0]: row[1:] for row in rows if len(row) == len(Role) + 1}
    assert {row.what: [str(row.may.get(role, "")) for role in Role] for row in TABLE}.items() <= said.items()
