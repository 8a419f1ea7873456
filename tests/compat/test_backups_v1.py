"""Backups of format version 1 are opened for ever: these files were made when the format was."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from policy.encoding import canonical
from policy.suites import SUITES
from signer_nodes.backup import parse_backup
from signer_nodes.rebuild import recover

STORED: Any = json.loads(Path(__file__).with_name("backups_v1.json").read_text())
OFFICERS = {
    name: X25519PrivateKey.from_private_bytes(bytes.fromhex(key))
    for name, key in STORED["officer_keys"].items()
}


@pytest.mark.parametrize("key", STORED["keys"], ids=[key["suite"] for key in STORED["keys"]])
@pytest.mark.parametrize("without", OFFICERS)
def test_a_stored_backup_still_gives_its_key(key: dict[str, Any], without: str) -> None:
    backups = {str(i): parse_backup(canonical(document)) for i, document in enumerate(key["backups"])}

    found = recover(backups, {name: officer for name, officer in OFFICERS.items() if name != without})

    assert found.private_key.hex() == key["private_key"]


def test_every_suite_has_stored_backups() -> None:
    """A new suite joins the file that its first version made."""
    assert {key["suite"] for key in STORED["keys"]} == set(SUITES)
