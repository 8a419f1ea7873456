"""``python -m tests.compat.make``: what a release writes, to be read for ever; run it before a release.

It writes the folder of the coming release anew, ``v1`` until that is out. Afterwards its files are never
changed: the next release gets a folder of its own, and the tests read both. ``--formats`` writes only the
digests of the formats, after a change of one that no release has had.
"""

import argparse
import asyncio
import base64
import gzip
import json
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import custody.config
import signer_nodes.config
from cli.policies.reading import read_policy
from custody.backup.main import back_up
from policy.document import policy_hash
from policy.log.checkpoint import Checkpoint, cosignature, cosignature_message, encode_vkey
from policy.log.merkle import leaf_hash
from policy.stored.heads import nothing, write
from policy.suites import SUITES
from signer_nodes.adapters.store import NodeStore
from signer_nodes.api.letters import CALL, Header, write_letter
from signer_nodes.hsm.context import SealContext
from signer_nodes.hsm.envelope import NONCE_BYTES, seal_blob
from signer_nodes.ports import Ban, Mark
from signer_nodes.stored_cosigner import CosignerForm
from signer_nodes.witness import Identity, fold_entries, new_cosigner
from tests.compat.formats import HERE, LOGS, V1, folded, formats, stored_log
from tests.protocols.keys import deal_key
from tests.simulation.world import Book
from tests.unit import stored_logs
from tests.unit.custody_cluster import ETHER, ORIGIN, identity, log_key, make_request, public
from tests.unit.custody_house import House
from tests.waiting import until

EXAMPLES = HERE.parents[1] / "docs" / "examples"
FILE_KEY = b"f" * 32  # a token unwraps one, for one blob alone; this one is nobody's
NOTE_TIME_S = 1_790_000_000
WITNESS = encode_vkey("auditor.example.com/watch", 4, public_key=public("watch"))
LETTER_MS = NOTE_TIME_S * 1000
CONFIG = """\
origin = "log.example.com/test"
listen = "127.0.0.1:7600"
data_dir = "data"
database = "{database}"
genesis = "genesis.json"
identity_key = "identity.key"
log_key = "log.key"
[nodes.node-a]
address = "127.0.0.1:7700"
certificate = "node-a.pem"
[chains."evm:31337"]
url = "http://127.0.0.1:8545"
"""


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--formats", action="store_true", help="only formats.json")
    if not parser.parse_args().formats:
        shutil.rmtree(V1, ignore_errors=True)
        V1.mkdir()
        for name in LOGS:
            book: Book = stored_logs.LOGS[name]()
            lines = b"\n".join(book.entries) + b"\n"
            (V1 / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines, mtime=0))
        _write("logs.json", {name: _log(name) for name in LOGS})
        (V1 / "checkpoint").write_bytes(_note())
        _write_script("node", _node_store())
        _write("letter.json", _letter())
        _write("shares.json", [_share(suite) for suite in sorted(SUITES)])
        _write("policies.json", [_policy(name) for name in ("payouts", "permits", "treasury")])
        for module, name in ((custody.config, "coordinator"), (signer_nodes.config, "node")):
            example = (module.__doc__ or "").split("```toml\n")[1].split("```")[0]
            example = example.replace("<64 hex digits>", "ab" * 32)
            (V1 / f"{name}.toml").write_text(example.replace("auditor.example.com/watch+...", WITNESS))
        with tempfile.TemporaryDirectory() as folder:
            _write_script("coordinator", asyncio.run(_coordinator(Path(folder))))
    (HERE / "formats.json").write_text(json.dumps(formats(), indent=1) + "\n")


def _write(name: str, document: Any) -> None:
    (V1 / name).write_text(json.dumps(document, indent=1) + "\n")


def _write_script(name: str, script: str) -> None:
    (V1 / f"{name}.sql.gz").write_bytes(gzip.compress(script.encode(), mtime=0))


def _log(name: str) -> dict[str, object]:
    state, accepted, root = folded(stored_log(name))
    return {
        "digest": state.digest.hex(),
        "root": root.hex(),
        "accepted": "".join("01"[one] for one in accepted),
    }


