"""Commands for recovery officers: their keys, a node's backup to them, and a key rebuilt from backups.

``officer create`` and ``recover`` need no server, no token and no configuration; ``backup`` opens the node's
token and its store, so the node is stopped meanwhile. Private keys go into new files for their owner alone.
"""

import argparse
import os
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from policy.bip32 import ORDER, checksum_address, derive, ethereum_address, parse_path
from policy.encoding import Json, canonical
from policy.errors import MalformedError, OperationalError
from policy.fields import NAME
from policy.ledger import fold, initial
from policy.state import KeyRecord
from policy.suites import DKLS23_SECP256K1, suite_named
from signer_nodes.backup import BACKUP_BYTES_MAX, Backup, parse_backup
from signer_nodes.backup_wire import BackupJob, BackupOutcome
from signer_nodes.envelopes import seal_envelope
from signer_nodes.mpc.groups import group_of
from signer_nodes.officers import CARD_BYTES_MAX, Officer, parse_officer
from signer_nodes.ports import LogStore, Workers
from signer_nodes.rebuild import Recovered, recover
from signer_nodes.sealed_keys import SealedKeys
from signer_nodes.worker_frames import SESSION_BYTES

Commands: TypeAlias = "argparse._SubParsersAction[ArgumentParser]"
CARD, KEY = "card.json", "key.pem"
FORMAT: Final = "quorumkeep-recovered-key"
BACKUP_TIMEOUT_S: Final = 60.0
RANDOMNESS_BYTES: Final = 32
PEM_BYTES_MAX: Final = 4096
RETIRE: Final = (
    "a key recovered is a key to retire: it is whole in one place; move what it holds to a new one"
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command prints: one JSON object, or the same in words."""

    document: dict[str, Json]
    text: str


def add_recovery(commands: Commands) -> tuple[ArgumentParser, ArgumentParser, ArgumentParser]:
    """The arguments of ``officer create``, ``backup`` and ``recover``."""
    officer = commands.add_parser("officer", help="a recovery officer's key and card")
    create = officer.add_subparsers(required=True).add_parser("create", help="make them: needs no token")
    create.add_argument("--dir", type=Path, required=True, help="the officer's folder, made if missing")
    create.add_argument("--name", required=True)
    backup = commands.add_parser(
        "backup", help="a node's share, for recovery officers: stop the node meanwhile"
    )
    where = backup.add_mutually_exclusive_group(required=True)
    where.add_argument("--dir", type=Path, help="the node's folder")
    where.add_argument("--config", type=Path, help="its configuration, if that is elsewhere")
    backup.add_argument("--key", required=True, help="the key's name in the log")
    backup.add_argument("--officer", nargs="+", action="extend", required=True, metavar="CARD=FINGERPRINT")
    backup.add_argument("--quorum", type=int, required=True, help="how many of the officers open it together")
    backup.add_argument("--out", type=Path, required=True, help="the backup, a new file")
    recovering = commands.add_parser("recover", help="a private key out of backups, off line")
    recovering.add_argument("backups", nargs="+", type=Path, metavar="BACKUP")
    recovering.add_argument(
        "--officer-key", nargs="+", action="extend", type=Path, required=True, metavar="FILE"
    )
    recovering.add_argument("--path", nargs="+", action="extend", default=[], help="accounts, like m/0/0")
    recovering.add_argument("--out", type=Path, required=True, help="the private key, a new file")
    return create, backup, recovering


def create_officer(folder: Path, name: str) -> Answer:
    """Make an officer's key and card. Raises ``OperationalError`` when there is a key already."""
    if not NAME.fullmatch(name):
        raise OperationalError(f"{name[:64]!r} is no name: use lower-case letters, digits, '.', '_' and '-'")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = X25519PrivateKey.generate()
    officer = Officer(name, key.public_key().public_bytes_raw())
    write_new(folder / KEY, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_new(folder / CARD, officer.to_bytes(), mode=0o644)
    card = str(folder / CARD)
    return Answer(
        {"name": name, "card": card, "fingerprint": officer.fingerprint},
        f"recovery officer {name}: the card to hand over is {card}, its fingerprint is\n"
        f"{officer.fingerprint}\n"
        f"Keep {folder / KEY} off line: with enough others it opens every backup made for you.",
    )


def read_officers(texts: Sequence[str]) -> tuple[Officer, ...]:
    """Officers by CARD=FINGERPRINT. Raises ``OperationalError`` for another fingerprint or no card."""
    officers = []
    for text in texts:
        path, _, said = text.rpartition("=")
        if not path:
            raise OperationalError(f"--officer {text[:200]!r} is not CARD=FINGERPRINT")
        try:
            officer = parse_officer(_read(Path(path), CARD_BYTES_MAX))
            seal_envelope(officer.key, b"", info=b"")
        except MalformedError as error:
            raise OperationalError(f"{path} is no recovery officer's card: {error}") from error
        if "".join(said.split()).replace(":", "").lower() != officer.fingerprint:
            raise OperationalError(
                f"{path} has the fingerprint {officer.fingerprint}, not the one you were told: "
                "make no backup for it"
            )
        officers.append(officer)
    return tuple(officers)


def key_in_log(store: LogStore, key_id: str) -> KeyRecord:
    """What the node's log says of a key now. Raises ``OperationalError`` when there is none."""
    state = initial()
    for entry in store.entries(0, store.size()):
        state, _ = fold(state, entry)
    key = state.keys.get(key_id)
    if key is None:
        known = ", ".join(sorted(state.keys)) or "no key"
        raise OperationalError(f"the node's log has no key {key_id[:64]!r}: it has {known}")
    return key


async def back_up(
    key: KeyRecord, officers: Sequence[Officer], *, quorum: int, sealed: SealedKeys, workers: Workers
) -> Backup:
    """A backup of this node's share of ``key``, made in a worker and read back here."""
    session, randomness = sealed.hsm.random(SESSION_BYTES), sealed.hsm.random(RANDOMNESS_BYTES)
    job = BackupJob(session, sealed.holding(key), tuple(officers), quorum)
    run = await workers.start(job, randomness=randomness, timeout_s=BACKUP_TIMEOUT_S)
    outcome = await run.result()
    if not isinstance(outcome, BackupOutcome):
        raise OperationalError("the worker ended in something else than a backup: stop and look")
    return parse_backup(outcome.backup)


def backup_answer(backup: Backup, out: Path) -> Answer:
    """What the backup command says when the file is written."""
    public = backup.public
    names = ", ".join(officer.name for officer in public.officers)
    return Answer(
        {
            "file": str(out),
            "key": public.key_id,
            "epoch": public.epoch,
            "node": public.node,
            "group_key": public.group_key.hex(),
            "officers": [officer.name for officer in public.officers],
            "quorum": public.quorum,
        },
        f"{out}: the share of {public.node} of key {public.key_id} in epoch {public.epoch}; "
        f"any {public.quorum} of {names} open it",
    )


def recover_key(
    backups: Sequence[Path], officer_keys: Sequence[Path], *, paths: Sequence[str], out: Path
) -> Answer:
    """The private key behind backups, into the new file ``out``; with the accounts at ``paths``, if any.

    Raises ``RecoveryError`` or ``OperationalError`` saying what is wrong or missing.
    """
    if out.exists():
        raise OperationalError(f"{out} exists already: name another file, nothing is overwritten")
    read = {str(path): _read_backup(path) for path in backups}
    if len(read) != len(backups):
        raise OperationalError("a backup is given twice: bring as many different ones as nodes sign")
    found = recover(read, {str(path): _officer_key(path) for path in officer_keys})
    accounts = [_account(found, path) for path in dict.fromkeys(paths)]
    write_new(out, canonical(_key_document(found, accounts)))
    return _recovered_answer(found, accounts, out)


def write_new(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file that must not exist, durably. Raises ``OperationalError``."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise OperationalError(f"{path} exists already: name another file, nothing is overwritten") from error
    except OSError as error:
        raise OperationalError(f"cannot write {path}: {error.strerror}; make room or name another") from error


@dataclass(frozen=True, slots=True)
class _Account:
    path: str
    public_key: bytes
    private_key: bytes = field(repr=False)
    address: str = ""

    def public(self) -> dict[str, Json]:
        address: dict[str, Json] = {"address": self.address} if self.address else {}
        return {"path": self.path, "public_key": self.public_key.hex(), **address}


def _account(found: Recovered, path: str) -> _Account:
    public = found.public
    suite, group = suite_named(public.suite), group_of(public.suite)
    if not suite.derivable:
        raise OperationalError(f"a key of {suite.name} is one address and has no accounts: leave --path out")
    derived = derive(public.group_key, public.chain_code, path=parse_path(path))
    secret = (group.scalar_of(found.private_key) + derived.tweak) % ORDER
    address = checksum_address(ethereum_address(derived.public_key)) if suite.name == DKLS23_SECP256K1 else ""
    return _Account(path, derived.public_key, group.scalar_bytes(secret), address)


def _key_document(found: Recovered, accounts: Sequence[_Account]) -> Json:
    """SECRET. The scalar is big-endian on secp256k1; on Ed25519 little-endian, and no seed gives it."""
    public = found.public
    return {
        "format": FORMAT,
        "version": 1,
        "suite": public.suite,
        "key": public.key_id,
        "epoch": public.epoch,
        "group_key": public.group_key.hex(),
        "chain_code": public.chain_code.hex(),
        "private_key": found.private_key.hex(),
        "accounts": [{**account.public(), "private_key": account.private_key.hex()} for account in accounts],
    }


def _recovered_answer(found: Recovered, accounts: Sequence[_Account], out: Path) -> Answer:
    public = found.public
    document: dict[str, Json] = {
        "file": str(out),
        "key": public.key_id,
        "suite": public.suite,
        "epoch": public.epoch,
        "nodes": list(found.nodes),
        "group_key": public.group_key.hex(),
        "accounts": [account.public() for account in accounts],
    }
    lines = [
        f"{out}: the private key of {public.key_id}, from the shares of {', '.join(found.nodes)} "
        f"in epoch {public.epoch}",
        f"  group key {public.group_key.hex()}: compare it with the log's",
        *(f"  {account.path}: {account.address or account.public_key.hex()}" for account in accounts),
    ]
    return Answer(document, "\n".join(lines))


def _read_backup(path: Path) -> Backup:
    try:
        return parse_backup(_read(path, BACKUP_BYTES_MAX))
    except MalformedError as error:
        raise OperationalError(f"{path} is no whole backup: {error}; bring another copy of it") from error


def _officer_key(path: Path) -> X25519PrivateKey:
    data = _read(path, PEM_BYTES_MAX)
    if path.stat().st_mode & 0o077:
        raise OperationalError(f"others can read the key {path}: run chmod 600 on it")
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise OperationalError(
            f"{path} is no private key without a password: give an officer's {KEY}"
        ) from error
    if not isinstance(key, X25519PrivateKey):
        raise OperationalError(f"{path} holds another kind of key: give an officer's {KEY}")
    return key


def _read(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(bytes_max + 1)
    except OSError as error:
        raise OperationalError(f"cannot read {path}: {error.strerror}; give its path") from error
