"""The seat of an observer that runs: its identity, the coordinator it asks, and whose log it follows."""

import logging
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.audit import read_trust
from cli.connection import load_connection
from cli.results import Misuse
from cli.statements import observer
from custody.client import Endpoint
from policy.audit import Trust
from policy.errors import MalformedError

Seat = TypeVar("Seat")


def take_seat(
    arguments: Namespace, seat: Callable[[Path, str, Endpoint, Trust, Ed25519PrivateKey], Seat]
) -> Seat:
    """The seat, made by ``seat``; what the process logs from here on goes to standard error."""
    connection, identity = load_connection(arguments), observer(arguments)
    if not arguments.trust:
        raise Misuse("--trust is missing: who states what follows from a log must know whose log it is")
    try:
        trust = read_trust(Path(arguments.trust))
    except (MalformedError, OSError) as error:
        raise Misuse(f"--trust: {error}") from error
    endpoint = Endpoint(connection.address, connection.certificate, connection.origin)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return seat(identity.folder, identity.card.name, endpoint, trust, identity.key)
