"""The rebalancer at work, and what people see and say of it: all from its own folder."""

import logging
from argparse import Namespace
from collections.abc import Sequence

from cli.amounts import amount_text
from cli.connection import caller, load_connection
from cli.rebalance.routes import load_assignment
from cli.results import DONE, REFUSED, Document, Misuse, Result, progress
from custody.client import Endpoint
from custody.rebalancing.main import Backend, run
from custody.rebalancing.moves import Stage
from custody.rebalancing.records import Move, Route


def rebalance(arguments: Namespace) -> Result:
    """``rebalance run``: look, and ask for what the policy and the forecast want; once or until SIGTERM."""
    connection, identity = load_connection(arguments), caller(arguments)
    if identity.card.kind != "backend":
        raise Misuse(f"{identity.card.name} is no backend: a rebalancer is one, of the group rebalancer")
    assignment = load_assignment(identity.folder, connection)
    endpoint = Endpoint(connection.address, connection.certificate, connection.origin)
    backend = Backend(identity.folder, identity.card.name, endpoint, identity.key)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    routes = {route.name: route for route in assignment.routes}
    changed: list[Move] = []

    def told(moves: Sequence[Move]) -> None:
        changed.extend(moves)
        for move in moves:
            progress(f"{move.name}: {move_text(move, routes)} is {move.stage}")

    run(backend, assignment, once=arguments.once, told=told)
    refused = any(move.stage is Stage.REFUSED for move in changed)
    documents = [move_document(move) for move in changed]
    text = tuple(f"{move.name}: {move_text(move, routes)} is {move.stage}" for move in changed)
    return Result({"moves": documents}, text or ("Nothing is to be moved.",), REFUSED if refused else DONE)


def move_text(move: Move, routes: dict[str, Route]) -> str:
    """What a move does, in words."""
    route = routes.get(move.route)
    if route is None:
        return f"{move.amount_base} base units of {move.route}"
    amount = amount_text(move.amount_base, asset=route.asset, decimals=route.decimals)
    ends = (route.source, route.wallet) if move.direction == "top-up" else (route.wallet, route.source)
    return f"{amount} from {ends[0]} to {ends[1]}"


def move_document(move: Move) -> Document:
    """A move as ``--json`` prints it; what there is not yet is null."""
    return {
        "proposal": move.name,
        "route": move.route,
        "direction": move.direction.value,
        "stage": move.stage.value,
        "amount": str(move.amount_base),
        "due_ms": move.due_ms,
        "created_ms": move.created_ms,
        "updated_ms": move.updated_ms,
        "expires_ms": move.expires_ms or None,
        "request": move.request.hex() or None,
        "request_state": move.request_state or None,
        "tx_hash": move.tx_hash or None,
        "error": move.error or None,
        "reasons": list(move.reasons),
    }
