"""The deployment's folder: what has to be there, who can read it, which certificates end."""

import shutil
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from cryptography.x509 import load_pem_x509_certificate

from cli.deployment import DRAFT
from cli.doctor.findings import Finding
from cli.files import read_bytes, read_document
from cli.genesis import CLIENT, GENESIS, TRUST, trust_document
from custody.config import Config
from custody.config_reading import load_config
from policy.encoding import Json
from policy.entries import GenesisEntry, parse_entry
from policy.errors import MalformedError, OperationalError
from policy.roster import COORDINATOR, Roster, parse_roster
from signer_nodes.api.certificates import PinnedIdentity

DAY_MS = 24 * 3600 * 1000
ENDS_SOON_MS = 30 * DAY_MS
LOG_KEY_OLD_MS = 2 * 365 * DAY_MS
FREE_BYTES_MIN, FREE_BYTES_FEW = 256 * 1024**2, 2 * 1024**3
ROSTER = "roster.json"
_NEEDED = (DRAFT, GENESIS, CLIENT, TRUST)
_SECRET = ("log.key", "identity.key")


@dataclass(frozen=True, slots=True)
class Known:
    """What the folder says; None where it does not."""

    genesis: GenesisEntry | None
    genesis_ms: int
    config: Config | None
    roster: Roster | None
    policy: Json | None
    addresses: dict[str, str]


def read_folder(folder: Path) -> tuple[Known, list[Finding]]:
    """Read a deployment's folder, with what is wrong in it."""
    findings: list[Finding] = [*_missing(folder)]
    documents = {name: _document(folder / name, findings) for name in (DRAFT, CLIENT, TRUST)}
    genesis, genesis_ms = _genesis(folder / GENESIS, documents[TRUST], findings)
    config = _config(folder / COORDINATOR / "config.toml", findings)
    roster = _roster(folder, genesis, findings)
    nodes = (documents[DRAFT] or {}).get("nodes", [])
    known = Known(
        genesis=genesis,
        genesis_ms=genesis_ms,
        config=config,
        roster=roster,
        policy=(documents[CLIENT] or {}).get("policy", genesis.policy if genesis else None),
        addresses={str(node["name"]): str(node["address"]) for node in nodes if isinstance(node, dict)},
    )
    return known, findings


def examine_folder(folder: Path, known: Known, *, now_ms: int) -> Iterator[Finding]:
    """Permissions, certificates, room on the disk, and the age of the log's key."""
    yield from _permissions(folder / COORDINATOR)
    if known.config is not None:
        yield from _readable(known.config.data_dir)
    yield from _rooms(folder, known.config)
    if known.genesis and now_ms - known.genesis_ms > LOG_KEY_OLD_MS:
        days = (now_ms - known.genesis_ms) // DAY_MS
        yield Finding("log-key-old", "log.key", f"the log's key has been in use for {days} days")
    if known.config is not None:
        yield from _certificates(known.config, now_ms)
        yield from _pinned(known.config, known.roster)


def _missing(folder: Path) -> Iterator[Finding]:
    inner = [f"{COORDINATOR}/{name}" for name in (*_SECRET, "identity.pem", "config.toml")]
    for name in (*_NEEDED, *inner):
        if not (folder / name).exists():
            yield Finding("file-missing", name, f"{folder / name} is not there")


def _document(path: Path, findings: list[Finding]) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        return read_document(path, "the file")
    except OperationalError as error:
        findings.append(Finding("file-broken", path.name, str(error)))
        return None


def _genesis(
    path: Path, trust: dict[str, Any] | None, findings: list[Finding]
) -> tuple[GenesisEntry | None, int]:
    if not path.exists():
        return None, 0
    try:
        data = read_bytes(path, "the genesis entry")
        timed = parse_entry(data)
    except (OperationalError, MalformedError) as error:
        findings.append(Finding("file-broken", path.name, f"{path} is no entry: {error}"))
        return None, 0
    if not isinstance(timed.entry, GenesisEntry):
        findings.append(Finding("file-broken", path.name, f"{path} holds a {timed.kind} entry"))
        return None, 0
    if trust is not None and (
        differ := _differences(trust, trust_document(orjson.loads(data)["body"], data))
    ):
        said = f"{TRUST} pins another {', '.join(differ)} than {path} has"
        findings.append(Finding("genesis-foreign", TRUST, said))
    return timed.entry, timed.time_ms