def _share(suite: str) -> dict[str, object]:
    """Every node's share of a key, as it stands on its disk, and the file key that its token would unwrap."""
    shares = deal_key(2, 3, suite=suite)
    sealed = []
    for index, share in shares.items():
        name = share.participants[index - 1]
        context = SealContext(suite, share.key_id, share.group_key, name, 2, 3, share.epoch)
        nonce = bytes([index]) * NONCE_BYTES
        blob = seal_blob(FILE_KEY, share.to_bytes(), context=context, nonce=nonce)
        sealed.append({"context": context.canonical_bytes().decode(), "blob": blob.hex()})
    return {"suite": suite, "group_key": shares[1].group_key.hex(), "sealed": sealed}


def _policy(name: str) -> dict[str, object]:
    document = read_policy(EXAMPLES / f"{name}.yaml").body
    return {"name": name, "document": document, "hash": policy_hash(document).hex()}


def _note() -> bytes:
    """A checkpoint of the everyday log with two cosignatures."""
    entries = stored_log("everyday")
    state, _, root = folded(entries)
    note = log_key().note(Checkpoint(ORIGIN, len(entries), root, state.digest))
    for name in ("node-a", "node-b"):
        signature = identity(name).sign(cosignature_message(note.body, time_s=NOTE_TIME_S))
        note = note.with_signatures(cosignature(name, public(name), time_s=NOTE_TIME_S, signature=signature))
    return note.to_bytes()


def _node_store() -> str:
    """A node's store with something of everything."""
    entries = stored_log("keyed")[:6]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "node.db"
        store = NodeStore(path)
        store.append(0, entries, checkpoint=b"the note")
        store.set_cosigned(len(entries), b"the cosigned note")
        store.set_quorum(b"the quorum's note", len(entries))
        store.add_marks([Mark("bound", b"j" * 32, 0, b"opening"), Mark("sent", b"j" * 32, 0, b"partial")])
        store.add_ban(Ban("node-2", "main", 0, "a check failed"))
        store.keep_evidence("contradiction", b"two heads")
        store.put_statement("abandon/3", b"a statement")
        store.put_boot("node-2", 7, boot_id=b"b" * 32)
        store.put_sealed("share/main/0", b"sealed", wrapped_key=b"wrapped")
        store.put_meta("late", b"{}")
        _put_state(store, entries)
        store.close()
        return _dump(path)


def _put_state(store: NodeStore, entries: list[bytes]) -> None:
    state, _, _ = folded(entries)
    leaves = [leaf_hash(entry) for entry in entries]
    who = Identity("node-1", state.origin, leaves[0], state.roster.log_key)
    cosigner, _ = fold_entries(new_cosigner(who), entries)
    before = nothing(form := CosignerForm(who), lambda name: b"")
    written = write(form, cosigner, before=before, leaves=leaves, read=before.tables.read)
    store.put_state(written.stored.root, before=b"", added=written.added, retired=())


async def _coordinator(folder: Path) -> str:
    """A coordinator's database after a payment, and a backup of it."""
    house = House(folder)
    async with house.with_key() as running:
        _, body, signature = make_request("one", amount=ETHER // 100, now_ms=house.now_ms())
        record = await running.service.submit(body, signature)
        await running.until(record.request, "settled")
        await until(lambda: running.parts.replication.quorum.size == running.parts.sequencer.state.size)
    for name in ("identity.key", "log.key"):
        key = identity(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (folder / name).write_bytes(key)
    (folder / "genesis.json").write_bytes(house.genesis)
    (folder / "config.toml").write_text(CONFIG.format(database=house.database))
    back_up(folder / "config.toml", V1 / "backup")
    (V1 / "genesis.json").write_bytes(house.genesis)
    return _dump(folder / "custody.db")


def _dump(path: Path) -> str:
    with sqlite3.connect(path) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        lines = [*db.iterdump(), f"PRAGMA user_version = {version};"]
    db.close()
    return "\n".join(lines) + "\n"


def _letter() -> dict[str, str]:
    key = X25519PrivateKey.from_private_bytes(b"k" * 32)
    header = Header(
        ORIGIN, b"\1" * 32, "coordinator", "cold-a", b"\2" * 32, 1, LETTER_MS, LETTER_MS + 1000, b"\3" * 32
    )
    frames = [(CALL, b"a call"), (CALL, b"another")]
    letter = write_letter(
        header, frames, key=key.public_key().public_bytes_raw(), sign=identity("coordinator").sign
    )
    return {"letter": base64.b64encode(letter).decode(), "key": (b"k" * 32).hex()}


if __name__ == "__main__":
    main()
