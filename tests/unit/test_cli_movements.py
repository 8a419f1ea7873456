"""A statement has what the log says that a wallet paid and was paid, and what it adds up to."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from solders.signature import Signature
from xmlschema import XMLSchema

from cli.evidence.camt import NAMESPACE
from cli.main import main
from policy.log.merkle import leaf_hash
from policy.state import CANCEL
from tests.simulation.world import CUSTOMER, DAY_MS, Book, World
from tests.unit.schnorr_house import SchnorrBook
from tests.unit.test_audit import published, trust_file, written
from tests.unit.tier_house import TierBook

WORLD = World()
HOUR_MS = 3_600_000
IN = f"{{{NAMESPACE}}}"


def day(book: Book, days: int = 0) -> str:
    """The day of a log's clock, or so many later."""
    return str((datetime.fromtimestamp(book.now_ms // 1000, UTC) + timedelta(days=days)).date())


@cache
def tiers() -> tuple[TierBook, str]:
    """A log with a payment, a move to hot, one that failed, and one a day later; the first day."""
    book = TierBook()
    first = day(book)
    book.state_all(1000, 1000, 8000)
    book.state_price()
    for amount, success in ((70, True), (5, False)):
        job = book.take(book.request(amount, to=CUSTOMER))
        book.sign(job)
        book.settle(job, success=success)
    book.sign(book.take(book.request(3, to=CUSTOMER)))  # signed, and not settled
    down = book.move(200, "warm", "hot")
    book.agree(down)
    job = book.take(down)
    book.sign(job)
    book.settle(job)
    book.advance(2 * DAY_MS)
    return book, first


def stated(folder: Path, book: Book, *, since: str, until: str, **changed: str) -> tuple[int, Path]:
    """The exit code of ``audit statement``, and the file that it was to write."""
    log, out = written(folder / "log", published(book)), folder / "statement"
    trust = trust_file(folder, genesis=leaf_hash(book.entries[0]).hex())
    options = {"wallet": "hot", "format": "csv", "from": since, "to": until, **changed}
    named = [part for name, value in options.items() for part in (f"--{name}", value)]
    return main(
        ["audit", "statement", str(log), *named, "--out", str(out), "--trust", str(trust), "--json"]
    ), out


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_a_statement_has_both_sides_of_what_settled_and_nothing_else(tmp_path: Path) -> None:
    book, first = tiers()
    code, out = stated(tmp_path, book, since=first, until=first)

    assert code == 0
    moves = [(row["kind"], row["credit"], row["debit"]) for row in rows(out) if row["kind"] != "total"]
    assert moves == [("transfer", "", "70"), ("failed", "", "0"), ("transfer", "200", "")]
    totals = {row["asset"]: (row["credit"], row["debit"]) for row in rows(out) if row["kind"] == "total"}
    assert totals == {"eth": ("200", "70"), "usdc": ("0", "0")}
    assert rows(out)[0]["counterparty"] == CUSTOMER
    assert rows(out)[2]["counterparty"] == "warm"


def test_a_movement_outside_of_the_period_is_left_out(tmp_path: Path) -> None:
    book, _ = tiers()
    code, out = stated(tmp_path, book, since=day(book, -1), until=day(book))

    assert code == 0
    assert [row["kind"] for row in rows(out)] == ["total", "total"]


def test_a_camt_statement_has_the_messages_elements_in_their_order_and_adds_up(tmp_path: Path) -> None:
    book, first = tiers()
    code, out = stated(tmp_path, book, since=first, until=first, format="camt053")

    assert code == 0
    root = ElementTree.fromstring(out.read_text())  # noqa: S314 - it is our own
    assert root.tag == f"{IN}Document"
    message = root.find(f"{IN}BkToCstmrStmt")
    assert message is not None
    assert [child.tag for child in message] == [f"{IN}{name}" for name in ("GrpHdr", "Stmt", "Stmt")]
    statement = message[1]
    order = ["Id", "FrToDt", "Acct", *["Bal"] * 2, "TxsSummry", *["Ntry"] * 3, "AddtlStmtInf"]
    assert [child.tag.removeprefix(IN) for child in statement] == order
    entry = ["NtryRef", "Amt", "CdtDbtInd", "Sts", "BookgDt", "BkTxCd", "AddtlNtryInf"]
    for found in statement.iterfind(f"{IN}Ntry"):
        assert [child.tag.removeprefix(IN) for child in found] == entry
    signed = [
        int(_text(one, "Amt")) * (1 if _text(one, "CdtDbtInd") == "CRDT" else -1)
        for one in statement.iterfind(f"{IN}Ntry")
    ]
    net = statement.findall(f"{IN}Bal")[-1]
    assert (sum(signed), _text(net, "Amt"), _text(net, "CdtDbtInd")) == (130, "130", "CRDT")
    assert [_text(one, f"Tp/{IN}CdOrPrtry/{IN}Prtry") for one in statement.iterfind(f"{IN}Bal")] == [
        "STATED-LAST",
        "NET",
    ]


def _text(element: ElementTree.Element, path: str) -> str:
    found = element.find(f"{IN}{path}")
    assert found is not None
    return found.text or ""


SCHEMA = XMLSchema(str(Path(__file__).parents[1] / "vectors" / "camt.053.001.08.xsd"))
"""As ISO 20022 publishes it (message definition of 14 February 2019); the copy is that of camt053 0.0.23."""


def balances(path: Path, asset: str = "ETH") -> dict[str, str]:
    """Code and amount of the balances of an asset, each as the message has them."""
    root = ElementTree.fromstring(path.read_text())  # noqa: S314 - it is our own
    found = [one for one in root.iter(f"{IN}Bal") if (one.find(f"{IN}Amt") or one[1]).get("Ccy") == asset]
    return {"".join(one[0].itertext()).strip(): one[1].text or "" for one in found}


def wallet_of_one_asset() -> tuple[TierBook, str]:
    """A log that stated a balance on the eve of a day, and another late on it; that day."""
    book = TierBook()
    book.state_all(1000, 1000, 8000)
    book.state_price()
    book.advance(DAY_MS - book.now_ms % DAY_MS - HOUR_MS)
    book.state_holdings("hot", 1000)
    book.advance(2 * HOUR_MS)
    first = day(book)
    job = book.take(book.request(70, to=CUSTOMER))
    book.sign(job)
    book.settle(job)
    book.advance(HOUR_MS)
    return book, first


def test_a_statement_is_valid_by_the_schema_that_iso_20022_publishes(tmp_path: Path) -> None:
    book, first = wallet_of_one_asset()
    book.state_holdings("hot", 925)
    _, out = stated(tmp_path, book, since=first, until=first, format="camt053")

    errors = [error for error in SCHEMA.iter_errors(out.read_text()) if "USDC" not in str(error.reason)]
    assert not errors
    assert len(list(SCHEMA.iter_errors(out.read_text()))) > 0  # a currency of four letters: see beyond_schema
    spoiled = out.read_text().replace("<Acct>", "<Account>").replace("</Acct>", "</Account>")
    assert [error for error in SCHEMA.iter_errors(spoiled) if "Account" in str(error.reason)]


def test_a_balance_is_booked_where_it_was_stated_and_what_else_moved_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book, first = wallet_of_one_asset()
    book.state_holdings("hot", 925)
    _, out = stated(tmp_path, book, since=first, until=first, format="camt053")

    assert balances(out) == {"OPBD": "1000", "CLBD": "925", "NET": "70"}
    total = json.loads(capsys.readouterr().out)["totals"][0]
    assert (total["opening"], total["closing"], total["unexplained"]) == ("1000", "925", "-5")
    assert "Between both balances lies -5 more than the entries." in out.read_text()


def test_a_balance_from_before_the_last_payment_is_not_booked(tmp_path: Path) -> None:
    book, first = wallet_of_one_asset()
    book.state_holdings("hot", 925)
    for token in (False, True):  # a payment, and one of another asset, whose fee is of this one
        job = book.take(book.request(5, to=CUSTOMER, asset="usdc" if token else "eth"))
        book.sign(job)
        book.settle(job)
        _, out = stated(tmp_path, book, since=first, until=first, format="camt053")

        assert balances(out).keys() == {"OPBD", "STATED-LAST", "NET"}
        assert "Not both balances are booked" in out.read_text()
        book.state_holdings("hot", 920)


def test_a_balance_of_which_a_payment_was_open_is_not_booked(tmp_path: Path) -> None:
    book, first = wallet_of_one_asset()
    request = book.request(5, to=CUSTOMER)
    book.sign(book.take(request))
    book.state_holdings("hot", 925, pending=[request])
    _, out = stated(tmp_path, book, since=first, until=first, format="camt053")

    assert balances(out).keys() == {"OPBD", "STATED-LAST", "NET"}


def test_a_balance_of_days_ago_is_not_booked(tmp_path: Path) -> None:
    book, _ = wallet_of_one_asset()
    book.advance(3 * DAY_MS)
    book.idle()
    _, out = stated(tmp_path, book, since=day(book), until=day(book), format="camt053")

    assert balances(out).keys() == {"STATED-BEFORE", "STATED-LAST", "NET"}


def test_texts_have_no_more_characters_than_the_message_has_room_for(tmp_path: Path) -> None:
    book, first = tiers()
    _, out = stated(tmp_path, book, since=first, until=first, format="camt053")
    room = {
        "MsgId": 35,
        "Id": 34,
        "NtryRef": 35,
        "Cd": 35,
        "Prtry": 35,
        "AddtlNtryInf": 500,
        "AddtlStmtInf": 500,
    }

    root = ElementTree.fromstring(out.read_text())  # noqa: S314 - it is our own
    for element in root.iter():
        assert len((element.text or "").strip()) <= room.get(element.tag.removeprefix(IN), 35)


def test_amounts_are_exact_in_eighteen_decimals_and_said_to_be_beyond_the_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    book = Book(WORLD)
    first = day(book)
    job = book.pay(101, nonce=0)
    book.settle(job)
    code, out = stated(tmp_path, book, since=first, until=first, format="camt053")

    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert code == 0
    assert '<Amt Ccy="ETH">0.000000000000000101</Amt>' in out.read_text()
    assert said["beyond_schema"] == ["eth"]
    assert said["totals"][0]["net"] == "-0.000000000000000101"


def test_a_payment_of_tokens_on_solana_is_named_by_its_whole_signature(tmp_path: Path) -> None:
    book = SchnorrBook(WORLD)
    first = day(book)
    job = book.solana(book.ask("sol", 9_000_000, asset="tok", fee_ceiling=3_000_000), price=1)
    book.finish(job)
    signature = Signature(book.state.jobs[job].signatures[0])
    book.settle(job, tx_hash=bytes(signature).hex())
    period = {"wallet": "sol", "since": first, "until": first}
    _, table = stated(tmp_path / "csv", book, **period)
    _, out = stated(tmp_path / "camt", book, format="camt053", **period)

    (name,) = [row["transaction"] for row in rows(table) if row["transaction"]]
    assert name in (str(signature), bytes(signature).hex())
    assert f"transaction {name} in block" in out.read_text()
    assert not list(SCHEMA.iter_errors(out.read_text()))


def test_a_cancelled_payment_moves_nothing(tmp_path: Path) -> None:
    book = Book(WORLD)
    first = day(book)
    request = book.request(100)
    book.reserve(request, nonce=0)
    book.reject(request, by="bob")
    job = book.reserve(request, nonce=0, purpose=CANCEL)
    assert book.last.accepted
    book.sign(job)
    book.settle(job)
    _, out = stated(tmp_path, book, since=first, until=first)

    assert [(row["kind"], row["debit"]) for row in rows(out)] == [("cancelled", "0"), ("total", "0")]


def test_a_log_that_does_not_hold_has_no_statement(tmp_path: Path) -> None:
    book, first = tiers()
    log = written(tmp_path / "log", {**published(book), "checkpoint": b"nonsense"})
    arguments = ["--wallet", "hot", "--format", "csv", "--from", first, "--to", first]
    code = main(["audit", "statement", str(log), *arguments, "--out", str(tmp_path / "out")])

    assert code == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changed", [{"wallet": "nobody"}, {"from": "yesterday"}, {"to": "2001-01-01"}, {"from": "2026-02-30"}]
)
def test_a_wallet_or_period_that_is_none_is_misuse(tmp_path: Path, changed: dict[str, str]) -> None:
    book, first = tiers()
    code, out = stated(tmp_path, book, **{"since": first, "until": first, **changed})

    assert code == 2
    assert not out.exists()
