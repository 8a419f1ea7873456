"""``risk run``: the scoring observer at work."""

from argparse import Namespace
from collections.abc import Sequence

from cli.observing.seat import take_seat
from cli.results import Document, Result, progress
from cli.risk.assignment import load_assignment
from custody.risk.main import Seat, run
from custody.risk.scoring import THRESHOLD
from custody.risk.stating import Statement


def run_observer(arguments: Namespace) -> Result:
    """Look once, or until SIGTERM; each statement is told as it is made."""
    seat = take_seat(arguments, Seat)
    assignment = load_assignment(seat.folder)
    made: dict[bytes, Statement] = {}

    def told(statements: Sequence[Statement]) -> None:
        for one in statements:
            if made.get(one.request) != one:
                progress(_line(one))
        made.clear()
        made.update((one.request, one) for one in statements)

    run(seat, assignment, once=arguments.once, told=told)
    lines = tuple(_line(one) for one in made.values())
    return Result({"statements": [_document(one) for one in made.values()]}, lines or ("Nothing waits.",))


def _document(one: Statement) -> Document:
    return {
        "request": one.request.hex(),
        "result": one.result,
        "risk": one.risk,
        "signers": list(one.signers),
        "logged": one.logged,
    }


def _line(one: Statement) -> str:
    high = "  HIGH" if one.risk >= THRESHOLD else ""
    what = "in the log" if one.logged else f"waits for other observers, signed by {', '.join(one.signers)}"
    return f"{one.request.hex()[:16]}: risk {one.risk}, {one.result}; {what}{high}"
