"""The rebalancer at work, and what people see and say of it: all from its own folder."""

import logging
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from cli.connection import Connection, caller, load_connection
from cli.rebalance import documents as said
from cli.rebalance.routes import load_assignment
from cli.results import DONE, REFUSED, Document, Misuse, Result, Table, progress, time_text
from custody.client import Endpoint
from custody.rebalancing import judging
from custody.rebalancing.main import Assignment, Backend, open_records, run
from custody.rebalancing.moves import Stage
from custody.rebalancing.records import Move, Route, replace


def rebalance(arguments: Namespace) -> Result:
    """``rebalance run``: look, and ask for what the policy and the forecast want; once or until SIGTERM."""
    connection, identity = load_connection(arguments), caller(arguments)
    if identity.card.kind != "backend":
        raise Misuse(f"{identity.card.name} is no backend: a rebalancer is one, of the group rebalancer")
    assignment = load_assignment(identity.folder, connection)
    endpoint = Endpoint(connection.address, connection.certificate, connection.origin)
    backend = Backend(identity.folder, identity.card.name, endpoint, identity.key)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    changed: list[Move] = []

    def told(moves: Sequence[Move]) -> None:
        changed.extend(moves)
        for move in moves:
            progress(_line(move, assignment))

    run(backend, assignment, once=arguments.once, told=told)
    refused = any(move.stage is Stage.REFUSED for move in changed)
    lines = tuple(_line(move, assignment) for move in changed)
    found: Document = {"moves": [said.move_document(move) for move in changed]}
    return Result(found, lines or ("Nothing is to be moved.",), REFUSED if refused else DONE)


def status(arguments: Namespace) -> Result:
    """``rebalance status``: what is held against what is wanted, the days ahead, and what is noted."""
    assignment, folder = _assignment(arguments)
    with open_records(folder) as book:
        routes = [said.route_document(book, route) for route in assignment.routes]
        notes = [said.note_document(note) for note in book.notes(limit=10)]
    shown = zip(assignment.routes, routes, strict=True)
    text = [part for route, document in shown for part in _route_text(route, document)]
    return Result({"routes": routes, "notes": notes}, tuple(text))


def proposals(arguments: Namespace) -> Result:
    """``rebalance proposals``: what is going to be moved, is being moved and was."""
    assignment, folder = _assignment(arguments)
    stages = [Stage(arguments.stage)] if arguments.stage in list(Stage) else []
    if arguments.stage and not stages:
        raise Misuse(f"there is no stage {arguments.stage[:64]!r}: there are {', '.join(Stage)}")
    with open_records(folder) as book:
        found = book.moves_in(stages)[::-1] if stages else book.moves(limit=arguments.limit)
    moves = found[: arguments.limit]
    rows = tuple(
        (move.name, move.stage.value, said.move_text(move, _named(assignment, move)), time_text(move.due_ms))
        for move in moves
    )
    table = Table(("proposal", "stage", "what", "due"), rows)
    return Result({"proposals": [said.move_document(move) for move in moves]}, (table,))


def show_proposal(arguments: Namespace) -> Result:
    """``rebalance show``: one proposal, and what it rests on."""
    assignment, folder = _assignment(arguments)
    with open_records(folder) as book:
        move = _found(book.move(arguments.proposal), arguments.proposal)
    lines = [
        f"{move.name}: {said.move_text(move, _named(assignment, move))}",
        f"  is {move.stage}, due {time_text(move.due_ms)}",
    ]
    if move.request:
        until = time_text(move.expires_ms)
        lines.append(f"  is request {move.request.hex()}, {move.request_state}, good until {until}")
    if move.error:
        lines.append(f"  {move.error}")
    return Result(said.move_document(move), (*lines, "because", *(f"  {reason}" for reason in move.reasons)))


def history(arguments: Namespace) -> Result:
    """``rebalance history``: what was forecast, and what came."""
    assignment, folder = _assignment(arguments)
    now_ms, documents, text = _now_ms(), [], list[str | Table]()
    with open_records(folder) as book:
        for route in assignment.routes:
            for flow in ("withdrawn", "deposited"):
                days = judging.judged_days(book, route, flow=flow, now_ms=now_ms)[-arguments.days :]
                share = judging.coverage(days)
                documents.append(
                    {
                        "route": route.name,
                        "flow": flow,
                        "coverage90": share,
                        "days": [said.judged_document(day) for day in days],
                    }
                )
                text += _history_text(route, flow, days=days, share=share)
    return Result({"history": documents}, tuple(text) or ("There is no forecast yet.",))


