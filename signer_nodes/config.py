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

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from policy.errors import MalformedError, OperationalError
from policy.fields import NAME
from policy.ids import ORIGIN
from policy.log.checkpoint import TYPE_COSIGNATURE, parse_vkey

COLD: Final = "cold"
Role: TypeAlias = Literal["node", "witness", "cold"]
ROLES: Final[tuple[Role, ...]] = ("node", "witness", "cold")
CLOCK_SKEW_MS_DEFAULT: Final = 2000
CLOCK_SKEW_MS_MAX: Final = 60_000
CONFIG_BYTES_MAX: Final = 256 * 1024
LABEL_CHARACTERS_MAX: Final = 32
_FINGERPRINT: Final = re.compile(r"[0-9a-f]{64}")
_ADDRESS: Final = re.compile(r"(?:\[[0-9a-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})")
_PORT_MAX: Final = 65535
T = TypeVar("T")


class ConfigError(OperationalError):
    """A configuration that cannot be used; ``problems`` has one line for each key at fault."""

    def __init__(self, source: str, problems: tuple[str, ...]) -> None:
        super().__init__("\n  ".join((f"{source}: {len(problems)} problem(s)", *problems)))
        self.problems = problems


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
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
        if len(data) > CONFIG_BYTES_MAX:
            raise ConfigError(str(path), (f"it has more than {CONFIG_BYTES_MAX} bytes: give the right file",))
        return parse_config(data.decode(), path.resolve().parent)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), (f"it cannot be read: {error}",)) from error


def parse_config(text: str, folder: Path) -> NodeConfig:
    """Read configuration ``text`` whose relative paths start at ``folder``; touches no file."""
    try:
        table = _Table(tomllib.loads(text), "", folder, [])
    except tomllib.TOMLDecodeError as error:
        raise ConfigError("configuration", (f"it is not TOML: {error}",)) from error
    config = _read(table)
    table.done()
    if config.name in config.peers:
        table.problem(f"peers.{config.name}", "is this node itself: remove the section")
    if table.problems:
        raise ConfigError("configuration", tuple(table.problems))
    return config


def _read(table: "_Table") -> NodeConfig:
    hsm = table.section("hsm")
    named = table.choice("role", *ROLES)
    role: Role = next((one for one in ROLES if one == named), "node")
    config = NodeConfig(
        name=table.text("name", NAME, expected="a name of lower-case letters, digits, '.', '_' and '-'"),
        role=role,
        origin=table.text("origin", ORIGIN, expected="the log's origin, such as 'log.example.com/treasury'"),
        listen="" if role == "cold" else table.address("listen", port_min=0),
        listen_file=table.optional_path("listen_file"),
        data_dir=table.path("data_dir"),
        genesis=table.path("genesis"),
        genesis_fingerprint=table.fingerprint("genesis_fingerprint"),
        roster=table.optional_path("roster"),
        roster_fingerprint=table.fingerprint("roster_fingerprint") if "roster" in table.values else b"",
        coordinator_certificate=table.path("coordinator_certificate"),
        clock_skew_ms=table.integer(
            "clock_skew_ms", default=CLOCK_SKEW_MS_DEFAULT, low=0, high=CLOCK_SKEW_MS_MAX
        ),
        hsm=HsmConfig(hsm.path("module"), hsm.label("token_label"), hsm.optional_path("softhsm2_conf")),
        peers={
            name: PeerConfig(peer.address("address", port_min=1), peer.path("certificate"))
            for name, peer in table.section("peers").sections()
        },
        witnesses=table.witnesses("witnesses"),
    )
    return config


