"""Reserves are what proven keys hold at least, by statements that the log has: nothing more is said."""

import json
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from eth_account import Account
from eth_account.messages import encode_typed_data

from cli.main import main
from policy.approval import digest_slot
from policy.coverage import COVERED, NOT_TOLD, ONLY_STATED, SHORT
from policy.decode.eip712 import parse_typed_data
from policy.intent import Intent, Request, request_id
from policy.liabilities import Liability, Published, grow
from policy.log.merkle import leaf_hash
from policy.reserves import CONTRACT, NAME, Asked, declared_on
from tests.simulation.world import CHAIN, CUSTOMER, DAY_MS, ORIGIN
from tests.unit.test_audit import published, trust_file, written
from tests.unit.test_withdrawal import changed, leaves
from tests.unit.tier_house import COLD, KEYS, PATHS, RULES, TierBook

Document = dict[str, Any]
PROGRAM = Path(__file__).parents[2] / "docs" / "verify_reserves.py"
CHALLENGE = "auditors 2026-10-31 7f3a"
SIGNED = {"name": "reserves", "when": {"typed_data": [NAME]}, "then": COLD}


def owing(eth: int) -> Published:
    """What is published when so much is owed."""
    owed = [Liability("account 1", "eth", eth - 1), Liability("account 2", "eth", 1)]
    return Published("2026-10-31", {name: tree.root for name, tree in grow(owed, bytes(32)).items()})


def house(**parts: Any) -> TierBook:
    """A log whose policy lets its keys sign for reserves, and whose observers state what wallets hold."""
    book = TierBook(
        typed_data={NAME: declared_on(CHAIN)}, rules=[*(_allowed(one) for one in RULES), SIGNED], **parts
    )
    book.state_price()
    book.state_all(1000, 1000, 8000)
    return book


def _allowed(rule: Document) -> Document:
    return rule | {"then": rule["then"] or {"outcome": "allow"}}


def asked(book: TierBook, owed: Published | None = None, **other: Any) -> Asked:
    """What an auditor asks for now."""
    fields: Document = {
        "challenge": CHALLENGE,
        "origin": ORIGIN,
        "size": book.state.size,
        "root": book.frontier.root(),
        **({"liabilities": owed.root} if owed else {}),
        **other,
    }
    return Asked(**fields)


def sign(book: TierBook, wallet: str, asked: Asked, *, account: str = "") -> None:
    """Have a wallet's key sign through the log: request, approval, delay, reservation, signature."""
    document = asked.document(CHAIN, account or book.address(wallet))
    intent = Intent(CHAIN, wallet, "eth", 0, CONTRACT, typed_data=document)
    key = f"reserves {len(book.entries)}"
    request = Request(ORIGIN, "desk", intent, 0, key, book.now_ms, book.now_ms + DAY_MS)
    book.log_request(request)
    identifier, digest = request_id(request.body()), parse_typed_data(document).digest
    book.approve(identifier, "alice", nonce=0, slot=digest_slot(CHAIN, book.address(wallet), digest=digest))
    book.advance(60_000)
    body = book.reservation(identifier, tx=document, key=KEYS[wallet], paths=[PATHS[wallet]])
    job = book.log_reservation(body)
    assert book.last.accepted, book.last.reason
    assert book.sign(job).accepted


@cache
def whole() -> TierBook:
    """A log in which every wallet proved itself, with 9000 owed, while a payment may still go out of hot."""
    book = house()
    head = asked(book, owing(9000))
    for wallet in PATHS:
        sign(book, wallet, head)
    book.take(book.request(70, to=CUSTOMER))
    return book


