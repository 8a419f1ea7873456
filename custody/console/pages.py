"""What people read: queue, requests, wallets, policy, nodes, log. Nothing here changes anything."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse

from custody.api.errors import CallRefused, Code
from custody.console import requests as shown
from custody.console.decisions import Id
from custody.console.effects import effect
from custody.console.house import House, Seat, SeatDependency, answer
from custody.console.log_index import HISTORY_MAX, KINDS, READ_BYTES, read_entry
from custody.console.outflows import DAY_MS, outflows
from custody.console.people import OPERATOR
from custody.console.policies import KINDS as POLICIES
from custody.console.policies import differences, policy_before, policy_of
from custody.console.risks import stated_risk
from custody.console.verdicts import explained
from custody.console.wallets import tiers
from custody.listening import EVENTS_MAX, NEWEST, Asked
from custody.records import request_body
from custody.requests import FINAL
from policy.errors import MalformedError
from policy.ids import family
from policy.intent import parse_request
from policy.words.language import LANGUAGES
from policy.words.sentences import sections

LIST_MAX, LOG_PAGE = 100, 50
KEEP_ALIVE_MS = 10_000
Index = Annotated[int, Path(ge=0, le=2**53 - 1)]
router = APIRouter()


@router.get("/")
async def show_queue(seat: SeatDependency) -> Response:
    """What waits for whoever looks."""
    mine, others = await shown.queue(seat.house.parts, seat.session.person)
    return seat.visit.page("queue", {"mine": mine, "others": others})


@router.get("/requests")
async def show_requests(seat: SeatDependency) -> Response:
    """The newest requests."""
    records = await seat.house.service.requests(state="", initiator="", limit=LIST_MAX, before=b"")
    rows = [shown.row(seat.house.parts, record) for record in records]
    return seat.visit.page("requests", {"rows": rows, "limit": LIST_MAX})


@router.get("/requests/{request}")
async def show_request(seat: SeatDependency, request: Id) -> Response:
    """One request, and the place to decide on it."""
    record = await seat.house.service.get(bytes.fromhex(request))
    intent = parse_request(request_body(record)).intent
    paid = await seat.house.parts.database.paid_to(intent.chain, intent.destination)
    language = LANGUAGES[seat.visit.language]
    values = shown.page(seat.house.parts, record, person=seat.session.person, paid=paid, language=language)
    state = seat.house.parts.sequencer.state
    seen = {"final": record.state in FINAL, "family": family(intent.chain), "policy_hash": state.policy_hash}
    risk = {"risk": await stated_risk(seat.house, record.request)}
    return seat.visit.page("request", seen | values | risk)


@router.get("/requests/{request}/effect")
async def show_effect(seat: SeatDependency, request: Id) -> Response:
    """A part of that page: what the chain says would happen."""
    record = await seat.house.service.get(bytes.fromhex(request))
    found = await effect(seat.house.parts, record)
    return seat.visit.page("effect", {"effect": found, "odd": any(one.odd for one in found.lines)})


@router.get("/wallets")
async def show_wallets(seat: SeatDependency) -> Response:
    """Wallets by tier, with addresses and balances, and what left them each day."""
    parts, state = seat.house.parts, seat.house.parts.sequencer.state
    return seat.visit.page(
        "wallets",
        {"tiers": await tiers(parts), "outflows": outflows(state, parts.now_ms()), "day_ms": DAY_MS},
    )


@router.get("/policy")
async def show_policy(seat: SeatDependency) -> Response:
    """The policy in force in sentences, what is about to change, and what was changed."""
    state = seat.house.parts.sequencer.state
    status = await seat.house.service.status()
    values = {
        "sections": sections(state.policy, LANGUAGES[seat.visit.language]),
        "name": state.policy.name,
        "policy_hash": state.policy_hash.hex(),
        "book_hash": state.book_hash.hex(),
        "pending": status["pending"] if isinstance(status, dict) else [],
        "entries": {one.document_hash.hex(): one.index for one in state.pending},
        "policies": POLICIES,
        "history": await seat.house.index.history(),
        "history_max": HISTORY_MAX,
    }
    return seat.visit.page("policy", values)


@router.get("/policy/changes/{index}")
async def show_change(seat: SeatDependency, index: Index) -> Response:
    """What one entry of the log changed in the policy, or is about to."""
    history = await seat.house.index.history()
    entry = next((one for one in history if one.index == index), None)
    document = policy_of(entry) if entry else None
    if entry is None or document is None:
        raise CallRefused(Code.UNKNOWN_DOCUMENT, f"entry {index} of the log brings no policy")
    before, language = policy_before(entry, history), LANGUAGES[seat.visit.language]
    try:
        found = differences(before, document, language=language)
    except MalformedError as error:
        raise CallRefused(Code.UNKNOWN_DOCUMENT, f"entry {index} brings no policy: {error}") from error
    return seat.visit.page("change", {"entry": entry, "before": before, "differences": found})


@router.get("/nodes")
async def show_nodes(seat: SeatDependency) -> Response:
    """Cosigners, keys, presignatures, and whether signing is frozen."""
    state = seat.house.parts.sequencer.state
    roles = {one.name: one.role for one in state.roster.cosigners.values()}
    status = await seat.house.service.status()
    can_freeze = seat.session.person.role == OPERATOR and not state.frozen
    values = {"status": status, "roster": state.roster, "roles": roles, "can_freeze": can_freeze}
    return seat.visit.page("nodes", values)


@router.get("/log")
async def show_log(
    seat: SeatDependency,
    *,
    before: Annotated[int | None, Query(ge=0, le=2**53 - 1)] = None,
    kind: Annotated[str, Query(pattern=f"^({'|'.join(KINDS)})?$")] = "",
) -> Response:
    """The log's entries, newest first; of one kind or of all."""
    size = seat.house.parts.sequencer.state.size
    before = size if before is None else min(before, size)
    index = seat.house.index
    entries = await (
        index.newest_of(kind, before, limit=LOG_PAGE) if kind else index.newest(before, LOG_PAGE)
    )
    older = entries[-1].index if entries else 0
    signed = seat.house.parts.replication.quorum.size
    return seat.visit.page(
        "log",
        {"entries": entries, "older": older, "size": size, "signed": signed, "kind": kind, "kinds": KINDS},
    )


