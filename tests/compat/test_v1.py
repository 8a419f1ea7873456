"""What version 1 wrote is read for ever: logs, databases, states, letters, configurations, backups.

``make.py`` wrote the files. A program that cannot read one of them any more is wrong, not the file.
"""

import asyncio
import base64
import gzip
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from custody.adapters.store import Store
from custody.backup.main import restore
from custody.config_reading import load_config as load_coordinator
from custody.requests import State as RequestStates
from policy.document import parse_policy, policy_hash
from policy.log.checkpoint import parse_checkpoint, parse_note, verify_cosignatures, verify_log_signature
from policy.log.merkle import leaf_hash
from policy.stored.heads import read_stored
from policy.stored.pages import checked
from policy.suites import SUITES
from signer_nodes.adapters.store import NodeStore
from signer_nodes.api.letters import CALL, Inbox
from signer_nodes.config import load_config as load_node
from signer_nodes.hsm.envelope import open_blob
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.stored_cosigner import CosignerForm
from signer_nodes.witness import Identity
from signer_nodes.worker_frames import parse_context
from tests.compat.formats import HERE, LOGS, V1, folded, formats, stored_log
from tests.compat.make import CONFIG, FILE_KEY, LETTER_MS, NOTE_TIME_S
from tests.protocols.keys import give_their_key
from tests.unit.custody_cluster import ORIGIN, identity, public
from tests.unit.custody_house import House

SAID: dict[str, Any] = json.loads((V1 / "logs.json").read_text())
BYTES_MAX = 200_000


def _kept(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((V1 / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("name", LOGS)
def test_a_log_folds_as_it_did(name: str) -> None:
    state, accepted, root = folded(stored_log(name))

    found = {
        "digest": state.digest.hex(),
        "root": root.hex(),
        "accepted": "".join("01"[one] for one in accepted),
    }
    assert found == SAID[name]


@pytest.mark.parametrize("kept", _kept("policies"), ids=lambda kept: kept["name"])
def test_a_policy_is_read_under_the_name_that_approvals_give_it(kept: dict[str, Any]) -> None:
    assert policy_hash(kept["document"]).hex() == kept["hash"]
    assert parse_policy(kept["document"]).name


@pytest.mark.parametrize("kept", _kept("shares"), ids=lambda kept: kept["suite"])
def test_sealed_shares_open_and_still_give_their_key(kept: dict[str, Any]) -> None:
    shares = []
    for sealed in kept["sealed"]:
        context = parse_context(sealed["context"].encode())
        share = KeyShare.from_bytes(open_blob(FILE_KEY, bytes.fromhex(sealed["blob"]), context=context))
        share.check()
        shares.append(share)

    assert shares[0].group_key.hex() == kept["group_key"]
    assert give_their_key(shares[:2])


def test_every_suite_has_kept_shares() -> None:
    assert {kept["suite"] for kept in _kept("shares")} == set(SUITES)


def test_a_checkpoint_verifies() -> None:
    note = parse_note((V1 / "checkpoint").read_bytes(), 10_000)
    keys = {name: public(name) for name in ("node-a", "node-b")}

    verify_log_signature(note, ORIGIN, public_key=public("log"))
    assert verify_cosignatures(note, keys) == dict.fromkeys(keys, NOTE_TIME_S)
    assert parse_checkpoint(note.body).root.hex() == SAID["everyday"]["root"]


def database(script: str, path: Path) -> Path:
    with sqlite3.connect(path) as db:
        db.executescript(gzip.decompress((V1 / f"{script}.sql.gz").read_bytes()).decode())
    db.close()
    path.chmod(0o600)
    return path


def test_a_nodes_store_is_read(tmp_path: Path) -> None:
    store = NodeStore(database("node", tmp_path / "node.db"))
    store.check()

    assert store.entries(0, 99) == stored_log("keyed")[:6]
    assert (store.latest_cosigned(), store.quorum()) == ((6, b"the cosigned note"), (6, b"the quorum's note"))
    assert [mark.kind for mark in store.marks()] == ["bound", "sent"]
    assert (store.sealed_names(), len(store.bans()), len(store.evidence())) == (["share/main/0"], 1, 1)
    store.close()


def test_a_stored_state_is_taken_up_or_folded_anew_and_never_misread(tmp_path: Path) -> None:
    store = NodeStore(database("node", tmp_path / "node.db"))
    entries = store.entries(0, 99)
    state, _, _ = folded(entries)
    root = store.meta("state")
    assert root is not None
    who = Identity("node-1", state.origin, leaf_hash(entries[0]), state.roster.log_key)
    found = read_stored(CosignerForm(who), root, read=lambda name: checked(name, store.page(name)))
    store.close()

    assert found is None or (found.size, found.head.state.digest) == (len(entries), state.digest)


def test_a_coordinators_database_is_brought_up_to_date_and_works(tmp_path: Path) -> None:
    path = database("coordinator", tmp_path / "custody.db")
    house = House(tmp_path)
    house.genesis = (V1 / "genesis.json").read_bytes()
    store = Store(f"sqlite:///{path}")
    size, note = store.head()
    (record,) = store.requests()
    store.close()

    assert record.state is RequestStates.SETTLED
    assert parse_checkpoint(parse_note(note, 100_000).body).size == size

    async def started() -> int:
        async with house.running() as running:
            return running.parts.sequencer.state.size

    assert asyncio.run(started()) == size


def test_a_coordinators_backup_is_restored(tmp_path: Path) -> None:
    key = identity("identity.key").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "identity.key").write_bytes(key)
    shutil.copy(V1 / "genesis.json", tmp_path)
    (tmp_path / "config.toml").write_text(CONFIG.format(database=f"sqlite:///{tmp_path / 'new.db'}"))

    manifest = restore(tmp_path / "config.toml", V1 / "backup")
    store = Store(f"sqlite:///{tmp_path / 'new.db'}")

    assert store.head()[0] == manifest.size
    assert store.counts() == {"settled": 1}
    store.close()


def test_a_letter_opens() -> None:
    said = json.loads((V1 / "letter.json").read_text())
    key = X25519PrivateKey.from_private_bytes(bytes.fromhex(said["key"]))
    box = Inbox("cold-a", ORIGIN, b"\2" * 32, key, "coordinator")

    opened = box.open(
        base64.b64decode(said["letter"]), {"coordinator": public("coordinator")}, now_ms=LETTER_MS
    )

    assert opened.frames == ((CALL, b"a call"), (CALL, b"another"))


def test_configurations_have_no_unknown_or_missing_keys() -> None:
    assert load_coordinator(V1 / "coordinator.toml").name == "coordinator"
    assert load_node(V1 / "node.toml").name == "node-a"


@pytest.mark.parametrize("name", formats())
def test_no_format_changes_without_a_new_version(name: str) -> None:
    """A new version is written down by ``make.py``; an unreleased one may be written down again."""
    known: dict[str, list[str]] = json.loads((HERE / "formats.json").read_text())
    version, digest = formats()[name]

    assert known[name] == [version, digest], (
        f"format {name} changed: raise its version, unless no release has had this one; then run "
        "python -m tests.compat.make --formats"
    )


def test_the_kept_files_are_small_enough_to_keep_for_ever() -> None:
    kept = [path for path in HERE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]

    assert sum(path.stat().st_size for path in kept) < BYTES_MAX
