"""What a running coordinator says of itself and its cosigners, and what that means.

The status document is the coordinator's word. A cosigner that follows has cosigned the newest head, which
takes its token: so one that is up has a token that answers.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from cli.doctor.findings import Finding
from cli.doctor.folder import room
from policy.losses import losses
from policy.model import Policy
from policy.roster import Roster

BEHIND_ENTRIES = 64
CLOCK_OFF_MS = 1000
Status = Mapping[str, Any]


def examine_standing(status: Status, roster: Roster, *, policy: Policy, now_ms: int) -> Iterator[Finding]:
    """Everything there is to say of a status document."""
    if status["frozen"]:
        yield Finding("frozen", "log", f"signing is frozen by freeze {status['freeze']}")
    behind = status["size"] - status["quorum_size"]
    if behind > BEHIND_ENTRIES:
        yield Finding("log-not-cosigned", "log", f"{behind} entries have no w = {roster.w} cosignatures yet")
    if abs(status["time_ms"] - now_ms) > CLOCK_OFF_MS:
        yield _clock("coordinator", status["time_ms"] - now_ms, "this machine's")
    for node in status["nodes"]:
        if node["name"] in roster.cosigners:
            yield from _node(node, size=status["size"])
    yield from _keys(status, policy)
    yield from _stocks(status)


def examine_client(status: Status, client_policy: bytes) -> Iterator[Finding]:
    """Whether clients read units and wallets by the policy in force."""
    if status["policy"] != client_policy.hex():
        yield Finding("client-stale", "client.json", "client.json has another policy than is in force")


def down(status: Status, roster: Roster) -> frozenset[str]:
    """The cosigners of the roster that do not follow."""
    live = {node["name"] for node in status["nodes"] if node["live"]}
    return frozenset(set(roster.cosigners) - live)


def in_quarantine(status: Status) -> frozenset[str]:
    """The nodes that cosign, and are in no signing set."""
    return frozenset(node["name"] for node in status["nodes"] if node.get("quarantine"))


def examine_losses(
    roster: Roster, keys: Mapping[str, Any], *, gone: Collection[str], unsigning: Collection[str]
) -> Iterator[Finding]:
    """Which losses stop signing, beyond those that have happened."""
    for loss in losses(roster, keys, gone=gone, unsigning=unsigning):
        code = {0: "signing-stopped", 1: "none-to-spare"}.get(loss.count, "losses")
        yield Finding(code, loss.key or "log", loss.said())


def _node(node: Mapping[str, Any], *, size: int) -> Iterator[Finding]:
    name = str(node["name"])
    if not node["live"]:
        yield Finding("cosigner-down", name, f"{name} does not follow the log: {node['problem']}")
    elif size - node["size"] > BEHIND_ENTRIES:
        yield Finding("cosigner-behind", name, f"{name} is {size - node['size']} entries behind")
    if node.get("quarantine"):
        yield Finding("quarantine", name, f"{name} is in no signing set: {node['quarantine']}")
    if abs(node.get("clock_off_ms", 0)) > CLOCK_OFF_MS:
        yield _clock(name, node["clock_off_ms"], "the coordinator's")
    if "disk_free_bytes" in node:
        yield from room(name, int(node["disk_free_bytes"]))


def _clock(name: str, off_ms: int, whose: str) -> Finding:
    way = "ahead of" if off_ms > 0 else "behind"
    return Finding("clock-off", name, f"the clock of {name} is {abs(off_ms)} ms {way} {whose}")


def _keys(status: Status, policy: Policy) -> Iterator[Finding]:
    made = {key["key"]: key for key in status["keys"]}
    for name in sorted(set(policy.keys) - set(made)):
        yield Finding("key-missing", name, f"the policy has a key {name} that is not made yet")
    for name, key in sorted(made.items()):
        if key["gap"]:
            yield Finding("key-committee-differs", name, f"key {name}: {key['gap']}")
        missing = sorted(set(key["participants"]) - set(key["destroyed_by"]))
        if key["epoch"] and missing:
            said = (
                f"{', '.join(missing)} gave no receipt for destroying epoch {key['epoch'] - 1} of key {name}"
            )
            yield Finding("epoch-not-destroyed", name, said)


def _stocks(status: Status) -> Iterator[Finding]:
    for key in status["keys"]:
        stocks = [pool["stock"] for pool in status["pools"] if pool["key"] == key["key"]]
        if not any(stocks):
            said = f"there is no presignature of key {key['key']} in stock: the next payment waits for one"
            yield Finding("presignatures-none", key["key"], said)