def proven(
    folder: Path, book: TierBook, owed: Published | None = None, *more: str, challenge: str = CHALLENGE
) -> int:
    """The exit code of ``evidence reserves prove`` on a log."""
    log = written(folder / "log", published(book))
    trust = trust_file(folder, genesis=leaf_hash(book.entries[0]).hex())
    if owed:
        (folder / "liabilities.json").write_text(json.dumps(owed.to_json()))
        more = (*more, "--liabilities", str(folder / "liabilities.json"))
    named = ["--challenge", challenge, "--trust", str(trust)]
    return main(["evidence", "reserves", "prove", str(log), *named, *more, "--json"])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The proof of reserves, and what its reader was told."""
    folder = tmp_path_factory.mktemp("reserves")
    assert proven(folder, whole(), owing(9000), "--out", str(folder / "reserves.json")) == 0
    return folder / "reserves.json", folder / "trust.json"


def _asset(document: Document, name: str = "eth") -> Document:
    found: Document = next(one for one in document["assets"] if one["asset"] == name)
    return found


def test_what_every_key_signed_for_covers_what_is_owed_by_the_least_that_is_held(
    files: tuple[Path, Path],
) -> None:
    document = json.loads(files[0].read_text())

    assert [one["proven"] for one in document["wallets"]] == [True, True, True]
    assert _asset(document) == {
        "asset": "eth",
        "proven": str(10_000 - 70 - 10),  # a payment and its fee may still go out
        "stated_only": "0",
        "unknown": [],
        "owed": "9000",
        "says": COVERED,
    }
    assert [(one["tier"], one["value"], one["share_bp"]) for one in document["tiers"]] == [
        ("cold", "8000", 8064),
        ("hot", "920", 927),
        ("warm", "1000", 1008),
    ]


def test_anybodys_wallet_software_finds_the_address_in_the_signature(files: tuple[Path, Path]) -> None:
    for wallet in json.loads(files[0].read_text())["wallets"]:
        (account,) = wallet["accounts"]
        document = json.loads(bytes.fromhex(account["document"]))
        domain = {**document["domain"], "chainId": int(document["domain"]["chainId"])}
        message = {**document["message"], "size": int(document["message"]["size"])}
        made = bytes.fromhex(account["signature"])
        theirs = encode_typed_data(full_message={**document, "domain": domain, "message": message})
        found = Account.recover_message(theirs, signature=made[:64] + bytes([27 + made[64]]))

        assert found.lower() == account["account"]


def test_the_program_verifies_it_off_line(files: tuple[Path, Path]) -> None:
    command = [sys.executable, "-E", "-s", str(PROGRAM), *map(str, files)]
    run = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)

    assert run.returncode == 0, run.stderr
    assert "eth: 9920 proven, 0 stated only, 9000 owed: covered" in run.stdout
    assert run.stdout.count("every key signed") == 3
    assert len(PROGRAM.read_text().splitlines()) < 200


@pytest.fixture(scope="module")
def check() -> Iterator[Callable[[Document, Document], list[str]]]:
    """The program's own check, called in this process."""
    sys.path.insert(0, str(PROGRAM.parent))
    names = runpy.run_path(str(PROGRAM))
    yield lambda document, trust: list(names["check"](document, trust))
    sys.path.remove(str(PROGRAM.parent))


def test_every_change_to_what_is_concluded_is_found(
    files: tuple[Path, Path], check: Callable[[Document, Document], list[str]]
) -> None:
    document, trust = (json.loads(path.read_text()) for path in files)
    assert check(document, trust)
    said = {"why", "says", "least", "share_bp", "value", "unknown", "time_ms"}  # of whoever has the log
    places = [path for path in leaves(document) if path[0] not in ("entries", "checkpoint")]
    places += leaves(document["entries"][:2], ("entries",))
    missed = []
    for path in places:
        if said.intersection(path) or path[0] == "tiers":
            continue
        spoiled = json.loads(json.dumps(document))
        at = spoiled
        for step in path[:-1]:
            at = at[step]
        at[path[-1]] = changed(at[path[-1]])
        try:
            check(spoiled, trust)
        except (ValueError, KeyError, TypeError, IndexError):
            continue
        missed.append(path)

    assert not missed


def test_a_later_policy_and_roster_are_what_it_is_read_by(
    tmp_path: Path, check: Callable[[Document, Document], list[str]]
) -> None:
    book, owed = house(), owing(100)
    second: Any = json.loads(json.dumps(book.state.policy_document))
    book.change("policy", {**second, "name": "second"})
    book.change("roster", book.world.roster(policy_delay_ms=2 * DAY_MS))
    book.advance(DAY_MS)
    book.state_price()
    book.state_all(1000, 1000, 8000)
    for wallet in PATHS:
        sign(book, wallet, asked(book, owed))

    assert proven(tmp_path, book, owed, "--out", str(tmp_path / "reserves.json")) == 0
    document, trust = (json.loads((tmp_path / name).read_text()) for name in ("reserves.json", "trust.json"))
    entries = {part["index"]: part["entry"] for part in document["entries"]}
    assert entries[document["policy_at"]]["kind"] == "policy"
    assert {entries[one["roster_at"]]["kind"] for one in document["held"]} == {"roster"}
    assert check(document, trust)[-1].endswith("what is owed is not told")


def test_the_file_tells_of_no_payment(files: tuple[Path, Path]) -> None:
    document = json.loads(files[0].read_text())
    kinds = {part["entry"]["kind"] for part in document["entries"]}
    asked_for = [part["entry"]["body"] for part in document["entries"] if part["entry"]["kind"] == "request"]

    assert kinds == {"genesis", "key", "request", "reserve", "signature", "holdings"}
    assert len(asked_for) == 3
    assert all("typed_data" in body for body in asked_for)