@dataclass(slots=True)
class _Table:
    """A TOML table that is read key by key; problems are collected, and stand-ins returned for them."""

    values: dict[str, object]
    prefix: str
    folder: Path
    problems: list[str]
    read: "set[str]" = field(default_factory=set)
    children: "list[_Table]" = field(default_factory=list)

    def problem(self, key: str, text: str) -> None:
        self.problems.append(f"{self.prefix}{key} {text}")

    def section(self, key: str) -> "_Table":
        value = self._take(key)
        if value is not None and not isinstance(value, dict):
            self.problem(key, f"is {value!r}: write it as a section [{self.prefix}{key}]")
        child = _Table(
            value if isinstance(value, dict) else {}, f"{self.prefix}{key}.", self.folder, self.problems
        )
        self.children.append(child)
        return child

    def sections(self) -> "list[tuple[str, _Table]]":
        for key in self.values:
            if not NAME.fullmatch(key):
                self.problem(key, "is not a name: use lower-case letters, digits, '.', '_' and '-'")
        return [(key, self.section(key)) for key in self.values]

    def text(self, key: str, pattern: re.Pattern[str], *, expected: str) -> str:
        value = self._take(key)
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        return self._wrong(key, value, expected=expected, stand_in="")

    def choice(self, key: str, *allowed: str) -> str:
        return self.text(key, re.compile("|".join(allowed)), expected="one of " + ", ".join(allowed))

    def label(self, key: str) -> str:
        value = self._take(key)
        if (
            isinstance(value, str)
            and 1 <= len(value.encode()) <= LABEL_CHARACTERS_MAX
            and value.isprintable()
        ):
            return value
        return self._wrong(
            key, value, expected=f"the token's label of 1 to {LABEL_CHARACTERS_MAX} characters", stand_in=""
        )

    def address(self, key: str, *, port_min: int) -> str:
        value = self._take(key)
        match = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
        if isinstance(value, str) and match and port_min <= int(match["port"]) <= _PORT_MAX:
            return value
        return self._wrong(
            key, value, expected=f"host:port with a port from {port_min} to {_PORT_MAX}", stand_in=""
        )

    def fingerprint(self, key: str) -> bytes:
        value = self._take(key)
        if isinstance(value, str) and _FINGERPRINT.fullmatch(value):
            return bytes.fromhex(value)
        return self._wrong(
            key, value, expected="64 lower-case hex digits, as provisioning printed them", stand_in=b""
        )

    def integer(self, key: str, *, default: int, low: int, high: int) -> int:
        value = self._take(key)
        if value is None:
            return default
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        return self._wrong(key, value, expected=f"a number from {low} to {high}", stand_in=default)

    def path(self, key: str) -> Path:
        value = self._take(key)
        if isinstance(value, str) and value and "\0" not in value:
            return self.folder / value
        return self._wrong(key, value, expected="a path", stand_in=self.folder)

    def witnesses(self, key: str) -> dict[str, bytes]:
        """Names and keys of cosigners outside the roster; one that cannot be read is a problem."""
        found: dict[str, bytes] = {}
        value = self._take(key)
        for text in value if isinstance(value, list) else [] if value is None else [value]:
            try:
                vkey = parse_vkey(text if isinstance(text, str) else "")
            except MalformedError as error:
                self.problem(key, f"has {str(text)[:64]!r}: {error}; copy what witness init printed")
                continue
            if vkey.key_type != TYPE_COSIGNATURE or vkey.name in found:
                self.problem(key, f"has {vkey.name}, which is no cosigner's key, or there twice")
            found[vkey.name] = vkey.public_key
        return found

    def optional_path(self, key: str) -> Path | None:
        return self.path(key) if key in self.values else None

    def done(self) -> None:
        for key in self.values.keys() - self.read:
            self.problem(key, "is not known here: remove it or correct its spelling")
        for child in self.children:
            child.done()

    def _take(self, key: str) -> object:
        self.read.add(key)
        return self.values.get(key)

    def _wrong(self, key: str, value: object, *, expected: str, stand_in: T) -> T:
        if value is None:
            self.problem(key, f"is missing: set it to {expected}")
        else:
            self.problem(key, f"is {str(value)[:64]!r}: set it to {expected}")
        return stand_in
