"""What people and observers state: a no to a request, a price, a screening.

A price or screening takes f + 1 observers. The first writes the statement to a file with their signature;
each other one reads what it says and signs the same file; anyone hands it in.
"""

import re
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from cli.connection import Connection, caller, load_connection
from cli.files import read_document, write_document
from cli.identities import Identity
from cli.requests import read_request_id
from cli.results import Misuse, Result
from policy.encoding import Json, statement
from policy.errors import OperationalError

_DECIMAL = re.compile(r"([0-9]{1,60})(?:\.([0-9]{1,18}))?")
KINDS = ("price", "screening")


def reject(arguments: Namespace) -> Result:
    """``request reject``: sign a no and hand it in."""
    connection, identity = load_connection(arguments), caller(arguments)
    request = read_request_id(arguments.request)
    body: Json = {
        "origin": connection.origin,
        "request": request.hex(),
        "by": identity.card.name,
        "reason": arguments.reason,
    }
    signatures: list[Json] = [_signature("reject", body, identity)]
    with connection.open(identity) as client:
        outcome = client.enact("reject", body, proof={"signatures": signatures})
    document = {"request": request.hex(), "rejected_by": identity.card.name, **outcome}
    return Result(document, (f"{identity.card.name} has rejected request {request.hex()[:16]} for good.",))


def price(arguments: Namespace) -> Result:
    """``observe price``: write or sign a statement of a price."""
    connection, identity = load_connection(arguments), _observer(arguments)
    prices = connection.policy.prices
    if prices is None:
        raise Misuse("the policy has no prices: it says under 'prices' what amounts are worth in")
    connection.asset(arguments.asset)
    body: dict[str, Json] = {
        "origin": connection.origin,
        "asset": arguments.asset,
        "unit": prices.scale,
        "price": str(_scaled(arguments.price, prices.decimals)),
    }
    return _state("price", body, Path(arguments.out), identity)


def screening(arguments: Namespace) -> Result:
    """``observe screening``: write or sign a statement about a request."""
    connection, identity = load_connection(arguments), _observer(arguments)
    if not 0 <= arguments.risk <= 100:
        raise Misuse(f"--risk {arguments.risk} is not from 0 to 100")
    body: dict[str, Json] = {
        "origin": connection.origin,
        "request": read_request_id(arguments.request).hex(),
        "result": arguments.result,
        "risk": arguments.risk,
    }
    return _state("screening", body, Path(arguments.out), identity)


def submit(arguments: Namespace) -> Result:
    """``observe submit``: hand a statement in."""
    connection, identity = load_connection(arguments), caller(arguments)
    kind, body, signatures = _read(Path(arguments.statement), connection)
    with connection.open(identity) as client:
        outcome = client.enact(kind, body, proof={"signatures": signatures})
    names = [one["name"] for one in signatures if isinstance(one, dict)]
    return Result(
        {"statement": kind, "signers": names, **outcome},
        (f"the {kind} is in the log, signed by {', '.join(map(str, names))}.",),
    )


def _state(kind: str, body: dict[str, Json], path: Path, identity: Identity) -> Result:
    """Write a new statement, or add a signature to one that says the same."""
    signatures: list[Json] = []
    if path.exists():
        document = read_document(path, "the statement")
        kept = document.get("body")
        if document.get("kind") != kind or not isinstance(kept, dict):
            raise OperationalError(f"{path} holds no {kind}: name another file")
        observed_ms = kept.get("observed_ms")
        if kept != {**body, "observed_ms": observed_ms}:
            raise OperationalError(f"{path} says something else: read it, or name another file")
        body, signatures = kept, list(document["signatures"])
    else:
        body = {**body, "observed_ms": time.time_ns() // 1_000_000}
    named = {str(one["name"]): one for one in signatures if isinstance(one, dict) and "name" in one}
    named[identity.card.name] = _signature(kind, body, identity)
    signatures = [named[name] for name in sorted(named)]
    document = {"kind": kind, "body": body, "signatures": signatures}
    write_document(path, document)
    return Result(
        {"file": str(path), **document},
        (
            f"{path}: {identity.card.name} has stated it; {len(signatures)} observers have signed.",
            "Next: with f + 1 of them, hand it in: quorumkeep observe submit",
        ),
    )


def _read(path: Path, connection: Connection) -> tuple[str, Json, list[Json]]:
    document: dict[str, Any] = read_document(path, "the statement")
    kind, body, signatures = document.get("kind"), document.get("body"), document.get("signatures")
    if kind not in KINDS or not isinstance(body, dict) or not isinstance(signatures, list):
        raise OperationalError(f"{path} is no statement: make it with quorumkeep observe price or screening")
    if body.get("origin") != connection.origin:
        raise OperationalError(f"{path} is for {body.get('origin')}, this is {connection.origin}")
    return str(kind), body, signatures


def _observer(arguments: Namespace) -> Identity:
    identity = caller(arguments)
    if identity.card.kind != "observer":
        raise Misuse(f"{identity.card.name} is no observer: give an observer's folder to --as")
    return identity


def _signature(kind: str, body: Json, identity: Identity) -> dict[str, Json]:
    signature = identity.key.sign(statement(kind, body))
    return {"name": identity.card.name, "signature": signature.hex()}


def _scaled(text: str, decimals: int) -> int:
    """A decimal number in units of ``10**-decimals``, exactly. Raises ``Misuse``."""
    match = _DECIMAL.fullmatch(text)
    if not match or len(match[2] or "") > decimals:
        raise Misuse(f"{text[:80]!r} is no price with at most {decimals} places: write it as 2512.40")
    scaled = int(match[1] + (match[2] or "").ljust(decimals, "0"))
    if not scaled:
        raise Misuse("a price is above zero")
    return scaled
