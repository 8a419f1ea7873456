"""One request, and lists of them, as the pages show them: from the log's state and the coordinator's row."""

import contextlib
from dataclasses import dataclass
from typing import Any

from custody.approvals import draft
from custody.console.people import OPERATOR, Person
from custody.console.verdicts import what_decided
from custody.parts import Parts
from custody.planning import only_time_is_missing, planned_body, weighed_plan
from custody.records import PaidTo, RequestRecord, request_body
from custody.requests import State
from policy import reservations
from policy.approval import Slot
from policy.decode.decoded import Call, Transfer, Typed, Undecodable
from policy.entries import parse_reserve
from policy.errors import OperationalError
from policy.explain import receipt
from policy.facts import called
from policy.ids import SOLANA, family
from policy.intent import Intent, Request, parse_request
from policy.ledger import Weighed
from policy.model import Policy
from policy.rules import Facts
from policy.words.language import Language
from policy.words.sentences import limit_text
from policy.words.units import amount_text, readable_address

STOPPABLE = (State.LOGGED, State.WAITING, State.READY, State.RESERVED)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a list."""

    id: str
    state: str
    what: str
    destination: str
    initiator: str
    rule: str
    approvals: int
    updated_ms: int
    expires_ms: int


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit, and what is left of it before and after; percentages are for the eye alone."""

    name: str
    scope: str
    sentence: str
    before: str
    after: str
    maximum: str
    before_percent: int
    after_percent: int
    exceeded: bool


@dataclass(frozen=True, slots=True)
class PaidLine:
    """What one initiator had paid to the destination in one asset."""

    payments: int
    total: str
    initiator: str
    last_ms: int
    last: str


def row(parts: Parts, record: RequestRecord) -> Row:
    """A request in a list."""
    request = parse_request(request_body(record))
    return Row(
        id=record.request.hex(),
        state=str(record.state),
        what=intent_amount(parts.sequencer.state.policy, request.intent),
        destination=readable_address(request.intent.destination),
        initiator=request.initiator,
        rule=record.rule,
        approvals=record.approvals,
        updated_ms=record.updated_ms,
        expires_ms=record.expires_ms,
    )


async def queue(parts: Parts, person: Person) -> tuple[list[Row], list[Row]]:
    """What waits for this person, and what else waits or can still be stopped."""
    mine: list[Row] = []
    others: list[Row] = []
    for state in (State.WAITING, State.READY, State.RESERVED):
        for record in await parts.database.requests(state=state, limit=500):
            waits = person.role == OPERATOR and draft(parts, record, operator=person.name) is not None
            (mine if waits else others).append(row(parts, record))
    return mine, others


def page(
    parts: Parts,
    record: RequestRecord,
    *,
    person: Person,
    paid: tuple[PaidTo, ...],
    language: Language,
) -> dict[str, Any]:
    """Everything that the page of a request says; ``paid`` is what its destination was paid before."""
    state = parts.sequencer.state
    request, known = parse_request(request_body(record)), state.requests.get(record.request)
    policy, weighed = state.policy, _weighed(parts, record, request)
    found = _receipt(parts, weighed) if weighed else {}
    why, rule_text = what_decided(policy, weighed.verdict.rule if weighed else record.rule, language=language)
    operator = person.role == OPERATOR
    return {
        "row": row(parts, record),
        "record": record,
        "request": request,
        "lists": _lists(policy, request.intent),
        "paid_before": (request.intent.chain, request.intent.destination) in state.paid,
        "history": [_paid(policy, one) for one in paid],
        "rule_text": rule_text,
        "why": why if record.rule else "",
        "reason": weighed.verdict.reason if weighed else "",
        "not_before_ms": weighed.verdict.not_before_ms if weighed else 0,
        "missing": weighed.verdict.missing if weighed else (),
        "approvals": known.approvals if known else (),
        "rejected_by": known.rejected_by if known else "",
        "limits": [_limit(policy, one, language) for one in found.get("limits", [])],
        "decoded": decoded(parts, record, request=request),
        "readable": not record.job and _stoppable(record),
        "can_approve": operator and draft(parts, record, operator=person.name) is not None,
        "can_reject": operator and _stoppable(record) and known is not None and not known.rejected_by,
        "only_time": weighed is not None and only_time_is_missing(weighed.verdict),
    }


def decoded(parts: Parts, record: RequestRecord, *, request: Request) -> list[tuple[str, str]]:
    """What the coordinator's own decoder reads from the planned bytes, by the name of a text."""
    state = parts.sequencer.state
    if not record.tx:
        return []
    try:
        body = planned_body(state, record, wallet=request.intent.wallet)
    except OperationalError as error:
        return [("decoded.unreadable", str(error))]
    return _decoded(state.policy, request.intent, reservations.decoded(state, parse_reserve(body)))


