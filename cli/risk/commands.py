"""``risk score``, ``explain`` and ``verify``: from the log alone, whoever asks."""

from argparse import Namespace
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from cli.audit import as_json, as_text
from cli.files import read_bytes
from cli.policies.receipts import units
from cli.policies.replaying import looked
from cli.requests import read_request_id
from cli.results import DONE, REFUSED, Document, Misuse, Result, Table
from custody.risk.reading import Reader, Scored, Stated
from custody.risk.sanctions import SanctionsList, parse_list
from custody.risk.scoring import MODEL, THRESHOLD, Score
from policy.audit import AuditReport
from policy.encoding import parse_canonical
from policy.errors import MalformedError, OperationalError
from policy.intent import Request, parse_request
from policy.replay import Step
from policy.state import State

REQUEST_BYTES_MAX = 16 * 1024


@dataclass
class Heard:
    """What a reading of the whole log came to."""

    reader: Reader = field(default_factory=Reader)
    scored: dict[bytes, Scored] = field(default_factory=dict)
    stated: list[Stated] = field(default_factory=list)
    state: State | None = None

    def hear(self, step: Step) -> None:
        """One entry."""
        self.state = step.after
        match self.reader.hear(step):
            case Scored() as one:
                self.scored[one.ask.request] = one
            case Stated() as one:
                self.stated.append(one)
            case None:
                pass


def score(arguments: Namespace) -> Result:
    """``risk score``: the number, and a table of its shares."""
    heard, report, found = _found(arguments)
    request = found.ask.request
    document = {**_scored_document(found), "log": as_json(report)}
    head = f"request {request.hex()[:16]}: {_risk_text(found.score)}"
    rows = tuple((one.feature, str(one.points), one.why) for one in found.score.shares)
    table = [Table(("feature", "points", "why"), rows)] if rows else []
    return Result(document, (head, *table, *_stated_lines(heard, request), *_bad(report)), _code(report))


def explain(arguments: Namespace) -> Result:
    """``risk explain``: sentences, and what was stated."""
    heard, report, found = _found(arguments)
    request, ask = found.ask.request, found.ask
    stated = [one for one in heard.stated if one.request == request]
    document = {
        **_scored_document(found),
        "stated": [_stated_document(one) for one in stated],
        "log": as_json(report),
    }
    lines = [
        f"{ask.initiator} asked for {_amount_text(heard, found)} to {ask.destination}.",
        f"By the model {MODEL} it has {_risk_text(found.score)}:",
        *(f"  {one.points:>3}  {one.feature}: {one.why}" for one in found.score.shares),
    ]
    if not found.score.shares:
        lines.append("  nothing about it is unusual by any of the features")
    return Result(document, (*lines, *_stated_lines(heard, request), *_bad(report)), _code(report))


def verify(arguments: Namespace) -> Result:
    """``risk verify``: every statement against the score that follows from the entries before it."""
    lists = [_read_list(Path(path)) for path in arguments.lists]
    heard, report = _heard(arguments)
    made = [one for one in heard.stated if one.basis is not None]
    screened = _screened_again(made, heard, lists=lists, clear=arguments.clear)
    wrong = [one for one in made if one.wrong] + [one for one in screened if one.wrong]
    ok = report.ok and not wrong
    document = {
        "ok": ok,
        "model": MODEL,
        "statements": len(heard.stated),
        "recomputed": len(made),
        "by_hand": len(heard.stated) - len(made),
        "screened_again": len(screened),
        "wrong": [_stated_document(one) for one in wrong],
        "log": as_json(report),
    }
    lines = [
        f"{'ok' if ok else 'FAILED'}: {len(made)} stated scores made again, {len(wrong)} statements differ; "
        f"{len(heard.stated) - len(made)} stated by hand"
    ]
    lines += [f"{len(screened)} screenings made again by {len(lists)} lists"] if lists else []
    lines += [f"WRONG  entry {one.index}, by {', '.join(one.signers)}: {one.wrong}" for one in wrong]
    return Result(document, (*lines, *_bad(report)), DONE if ok else REFUSED)