def shown(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    book: TierBook,
    owed: Published | None = None,
    **more: str,
) -> tuple[int, Document]:
    """The exit code, and what the command says."""
    code = proven(folder, book, owed, **more)
    found: Document = json.loads(capsys.readouterr().out)
    return code, found


def test_a_wallet_that_signed_nothing_is_counted_as_stated_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book, owed = house(), owing(2500)
    for wallet in ("hot", "warm"):
        sign(book, wallet, asked(book, owed))
    code, found = shown(tmp_path, capsys, book, owed)

    assert code == 1
    assert [(one["wallet"], one["proven"]) for one in found["wallets"]] == [
        ("cold", False),
        ("hot", True),
        ("warm", True),
    ]
    assert book.address("cold") in found["wallets"][0]["why"]
    assert (_asset(found)["proven"], _asset(found)["stated_only"]) == ("2000", "8000")
    assert _asset(found)["says"] == ONLY_STATED


def test_more_owed_than_there_is_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book, owed = house(), owing(10_001)
    for wallet in PATHS:
        sign(book, wallet, asked(book, owed))

    code, found = shown(tmp_path, capsys, book, owed)
    assert (code, _asset(found)["says"]) == (1, SHORT)


def test_without_liabilities_nothing_is_said_to_be_covered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = house()
    for wallet in PATHS:
        sign(book, wallet, asked(book))
    code, found = shown(tmp_path, capsys, book)

    assert (code, _asset(found)["says"], "owed" in _asset(found)) == (0, NOT_TOLD, False)


@pytest.mark.parametrize(
    "other",
    [
        {"challenge": "of last year"},
        {"origin": "log.example.com/other"},
        {"root": bytes(32)},
        {"size": 10**6},
        {"size": 0},
        {"liabilities": owing(1).root},
    ],
)
def test_a_statement_of_another_challenge_log_head_or_debt_proves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], other: Document
) -> None:
    book, owed = house(), owing(100)
    sign(book, "hot", asked(book, owed, **other))
    _, found = shown(tmp_path, capsys, book, owed)

    assert [one["proven"] for one in found["wallets"]] == [False] * 3


def test_a_key_proves_no_account_but_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = house()
    sign(book, "hot", asked(book), account=book.address("cold"))
    _, found = shown(tmp_path, capsys, book)

    assert [one["proven"] for one in found["wallets"]] == [False] * 3


def test_what_was_stated_long_ago_is_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book, owed = house(), owing(100)
    sign(book, "hot", asked(book, owed))
    book.advance(2 * DAY_MS)
    book.idle()
    code, found = shown(tmp_path, capsys, book, owed)

    assert (code, _asset(found)["proven"], _asset(found)["unknown"]) == (1, "0", ["cold", "hot", "warm"])
    assert [one.get("share_bp") for one in found["tiers"]] == [None] * 3


def test_the_page_shows_the_declaration_that_is_asked_for() -> None:
    text = (PROGRAM.parent / "evidence.md").read_text()
    snippet = text.partition("```yaml\n")[2].partition("```")[0]
    found = yaml.safe_load(snippet)["typed_data"][NAME]

    assert found == declared_on("evm:1")


def test_a_log_that_does_not_hold_proves_nothing(tmp_path: Path) -> None:
    log = written(tmp_path / "log", {**published(whole()), "checkpoint": b"nonsense"})

    for command in ("prove", "ask"):
        more = ["--challenge", CHALLENGE, "--out", str(tmp_path / "out")]
        assert main(["evidence", "reserves", command, str(log), *more]) == 1
    assert not (tmp_path / "out").exists()


def test_each_account_is_asked_what_its_key_can_sign(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = house()
    log = written(tmp_path / "log", published(book))
    more = ["--challenge", CHALLENGE, "--out", str(tmp_path / "out")]
    assert main(["evidence", "reserves", "ask", str(log), *more]) == 0

    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if line.startswith("quorumkeep request sign-typed-data")]) == 3
    hot = (tmp_path / "out" / "hot-0.json").read_bytes()
    assert hot == asked(book).document(CHAIN, book.address("hot"))


def test_what_the_policy_does_not_declare_is_not_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = written(tmp_path / "log", published(TierBook()))
    more = ["--challenge", CHALLENGE, "--out", str(tmp_path / "out")]

    assert main(["evidence", "reserves", "ask", str(log), *more]) == 1
    assert f"does not declare {NAME} on {CHAIN}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["evidence", "reserves", "ask", str(log), "--challenge", "", "--out", "x"]) == 2