def _decoded(policy: Policy, intent: Intent, found: object) -> list[tuple[str, str]]:
    match found:
        case Transfer():
            asset = policy.asset_at(intent.chain, found.contract)
            amount = units(policy, found.amount, unit=asset.name) if asset else str(found.amount)
            lines = [("decoded.pays", amount), ("decoded.to", readable_address(found.recipient))]
            lines += [("decoded.contract", readable_address(found.contract))] if found.contract else []
        case Call():
            _, method, arguments = called(policy, intent)
            lines = [("decoded.contract", readable_address(found.contract))]
            lines += [("decoded.method", method or "?")]
            lines += [("decoded.argument", f"{name} = {value}") for name, value in arguments.items()]
        case Typed():
            return [("decoded.typed", str(len(found.document)))]
        case Undecodable():
            return [("decoded.unreadable", found.reason)]
        case _:
            return []
    native = policy.chains[intent.chain].native if intent.chain in policy.chains else ""
    return [
        *lines,
        ("decoded.fee", units(policy, found.fee_max, unit=native)),
        ("decoded.slot", _slot_text(found.anchor)),
    ]


def _slot_text(slot: Slot) -> str:
    """An account and its number; on Solana a nonce's value, in hex as the command line has it."""
    number = f"{slot.nonce:064x}" if family(slot.chain) == SOLANA else str(slot.nonce)
    return f"{readable_address(slot.account)} / {number}"


def intent_amount(policy: Policy, intent: Intent) -> str:
    """The amount of an intent with its unit."""
    return units(policy, intent.amount, unit=intent.asset)


def units(policy: Policy, amount: int, *, unit: str) -> str:
    """An amount with its unit, where the policy says how many places it has."""
    asset, prices = policy.assets.get(unit), policy.prices
    if asset is not None:
        return amount_text(amount, asset=unit, decimals=asset.decimals)
    if prices is not None and unit == prices.unit:
        return amount_text(amount, asset=unit, decimals=prices.decimals)
    return f"{amount} {unit}".strip()


def _paid(policy: Policy, paid: PaidTo) -> PaidLine:
    return PaidLine(
        payments=paid.payments,
        total=units(policy, paid.total, unit=paid.asset),
        initiator=paid.initiator,
        last_ms=paid.last_ms,
        last=paid.last_request.hex(),
    )


def _stoppable(record: RequestRecord) -> bool:
    return record.state in STOPPABLE


def _weighed(parts: Parts, record: RequestRecord, request: Request) -> Weighed | None:
    """The verdict on the planned transaction as it is now; None where there is nothing to ask about."""
    if not record.tx or not _stoppable(record) or record.job:
        return None
    with contextlib.suppress(OperationalError):
        return weighed_plan(
            parts.sequencer.state, record, wallet=request.intent.wallet, now_ms=parts.now_ms()
        )
    return None


def _receipt(parts: Parts, weighed: Weighed) -> dict[str, Any]:
    facts: Facts | None = weighed.facts
    return receipt(
        weighed.state.policy,
        facts,
        verdict=weighed.verdict,
        policy_hash=weighed.state.policy_hash,
        book_hash=weighed.state.book_hash,
    )


def _limit(policy: Policy, line: dict[str, Any], language: Language) -> LimitLine:
    used, maximum = int(line["used"]), int(line["maximum"])
    told = str(line["asked"]).isdecimal()
    after = used + int(line["asked"]) if told else used
    limit = next(one for one in policy.limits if one.name == line["limit"])
    unit = str(line["unit"])
    return LimitLine(
        name=limit.name,
        scope=str(line["scope"]),
        sentence=limit_text(policy, limit, language=language),
        before=units(policy, used, unit=unit),
        after=units(policy, after, unit=unit) if told else "?",
        maximum=units(policy, maximum, unit=unit),
        before_percent=_percent(used, maximum),
        after_percent=_percent(after, maximum),
        exceeded=after > maximum,
    )


def _percent(part: int, whole: int) -> int:
    return min(100, -(-100 * part // whole)) if whole else 100


def _lists(policy: Policy, intent: Intent) -> list[tuple[str, str]]:
    """The lists that the destination is on, each with its label there."""
    names = [name for name, addresses in sorted(policy.lists.items()) if intent.destination in addresses]
    return [(name, policy.labels.get(f"{name} {intent.destination}", "")) for name in names]
