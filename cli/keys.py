"""Keys, addresses, and how the deployment is doing."""

from argparse import Namespace
from typing import Any

from cli.connection import caller, load_connection
from cli.results import Result, Table
from policy.bip32 import checksum_address
from policy.encoding import parse_canonical
from policy.entries import ENTRY_BYTES_MAX
from policy.errors import OperationalError


def change(arguments: Namespace) -> Result:
    """``key create|refresh|reshare``: have the nodes begin a key's next epoch."""
    connection, identity = load_connection(arguments), caller(arguments)
    with connection.open(identity) as client:
        answer = client.change_key(arguments.key, arguments.change, timeout_s=arguments.timeout)
    body = parse_canonical(answer, bytes_max=ENTRY_BYTES_MAX)
    if not isinstance(body, dict):
        raise OperationalError("the coordinator answered with no key: look at its log")
    return Result(
        {name: body[name] for name in ("key", "epoch", "min_signers", "participants", "group_key")},
        (
            f"key {body['key']}, epoch {body['epoch']}: any {body['min_signers']} of "
            f"{_words(body['participants'])} sign with it;",
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
    keys = tuple(
        (key["key"], str(key["epoch"]), f"{key['min_signers']} of {_words(key['participants'])}", key["gap"])
        for key in document["keys"]
    )
    pools = tuple((pool["key"], _words(pool["signers"]), str(pool["stock"])) for pool in document["pools"])
    counts = ", ".join(f"{count} {state}" for state, count in sorted(document["requests"].items()))
    return Result(
        document,
        (
            f"{document['origin']}: {document['size']} entries, {document['quorum_size']} of them cosigned"
            + ("; FROZEN" if document["frozen"] else ""),
            Table(("cosigner", "is", "entries", "problem"), nodes),
            Table(("key", "epoch", "sign", "to do"), keys),
            Table(("key", "signing set", "presignatures"), pools),
            f"requests: {counts or 'none yet'}",
        ),
    )


def _words(names: Any) -> str:
    return ", ".join(str(name) for name in names)
