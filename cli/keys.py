"""Keys, addresses, and how the deployment is doing."""

from argparse import Namespace
from typing import Any

from cli.connection import caller, load_connection
from cli.results import Misuse, Result, Table, time_text
from policy.bip32 import checksum_address
from policy.encoding import parse_canonical
from policy.entries import ENTRY_BYTES_MAX
from policy.errors import OperationalError


def create(arguments: Namespace) -> Result:
    """``key create``: have the nodes make a key that exists in no one place."""
    connection, identity = load_connection(arguments), caller(arguments)
    if arguments.key not in connection.policy.keys:
        known = ", ".join(sorted(connection.policy.keys))
        raise Misuse(f"the policy has no key {arguments.key[:64]!r}: it has {known}")
    with connection.open(identity) as client:
        body = parse_canonical(
            client.create_key(arguments.key, timeout_s=arguments.timeout), bytes_max=ENTRY_BYTES_MAX
        )
    if not isinstance(body, dict):
        raise OperationalError("the coordinator answered with no key: look at its log")
    return Result(
        {name: body[name] for name in ("key", "epoch", "min_signers", "participants", "group_key")},
        (
            f"key {body['key']}: any {body['min_signers']} of {_words(body['participants'])} sign with it;",
            f"  group key {body['group_key']}",
        ),
    )


def address(arguments: Namespace) -> Result:
    """``address``: where a wallet is paid to."""
    connection = load_connection(arguments)
    with connection.open(caller(arguments)) as client:
        found = client.address(arguments.wallet, arguments.path)
    readable = checksum_address(found.address)
    return Result(
        {"wallet": arguments.wallet, "address": found.address, "path": found.path, "chain": found.chain},
        (f"{readable}  ({arguments.wallet}, {found.path}, {found.chain})",),
    )


def status(arguments: Namespace) -> Result:
    """``status``: nodes, heads, presignatures and requests in numbers."""
    connection = load_connection(arguments)
    with connection.open(caller(arguments)) as client:
        document: dict[str, Any] = dict(client.status())
    nodes = tuple(
        (node["name"], "up" if node["live"] else "down", str(node["size"]), node["problem"])
        for node in document["nodes"]
    )
    pools = tuple((pool["key"], _words(pool["signers"]), str(pool["stock"])) for pool in document["pools"])
    counts = ", ".join(f"{count} {state}" for state, count in sorted(document["requests"].items()))
    return Result(
        document,
        (
            f"{document['origin']}: {document['size']} entries, {document['quorum_size']} of them cosigned",
            *_governance(document),
            Table(("cosigner", "is", "entries", "problem"), nodes),
            Table(("key", "signing set", "presignatures"), pools),
            f"requests: {counts or 'none yet'}",
        ),
    )


def _governance(document: dict[str, Any]) -> list[str | Table]:
    """What is in force and what waits, with the names by which an unfreeze or a veto calls them."""
    lines: list[str | Table] = [
        f"policy {document['policy']}",
        f"roster {document['roster']}",
        f"rules  {document['rules']}",
    ]
    if document["frozen"]:
        lines.append(f"FROZEN: nothing is signed until an unfreeze names {document['freeze']}")
    rows = tuple(
        (change["kind"], change["hash"], time_text(change["effective_ms"])) for change in document["pending"]
    )
    return [*lines, Table(("pending", "hash", "takes effect at"), rows)] if rows else lines


def _words(names: Any) -> str:
    return ", ".join(str(name) for name in names)
