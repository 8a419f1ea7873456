"""A node's configuration: one TOML file, every mistake reported at once with its key and its fix.

```toml
name = "node-a"
role = "node"                       # or "witness", or "cold", which has no listen, listen_file and peers
origin = "log.example.com/treasury"
listen = "0.0.0.0:7700"
listen_file = "port"                # optional: where the bound port is written
data_dir = "data"                   # relative paths start at this file's folder
genesis = "genesis.json"
genesis_fingerprint = "<64 hex digits>"
coordinator_certificate = "coordinator.pem"
clock_skew_ms = 2000
witnesses = ["auditor.example.com/watch+..."]  # optional: a payment needs their cosignatures, too

[hsm]
module = "/usr/lib/softhsm/libsofthsm2.so"
token_label = "node-a"
softhsm2_conf = "softhsm2.conf"     # optional, for SoftHSM only

[peers.node-b]
address = "node-b.example.com:7700"
certificate = "node-b.pem"
```
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from policy.encoding import document_hash, parse_canonical
from policy.entries import ENTRY_BYTES_MAX, GenesisEntry, parse_entry
from policy.errors import QuorumkeepError
from policy.fields import NAME
from policy.ids import ORIGIN
from policy.log.merkle import leaf_hash
from policy.roster import COORDINATOR
from policy.settings import ConfigError, Problem, Settings, parse_settings, unlike
from signer_nodes.api import surroundings as around

COLD: Final = "cold"
STORE: Final = "node.db"
Role: TypeAlias = Literal["node", "witness", "cold"]
ROLES: Final[tuple[Role, ...]] = ("node", "witness", "cold")
CLOCK_SKEW_MS_DEFAULT: Final = 2000
CLOCK_SKEW_MS_MAX: Final = 60_000
PEERS_MAX: Final = 64
_LABEL: Final = re.compile(r"[^\x00-\x1f\x7f]{1,32}")
_COMPARE: Final = "get it again, and compare its fingerprint with somebody who knows it"
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class HsmConfig:
    """The token of this node. ``softhsm2_conf`` goes into the environment before the module loads."""

    module: Path
    token_label: str
    softhsm2_conf: Path | None


@dataclass(frozen=True, slots=True)
class PeerConfig:
    """Where a peer listens and the identity certificate (PEM file) it is known by."""

    address: str
    certificate: Path


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """Everything a node is told from outside; paths are absolute.

    ``roster`` is a roster document newer than the genesis entry's, for a node that joins later or
    meets one that did; without it the fingerprint is empty.
    """

    name: str
    role: Role
    origin: str
    listen: str
    listen_file: Path | None
    data_dir: Path
    genesis: Path
    genesis_fingerprint: bytes
    roster: Path | None
    roster_fingerprint: bytes
    coordinator_certificate: Path
    clock_skew_ms: int
    hsm: HsmConfig
    peers: Mapping[str, PeerConfig]
    witnesses: Mapping[str, bytes] = field(default_factory=dict)


def load_config(path: Path) -> NodeConfig:
    """Read the file at ``path``. Raises ``ConfigError`` with all its problems."""
    settings, config = _parsed(around.read_text(path), path.resolve().parent, str(path))
    return _sound(config, settings, str(path))


def load_to_run(path: Path) -> NodeConfig:
    """The same for a node that is to run: whatever it names must be there, and its port free."""
    settings, config = _parsed(around.read_text(path), path.resolve().parent, str(path))
    _look_around(config, settings)
    return _sound(config, settings, str(path))


def read_to_check(
    path: Path, *, runs: Callable[[Path], bool], wrong_with: Callable[[Path, bytes], str]
) -> tuple[tuple[Problem, ...], bool]:
    """All that keeps a node from starting, and whether one ``runs`` on its folder and has port and store.

    ``wrong_with`` looks at a store, given what the log's first entry has to hash to.
    """
    settings, config = _parsed(around.read_text(path), path.resolve().parent, str(path))
    running = runs(config.data_dir)
    _look_around(config, settings, port=not running)
    store = config.data_dir / STORE
    if not running and config.genesis_fingerprint and os.path.exists(store):
        problem = wrong_with(store, config.genesis_fingerprint)
        if problem:
            settings.problem("data_dir", f"has a store that a start refuses: {problem}")
    return tuple(sorted(set(settings.problems))), running


def parse_config(text: str, folder: Path) -> NodeConfig:
    """Read configuration ``text`` whose relative paths start at ``folder``; touches no file."""
    settings, config = _parsed(text, folder, "configuration")
    return _sound(config, settings, "configuration")


def _sound(config: NodeConfig, settings: Settings, source: str) -> NodeConfig:
    if settings.problems:
        raise ConfigError(source, settings.problems)
    return config


def _parsed(text: str, folder: Path, source: str) -> tuple[Settings, NodeConfig]:
    settings = parse_settings(text, source)
    config = _read(settings, folder)
    settings.done()
    peers = settings.section("peers")
    if config.name in config.peers:
        peers.problem(config.name, "is this node itself: remove the section")
    addresses = ((peers.section(name), "address", peer.address) for name, peer in config.peers.items())
    unlike(addresses, what="address")
    return settings, config


def _read(table: Settings, folder: Path) -> NodeConfig:
    hsm = table.section("hsm")
    named = table.choice("role", *ROLES)
    role: Role = next((one for one in ROLES if one == named), "node")
    softhsm2_conf = hsm.optional_file("softhsm2_conf")
    listen_file, roster = table.optional_file("listen_file"), table.optional_file("roster")
    return NodeConfig(
        name=table.name("name"),
        role=role,
        origin=table.text("origin", ORIGIN, expected="the log's origin, such as 'log.example.com/treasury'"),
        listen="" if role == COLD else table.address("listen", port_min=0),
        listen_file=folder / listen_file if listen_file else None,
        data_dir=folder / table.file("data_dir"),
        genesis=folder / table.file("genesis"),
        genesis_fingerprint=_fingerprint(table, "genesis_fingerprint"),
        roster=folder / roster if roster else None,
        roster_fingerprint=_fingerprint(table, "roster_fingerprint") if roster else b"",
        coordinator_certificate=folder / table.file("coordinator_certificate"),
        clock_skew_ms=table.integer("clock_skew_ms", default=CLOCK_SKEW_MS_DEFAULT, high=CLOCK_SKEW_MS_MAX),
        hsm=HsmConfig(
            folder / hsm.file("module"),
            hsm.text("token_label", _LABEL, expected="the token's label of 1 to 32 characters"),
            folder / softhsm2_conf if softhsm2_conf else None,
        ),
        peers={
            name: PeerConfig(peer.address("address", port_min=1), folder / peer.file("certificate"))
            for name, peer in table.section("peers").sections(count_max=PEERS_MAX)
        },
        witnesses=table.witnesses("witnesses"),
    )


def _fingerprint(table: Settings, key: str) -> bytes:
    text = table.text(key, _FINGERPRINT, expected="64 lower-case hex digits, as provisioning printed them")
    return bytes.fromhex(text)


def _look_around(config: NodeConfig, settings: Settings, *, port: bool = True) -> None:
    """Files, folders and the port, as far as their keys could be read."""
    around.look_for_folder(settings, "data_dir", path=config.data_dir)
    _look_for_genesis(settings, config)
    if config.roster is not None:
        _look_for_roster(settings, config.roster, fingerprint=config.roster_fingerprint)
    if config.listen_file is not None:
        around.look_for_place(settings, "listen_file", path=config.listen_file, folder=False)
    around.look_for_identity(
        settings, "coordinator_certificate", path=config.coordinator_certificate, name=COORDINATOR
    )
    around.look_for_file(settings.section("hsm"), "module", path=config.hsm.module)
    peers = settings.section("peers")
    known: list[tuple[Settings, str, object]] = []
    for name, peer in config.peers.items():
        if NAME.fullmatch(name):
            table = peers.section(name)
            key = around.look_for_identity(table, "certificate", path=peer.certificate, name=name)
            known.append((table, "certificate", key))
    unlike(known, what="key")
    if port:
        around.look_for_port(settings, "listen", listen=config.listen)


def _look_for_genesis(settings: Settings, config: NodeConfig) -> None:
    data = around.look_for_file(settings, "genesis", path=config.genesis)
    if data is None or not config.genesis_fingerprint:
        return
    if leaf_hash(data) != config.genesis_fingerprint:
        settings.problem("genesis", f"has {leaf_hash(data).hex()} as its fingerprint: {_COMPARE}")
        return
    try:
        entry = parse_entry(data).entry
    except QuorumkeepError as error:
        settings.problem("genesis", f"is no entry: {error}; {_COMPARE}")
        return
    if not isinstance(entry, GenesisEntry):
        settings.problem("genesis", f"is another kind of entry: {_COMPARE}")
    elif config.origin and entry.origin != config.origin:
        settings.problem("origin", f"is not the genesis entry's {entry.origin!r}: correct one of them")


def _look_for_roster(settings: Settings, path: Path, *, fingerprint: bytes) -> None:
    data = around.look_for_file(settings, "roster", path=path)
    if data is None or not fingerprint:
        return
    try:
        found = document_hash("roster", parse_canonical(data, bytes_max=ENTRY_BYTES_MAX))
    except QuorumkeepError as error:
        settings.problem("roster", f"is {str(path)!r}, no roster: {error}; get it again")
        return
    if found != fingerprint:
        settings.problem("roster", f"has {found.hex()} as its fingerprint: {_COMPARE}")