def _screened_again(
    made: Iterable[Stated], heard: Heard, *, lists: Iterable[SanctionsList], clear: str
) -> list[Stated]:
    """The statements by any of these lists, with what is wrong about their screening."""
    known, found = {one.list_hash: one for one in lists}, list[Stated]()
    for one in made:
        if one.basis is None or (used := known.get(one.basis.list_hash)) is None:
            continue
        hits = used.hits(heard.scored[one.request].payees)
        if hits and one.result == clear:
            why = f"{hits[0]} is on the list of {used.source} of {used.as_of}, and the result is {one.result}"
        elif not hits and one.result != clear:
            why = f"nobody it pays is on the list of {used.source} of {used.as_of}, and it says {one.result}"
        else:
            why = ""
        found.append(replace(one, wrong=why))
    return found


def _read_list(path: Path) -> SanctionsList:
    try:
        return parse_list(path.read_bytes())
    except (OSError, MalformedError) as error:
        raise Misuse(f"--list {path}: {error}") from error


def _heard(arguments: Namespace) -> tuple[Heard, AuditReport]:
    heard = Heard()
    return heard, looked(arguments, heard.hear)


def _found(arguments: Namespace) -> tuple[Heard, AuditReport, Scored]:
    """The score that is asked for. Raises ``OperationalError`` when the log has no such request."""
    path = Path(arguments.request)
    asked = _read_request(path) if path.is_file() else None
    heard, report = _heard(arguments)
    if asked is not None:
        if heard.state is None:
            raise OperationalError(f"the log does not hold: {as_text(report)}")
        time_ms = max(heard.state.time_ms, asked.created_ms)
        return heard, report, heard.reader.score_as_next(heard.state, asked, time_ms=time_ms)
    request = read_request_id(arguments.request)
    if request not in heard.scored:
        raise OperationalError(
            f"the log's {report.size} entries have no admitted request {request.hex()}: look at its id"
        )
    return heard, report, heard.scored[request]


def _read_request(path: Path) -> Request:
    try:
        return parse_request(parse_canonical(read_bytes(path, "the request"), bytes_max=REQUEST_BYTES_MAX))
    except MalformedError as error:
        raise OperationalError(f"{path} is no request: {error}; give its canonical document") from error


def _amount_text(heard: Heard, found: Scored) -> str:
    amount, asset = str(found.ask.amount), found.ask.asset
    return units(heard.state.policy, amount, unit=asset) if heard.state else f"{amount} {asset}"


def _risk_text(found: Score) -> str:
    total = sum(one.points for one in found.shares)
    cut = f" ({total} points, cut at 100)" if total != found.risk else ""
    return f"risk {found.risk}{cut}, {'at or above' if found.risk >= THRESHOLD else 'below'} {THRESHOLD}"


def _scored_document(found: Scored) -> Document:
    return {
        "request": found.ask.request.hex(),
        "model": found.score.model,
        "risk": found.score.risk,
        "threshold": THRESHOLD,
        "shares": [
            {"feature": one.feature, "points": one.points, "why": one.why} for one in found.score.shares
        ],
    }


def _stated_document(one: Stated) -> Document:
    return {
        "index": one.index,
        "request": one.request.hex(),
        "result": one.result,
        "risk": one.risk,
        "basis": one.basis.to_json() if one.basis else None,
        "signers": list(one.signers),
        "wrong": one.wrong,
    }


def _stated_lines(heard: Heard, request: bytes) -> list[str]:
    return [
        f"Entry {one.index} states risk {one.risk} and {one.result}, by {', '.join(one.signers)}"
        + (f"; WRONG: {one.wrong}" if one.wrong else "" if one.basis else ", by hand")
        for one in heard.stated
        if one.request == request
    ]


def _bad(report: AuditReport) -> list[str]:
    return [] if report.ok else [as_text(report)]


def _code(report: AuditReport) -> int:
    return DONE if report.ok else REFUSED
