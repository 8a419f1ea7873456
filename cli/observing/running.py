"""``observe run``: the observer of chains at work."""

from argparse import Namespace
from collections.abc import Mapping, Sequence

from cli.observing.assignment import load_assignment
from cli.observing.seat import take_seat
from cli.results import Document, Result, progress
from custody.observing.main import Seat, run
from custody.observing.stating import Stated
from policy.encoding import Json


def run_observer(arguments: Namespace) -> Result:
    """Look once, or until SIGTERM; each statement is told as it is made, and once more when it is logged."""
    seat = take_seat(arguments, Seat)
    assignment = load_assignment(seat.folder)
    last: list[str] = []
    made: list[Stated] = []

    def told(statements: Sequence[Stated]) -> None:
        lines = list(map(_line, statements))
        for line in lines:
            if line not in last:
                progress(line)
        last[:], made[:] = lines, statements

    run(seat, assignment, once=arguments.once, told=told)
    documents: list[Json] = [_document(one) for one in made]
    return Result({"statements": documents}, tuple(map(_line, made)) or ("Nothing is to be stated.",))


def _document(one: Stated) -> Document:
    return {"kind": one.kind, "logged": one.logged, "body": dict(one.body)}


def _line(one: Stated) -> str:
    what = "in the log" if one.logged else "waits for other observers"
    return f"{_said(one.kind, one.body)}; {what}"


def _said(kind: str, body: Mapping[str, Json]) -> str:
    if kind == "observation":
        return f"request {str(body['request'])[:16]} settled in block {body['block']}"
    return (
        f"{body['chain']} block {body['block']}: {body['amount']} {body['asset']} to {body['wallet']} at "
        f"{body['address']}, {body['fact']}"
    )