def _differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def _config(path: Path, findings: list[Finding]) -> Config | None:
    if not path.exists():
        return None
    try:
        return load_config(path)
    except OperationalError as error:
        findings.append(Finding("file-broken", path.name, str(error)))
        return None


def _roster(folder: Path, genesis: GenesisEntry | None, findings: list[Finding]) -> Roster | None:
    """The newest that the folder has: what ``admin hand-out`` wrote, else the genesis entry's."""
    newer = _document(folder / ROSTER, findings)
    document: Any = newer if newer is not None or genesis is None else genesis.roster
    try:
        return parse_roster(document) if document is not None else None
    except MalformedError as error:
        findings.append(Finding("file-broken", ROSTER, f"the roster cannot be read: {error}"))
        return None


def _permissions(folder: Path) -> Iterator[Finding]:
    for path in [folder / name for name in _SECRET]:
        if path.exists() and _mode(path) & 0o077:
            yield Finding("key-readable", path.name, f"others than its owner can use {path}")
    if folder.exists() and _mode(folder) & 0o022:
        yield Finding("folder-open", folder.name, f"others than its owner can write into {folder}")


def _readable(data: Path) -> Iterator[Finding]:
    """Whether others get at the database, through both folders."""
    entered = all(one.exists() and _mode(one) & 0o011 for one in (data, data.parent))
    open_files = [one for one in data.glob("*") if one.is_file() and _mode(one) & 0o066] if entered else []
    if open_files:
        named = ", ".join(sorted(one.name for one in open_files))
        yield Finding(
            "data-readable", data.name, f"others on the machine can read or change {named} in {data}"
        )


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _rooms(folder: Path, config: Config | None) -> Iterator[Finding]:
    places = {folder.resolve()} | ({config.data_dir.resolve()} if config else set())
    rooms = {shutil.disk_usage(place).free for place in places if place.exists()}
    for free in rooms:
        yield from room("coordinator", free)


def room(name: str, free: int) -> Iterator[Finding]:
    """What there is to say of so much room."""
    code = "disk-full" if free < FREE_BYTES_MIN else "disk-filling" if free < FREE_BYTES_FEW else ""
    if code:
        yield Finding(code, name, f"the disk of {name} has {free // 1024**2} MiB left")


def _certificates(config: Config, now_ms: int) -> Iterator[Finding]:
    found = [node.certificate for node in config.nodes.values()]
    if config.console is not None and config.console.certificate is not None:
        found.append(config.console.certificate)
    if config.webhooks is not None:
        found += [one.certificate for one in config.webhooks.to.values() if one.certificate is not None]
    for path in found:
        yield from _certificate(path, now_ms)


def _certificate(path: Path, now_ms: int) -> Iterator[Finding]:
    try:
        certificate = load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        yield Finding("file-broken", path.name, f"{path} is no certificate: {error}")
        return
    ends_ms = int(certificate.not_valid_after_utc.timestamp()) * 1000
    when = datetime.fromtimestamp(ends_ms / 1000, UTC).strftime("%Y-%m-%d")
    if ends_ms < now_ms:
        yield Finding("certificate-over", path.name, f"{path} ended on {when}")
    elif ends_ms < now_ms + ENDS_SOON_MS:
        yield Finding("certificate-ends-soon", path.name, f"{path} ends on {when}")


def _pinned(config: Config, roster: Roster | None) -> Iterator[Finding]:
    """Whether the coordinator knows every cosigner, by the key of the roster."""
    for name, cosigner in roster.cosigners.items() if roster else ():
        if name not in config.nodes:
            yield Finding(
                "cosigner-unconfigured", name, f"the coordinator's configuration has no [nodes.{name}]"
            )
            continue
        path = config.nodes[name].certificate
        try:
            pinned = PinnedIdentity.of(name, path.read_bytes())
        except OSError:
            continue  # said of the certificate itself
        except MalformedError as error:
            yield Finding("certificate-foreign", name, f"{path} is not {name}'s: {error}")
            continue
        if pinned.key != cosigner.key:
            yield Finding("certificate-foreign", name, f"{path} is not of {name}'s key in the roster")
