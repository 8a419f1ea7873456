"""The sweeper at work, what it would do, and what its records say."""

import logging
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from cli.connection import Connection, caller, load_connection
from cli.results import DONE, REFUSED, Document, Misuse, Result, Table, progress, time_text
from cli.sweeps.assignment import load_assignment
from custody.client import Endpoint
from custody.rebalancing.main import Backend
from custody.rebalancing.moves import Stage
from custody.rebalancing.records import Direction, Move
from custody.sweeping.deciding import Decision, Wish
from custody.sweeping.main import RECORDS, open_records, plan, run
from policy.errors import OperationalError
from policy.words.units import amount_text

WORDS = {Direction.SWEEP: "sweep", Direction.TOP_UP: "gas for"}


def sweep(arguments: Namespace) -> Result:
    """``sweep run``: look, and ask for sweeps and gas; once or until SIGTERM; or show what one look would."""
    connection, identity = load_connection(arguments), caller(arguments)
    if identity.card.kind != "backend":
        raise Misuse(f"{identity.card.name} is no backend: a sweeper is one, of the group sweeper")
    assignment = load_assignment(identity.folder, connection)
    endpoint = Endpoint(connection.address, connection.certificate, connection.origin)
    backend = Backend(identity.folder, identity.card.name, endpoint, identity.key)
    if arguments.plan:
        return plan_result(plan(backend, assignment), connection)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    changed: list[Move] = []

    def told(moves: Sequence[Move]) -> None:
        if arguments.once:
            changed.extend(moves)
        for move in moves:
            progress(_line(move, connection))

    run(backend, assignment, once=arguments.once, told=told)
    lines = tuple(_line(move, connection) for move in changed)
    refused = any(move.stage is Stage.REFUSED for move in changed)
    found: Document = {"moves": [move_document(move) for move in changed]}
    return Result(found, lines or ("Nothing is to be moved.",), REFUSED if refused else DONE)


def listing(arguments: Namespace) -> Result:
    """``sweep list``: what was asked for, and what came of it."""
    connection, folder = load_connection(arguments), Path(arguments.identity)
    if not (folder / RECORDS).is_file():
        raise OperationalError(f"{folder} has no records of a sweeper: quorumkeep sweep run makes them")
    with open_records(folder) as book:
        moves = book.moves(limit=arguments.limit)
    rows = tuple(
        (
            move.name,
            move.stage.value,
            _amount(move.amount_base, _asset(move), connection),
            _account(move),
            time_text(move.updated_ms),
            move.error,
        )
        for move in moves
    )
    table = Table(("move", "stage", "amount", "account", "since", "why"), rows)
    return Result({"moves": [move_document(move) for move in moves]}, (table,))


def move_document(move: Move) -> Document:
    """A move as ``--json`` prints it."""
    return {
        "name": move.name,
        "kind": move.direction.value,
        "asset": _asset(move),
        "account": _account(move),
        "amount": str(move.amount_base),
        "stage": move.stage.value,
        "request": move.request.hex() or None,
        "tx_hash": move.tx_hash or None,
        "error": move.error or None,
        "updated_ms": move.updated_ms,
    }


def plan_result(decision: Decision, connection: Connection) -> Result:
    """What a look would ask for, how the tanks are, and what is left alone."""
    document: Document = {
        "moves": [_wish_document(wish) for wish in decision.wishes],
        "tanks": [
            {
                "wallet": tank.wallet,
                "asset": tank.asset,
                "held": None if tank.held_base is None else str(tank.held_base),
                "low": tank.low,
                "thirsty": tank.thirsty,
            }
            for tank in decision.tanks
        ],
        "paused": list(decision.paused),
        "unknown": decision.unknown,
    }
    lines = [
        f"{WORDS[wish.direction]} {wish.account}: {_amount(wish.amount_base, wish.asset.name, connection)}, "
        f"because {wish.reason}"
        for wish in decision.wishes
    ] or ["Nothing is to be moved."]
    for tank in decision.tanks:
        held = (
            "nobody knows what" if tank.held_base is None else _amount(tank.held_base, tank.asset, connection)
        )
        need = f"; {tank.thirsty} accounts lack gas" if tank.thirsty else ""
        lines.append(f"tank {tank.wallet} holds {held}{': FILL IT' if tank.low else ''}{need}")
    lines += [f"left alone for now: {route}" for route in decision.paused]
    if decision.unknown:
        lines.append(f"{decision.unknown} balances are not known: no chain says")
    return Result(document, tuple(lines))


def _wish_document(wish: Wish) -> Document:
    return {
        "kind": wish.direction.value,
        "asset": wish.asset.name,
        "account": wish.account,
        "wallet": wish.wallet,
        "source": wish.source,
        "to": wish.to,
        "amount": str(wish.amount_base),
        "fee": str(wish.fee_base),
        "reason": wish.reason,
    }


def _line(move: Move, connection: Connection) -> str:
    why = f": {move.error}" if move.error else ""
    amount = _amount(move.amount_base, _asset(move), connection)
    return f"{move.name}: {WORDS[move.direction]} {_account(move)}, {amount}, is {move.stage}{why}"


def _asset(move: Move) -> str:
    return move.route.partition("@")[0]


def _account(move: Move) -> str:
    return move.route.partition("@")[2]


def _amount(base: int, asset: str, connection: Connection) -> str:
    """With its unit; in base units for an asset that the policy has no more."""
    known = connection.policy.assets.get(asset)
    return f"{base} {asset}" if known is None else amount_text(base, asset=asset, decimals=known.decimals)