@router.get("/log/entries.ndjson")
async def download_log(
    seat: SeatDependency, kind: Annotated[str, Query(pattern=f"^({'|'.join(KINDS)})?$")] = ""
) -> StreamingResponse:
    """The log as a file, an entry's bytes on each line; of one kind or of all."""
    name = f"log-{kind}.ndjson" if kind else "log.ndjson"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(_lines(seat.house, kind), media_type="application/x-ndjson", headers=headers)


@router.get("/log/{index}")
async def show_entry(seat: SeatDependency, index: Index) -> Response:
    """One entry whole, and the place to verify that it is in the log."""
    found = await seat.house.parts.database.entries(index, index + 1)
    if not found:
        raise CallRefused(Code.UNKNOWN_DOCUMENT, f"the log has no entry {index} yet")
    entry, history = read_entry(index, found[0]), await seat.house.index.history()
    language = LANGUAGES[seat.visit.language]
    why = explained(entry, seat.house.parts.sequencer.state, history=history, language=language)
    return seat.visit.page("entry", {"entry": entry, "why": why})


@router.get("/log/{index}/entry.json")
async def download_entry(seat: SeatDependency, index: Index) -> Response:
    """The bytes of an entry, as a file."""
    found = await seat.house.parts.database.entries(index, index + 1)
    if not found:
        raise CallRefused(Code.UNKNOWN_DOCUMENT, f"the log has no entry {index} yet")
    name = {"Content-Disposition": f'attachment; filename="entry-{index}.json"'}
    return Response(found[0], media_type="application/json", headers=name)


@router.get("/log/{index}/proof")
async def prove_entry(seat: SeatDependency, index: Index) -> JSONResponse:
    """The entry's bytes, the audit path, and the checkpoint that w cosigners signed."""
    proof = await seat.house.index.prove(index)
    if proof is None:
        raise CallRefused(Code.UNAVAILABLE, "no checkpoint with enough cosignatures has this entry yet")
    roster = seat.house.parts.sequencer.state.roster
    return answer(
        {
            "index": proof.index,
            "entry": proof.data.hex(),
            "size": proof.checkpoint.size,
            "root": proof.checkpoint.root.hex(),
            "note": proof.note.decode(),
            "path": [one.hex() for one in proof.path],
            "cosigners": {name: key.hex() for name, key in roster.cosigner_keys().items()},
            "w": roster.w,
        }
    )


@router.get("/live")
async def live(seat: SeatDependency) -> StreamingResponse:
    """A server-sent event whenever a request has changed, for as long as the session lasts."""
    asked = Asked(await seat.house.service.feed.position(NEWEST), limit=EVENTS_MAX)
    return StreamingResponse(_changes(seat, asked), media_type="text/event-stream")


async def _lines(house: House, kind: str) -> AsyncIterator[bytes]:
    """Entries from the first on, as far as the log goes now."""
    size, place = house.parts.sequencer.state.size, 0
    while place < size and (part := await house.parts.database.entries(place, size, bytes_max=READ_BYTES)):
        yield b"".join(one + b"\n" for one in part if not kind or read_entry(place, one).kind == kind)
        place += len(part)


def _health(house: House) -> tuple[bool, int, frozenset[str], frozenset[str]]:
    """What else a page should follow: a freeze, changes that wait, cosigners that are there, indicators."""
    state, followers = house.parts.sequencer.state, house.parts.replication.followers
    live = frozenset(name for name, follower in followers.items() if follower.live)
    levels = frozenset(f"{name} {level}" for name, (level, _) in house.parts.indicators.since.items())
    return state.frozen, len(state.pending), live, levels


async def _changes(seat: Seat, asked: Asked) -> AsyncIterator[bytes]:
    house, token = seat.house, seat.visit.token
    yield b"retry: 2000\n\n"
    told = None
    try:
        async with aclosing(house.service.feed.stream(asked, every_ms=KEEP_ALIVE_MS)) as stream:
            async for found in stream:
                if house.sessions.find(token, touch=False) is None:
                    yield b"event: ended\ndata: -\n\n"
                    return
                for one in found:
                    yield b"event: changed\ndata: " + one.request.hex().encode() + b"\n\n"
                if told != (told := _health(house)):
                    yield b"event: health\ndata: " + (b"frozen" if told[0] else b"open") + b"\n\n"
                if not found:
                    yield b": nothing new\n\n"
    except CallRefused:
        return
