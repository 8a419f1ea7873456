"""How a backend, operator or administrator reaches the coordinator, and what it need not believe it.

``client.json`` comes from the administrators with the genesis entry. It has the coordinator's address
and certificate, and the policy: units, wallets and contracts are read there, never asked of the
coordinator, which could otherwise have someone ask for ten times as much.
"""

import os
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.files import read_document
from cli.results import Misuse
from policy.document import parse_policy, policy_hash
from policy.encoding import Json
from policy.errors import MalformedError, OperationalError
from policy.model import Asset, Policy

if TYPE_CHECKING:
    from cli.identities import Identity
    from custody.client import CustodyClient

VARIABLE = "QUORUMKEEP_CLIENT"
NEEDED = ("origin", "address", "certificate", "policy")
STALE = "once the policy has changed, quorumkeep admin hand-out writes client.json anew"


@dataclass(frozen=True, slots=True)
class Connection:
    """A deployment as its clients know it."""

    origin: str
    address: str
    certificate: bytes
    policy: Policy
    policy_hash: bytes

    def asset(self, name: str) -> Asset:
        """An asset of the policy. Raises ``Misuse``."""
        if name not in self.policy.assets:
            raise Misuse(
                f"the policy has no asset {name[:64]!r}: it has {', '.join(sorted(self.policy.assets))}"
            )
        return self.policy.assets[name]

    def open(self, identity: "Identity") -> "CustodyClient":
        """A client that calls as ``identity``; close it."""
        from custody.client import Caller, CustodyClient, Endpoint

        endpoint = Endpoint(self.address, self.certificate, self.origin)
        return CustodyClient(endpoint, Caller(identity.card.name, identity.key))


def client_document(deployment: dict[str, Any], certificate: bytes, *, policy: Json) -> dict[str, Json]:
    """What clients are given; ``load_connection`` reads it."""
    http: dict[str, Json] = {"http": deployment["http"]} if deployment.get("http") else {}
    return {
        "origin": deployment["origin"],
        "address": deployment["address"],
        **http,
        "certificate": certificate.decode(),
        "policy": policy,
    }


def load_connection(arguments: Namespace) -> Connection:
    """The deployment named by ``--client`` or the environment. Raises ``OperationalError``."""
    return read_connection(Path(arguments.client or os.environ.get(VARIABLE) or "client.json"))


def read_connection(path: Path) -> Connection:
    """The deployment described by a ``client.json``. Raises ``OperationalError``."""
    document = read_document(path, f"the deployment's file (--client or ${VARIABLE})")
    missing = [name for name in NEEDED if name not in document]
    if missing:
        raise OperationalError(
            f"{path} has no {' and no '.join(missing)}: get client.json from the administrators again"
        )
    try:
        return Connection(
            origin=str(document["origin"]),
            address=str(document["address"]),
            certificate=str(document["certificate"]).encode(),
            policy=parse_policy(document["policy"]),
            policy_hash=policy_hash(document["policy"]),
        )
    except MalformedError as error:
        raise OperationalError(f"{path}: {error}; get client.json from the administrators again") from error


def caller(arguments: Namespace) -> "Identity":
    """The identity in the folder named by ``--as``."""
    from cli.identities import load_identity

    return load_identity(Path(arguments.identity))


def whole_status(client: "CustodyClient") -> dict[str, Any]:
    """What people are shown of a deployment. Raises ``Misuse`` for a backend, which is shown less."""
    status: dict[str, Any] = dict(client.status())
    if "nodes" not in status:
        raise Misuse("a backend is shown its own requests alone: give the folder of a person to --as")
    return status