def release(arguments: Namespace) -> Result:
    """``rebalance release``: a person lets a proposal go above the breaker's quota."""
    _, folder = _assignment(arguments)
    with open_records(folder) as book:
        move = _found(book.move(arguments.proposal), arguments.proposal)
        if move.stage is not Stage.HELD:
            raise Misuse(f"{move.name} is {move.stage}: only what is held can be let go")
        book.release(move.name)
    line = f"{move.name} is asked for at the next look, if it is still wanted, and needs its approvals then."
    return Result({"proposal": move.name, "released": True}, (line,))


def calm(arguments: Namespace) -> Result:
    """``rebalance calm``: people end an alarm; forecasts learn from its days only if they are normal."""
    _, folder = _assignment(arguments)
    with open_records(folder) as book:
        alarm = next((one for one in book.alarms(arguments.route) if not one.ended_ms), None)
        if alarm is None:
            raise Misuse(f"no alarm of {arguments.route[:64]!r} stands: rebalance status lists them")
        ended = replace(
            alarm, ended_ms=_now_ms(), ended_why=arguments.reason, new_normal=arguments.new_normal
        )
        book.put_alarm(ended)
    return Result(said.alarm_document(ended), (f"The alarm of {ended.route} is over: {ended.ended_why}",))


def _route_text(route: Route, document: Document) -> list[str | Table]:
    if document["hour_ms"] is None:
        return [f"{route.name}: never looked at yet: quorumkeep rebalance run"]

    def amount(text: str) -> str:
        return said.about(int(text), route)

    band = document["band"]
    lines: list[str | Table] = [
        f"{route.name}: {route.wallet} holds {amount(document['held'])}, "
        f"owes {amount(document['owed'])}; the policy wants {amount(document['minimum'])} "
        f"to {amount(document['maximum'])}, {amount(document['target'])} best",
        f"  top-up below {amount(band['s'])} to {amount(band['S'])}, "
        f"sweep above {amount(band['U'])} to {amount(band['T'])}; by {document['mode']}:",
        *(f"    {reason}" for reason in document["reasons"]),
    ]
    if document["alarm"] is not None:
        since = time_text(document["alarm"]["since_ms"])
        lines.append(f"  ALARM since {since}: {document['alarm']['rule']}; when it is over: rebalance calm")
    rows = [
        (time_text(one["day_ms"])[:10], one["flow"], *(amount(text) for text in one["quantiles"].values()))
        for one in document["forecast"]
    ]
    return [*lines, Table(("day", "flow", "5%", "25%", "median", "75%", "95%"), tuple(rows))]


def _history_text(
    route: Route, flow: str, *, days: Sequence[judging.Judged], share: float | None
) -> list[str | Table]:
    def amount(base: int) -> str:
        return said.about(base, route)

    rows = tuple(
        (
            time_text(day.foreseen.day_ms)[:10],
            amount(day.at(judging.LOW)),
            amount(day.at(judging.MEDIAN)),
            amount(day.at(judging.HIGH)),
            "unknown" if day.actual_base is None else amount(day.actual_base),
            {True: "inside", False: "OUTSIDE", None: ""}[day.inside],
        )
        for day in days
    )
    head = f"{route.name}, {flow}" + ("" if share is None else f": {share:.0%} of days inside, 90% promised")
    return [head, Table(("day", "low", "median", "high", "came", ""), rows)] if rows else []


def _line(move: Move, assignment: Assignment) -> str:
    return f"{move.name}: {said.move_text(move, _named(assignment, move))} is {move.stage}"


def _named(assignment: Assignment, move: Move) -> Route | None:
    return next((route for route in assignment.routes if route.name == move.route), None)


def _found(move: Move | None, name: str) -> Move:
    if move is None:
        raise Misuse(f"there is no proposal {name[:80]!r}: rebalance proposals lists them")
    return move


def _assignment(arguments: Namespace) -> tuple[Assignment, Path]:
    connection: Connection = load_connection(arguments)
    folder = Path(arguments.identity)
    return load_assignment(folder, connection), folder


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
