"""Setting a node up: its folder, its token, its identity card; and joining a deployment."""

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from policy.encoding import Json, document_hash, parse_canonical
from policy.entries import ENTRY_BYTES_MAX, GenesisEntry, parse_entry
from policy.errors import OperationalError
from policy.fields import Fields
from policy.governance import RULES_SUPPORTED, change_hash
from policy.log.merkle import leaf_hash
from policy.roster import Roster, bound, parse_roster
from signer_nodes.api.card import Card, parse_card
from signer_nodes.api.issuing import make_identity_certificate
from signer_nodes.config import COLD, NodeConfig
from signer_nodes.hsm.device import Pkcs11Hsm
from signer_nodes.hsm.doctor import refuse_if_open
from signer_nodes.hsm.provisioning import provision
from signer_nodes.hsm.seal import SealProfile

SOFTHSM_MODULES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)


CHANGE_BYTES_MAX: Final = 4 * ENTRY_BYTES_MAX


def default_module() -> str:
    """Where Debian puts SoftHSM. Raises ``OperationalError`` when it is not installed."""
    found = next((path for path in SOFTHSM_MODULES if Path(path).exists()), None)
    if found is None:
        raise OperationalError("no PKCS#11 module found: install softhsm2 or name one with --module")
    return found


def provision_node(
    folder: Path,
    card_of: tuple[str, str, str],
    *,
    module: str,
    pin: Callable[[], str],
) -> Card:
    """Make the folder, the token and its keys, examine them, and write the card.

    ``card_of`` is (name, role, origin). The security officer's PIN is random and not kept: losing the
    user PIN means enrolling a new node. Raises ``OperationalError`` when something is there already.
    """
    name, role, origin = card_of
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if (folder / "card.json").exists() or (folder / "tokens").exists():
        raise OperationalError(f"{folder} holds a node already: choose another folder")
    (folder / "tokens").mkdir(mode=0o700)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(
        f"directories.tokendir = {folder.resolve() / 'tokens'}\n"
        "objectstore.backend = file\nlog.level = ERROR\n"
    )
    os.environ["SOFTHSM2_CONF"] = str(configuration.resolve())
    provision(module, name, new_so_pin=lambda: secrets.token_hex(16), new_user_pin=pin)
    hsm = Pkcs11Hsm.open(module, name, pin=pin, profile=SealProfile.GCM)
    try:
        hsm.make_identity_keys()
        refuse_if_open(hsm.doctor_live())
        key = hsm.identity_public_key()
        certificate = make_identity_certificate(name, key, sign=hsm.sign_statement)
    finally:
        hsm.close()
    card = Card(name, role, origin, key, certificate)
    (folder / "card.json").write_bytes(card.to_bytes())
    return card


@dataclass(frozen=True, slots=True)
class Pinned:
    """A file, and the fingerprint of its content that people have compared."""

    path: Path
    fingerprint: str


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a peer listens, and the file of its card."""

    name: str
    address: str
    card: Path

    @classmethod
    def parse(cls, text: str) -> "PeerAddress":
        """Read NAME=HOST:PORT=CARD. Raises ``OperationalError``."""
        parts = text.split("=", 2)
        if len(parts) != 3:
            raise OperationalError(f"--peer {text!r} is not NAME=HOST:PORT=CARD")
        return cls(parts[0], parts[1], Path(parts[2]))


def join(
    folder: Path,
    *,
    genesis: Pinned,
    roster: Pinned | None,
    coordinator: Path,
    listen: str,
    peers: Sequence[PeerAddress],
) -> str:
    """Write the node's configuration for a deployment; one sentence on what its cosigners give.

    ``roster`` is the roster document in force when it is not the genesis entry's any more. What is
    pinned is copied into the folder. Joining again, as when a peer is replaced, keeps log and token.
    """
    card = parse_card((folder / "card.json").read_bytes())
    data = genesis.path.read_bytes()
    entry = read_genesis(data, _digest(genesis))
    if entry.origin != card.origin:
        raise OperationalError(f"{genesis.path} is of {entry.origin}, this node is for {card.origin}")
    newer = roster.path.read_bytes() if roster is not None else b""
    in_force = parse_roster(entry.roster) if roster is None else read_roster(newer, _digest(roster))
    _check_named(card, in_force)
    is_cold = card.role == COLD
    if is_cold == bool(listen) or (is_cold and peers):
        raise OperationalError(
            "a cold node has no --listen and no --peer; every other node listens somewhere"
        )
    missing = sorted(set(in_force.cosigners) - {card.name} - {peer.name for peer in peers})
    if missing and not is_cold:
        raise OperationalError(f"name every other cosigner with --peer; {', '.join(missing)} is missing")
    (folder / "genesis.json").write_bytes(data)
    (folder / "coordinator.pem").write_bytes(coordinator.read_bytes())
    text = _configuration(card, listen, genesis.fingerprint)
    if roster is not None:
        (folder / "roster.json").write_bytes(newer)
        text = f'roster = "roster.json"\nroster_fingerprint = "{roster.fingerprint}"\n' + text
    sections = [_peer_section(folder, peer, in_force) for peer in peers]
    (folder / "config.toml").write_text(text + "".join(sections))
    return bound(in_force)


def _check_named(card: Card, roster: Roster) -> None:
    cosigner = roster.cosigners.get(card.name)
    found = (roster.cold.get(card.name), COLD) if cosigner is None else (cosigner.key, cosigner.role)
    if found != (card.key, card.role):
        raise OperationalError(f"the roster does not name this {card.role} {card.name} with its key")


def pinned_roster(config: NodeConfig) -> Roster:
    """The roster that a node's configuration pins. Raises ``OperationalError`` when the files are others."""
    entry = read_genesis(config.genesis.read_bytes(), config.genesis_fingerprint)
    if config.roster is not None:
        return read_roster(config.roster.read_bytes(), config.roster_fingerprint)
    return parse_roster(entry.roster)


