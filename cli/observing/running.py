"""``observe run``: the observer of chains at work."""

import logging
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.audit import read_trust
from cli.connection import load_connection
from cli.observing.assignment import load_assignment
from cli.results import Document, Misuse, Result, progress
from cli.statements import observer
from custody.client import Endpoint
from custody.observing.main import Seat, run
from custody.observing.stating import Stated
from policy.encoding import Json
from policy.errors import MalformedError


def run_observer(arguments: Namespace) -> Result:
    """Look once, or until SIGTERM; each statement is told as it is made, and once more when it is logged."""
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
