"""Backups and the key they give: nothing short of enough of the right ones gives any, and errors say why."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.encoding import canonical
from policy.errors import CallerError, InvariantError, MalformedError
from policy.suites import FROST_ED25519, FROST_SECP256K1, SUITES
from signer_nodes import backup
from signer_nodes.backup import BACKUP_BYTES_MAX, Backup, make_backup, parse_backup
from signer_nodes.mpc.groups import group_of
from signer_nodes.mpc.keyshare import KeyShare
from signer_nodes.officers import OFFICERS_MAX, Officer, parse_officer
from signer_nodes.rebuild import RecoveryError, open_share, recover
from tests.protocols.keys import deal_key, secret_behind
from tests.protocols.lockstep import flip
from tests.protocols.test_refresh import new_shares

NAMES = ("olga", "peter", "quinn")
KEYS = {f"{name}/key.pem": X25519PrivateKey.from_private_bytes(name.encode().ljust(32)) for name in NAMES}
OFFICERS = tuple(
    Officer(name, key.public_key().public_bytes_raw()) for name, key in zip(NAMES, KEYS.values(), strict=True)
)
STRANGER = X25519PrivateKey.from_private_bytes(b"s" * 32)
SHARES = deal_key(2, 3)


def keys_of(*names: str) -> dict[str, X25519PrivateKey]:
    return {file: key for file, key in KEYS.items() if file.split("/")[0] in names}


def backup_of(
    share: KeyShare, *, officers: tuple[Officer, ...] = OFFICERS, quorum: int = 2, seed: int = 0
) -> Backup:
    return parse_backup(make_backup(share, officers, quorum=quorum, randomness=bytes([seed]) * 32))


def backups_of(shares: Mapping[int, KeyShare], indices: Iterable[int] = (1, 2)) -> dict[str, Backup]:
    return {f"node-{i}.backup": backup_of(shares[i], seed=i) for i in indices}


def private_key(shares: Mapping[int, KeyShare]) -> bytes:
    some = list(shares.values())
    return some[0].group.scalar_bytes(secret_behind(some[: some[0].min_signers]))


BACKUPS = backups_of(SHARES)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize(("t", "n"), [(2, 2), (2, 3), (3, 5), (5, 5)])
def test_any_quorum_of_backups_gives_the_key(suite: str, t: int, n: int) -> None:
    shares = deal_key(t, n, suite=suite)
    made = backups_of(shares, shares)

    for chosen in combinations(made, t):
        found = recover({name: made[name] for name in chosen}, keys_of("olga", "quinn"))

        assert found.private_key == private_key(shares)
        assert found.public.group_key == shares[1].group_key
        assert [f"{node}.backup" for node in found.nodes] == list(chosen)


def test_more_backups_than_needed_are_all_checked_and_give_the_key() -> None:
    assert recover(backups_of(SHARES, (3, 2, 1)), KEYS).private_key == private_key(SHARES)

    bad = replace(BACKUPS["node-2.backup"], sealed_share=bytes(60))
    with pytest.raises(RecoveryError, match="node-2"):
        recover({**backups_of(SHARES, (1, 3)), "node-2.backup": bad}, KEYS)


@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_as_many_officers_as_the_quorum_open_it_and_fewer_do_not(quorum: int) -> None:
    made = {f"node-{i}": backup_of(SHARES[i], quorum=quorum, seed=i) for i in (1, 2)}

    for enough in combinations(NAMES, quorum):
        assert recover(made, keys_of(*enough)).private_key == private_key(SHARES)
    for too_few in combinations(NAMES, quorum - 1):
        with pytest.raises(
            RecoveryError, match=f"need the keys of {quorum} of its officers .* got {quorum - 1}"
        ):
            recover(made, keys_of(*too_few))


@settings(max_examples=30)
@given(st.data())
def test_every_choice_of_nodes_and_officers_that_is_enough_gives_the_key(data: st.DataObject) -> None:
    n, m = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 5))
    t, quorum = data.draw(st.integers(2, n)), data.draw(st.integers(1, m))
    suite = data.draw(st.sampled_from([FROST_SECP256K1, FROST_ED25519]))
    shares = deal_key(t, n, suite=suite, seed=data.draw(st.integers(0, 99)))
    keys = {f"officer-{i}": X25519PrivateKey.from_private_bytes(bytes([i + 1]) * 32) for i in range(m)}
    officers = tuple(Officer(name, key.public_key().public_bytes_raw()) for name, key in keys.items())
    nodes = data.draw(st.permutations(sorted(shares)))[:t]
    present = data.draw(st.permutations(sorted(keys)))[:quorum]
    made = {str(i): backup_of(shares[i], officers=officers, quorum=quorum, seed=i) for i in nodes}

    assert recover(made, {name: keys[name] for name in present}).private_key == private_key(shares)


def test_backups_of_an_old_epoch_rebuild_the_key_after_a_refresh() -> None:
    new = new_shares(SHARES)
    old_backups, new_backups = backups_of(SHARES), backups_of(new)

    assert recover(old_backups, KEYS).private_key == private_key(new)
    assert recover(new_backups, KEYS).private_key == private_key(SHARES)


def test_backups_of_two_epochs_do_not_mix() -> None:
    stale = backups_of(SHARES, (1,)) | {"new": backup_of(new_shares(SHARES)[2])}

    with pytest.raises(RecoveryError, match=r"node-1\.backup is of epoch 0, new of epoch 1: .* 2 nodes"):
        recover(stale, KEYS)


def test_a_backup_is_another_each_time_and_holds_no_secret_in_the_clear() -> None:
    first, second = (make_backup(SHARES[1], OFFICERS, quorum=2, randomness=bytes(32)) for _ in range(2))

    assert first != second  # the envelopes' ephemeral keys
    assert SHARES[1].share.to_bytes(32, "big").hex().encode() not in first
    assert str(SHARES[1].share) not in repr(parse_backup(first))


def test_a_recovered_key_is_not_printed() -> None:
    found = recover(BACKUPS, KEYS)

    assert found.private_key.hex() not in repr(found)
    assert repr(found.private_key) not in repr(found)


# What does not give a key


def test_fewer_backups_than_min_signers_say_whose_are_missing() -> None:
    with pytest.raises(RecoveryError, match="need backups of 2 nodes, got 1: bring more of node-1, node-3"):
        recover(backups_of(SHARES, (2,)), KEYS)
    with pytest.raises(RecoveryError, match="no backup was given"):
        recover({}, KEYS)


def test_two_backups_of_one_node_count_once() -> None:
    twice = {"a": backup_of(SHARES[1]), "b": backup_of(SHARES[1], seed=1)}

    with pytest.raises(RecoveryError, match="a and b both are backups of node-1"):
        recover(twice, KEYS)


def test_backups_of_two_keys_do_not_mix() -> None:
    other = replace(SHARES[2], key_id="cold")

    with pytest.raises(RecoveryError, match="one is of key dealt, other of key cold"):
        recover({"one": backup_of(SHARES[1]), "other": backup_of(other)}, KEYS)


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "frost-secp256k1-taproot"},
        {"chain_code": bytes(32)},
        {"participants": ("node-1", "node-2", "node-9")},
        {"public_shares": deal_key(2, 3, seed=2)[1].public_shares},
        {"group_key": deal_key(2, 3, seed=2)[1].group_key},
        {"min_signers": 3},
    ],
)
def test_a_backup_of_another_key_under_the_same_name_is_named(change: dict[str, Any]) -> None:
    good = backup_of(SHARES[1])
    other = replace(good, public=replace(good.public, index=2, **change))

    with pytest.raises(RecoveryError, match=f"good and other say different .*'{next(iter(change))}' differs"):
        recover({"good": good, "other": other}, KEYS)


def test_a_key_of_no_officer_is_told_with_who_the_officers_are() -> None:
    keys = {**keys_of("olga"), "mine.pem": STRANGER}

    with pytest.raises(
        RecoveryError, match=r"olga, peter, quinn\), got 1; of none of them is the key mine\.pem"
    ):
        recover(BACKUPS, keys)


def test_a_key_of_no_officer_does_no_harm_beside_enough_others() -> None:
    assert recover(BACKUPS, {"mine.pem": STRANGER, **KEYS}).private_key == private_key(SHARES)


def test_an_altered_piece_is_made_up_for_by_another_officer_and_named_otherwise() -> None:
    good = BACKUPS["node-1.backup"]
    altered = replace(good, pieces=(flip(good.pieces[0], 40), *good.pieces[1:]))
    given_backups = {**BACKUPS, "node-1.backup": altered}

    assert recover(given_backups, KEYS).private_key == private_key(SHARES)
    with pytest.raises(RecoveryError, match="got 1; the piece of olga does not open"):
        recover(given_backups, keys_of("olga", "peter"))


def test_pieces_of_two_backups_cannot_be_exchanged() -> None:
    one, two = BACKUPS.values()

    with pytest.raises(RecoveryError, match="the piece of olga, peter, quinn does not open"):
        recover({**BACKUPS, "node-1.backup": replace(one, pieces=two.pieces)}, KEYS)


def test_any_altered_byte_of_the_sealed_share_is_noticed() -> None:
    good = BACKUPS["node-1.backup"]

    for position in range(len(good.sealed_share)):
        altered = replace(good, sealed_share=flip(good.sealed_share, position))
        with pytest.raises(RecoveryError, match=r"node-1\.backup: the pieces of olga, peter do not open"):
            recover({**BACKUPS, "node-1.backup": altered}, KEYS)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 1},
        {"key_id": "other"},
        {"chain_code": bytes(32)},
        {"quorum": 1},
        {"officers": OFFICERS[::-1]},
    ],
)
def test_the_public_part_is_bound_to_share_and_pieces(change: dict[str, Any]) -> None:
    altered = {name: replace(good, public=replace(good.public, **change)) for name, good in BACKUPS.items()}

    with pytest.raises(RecoveryError, match=r"do(es)? not open"):
        recover(altered, KEYS)


def test_a_sealed_share_cannot_be_moved_to_another_public_part() -> None:
    """Also not where the file key is the same: these two were made from the same randomness."""
    good, other = (forged(SHARES[2], value=SHARES[2].share, chain_code=code * 32) for code in (b"a", b"b"))

    with pytest.raises(RecoveryError, match="pieces of olga, peter do not open"):
        open_share("moved", replace(good, sealed_share=other.sealed_share), keys=KEYS)
    assert open_share("good", good, keys=KEYS) == SHARES[2].share


def test_a_node_that_sealed_another_share_is_named() -> None:
    """Its own check would have stopped it; whoever recovers makes it again."""
    liar = forged(SHARES[2], value=4711)

    with pytest.raises(RecoveryError, match="liar: the share of node-2 is not behind its public share"):
        recover({"good": backup_of(SHARES[1]), "liar": liar}, KEYS)


def test_shares_that_fit_their_points_but_not_the_group_key_give_nothing() -> None:
    group = group_of(FROST_SECP256K1)
    public = tuple(group.base_mul(i) for i in (5, 6, 9))
    lying = {f"{i}": forged(SHARES[i], value=4 + i, public_shares=public) for i in (1, 2)}

    with pytest.raises(RecoveryError, match="node-1, node-2 fit their public shares, but give another"):
        recover(lying, KEYS)


def test_a_share_of_zero_is_refused() -> None:
    with pytest.raises(RecoveryError, match="sealed wrong"):
        recover({"good": backup_of(SHARES[1]), "zero": forged(SHARES[2], value=0)}, KEYS)


def forged(share: KeyShare, *, value: int, **change: Any) -> Backup:
    """What a node could write that leaves its own checks out."""
    public = replace(backup_of(share).public, **change)
    return backup._sealed(public, value, randomness=bytes(32))


# Making one


def test_a_share_that_is_not_behind_its_public_share_is_not_backed_up() -> None:
    with pytest.raises(InvariantError, match="not behind its public share"):
        make_backup(replace(SHARES[1], share=4711), OFFICERS, quorum=2, randomness=bytes(32))


@pytest.mark.parametrize(
    ("officers", "quorum", "match"),
    [
        (OFFICERS, 0, "quorum of 0 among 3"),
        (OFFICERS, 4, "quorum of 4 among 3"),
        ((), 1, "quorum of 1 among 0"),
        ((OFFICERS[0], OFFICERS[0]), 1, "same name"),
        ((OFFICERS[0], Officer("other", OFFICERS[0].key)), 2, "same key"),
        (tuple(Officer(f"o{i}", bytes([i]) * 32) for i in range(OFFICERS_MAX + 1)), 2, "among 17"),
    ],
)
def test_officers_that_cannot_be_are_refused(officers: tuple[Officer, ...], quorum: int, match: str) -> None:
    with pytest.raises(CallerError, match=match):
        make_backup(SHARES[1], officers, quorum=quorum, randomness=bytes(32))


def test_an_officer_whose_key_is_none_is_refused() -> None:
    with pytest.raises(MalformedError, match="low order"):
        make_backup(SHARES[1], (OFFICERS[0], Officer("zero", bytes(32))), quorum=1, randomness=bytes(32))


def test_the_largest_backup_is_within_the_bound() -> None:
    shares = deal_key(9, 9)
    name = "n" * 60
    share = replace(
        shares[1], key_id="k" * 63, participants=tuple(f"{name}{i}" for i in range(9)), epoch=2**32 - 1
    )
    officers = tuple(
        Officer(
            f"{'o' * 60}{i}",
            X25519PrivateKey.from_private_bytes(bytes([i]) * 32).public_key().public_bytes_raw(),
        )
        for i in range(OFFICERS_MAX)
    )

    data = make_backup(share, officers, quorum=OFFICERS_MAX, randomness=bytes(32))

    assert len(data) <= BACKUP_BYTES_MAX


# Reading one


def test_a_backup_cut_short_anywhere_is_refused() -> None:
    data = BACKUPS["node-1.backup"].to_bytes()

    for length in range(0, len(data), 11):
        with pytest.raises(MalformedError):
            parse_backup(data[:length])
    with pytest.raises(MalformedError):
        parse_backup(data + b" ")
    with pytest.raises(MalformedError, match="at most"):
        parse_backup(data + b" " * BACKUP_BYTES_MAX)


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("format", "other", "'format'"),
        ("version", 2, "'version' is 2, this program knows 1: use the newer program"),
        ("version", 0, "'version'"),
        ("suite", "ecdsa", "'suite' must be one of dkls23"),
        ("key", "", "'key'"),
        ("epoch", -1, "'epoch'"),
        ("index", 0, "'index'"),
        ("index", 4, "'index'"),
        ("min_signers", 1, "'min_signers'"),
        ("min_signers", 4, "'min_signers'"),
        ("participants", ["node-1", "node-1", "node-3"], "'node-1' is there twice"),
        ("participants", ["node-1"], "'participants'"),
        ("participants", ["node-1", "node-2"], "public_shares"),
        ("public_shares", [], "public_shares has 0 items instead of 3"),
        ("public_shares", ["02" + "ff" * 32] * 3, "'public_shares'"),
        ("group_key", "02" + "ff" * 32, "'group_key'"),
        ("group_key", "02", "'group_key'"),
        ("chain_code", "00", "'chain_code'"),
        ("officers", [], "'officers' and 'quorum'"),
        ("officers", [{"name": "olga", "key": "00" * 31}], r"officers\[0\]: field 'key'"),
        ("quorum", 0, "'quorum'"),
        ("quorum", 4, "'quorum'"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any, match: str) -> None:
    document = json.loads(BACKUPS["node-1.backup"].to_bytes())
    document["public"][field] = value

    with pytest.raises(MalformedError, match=match):
        parse_backup(canonical(document))


@pytest.mark.parametrize("field", ["format", "suite", "index", "officers", "quorum"])
def test_a_missing_field_is_named(field: str) -> None:
    document = json.loads(BACKUPS["node-1.backup"].to_bytes())
    del document["public"][field]

    with pytest.raises(MalformedError, match=f"'{field}' is missing"):
        parse_backup(canonical(document))


def test_officers_that_are_one_person_are_refused_in_a_file_too() -> None:
    document = json.loads(BACKUPS["node-1.backup"].to_bytes())
    document["public"]["officers"][1]["key"] = document["public"]["officers"][0]["key"]

    with pytest.raises(MalformedError, match="'officers' and 'quorum': two officers have the same key"):
        parse_backup(canonical(document))


@pytest.mark.parametrize(
    ("field", "value", "match"),
    [
        ("pieces", [], "pieces has 0 items instead of 3"),
        ("sealed_share", "00", "'sealed_share'"),
        ("more", 1, "more"),
    ],
)
def test_a_wrong_sealed_part_is_named(field: str, value: Any, match: str) -> None:
    document = json.loads(BACKUPS["node-1.backup"].to_bytes())
    document[field] = value

    with pytest.raises(MalformedError, match=match):
        parse_backup(canonical(document))


# Officers' cards


def test_a_card_reads_back_and_its_fingerprint_covers_name_and_key() -> None:
    olga = OFFICERS[0]

    assert parse_officer(olga.to_bytes()) == olga
    assert len({olga.fingerprint, replace(olga, name="other").fingerprint, OFFICERS[1].fingerprint}) == 3
    with pytest.raises(MalformedError, match="'role'"):
        parse_officer(olga.to_bytes().replace(b"recovery-officer", b"operator"))
