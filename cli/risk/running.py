"""``risk run``: the scoring observer at work."""

import logging
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from cli.audit import read_trust
from cli.connection import load_connection
from cli.results import Document, Misuse, Result, progress
from cli.risk.assignment import load_assignment
from cli.statements import observer
from custody.client import Endpoint
from custody.risk.main import Seat, run
from custody.risk.scoring import THRESHOLD
from custody.risk.stating import Statement
from policy.errors import MalformedError


def run_observer(arguments: Namespace) -> Result:
    """Look once, or until SIGTERM; each statement is told as it is made."""
    connection, identity = load_connection(arguments), observer(arguments)
    if not arguments.trust:
        raise Misuse("--trust is missing: who states what follows from a log must know whose log it is")
    try:
        trust = read_trust(Path(arguments.trust))
    except (MalformedError, OSError) as error:
        raise Misuse(f"--trust: {error}") from error
    assignment = load_assignment(identity.folder)
    endpoint = Endpoint(connection.address, connection.certificate, connection.origin)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    seat = Seat(identity.folder, identity.card.name, endpoint, trust, identity.key)
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
