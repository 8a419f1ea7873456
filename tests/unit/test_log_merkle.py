"""The Merkle tree against RFC 6962's own definition, another implementation, and forgeries."""

import hashlib
import json
from itertools import pairwise
from pathlib import Path

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.errors import CallerError, MalformedError
from policy.log.merkle import (
    EMPTY_ROOT,
    SIZE_MAX,
    Frontier,
    frontier_at,
    leaf_hash,
    leaf_reader,
    node_hash,
    prove_consistency,
    prove_inclusion,
    verify_consistency,
    verify_inclusion,
)

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "log_rfc6962.json").read_text())
LEAVES = [leaf_hash(number.to_bytes(2, "big")) for number in range(130)]
READ = leaf_reader(LEAVES)
ROOTS = [frontier_at(READ, size).root() for size in range(len(LEAVES) + 1)]
sizes = st.integers(1, len(LEAVES))


def _frontier(leaves: list[bytes]) -> Frontier:
    frontier = Frontier()
    for leaf in leaves:
        frontier = frontier.append(leaf)
    return frontier


def _rfc_root(leaves: list[bytes]) -> bytes:
    """MTH as RFC 6962 section 2.1 writes it: recursive, and slow."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    return node_hash(_rfc_root(leaves[:middle]), _rfc_root(leaves[middle:]))


def test_roots_are_those_of_the_reference_tree() -> None:
    leaves = [leaf_hash(bytes.fromhex(entry)) for entry in VECTORS["entries"]]

    roots = [_frontier(leaves[:size]).root().hex() for size in range(len(leaves) + 1)]

    assert roots == VECTORS["roots"]


def test_roots_follow_the_definition_of_the_rfc_at_every_size() -> None:
    frontier = Frontier()
    for size, leaf in enumerate(LEAVES):
        assert frontier.root() == ROOTS[size] == _rfc_root(LEAVES[:size])

        frontier = frontier.append(leaf)
    assert frontier == frontier_at(READ, len(LEAVES))


def test_leaves_that_come_together_lead_where_they_lead_one_by_one() -> None:
    leaves = [leaf_hash(bytes([n])) for n in range(70)]
    one_by_one = [Frontier()]
    for leaf in leaves:
        one_by_one.append(one_by_one[-1].append(leaf))

    for start in range(70):
        assert one_by_one[start].extend(leaves[start:]) == one_by_one[-1]
    assert one_by_one[9].extend(()) == one_by_one[9]


def test_appending_leaves_the_earlier_frontier_as_it_was() -> None:
    before = _frontier(LEAVES[:7])
    encoded = before.to_bytes()

    one, other = before.append(LEAVES[7]), before.append(LEAVES[8])

    assert before.to_bytes() == encoded
    assert one.root() != other.root()


@given(st.integers(0, len(LEAVES)))
def test_a_frontier_survives_its_encoding(size: int) -> None:
    frontier = frontier_at(READ, size)

    assert Frontier.from_bytes(frontier.to_bytes()) == frontier


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(7),
        bytes(8) + bytes(32),
        (1).to_bytes(8, "big"),
        (3).to_bytes(8, "big") + bytes(32),
        (3).to_bytes(8, "big") + bytes(65),
        (1 << 60).to_bytes(8, "big") + bytes(32),
    ],
)
def test_other_bytes_are_no_frontier(data: bytes) -> None:
    with pytest.raises(MalformedError):
        Frontier.from_bytes(data)


def test_a_frontier_refuses_hashes_that_do_not_fit_its_size() -> None:
    for size, hashes in [
        (2, ()),
        (0, (bytes(32),)),
        (1, (bytes(31),)),
        (-1, ()),
        (SIZE_MAX + 1, (bytes(32),)),
    ]:
        with pytest.raises(CallerError):
            Frontier(size, hashes)


def _rfc_subproof(old: int, leaves: list[bytes], known: bool) -> list[bytes]:
    """SUBPROOF as RFC 6962 section 2.1.2 writes it."""
    if old == len(leaves):
        return [] if known else [_rfc_root(leaves)]
    middle = 1
    while middle * 2 < len(leaves):
        middle *= 2
    if old <= middle:
        return [*_rfc_subproof(old, leaves[:middle], known), _rfc_root(leaves[middle:])]
    return [*_rfc_subproof(old - middle, leaves[middle:], False), _rfc_root(leaves[:middle])]


def test_consistency_proofs_follow_the_definition_of_the_rfc() -> None:
    for new in range(1, 34):
        for old in range(1, new + 1):
            assert list(prove_consistency(READ, old, new_size=new)) == _rfc_subproof(old, LEAVES[:new], True)


def test_another_implementation_has_the_same_roots_and_inclusion_proofs() -> None:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    tree.append_entries([number.to_bytes(2, "big") for number in range(70)])

    for size in range(1, 71):
        assert ROOTS[size] == tree.get_root(size)
        for index in range(size):
            theirs = tuple(tree.prove_inclusion(index + 1, size).path)
            assert (LEAVES[index], *prove_inclusion(READ, index, size=size)) == theirs


def test_another_implementation_proves_the_same_heads_consistent() -> None:
    tree = pymerkle.InmemoryTree(algorithm="sha256")
    tree.append_entries([number.to_bytes(2, "big") for number in range(40)])

    for new in range(1, 41):
        for old in range(1, new + 1):
            pymerkle.verify_consistency(ROOTS[old], ROOTS[new], tree.prove_consistency(old, new))
    with pytest.raises(pymerkle.InvalidProof):
        pymerkle.verify_consistency(ROOTS[4], ROOTS[9], tree.prove_consistency(5, 9))


def test_every_leaf_is_proven_in_every_tree() -> None:
    for size in range(1, 70):
        for index in range(size):
            proof = prove_inclusion(READ, index, size=size)

            assert verify_inclusion(LEAVES[index], index, size=size, root=ROOTS[size], proof=proof)


def test_every_tree_is_proven_to_extend_every_earlier_one() -> None:
    for new in range(70):
        for old in range(new + 1):
            proof = prove_consistency(READ, old, new_size=new)

            assert verify_consistency((old, ROOTS[old]), (new, ROOTS[new]), proof=proof)


@settings(max_examples=400)
@given(sizes, st.data())
def test_a_proof_of_inclusion_proves_nothing_else(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = prove_inclusion(READ, index, size=size)
    other_index, other_size = data.draw(st.integers(-1, 140)), data.draw(st.integers(-1, 140))
    other_leaf = data.draw(st.sampled_from([LEAVES[index], LEAVES[index - 1], ROOTS[size], b"", bytes(31)]))
    other_proof = data.draw(_mutations(proof))
    true = (other_leaf, other_index, other_proof) == (LEAVES[index], index, proof)

    accepted = verify_inclusion(other_leaf, other_index, size=size, root=ROOTS[size], proof=other_proof)
    renumbered = verify_inclusion(LEAVES[index], index, size=other_size, root=ROOTS[size], proof=other_proof)

    assert accepted == (
        true or (size == 1 and other_index == 0 and other_leaf == ROOTS[1] and not other_proof)
    )
    assert not renumbered or other_proof == proof


@settings(max_examples=400)
@given(sizes, st.data())
def test_a_proof_of_consistency_proves_nothing_else(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    proof = prove_consistency(READ, old, new_size=new)
    other_root = data.draw(st.sampled_from([ROOTS[old], ROOTS[old - 1], ROOTS[new], EMPTY_ROOT, bytes(32)]))
    other_proof = data.draw(_mutations(proof))
    true = other_root == ROOTS[old] and other_proof == proof

    accepted = verify_consistency((old, other_root), (new, ROOTS[new]), proof=other_proof)

    assert accepted == true


def _mutations(proof: tuple[bytes, ...]) -> st.SearchStrategy[tuple[bytes, ...]]:
    changed = [proof, (), proof[:-1], proof[1:], (*proof, bytes(32)), (bytes(32), *proof), proof[::-1]]
    changed += [(*proof[:at], bytes(32), *proof[at + 1 :]) for at in range(len(proof))]
    changed += [(*proof[:at], digest[:-1], *proof[at + 1 :]) for at, digest in enumerate(proof)]
    return st.sampled_from(changed)


def test_a_proof_is_refused_for_a_size_at_which_it_would_have_another_length() -> None:
    for size in range(1, 40):
        for claimed in range(size + 1, 100):
            proof = prove_inclusion(READ, 0, size=size)
            if len(prove_inclusion(READ, 0, size=claimed)) != len(proof):
                assert not verify_inclusion(LEAVES[0], 0, size=claimed, root=ROOTS[size], proof=proof)
            extension = prove_consistency(READ, 1, new_size=size)
            if size > 1 and len(prove_consistency(READ, 1, new_size=claimed)) != len(extension):
                assert not verify_consistency((1, ROOTS[1]), (claimed, ROOTS[size]), proof=extension)


def test_a_rewritten_history_has_no_proof() -> None:
    forged = leaf_reader([leaf_hash(b"forged"), *LEAVES[1:]])
    for old, new in pairwise(range(1, 40)):
        forged_root = frontier_at(forged, new).root()

        for proof in (
            prove_consistency(forged, old, new_size=new),
            prove_consistency(READ, old, new_size=new),
        ):
            assert not verify_consistency((old, ROOTS[old]), (new, forged_root), proof=proof)


def test_only_the_empty_root_stands_for_the_empty_log() -> None:
    assert verify_consistency((0, EMPTY_ROOT), (5, ROOTS[5]), proof=())
    assert verify_consistency((0, EMPTY_ROOT), (0, EMPTY_ROOT), proof=())
    assert not verify_consistency((0, ROOTS[1]), (5, ROOTS[5]), proof=())
    assert not verify_consistency((0, ROOTS[1]), (0, ROOTS[1]), proof=())
    assert not verify_consistency((0, EMPTY_ROOT), (5, ROOTS[5]), proof=(bytes(32),))
    assert not verify_consistency((5, ROOTS[5]), (4, ROOTS[4]), proof=())


def test_a_leaf_cannot_pass_for_a_node() -> None:
    left, right = LEAVES[:2]

    assert leaf_hash(left + right) != node_hash(left, right)


def test_a_reader_asks_only_for_complete_nodes_of_the_tree() -> None:
    asked: list[tuple[int, int]] = []

    def read(level: int, index: int) -> bytes:
        asked.append((level, index))
        return READ(level, index)

    for size in range(1, 60):
        for index in range(size):
            asked.clear()
            prove_inclusion(read, index, size=size)
            prove_consistency(read, index, new_size=size)
            assert all((at + 1) << level <= size for level, at in asked)
            assert len(asked) <= 4 * size.bit_length()


def test_impossible_proofs_are_the_callers_mistake() -> None:
    for index, size in [(-1, 3), (3, 3), (0, 0), (0, SIZE_MAX + 1)]:
        with pytest.raises(CallerError):
            prove_inclusion(READ, index, size=size)
    for old, new in [(-1, 3), (4, 3)]:
        with pytest.raises(CallerError):
            prove_consistency(READ, old, new_size=new)
    with pytest.raises(CallerError):
        READ(1, len(LEAVES))
