"""Keys, addresses, and how the deployment is doing."""

import json
import subprocess
import tempfile
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from cli.connection import caller, load_connection, whole_status
from cli.programs import NODE, program
from cli.results import Result, Table, progress, time_text
from policy.encoding import parse_canonical
from policy.entries import ENTRY_BYTES_MAX
from policy.errors import OperationalError
from policy.ids import GENERATE
from policy.words.units import readable_address


def change(arguments: Namespace) -> Result:
    """``key create|refresh|reshare``: have the nodes begin a key's next epoch."""
    connection, identity = load_connection(arguments), caller(arguments)
    with connection.open(identity) as client:
        if arguments.change != GENERATE:
            progress(_beginning(whole_status(client), arguments.key, arguments.change))
        answer = client.change_key(arguments.key, arguments.change, timeout_s=arguments.timeout)
    return _shown(answer)


def _beginning(status: Mapping[str, Any], name: str, change: str) -> str:
    """What is about to happen to a key, as the coordinator knows it."""
    key = next((key for key in status["keys"] if key["key"] == name), None)
    if key is None:
        return f"{change} of {name}: the log has no such key"
    return (
        f"{change} of {name}: {_words(key['participants'])} sign on in epoch {key['epoch']} until epoch "
        f"{key['epoch'] + 1} is in the log, which takes seconds"
    )


def import_key(arguments: Namespace) -> Result:
    """``key import``: split an existing private key for the nodes, by a program that forgets it."""
    connection, identity = load_connection(arguments), caller(arguments)
    with connection.open(identity) as client:
        attempt, offers = client.import_offers(arguments.key)
        envelopes = _split(arguments, offers)
        answer = client.import_key(
            arguments.key, attempt=attempt, envelopes=envelopes, timeout_s=arguments.timeout
        )
    return _shown(answer)


def _split(arguments: Namespace, offers: bytes) -> dict[str, bytes]:
    """Have ``quorumkeep-node split`` read the private key from the descriptor: it never comes here."""
    with tempfile.NamedTemporaryFile(prefix="quorumkeep-offers-") as file:
        file.write(offers)
        file.flush()
        more = ["--seed"] if arguments.seed else []
        more += ["--chain-code", arguments.chain_code] if arguments.chain_code else []
        command = program(
            *(NODE, "split", "--offers", file.name, "--trust", arguments.trust),
            *("--committee", arguments.committee),
            *("--secret-fd", str(arguments.secret_fd), *more),
        )
        done = subprocess.run(command, check=False, pass_fds=(arguments.secret_fd,), capture_output=True)
    if done.returncode:
        raise OperationalError(done.stderr.decode(errors="replace").strip()[-1000:])
    return {node: bytes.fromhex(sealed) for node, sealed in json.loads(done.stdout).items()}


def _shown(answer: bytes) -> Result:
    body = parse_canonical(answer, bytes_max=ENTRY_BYTES_MAX)
    if not isinstance(body, dict):
        raise OperationalError("the coordinator answered with no key: look at its log")
    epoch = int(str(body["epoch"]))
    lines = [
        f"key {body['key']}, epoch {epoch}: any {body['min_signers']} of "
        f"{_words(body['participants'])} sign with it;",
        f"  group key {body['group_key']}",
    ]
    if epoch:
        lines.append(f"  epoch {epoch - 1} is destroyed now; status --json lists by whom (destroyed_by)")
    return Result(
        {name: body[name] for name in ("key", "epoch", "min_signers", "participants", "group_key")}, lines
    )


def address(arguments: Namespace) -> Result:
    """``address``: where a wallet is paid to."""
    connection = load_connection(arguments)
    with connection.open(caller(arguments)) as client:
        found = client.address(arguments.wallet, arguments.path)
    readable = readable_address(found.address)
    return Result(
        {"wallet": arguments.wallet, "address": found.address, "path": found.path, "chain": found.chain},
        (f"{readable}  ({arguments.wallet}, {found.path}, {found.chain})",),
    )


def status(arguments: Namespace) -> Result:
    """``status``: requests in numbers; for people, nodes, heads and presignatures too."""
    connection = load_connection(arguments)
    with connection.open(caller(arguments)) as client:
        document: dict[str, Any] = dict(client.status())
    counts = ", ".join(f"{count} {state}" for state, count in sorted(document["requests"].items()))
    requests = f"requests: {counts or 'none yet'}"
    if "nodes" not in document:  # a backend is shown no more
        frozen = ("FROZEN: nothing is signed until the administrators end it",) if document["frozen"] else ()
        return Result(document, (f"{document['origin']}: policy {document['policy']}", *frozen, requests))
    return Result(document, (*_deployment(document), requests))


def _deployment(document: dict[str, Any]) -> list[str | Table]:
    nodes = tuple(
        (node["name"], "up" if node["live"] else "down", str(node["size"]), node["problem"])
        for node in document["nodes"]
    )
    keys = tuple(
        (key["key"], str(key["epoch"]), f"{key['min_signers']} of {_words(key['participants'])}", key["gap"])
        for key in document["keys"]
    )
    pools = tuple((pool["key"], _words(pool["signers"]), str(pool["stock"])) for pool in document["pools"])
    return [
        f"{document['origin']}: {document['size']} entries, {document['quorum_size']} of them cosigned",
        *_governance(document),
        Table(("cosigner", "is", "entries", "problem"), nodes),
        Table(("key", "epoch", "sign", "to do"), keys),
        Table(("key", "signing set", "presignatures"), pools),
    ]


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
        (change["kind"], change["hash"], time_text(change["effective_ms"]), change["what"])
        for change in document["pending"]
    )
    lines += [Table(("pending", "hash", "takes effect at", "what"), rows)] if rows else []
    return lines + [line for book in document["lists"] for line in _list(book)]


def _list(book: dict[str, Any]) -> list[str]:
    """A list that has a quorum of its own: its numbers, and what changed since the policy took effect."""
    lines = [
        f"list {book['list']}: {book['addresses']} addresses, {book['added_count']} added and "
        f"{book['removed_count']} removed since the policy; changes need {book['quorum']} administrators "
        f"and wait {book['cool_down_ms']} ms"
    ]
    lines += [f"  + {readable_address(one['address'])} {one['label']}" for one in book["added"]]
    lines += [f"  - {readable_address(address)}" for address in book["removed"]]
    left = book["added_count"] + book["removed_count"] - len(book["added"]) - len(book["removed"])
    return [*lines, f"  and {left} more"] if left else lines


def _words(names: Any) -> str:
    return ", ".join(str(name) for name in names)
