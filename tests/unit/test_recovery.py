"""The recovery commands on files: what they write, what they never overwrite or print, how they refuse."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from eth_account import Account

from policy.bip32 import checksum_address, derive, ethereum_address, parse_path
from policy.errors import MalformedError, OperationalError
from policy.suites import DKLS23_SECP256K1, FROST_ED25519, FROST_SECP256K1, SUITES
from signer_nodes.backup import make_backup
from signer_nodes.mpc.groups import group_of
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.officers import Officer
from signer_nodes.rebuild import RecoveryError
from signer_nodes.recovery import RETIRE, create_officer, read_officers, recover_key, write_new
from tests.protocols.keys import deal_key, secret_behind

NAMES = ("olga", "peter", "quinn")


def officers_in(folder: Path) -> tuple[Officer, ...]:
    made = [create_officer(folder / name, name) for name in NAMES]
    return read_officers([f"{answer.document['card']}={answer.document['fingerprint']}" for answer in made])


def backups_in(folder: Path, shares: dict[int, KeyShare], *, indices: tuple[int, ...] = (1, 2)) -> list[Path]:
    officers = officers_in(folder)
    files = []
    for index in indices:
        data = make_backup(shares[index], officers, quorum=2, randomness=bytes([index]) * 32)
        files.append(folder / f"node-{index}.backup")
        write_new(files[-1], data)
    return files


def keys_in(folder: Path, *names: str) -> list[Path]:
    return [folder / name / "key.pem" for name in names or NAMES]


def recovered(folder: Path, shares: dict[int, KeyShare], *, paths: tuple[str, ...] = ()) -> dict[str, Any]:
    files, out = backups_in(folder, shares), folder / "key.json"
    recover_key(files, keys_in(folder), paths=paths, out=out)
    document: dict[str, Any] = json.loads(out.read_bytes())
    return document


@pytest.mark.parametrize("suite", SUITES)
def test_the_recovered_key_is_behind_the_group_key(tmp_path: Path, suite: str) -> None:
    shares, group = deal_key(2, 3, suite=suite), group_of(suite)

    document = recovered(tmp_path, shares)

    assert group.base_mul(group.scalar_of(bytes.fromhex(document["private_key"]))) == shares[1].group_key
    assert document["group_key"] == shares[1].group_key.hex()
    assert (document["suite"], document["key"], document["epoch"]) == (suite, "dealt", 0)


def test_an_account_of_the_key_opens_the_address_it_was_paid_at(tmp_path: Path) -> None:
    """Checked by a wallet library that is not ours."""
    share = deal_key(2, 3, suite=DKLS23_SECP256K1)[1]
    document = recovered(tmp_path, deal_key(2, 3, suite=DKLS23_SECP256K1), paths=("m", "m/0/0", "m/0/7"))

    assert [account["path"] for account in document["accounts"]] == ["m", "m/0/0", "m/0/7"]
    for account in document["accounts"]:
        paid = derive(share.group_key, share.chain_code, path=parse_path(account["path"])).public_key
        assert account["address"] == checksum_address(ethereum_address(paid))
        assert Account.from_key(account["private_key"]).address == account["address"]


def test_an_account_of_a_schnorr_key_has_no_ethereum_address(tmp_path: Path) -> None:
    account = recovered(tmp_path, deal_key(2, 3, suite=FROST_SECP256K1), paths=("m/0/1",))["accounts"][0]

    assert "address" not in account
    assert group_of(FROST_SECP256K1).base_mul(int(account["private_key"], 16)).hex() == account["public_key"]


def test_an_ed25519_key_has_no_accounts(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="leave --path out"):
        recovered(tmp_path, deal_key(2, 3, suite=FROST_ED25519), paths=("m/0/0",))

    assert not (tmp_path / "key.json").exists()


@pytest.mark.parametrize(("path", "match"), [("m/0'", "hardened"), ("0/1", "must be m")])
def test_a_path_that_is_none_is_refused_before_anything_is_written(
    tmp_path: Path, path: str, match: str
) -> None:
    with pytest.raises(MalformedError, match=match):
        recovered(tmp_path, deal_key(2, 3), paths=(path,))

    assert not (tmp_path / "key.json").exists()


def test_the_key_is_its_owners_alone_and_nothing_is_overwritten(tmp_path: Path) -> None:
    files, out = backups_in(tmp_path, deal_key(2, 3)), tmp_path / "key.json"
    recover_key(files, keys_in(tmp_path), paths=(), out=out)
    before = out.read_bytes()

    with pytest.raises(OperationalError, match="exists already"):
        recover_key(files, keys_in(tmp_path), paths=(), out=out)

    assert out.stat().st_mode & 0o777 == 0o600
    assert out.read_bytes() == before


def test_the_program_prints_what_is_public_and_warns(tmp_path: Path) -> None:
    shares = deal_key(2, 3, suite=DKLS23_SECP256K1)
    files, out = backups_in(tmp_path, shares), tmp_path / "key.json"
    words = ["recover", *map(str, files), "--officer-key", *map(str, keys_in(tmp_path, "olga", "quinn"))]
    command = [sys.executable, "-m", "signer_nodes.main", *words, "--out", str(out)]

    ran = subprocess.run([*command, "--path", "m/0/0", "--json"], capture_output=True, text=True, check=True)
    again = subprocess.run(command, capture_output=True, text=True, check=False)

    said = json.loads(ran.stdout)
    private = secret_behind(list(shares.values())[:2])
    assert said["nodes"] == ["node-1", "node-2"]
    assert said["group_key"] == shares[1].group_key.hex()
    assert said["accounts"][0]["address"].startswith("0x")
    assert RETIRE in ran.stderr
    assert f"{private:064x}" not in ran.stdout + ran.stderr
    assert json.loads(out.read_bytes())["accounts"][0]["private_key"] not in ran.stdout + ran.stderr
    assert again.returncode == 1 and "nothing is overwritten" in again.stderr


# What is brought wrong


def test_a_truncated_backup_is_named(tmp_path: Path) -> None:
    files = backups_in(tmp_path, deal_key(2, 3))
    files[1].write_bytes(files[1].read_bytes()[:-100])

    with pytest.raises(OperationalError, match=r"node-2\.backup is no whole backup"):
        recover_key(files, keys_in(tmp_path), paths=(), out=tmp_path / "key.json")


def test_a_backup_given_twice_counts_once(tmp_path: Path) -> None:
    file = backups_in(tmp_path, deal_key(2, 3))[0]

    with pytest.raises(OperationalError, match="given twice"):
        recover_key([file, file], keys_in(tmp_path), paths=(), out=tmp_path / "key.json")


def test_too_few_backups_or_officers_say_so_by_file(tmp_path: Path) -> None:
    files, out = backups_in(tmp_path, deal_key(2, 3)), tmp_path / "key.json"

    with pytest.raises(RecoveryError, match="need backups of 2 nodes, got 1"):
        recover_key(files[:1], keys_in(tmp_path), paths=(), out=out)
    with pytest.raises(RecoveryError, match=r"node-1\.backup: need the keys of 2 .* got 1"):
        recover_key(files, keys_in(tmp_path, "peter"), paths=(), out=out)
    assert not out.exists()


def test_an_officers_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    files = backups_in(tmp_path, deal_key(2, 3))
    (tmp_path / "olga" / "key.pem").chmod(0o644)

    with pytest.raises(OperationalError, match="chmod 600"):
        recover_key(files, keys_in(tmp_path), paths=(), out=tmp_path / "key.json")


@pytest.mark.parametrize("content", [b"", b"no key", Ed25519PrivateKey.generate()])
def test_a_file_that_is_no_officers_key_is_named(tmp_path: Path, content: bytes | Ed25519PrivateKey) -> None:
    files = backups_in(tmp_path, deal_key(2, 3))
    wrong = tmp_path / "wrong.pem"
    if isinstance(content, Ed25519PrivateKey):
        content = content.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_new(wrong, content)

    with pytest.raises(OperationalError, match=r"wrong\.pem .* give an officer's key\.pem"):
        recover_key(files, [wrong], paths=(), out=tmp_path / "key.json")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match=r"cannot read .*missing\.backup"):
        recover_key([tmp_path / "missing.backup"], [], paths=(), out=tmp_path / "key.json")


# Officers


def test_an_officers_key_is_their_own_alone_and_never_made_anew(tmp_path: Path) -> None:
    answer = create_officer(tmp_path / "olga", "olga")
    key = tmp_path / "olga" / "key.pem"
    before = key.read_bytes()

    with pytest.raises(OperationalError, match="exists already"):
        create_officer(tmp_path / "olga", "olga")

    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_bytes() == before
    assert str(answer.document["fingerprint"]) in answer.text


def test_a_name_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="is no name"):
        create_officer(tmp_path, "Olga O.")


def test_a_card_counts_by_the_fingerprint_that_was_told(tmp_path: Path) -> None:
    answer = create_officer(tmp_path, "olga")
    card, fingerprint = answer.document["card"], str(answer.document["fingerprint"])
    spoken = " ".join(fingerprint[i : i + 4] for i in range(0, 64, 4)).upper()

    assert [officer.name for officer in read_officers([f"{card}={spoken}"])] == ["olga"]
    with pytest.raises(OperationalError, match="not the one you were told: make no backup"):
        read_officers([f"{card}={'0' * 64}"])
    with pytest.raises(OperationalError, match="is not CARD=FINGERPRINT"):
        read_officers([fingerprint])


@pytest.mark.parametrize(
    "data", [b"", b"{}", Officer("olga", bytes(32)).to_bytes(), Officer("olga", b"x" * 32).to_bytes()[:-1]]
)
def test_a_card_that_is_none_or_names_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "card.json").write_bytes(data)

    with pytest.raises(OperationalError, match=r"is no recovery officer's card"):
        read_officers([f"{tmp_path / 'card.json'}={'0' * 64}"])
