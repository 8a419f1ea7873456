"""What a customer is owed is in the total, or the proof says why not; known tricks with such trees fail."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.evidence.liabilities import read_liabilities
from cli.main import main
from cli.results import Misuse
from policy.encoding import tagged_hash
from policy.errors import CallerError, MalformedError
from policy.ids import AMOUNT_MAX
from policy.liabilities import (
    AssetRoot,
    Liability,
    Node,
    Published,
    Tree,
    above,
    check_proof,
    climb,
    grow,
    proof_of,
    read_published,
)
from tests.unit.test_withdrawal import changed, leaves

Document = dict[str, Any]
Check = Callable[[Document, Document, str], Any]
PROGRAM = Path(__file__).parents[2] / "docs" / "verify_liability.py"
SECRET = bytes(range(32))
OWED = [Liability(f"account {n}", "eth", 10 + n) for n in range(7)] + [Liability("account 3", "usdc", 5)]


def published(owed: list[Liability] = OWED) -> Published:
    return Published("2026-10-31", {name: tree.root for name, tree in grow(owed, SECRET).items()})


def proven(customer: str, owed: list[Liability] = OWED) -> Any:
    mine = [one for one in owed if one.customer == customer]
    return proof_of(customer, mine, trees=grow(owed, SECRET), secret=SECRET)


def ours(proof: Document, shown: Document, customer: str) -> list[tuple[str, int]]:
    return [(one.asset, one.amount) for one in check_proof(proof, read_published(shown), customer=customer)]


def theirs(proof: Document, shown: Document, customer: str) -> list[str]:
    """The program that a customer has, called in this process."""
    return list(_program()["check"](proof, shown, customer))


def _program() -> dict[str, Any]:
    return runpy.run_path(str(PROGRAM))


CHECKS: list[Check] = [ours, theirs]
REFUSED = (MalformedError, ValueError, KeyError, TypeError, OverflowError)


@given(st.integers(1, 40), st.integers(0, 39), st.data())
def test_every_leaf_of_a_tree_of_any_size_is_under_its_root(count: int, at: int, data: st.DataObject) -> None:
    amounts = data.draw(st.lists(st.integers(0, 2**200), min_size=count, max_size=count))
    owed = [Liability(f"c{n}", "eth", amount) for n, amount in enumerate(amounts)]
    (tree,) = grow(owed, SECRET).values()
    one = owed[at % count]
    leaf = one.leaf(one.salt(SECRET))
    index, path = tree.path(leaf)

    assert tree.root.top.total == sum(amounts)
    assert climb(leaf, index, count=count, path=path) == tree.root.top
    assert len(path) <= count.bit_length()


@pytest.mark.parametrize("check", CHECKS)
def test_a_customer_is_told_what_was_counted(check: Check) -> None:
    shown = published().to_json()

    assert check(proven("account 3"), shown, "account 3")
    assert ours(proven("account 3"), shown, "account 3") == [("eth", 13), ("usdc", 5)]
    assert shown["assets"] and [one.top.total for one in published().assets.values()] == [91, 5]


@pytest.mark.parametrize("check", CHECKS)
def test_every_change_to_a_proof_or_to_what_is_published_is_found(check: Check) -> None:
    proof, shown = proven("account 3"), published().to_json()
    missed = []
    for which, document in enumerate((proof, shown)):
        for path in leaves(document):
            pair: list[Any] = json.loads(json.dumps([proof, shown]))
            at = pair[which]
            for step in path[:-1]:
                at = at[step]
            at[path[-1]] = changed(at[path[-1]])
            try:
                check(pair[0], pair[1], "account 3")
            except REFUSED:
                continue
            missed.append(path)

    assert not missed


@pytest.mark.parametrize("check", CHECKS)
def test_one_leaf_is_not_shown_to_two_customers(check: Check) -> None:
    proof = proven("account 3")

    with pytest.raises(REFUSED, match="not of"):
        check(proof, published().to_json(), "account 4")
    with pytest.raises(REFUSED, match="not in what was published"):
        check({**proof, "customer": "account 4"}, published().to_json(), "account 4")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("total", ["-5", "0x5", "05", "", str(2**256), 5, None, "٥"])
def test_a_sum_that_is_no_number_from_0_to_256_bits_is_refused(check: Check, total: Any) -> None:
    for name, at in (("amount", ()), ("total", ("path", 0))):
        proof = json.loads(json.dumps(proven("account 3")))
        place = proof["leaves"][0]
        for step in at:
            place = place[step]
        place[name] = total

        with pytest.raises(REFUSED):
            check(proof, published().to_json(), "account 3")


def hidden(mine: int, other: int) -> tuple[Node, Node, Node]:
    """A leaf, its sibling, and a node over both whose hash covers what is shown and whose sum is less."""
    left, right = (
        Liability(name, "eth", amount).leaf(SECRET) for name, amount in (("a", mine), ("b", other))
    )
    covering = tagged_hash("liabilities-node", left.hash, mine.to_bytes(32, "big"), right.hash, bytes(32))
    return left, right, Node(covering, max(mine, other))


def test_a_sum_that_is_left_out_is_seen_by_whose_it_is() -> None:
    left, right, top = hidden(90, 70)  # published: 90 for both together

    with pytest.raises(AssertionError):
        assert climb(left, 0, count=2, path=[right]) == top
    assert climb(left, 0, count=2, path=[Node(right.hash, 0)]) == top  # the other is told of: nothing is owed
    with pytest.raises(AssertionError):
        assert climb(right, 1, count=2, path=[left]) == top  # and whose it is finds out


def test_what_adds_up_beyond_all_amounts_is_refused_and_does_not_begin_anew() -> None:
    most = Node(bytes(32), AMOUNT_MAX)

    with pytest.raises(CallerError, match="more than"):
        above(most, Node(bytes(32), 1))
    with pytest.raises(CallerError):
        grow([Liability("a", "eth", AMOUNT_MAX), Liability("b", "eth", 1)], SECRET)
    with pytest.raises(CallerError):
        Liability("a", "eth", -1).leaf(SECRET)


@pytest.mark.parametrize("check", CHECKS)
def test_a_node_is_not_taken_for_a_leaf_nor_a_tree_for_a_shorter_one(check: Check) -> None:
    proof, shown = proven("account 3"), published().to_json()
    shorter = json.loads(json.dumps(proof))
    shorter["leaves"][0]["path"].pop()
    longer = json.loads(json.dumps(proof))
    longer["leaves"][0]["path"].append({"hash": "00" * 32, "total": "0"})
    away = json.loads(json.dumps(proof))
    away["leaves"][0]["index"] += 8
    fewer: Any = json.loads(json.dumps(shown))
    fewer["assets"][0]["count"] = 1

    for bad, beside in ((shorter, shown), (longer, shown), (away, shown), (proof, fewer)):
        with pytest.raises(REFUSED):
            check(bad, beside, "account 3")


def test_the_root_of_one_asset_is_not_that_of_another() -> None:
    top = Node(bytes(32), 7)

    assert AssetRoot("eth", 1, top).hash != AssetRoot("usdc", 1, top).hash != AssetRoot("usdc", 2, top).hash
    assert Published("2026-10-31", {}).root != Published("2026-10-30", {}).root


def test_a_customer_who_is_there_twice_makes_no_tree() -> None:
    with pytest.raises(CallerError, match="another customer"):
        grow([OWED[0], OWED[0]], SECRET)
    with pytest.raises(CallerError):
        Tree("eth", [])


def test_a_proof_names_nobody_else_and_its_salts_are_of_one_publication() -> None:
    text = json.dumps(proven("account 3"))
    other = OWED[3].leaf(OWED[3].salt(bytes(32)))

    assert not [one.customer for one in OWED if one.customer != "account 3" and one.customer in text]
    assert SECRET.hex() not in text
    assert len({one.salt(SECRET) for one in OWED}) == len(OWED)
    assert other.hash != OWED[3].leaf(OWED[3].salt(SECRET)).hash
    assert "13" not in [sibling["total"] for sibling in proven("account 3")["leaves"][0]["path"]]


# The commands.

ROWS = "customer,asset,amount\naccount 1,eth,10\naccount 2,eth,20\naccount 2,usdc,5\n"


def made(folder: Path, rows: str = ROWS) -> tuple[Path, Path]:
    """The file of liabilities, and what was published of it."""
    owed, out = folder / "owed.csv", folder / "liabilities.json"
    owed.write_text(rows)
    named = ["--as-of", "2026-10-31", "--secret", str(folder / "secret"), "--out", str(out)]
    assert main(["evidence", "liabilities", "root", str(owed), *named]) == 0
    return owed, out


def test_each_customer_is_handed_a_proof_that_two_programs_verify(tmp_path: Path) -> None:
    owed, out = made(tmp_path)
    given = ["--published", str(out), "--secret", str(tmp_path / "secret"), "--out", str(tmp_path / "proofs")]
    assert main(["evidence", "liabilities", "prove", str(owed), *given]) == 0
    proofs = {json.loads(path.read_text())["customer"]: path for path in (tmp_path / "proofs").iterdir()}

    assert sorted(proofs) == ["account 1", "account 2"]
    for name, code in (("account 2", 0), ("account 1", 1)):
        asked = ["verify", str(proofs["account 2"]), "--published", str(out), "--customer", name]
        assert main(["evidence", "liabilities", *asked]) == code
        command = [sys.executable, "-I", str(PROGRAM), str(proofs["account 2"]), str(out), name]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stdout.endswith("ok\n")) == (code, not code)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in proofs.values())


def test_a_secret_is_of_one_publication_and_proofs_are_of_what_was_published(tmp_path: Path) -> None:
    owed, out = made(tmp_path)
    secret = str(tmp_path / "secret")
    again = ["--as-of", "2026-11-30", "--secret", secret, "--out", str(tmp_path / "second")]
    assert main(["evidence", "liabilities", "root", str(owed), *again]) == 2

    owed.write_text(ROWS.replace("20", "21"))
    given = ["--published", str(out), "--secret", secret, "--out", str(tmp_path / "proofs")]
    assert main(["evidence", "liabilities", "prove", str(owed), *given]) == 1
    owed.write_text(ROWS)
    assert main(["evidence", "liabilities", "prove", str(owed), *given, "--customer", "account 9"]) == 2
    (tmp_path / "secret").chmod(0o644)
    assert main(["evidence", "liabilities", "prove", str(owed), *given]) == 1
    assert not (tmp_path / "proofs").exists()


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("account 1,eth,-1", "line 5: row: field 'amount"),
        ("account 1,eth,1.5", "line 5: row: field 'amount"),
        ("account 1,eth,1e3", "line 5: row: field 'amount"),
        (f"account 1,eth,{2**256}", "line 5: row: field 'amount"),
        ("account 1,eth", "line 5: write customer,asset,amount"),
        ("account 1,eth,1", "line 5: 'account 1' and eth are there twice"),
        (" account 1,eth,1", "line 5: customer: no spaces"),
        (",eth,1", "line 5: row: field 'customer"),
        ("account 9,ETH,1", "line 5: row: field 'asset"),
        ('"account 9,eth,1', "unexpected end of data"),
    ],
)
def test_a_row_that_is_no_liability_is_named(tmp_path: Path, row: str, why: str) -> None:
    path = tmp_path / "owed.csv"
    path.write_text(f"{ROWS}{row}\n")

    with pytest.raises(Misuse, match=why):
        read_liabilities(path)


@pytest.mark.parametrize("text", [b"", b"customer,asset,amount\n", b"a,b,c\n1,2,3\n", b"\xff\xfe", None])
def test_a_file_without_liabilities_is_misuse(tmp_path: Path, text: bytes | None) -> None:
    path = tmp_path / "owed.csv"
    if text is not None:
        path.write_bytes(text)

    with pytest.raises(Misuse):
        read_liabilities(path)