def _digest(pinned: Pinned) -> bytes:
    try:
        return bytes.fromhex(pinned.fingerprint)
    except ValueError as error:
        raise OperationalError(f"the fingerprint of {pinned.path} is not hexadecimal") from error


def _peer_section(folder: Path, peer: PeerAddress, roster: Roster) -> str:
    card = parse_card(peer.card.read_bytes())
    known = roster.cosigners.get(peer.name)
    if known is None or (card.name, card.key) != (peer.name, known.key):
        raise OperationalError(f"{peer.card} is not the card of {peer.name} that the roster names")
    pinned = folder / f"peer-{peer.name}.pem"
    pinned.write_bytes(card.certificate)
    return f'\n[peers."{peer.name}"]\naddress = "{peer.address}"\ncertificate = "{pinned.name}"\n'


def _configuration(card: Card, listen: str, fingerprint: str) -> str:
    line = f'listen = "{listen}"\n' if listen else ""
    return f"""# Configuration of {card.role} {card.name}. Paths are relative to this file.
name = "{card.name}"
role = "{card.role}"
origin = "{card.origin}"
{line}data_dir = "."
genesis = "genesis.json"
genesis_fingerprint = "{fingerprint}"
coordinator_certificate = "coordinator.pem"

[hsm]
module = "{default_module()}"
token_label = "{card.name}"
softhsm2_conf = "softhsm2.conf"
"""


def read_genesis(data: bytes, fingerprint: bytes) -> GenesisEntry:
    """The pinned genesis entry. Raises ``OperationalError`` when the bytes are another."""
    if leaf_hash(data) != fingerprint:
        raise OperationalError("the genesis entry has another fingerprint: get it again, compare it by voice")
    entry = parse_entry(data).entry
    if not isinstance(entry, GenesisEntry):
        raise OperationalError("the genesis file holds another kind of entry")
    return entry


def read_roster(data: bytes, fingerprint: bytes) -> Roster:
    """The pinned roster document. Raises ``OperationalError`` when the bytes are another."""
    body = parse_canonical(data, bytes_max=ENTRY_BYTES_MAX)
    if document_hash("roster", body) != fingerprint:
        raise OperationalError("the roster has another fingerprint: get it again and compare it by voice")
    return parse_roster(body)


def acceptable(kind: str, change: Pinned, *, origin: str) -> tuple[Json, str]:
    """The body a cosigner signs to accept a change, and what it accepts by that, in one sentence.

    Raises ``MalformedError`` for what is no change of its kind, and ``OperationalError`` for another one than
    people have compared, for one of another log, and for rules that this program lacks.
    """
    document = Fields(parse_canonical(change.path.read_bytes(), bytes_max=CHANGE_BYTES_MAX), "change")
    changed = document.choice("kind", "roster" if kind == "roster" else "version")
    body = document.raw("body")
    if change_hash(changed, body) != _digest(change):
        raise OperationalError("the change has another fingerprint: get it again and compare it by voice")
    fields = Fields(body, changed)
    found = fields.origin("origin")
    if found != origin:
        raise OperationalError(f"the {changed} is for {found}, this cosigner serves {origin}")
    if kind == "roster":
        roster = parse_roster(fields.raw("roster"))
        fields.hex("previous", length=32)
        sentence = f"{', '.join(sorted(roster.cosigners))}: {bound(roster)}"
    else:
        rules = fields.integer("rules", low=1)
        if rules > RULES_SUPPORTED:
            raise OperationalError(f"this program has rules {RULES_SUPPORTED}, not {rules}: upgrade it first")
        sentence = f"rules {rules}"
    fields.done()
    return body, sentence
