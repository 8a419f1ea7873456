"""A person's yes and no: what to sign goes out; what was signed goes where the command line's goes."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from custody.api.errors import CallRefused, Code
from custody.approvals import draft
from custody.console.house import ChangingDependency, Seat, SeatDependency, answer, read_document, text_of
from custody.enacting import Signed, enact
from custody.records import RequestRecord, request_body
from policy.approval import Assertion, parse_assertion
from policy.encoding import canonical
from policy.errors import CallerError, MalformedError
from policy.intent import parse_request
from policy.words.units import readable_address

ID = "^[0-9a-f]{64}$"
Id = Annotated[str, Path(pattern=ID)]
router = APIRouter()


@router.get("/requests/{request}/approval")
async def draft_approval(seat: SeatDependency, request: Id) -> JSONResponse:
    """The approval that the operator could give, the request itself, and how to show amounts."""
    record, operator = await _record(seat, request), seat.operator()
    found = draft(seat.house.parts, record, operator=operator)
    if found is None:
        raise CallRefused(
            Code.REQUEST_OVER, f"the request is {record.state}: it waits for no approval of you"
        )
    return answer({"draft": found, "request": record.body.decode(), **_shown_by(seat, record)})


@router.get("/requests/{request}/readings")
async def ask_nodes(seat: SeatDependency, request: Id) -> JSONResponse:
    """What each node itself finds in the bytes, as it signed that; the page checks and compares."""
    record = await _record(seat, request)
    found = [asdict(one) for one in await seat.house.readings.of(record)]
    origin = seat.house.parts.sequencer.state.origin
    return answer(
        {"nodes": found, "origin": origin, "request": record.body.decode(), **_shown_by(seat, record)}
    )


@router.post("/requests/{request}/approval")
async def approve(seat: ChangingDependency, request: Id, *, call: Request) -> JSONResponse:
    """Take in an approval; whose it is the passkey says, and the log checks."""
    await _record(seat, request)
    seat.operator()
    document = await read_document(call)
    body, assertion = _encoded(text_of(document, "body")), _assertion(document)
    taken = await seat.house.service.approve(body, canonical(assertion.body()))
    return answer({"request": taken.request.hex(), "state": str(taken.state)})


@router.post("/requests/{request}/rejection")
async def reject(seat: ChangingDependency, request: Id, *, call: Request) -> JSONResponse:
    """Take in a rejection, which stops the request for good."""
    await _record(seat, request)
    operator = seat.operator()
    document = await read_document(call)
    proof = canonical({"assertion": _assertion(document).body()})
    signed = Signed("reject", _encoded(text_of(document, "body")), proof)
    await seat.house.service.enact(operator, signed)
    record = await _record(seat, request)
    return answer({"state": str(record.state)})


@router.post("/freeze")
async def freeze(seat: ChangingDependency, call: Request) -> JSONResponse:
    """Take in an operator's freeze, which stops all signing until the administrators' quorum ends it."""
    seat.operator()
    document = await read_document(call)
    proof = canonical({"assertion": _assertion(document).body()})
    signed = Signed("freeze", _encoded(text_of(document, "body")), proof)
    done = await enact(seat.house.parts, signed)
    return answer({"freeze": done["subject"], "cosigned": done["cosigned"]})


async def _record(seat: Seat, request: str) -> RequestRecord:
    return await seat.house.service.get(bytes.fromhex(request))


def _shown_by(seat: Seat, record: RequestRecord) -> dict[str, Any]:
    """What the page shows amounts and addresses by; none of it is signed."""
    policy, person = seat.house.parts.sequencer.state.policy, seat.session.person
    intent = parse_request(request_body(record)).intent
    chain = policy.chains.get(intent.chain)
    names = {intent.asset, chain.native if chain else intent.asset}
    return {
        "operator": person.name,
        "credential": person.credential.id.hex(),
        "rp_id": person.credential.rp_id,
        "decimals": {name: policy.assets[name].decimals for name in names if name in policy.assets},
        "native": chain.native if chain else intent.asset,
        "destination": readable_address(intent.destination),
    }


def _assertion(document: dict[str, Any]) -> Assertion:
    try:
        return parse_assertion(document.get("assertion", ""))
    except (MalformedError, CallerError) as error:
        raise CallRefused(Code.MALFORMED, str(error)) from error


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise CallRefused(Code.MALFORMED, "the document has a lone surrogate") from error
