"""Every verdict has a receipt that suffices to make it again; the log alone explains and replays itself."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.main import invoke, main
from cli.results import Misuse
from policy.address_book import book_hash, with_book
from policy.audit import audit
from policy.decode.abi import Argument, encode_call, parse_method
from policy.document import parse_policy, policy_hash
from policy.evaluate import evaluate
from policy.explain import facts_of, verdict_again
from policy.intent import request_id
from policy.replay import Judged, watch_verdicts
from policy.state import CANCEL
from tests.simulation.world import CUSTOMER, DAY_MS, OTHER, SANCTIONED, STRANGER, Book, World, limit, unsigned
from tests.unit.test_audit import published, trust_file, written
from tests.unit.test_ledger_calls import BATCH, DEPOSITS, VAULT, ask, book_with, deposit
from tests.unit.typed_data_house import PERMITS, order, permit, policy_of, request_of

WORLD = World()


def verdicts(book: Book) -> list[Judged]:
    """What a replay of a book's published files says."""
    found: list[Judged] = []
    audit(
        published(book).get, trust=None, progress=lambda done, total: None, watch=watch_verdicts(found.append)
    )
    return found


def last(book: Book) -> dict[str, Any]:
    """The receipt of a book's last entry."""
    return cast("dict[str, Any]", verdicts(book)[-1].receipt)


def varied() -> Book:
    """A log with every kind of verdict."""
    book = Book(WORLD)
    book.pay(100, nonce=0)
    book.request(100, to=SANCTIONED)
    book.request(100, to=STRANGER)
    book.request(100, asset="doge")
    book.request(100, wallet="cold")
    book.request(100, initiator="stranger")
    book.request(50, asset="usdc")
    large = book.request(700, expires_ms=book.now_ms + 3 * DAY_MS)
    book.reserve(large, nonce=1)
    for operator in ("alice", "bob"):
        book.approve(large, operator, nonce=1)
    book.reserve(large, nonce=0)
    book.reserve(large, nonce=1)
    book.request(400)
    book.change("policy", WORLD.policy(name="second", limits=[limit("weekly", "eth", 2000)]))
    book.advance(DAY_MS)
    book.pay(200, nonce=2)
    expired = book.request(20, expires_ms=book.now_ms + 1000)
    book.reserve(expired, nonce=3)
    book.advance(5000)
    book.reserve(expired, nonce=3, purpose=CANCEL)
    book.reserve(expired, nonce=3, purpose=CANCEL, fee=51)
    book.order("freeze", b"\x01" * 32)
    book.reserve(large, nonce=1)
    return book


def test_every_verdict_of_a_log_is_made_again_from_its_receipt() -> None:
    book = varied()
    found = verdicts(book)

    assert [one.index for one in found] == [i for i, o in enumerate(book.outcomes) if o.verdict is not None]
    assert [one.wrong for one in found] == [""] * len(found)
    assert {one.receipt["decided_by"] for one in found} == {"log", "forbid", "rule", "limit", "engine"}
    assert len(found) > 15


def test_a_receipt_names_who_decided_and_the_first_unmet_condition_of_every_other_rule() -> None:
    book = Book(WORLD)
    book.request(700)
    found = last(book)

    assert (found["verdict"], found["decided_by"]) == ({"outcome": "wait", "rule": "large"}, "rule")
    assert [(line["rule"], line["unmet"].split(":")[0]) for line in found["rules"]] == [
        ("sanctions", "destinations"),
        ("small", "amount_max"),
        ("large", ""),
        ("tokens", "assets"),
    ]
    assert found["missing"] == [{"group": "treasury", "needed": 2, "have": 0}]
    assert found["policy"] == book.state.policy_hash.hex()


def test_a_receipt_has_what_every_limit_had_used() -> None:
    book = Book(WORLD)
    book.pay(590, nonce=0)
    book.request(400)
    found = last(book)

    assert (found["verdict"]["rule"], found["decided_by"]) == ("daily", "limit")
    (line,) = found["limits"]
    assert (line["used"], line["asked"], line["maximum"], line["unit"]) == ("600", "500", "1000", "eth")


def test_a_receipt_has_the_approvals_that_counted() -> None:
    book = Book(WORLD)
    request = book.request(700)
    book.approve(request, "alice", nonce=0)
    book.approve(request, "bob", nonce=4)
    book.reserve(request, nonce=0)

    assert [one["operator"] for one in last(book)["inputs"]["approvals"]] == ["alice"]


def test_a_denial_by_the_log_itself_has_the_reason_and_asks_no_rule() -> None:
    book = Book(WORLD)
    book.reserve(book.request(100), nonce=3)
    owner = book.request(100)
    book.reserve(owner, nonce=3)
    found = last(book)

    assert (found["verdict"]["rule"], found["decided_by"]) == ("anchor-taken", "log")
    assert f"nonce 3 of {WORLD.account()} belongs to request" in found["reason"]
    assert "inputs" not in found
    assert (found["rules"], found["limits"]) == ([], [])


def test_a_cancellation_is_asked_about_by_limits_alone() -> None:
    book = Book(WORLD)
    expired = book.request(100)
    book.reserve(expired)
    book.advance(DAY_MS)
    book.reserve(expired, purpose=CANCEL)
    found = last(book)

    assert verdicts(book)[-1].kind == CANCEL
    assert (found["verdict"]["rule"], found["rules"], found["limits"][0]["asked"]) == ("cancel", [], "10")


def test_a_calls_receipt_has_its_arguments_and_makes_the_verdict_again(tmp_path: Path) -> None:
    book = book_with(DEPOSITS)
    request = ask(book, deposit(), value=7)
    book.reserve(request, tx=unsigned(VAULT, 7, nonce=0, fee=10, data=deposit()))
    ask(book, deposit(amount=101))
    ask(book, b"\x01\x02\x03\x04", value=0)
    book.advance(DAY_MS)
    book.reserve(request, purpose=CANCEL)
    found = verdicts(book)
    shown = invoke("policy", "explain", request.hex(), "--log", str(folder_of(tmp_path, book))).text

    assert [(one.wrong, cast("Any", one.receipt)["verdict"]["rule"]) for one in found] == [
        ("", rule) for rule in ("deposits", "deposits", "no-rule-matches", "error", "cancel")
    ]
    assert cast("Any", found[0].receipt)["inputs"]["arguments"] == {
        "amount": {"number": "5"},
        "beneficiary": CUSTOMER,
    }
    assert f"calling vault.deposit(amount 5, beneficiary {CUSTOMER})" in str(shown)


def test_a_receipt_of_typed_data_has_its_fields_and_makes_the_verdict_again(tmp_path: Path) -> None:
    book = Book(WORLD, start=False)
    orders = {"name": "orders", "when": {"typed_data": ["order"]}, "then": {"outcome": "allow"}}
    book.genesis(policy=policy_of(WORLD, orders, PERMITS))
    book.key()
    asked = [request_of(one, key=f"{n}", now_ms=book.now_ms) for n, one in enumerate((order(), permit()))]
    for request in asked:
        book.log_request(request)
    identifier = request_id(asked[0].body())
    book.sign(book.reserve(identifier, tx=asked[0].intent.typed_data))
    found = verdicts(book)
    shown = invoke("policy", "explain", identifier.hex(), "--log", str(folder_of(tmp_path, book))).text

    assert [(one.wrong, cast("Any", one.receipt)["verdict"]["rule"]) for one in found] == [
        ("", rule) for rule in ("orders", "permits", "orders")
    ]
    assert "signing order(sums [1, 2], open True, note für)" in str(shown)


def test_a_receipt_is_by_the_policy_in_force_at_that_moment() -> None:
    book = Book(WORLD)
    first = book.state.policy_hash
    book.request(100)
    second = book.change("policy", WORLD.policy(name="second"))
    book.advance(DAY_MS)
    book.request(100)

    assert [one.receipt["policy"] for one in verdicts(book)] == [first.hex(), second.hex()]


# The address book.

COOL_DOWN_MS = 1000
LISTS = {
    "customers": {"addresses": [CUSTOMER, OTHER, SANCTIONED], "quorum": 1, "cool_down_ms": COOL_DOWN_MS},
    "sanctioned": [SANCTIONED],
}


def listed() -> Book:
    """A log in which a stranger becomes a customer, and a customer is one no more."""
    book = Book(WORLD, start=False)
    book.genesis(policy=WORLD.policy(lists=LISTS))
    book.key()
    book.request(100, to=STRANGER)
    book.list_address("add", STRANGER)
    book.list_address("remove", OTHER)
    book.advance(COOL_DOWN_MS)
    for to in (STRANGER, OTHER, SANCTIONED):
        book.request(100, to=to)
    return book


def test_a_receipt_names_the_book_and_the_lists_that_the_destination_is_on() -> None:
    before, *after = [cast("Any", one.receipt) for one in verdicts(listed())]

    assert (before["book"], before["lists"]) == ("", {STRANGER: []})
    assert [one["lists"] for one in after] == [
        {STRANGER: ["customers"]},
        {OTHER: []},
        {SANCTIONED: ["customers", "sanctioned"]},
    ]
    assert {one["book"] for one in after} == {listed().state.book_hash.hex()}
    assert {one["policy"] for one in (before, *after)} == {listed().state.policy_hash.hex()}


def test_an_outsider_makes_the_verdict_again_from_receipt_policy_and_book() -> None:
    book = listed()
    document = parse_policy(book.state.policy_document)
    with_its_book = with_book(document, book.state.book)
    for one in verdicts(book)[1:]:
        receipt = cast("Any", one.receipt)
        (address,) = receipt["lists"]
        lists = [name for name, addresses in with_its_book.lists.items() if address in addresses]

        assert policy_hash(book.state.policy_document).hex() == receipt["policy"]
        assert book_hash(book.state.book).hex() == receipt["book"]
        assert sorted(lists) == receipt["lists"][address]
        assert verdict_again(document, receipt).to_json() == receipt["verdict"]
        alone = evaluate(document, facts_of(receipt)).to_json()
        assert (alone == receipt["verdict"]) is (address == SANCTIONED)


def test_a_receipt_has_the_lists_of_a_calls_arguments(tmp_path: Path) -> None:
    book = book_with(DEPOSITS)
    request = ask(book, deposit())
    ask(book, deposit(beneficiary=STRANGER))
    found = verdicts(book)
    shown = invoke("policy", "explain", request.hex(), "--log", str(folder_of(tmp_path, book))).text

    assert [one.receipt["lists"] for one in found] == [{VAULT: [], CUSTOMER: ["customers"]}, {VAULT: []}]
    assert [one.wrong for one in found] == ["", ""]
    assert f"{CUSTOMER} is on customers" in str(shown) and f"{VAULT} is on none" in str(shown)


def test_a_call_with_lists_of_arguments_is_replayed_like_any_other(tmp_path: Path) -> None:
    book = book_with({"name": "batches", "when": {"methods": ["vault.batch"]}, "then": {"outcome": "allow"}})
    values: dict[str, Argument] = {"to": (CUSTOMER, STRANGER), "amounts": (1, 2), "data": "abcd"}
    request = ask(book, encode_call(parse_method(BATCH), values))
    (only,) = verdicts(book)
    shown = invoke("policy", "explain", request.hex(), "--log", str(folder_of(tmp_path, book))).text

    assert only.wrong == ""
    assert facts_of(only.receipt).arguments == values
    assert f"to [{CUSTOMER}, {STRANGER}], amounts [1, 2], data abcd" in str(shown)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 900),
            st.sampled_from([CUSTOMER, OTHER, SANCTIONED, STRANGER]),
            st.sampled_from(["eth", "usdc"]),
            st.integers(0, DAY_MS),
        ),
        max_size=6,
    )
)
def test_a_receipts_facts_and_its_policy_give_its_verdict(steps: list[tuple[int, str, str, int]]) -> None:
    book = Book(WORLD)
    for nonce, (amount, to, asset, later_ms) in enumerate(steps):
        request = book.request(amount, to=to, asset=asset)
        if book.last.accepted:
            book.reserve(request, nonce=nonce)
        if book.last.accepted:
            book.sign(book.last.subject)
        book.advance(later_ms)

    for one in verdicts(book):
        again = verdict_again(one.policy, one.receipt)
        assert again == evaluate(one.policy, facts_of(one.receipt))
        assert (again.to_json(), again.reason) == (one.receipt["verdict"], one.receipt["reason"])


def test_a_claim_that_differs_is_seen_whichever_way() -> None:
    for claim in ({"outcome": "deny", "rule": "small"}, {"outcome": "allow", "rule": "large"}):
        book = Book(WORLD)
        book.log_request(book.asked(100), claim=claim)

        said = f"claims {claim['outcome']} by {claim['rule']}, the verdict is allow by small"
        assert said in verdicts(book)[-1].wrong


# The commands.


def folder_of(tmp_path: Path, book: Book) -> Path:
    return written(tmp_path / "log", published(book))


def test_explain_says_it_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book = Book(WORLD)
    request = book.request(700)
    book.reserve(request, nonce=0)
    trust = trust_file(tmp_path)

    folder = str(folder_of(tmp_path, book))
    code = main(["policy", "explain", request.hex(), "--log", folder, "--trust", str(trust)])

    shown = capsys.readouterr().out
    assert code == 0
    assert "entry 2, request, 2027-01-15 08:00:00 UTC: wait by large" in shown
    assert "entry 3, reserve, 2027-01-15 08:00:00 UTC: wait by large" in shown
    assert "small: amount_max: 700 is above 600" in shown
    assert "daily: 0 eth used, 0.0000000000000008 eth asked, 0.000000000000001 eth in 1 d" in shown


def test_explain_gives_a_script_the_receipts(tmp_path: Path) -> None:
    book = Book(WORLD)
    book.pay(100, nonce=0)
    denied = book.request(10, to=SANCTIONED)
    result = invoke("policy", "explain", denied.hex(), "--log", str(folder_of(tmp_path, book)))

    (only,) = result.document["verdicts"]
    assert result.code == 0
    assert only["receipt"]["verdict"] == {"outcome": "deny", "rule": "sanctions"}
    assert json.dumps(result.document)


def test_explain_needs_to_know_where_the_log_is() -> None:
    with pytest.raises(Misuse, match="--log DIR, or --as DIR"):
        invoke("policy", "explain", "00" * 32)


def test_explain_refuses_a_request_that_the_log_has_not(tmp_path: Path) -> None:
    result = invoke("policy", "explain", "00" * 32, "--log", str(folder_of(tmp_path, varied())))

    assert result.code == 1


def test_explain_refuses_a_log_that_does_not_hold(tmp_path: Path) -> None:
    book = Book(WORLD)
    request = book.request(100)
    folder = written(tmp_path / "log", published(book, by=("node-1",)))
    result = invoke("policy", "explain", request.hex(), "--log", str(folder))

    assert result.code == 1
    assert "need cosignatures" in str(result.text[-1])


def test_replay_writes_a_line_for_each_verdict(tmp_path: Path) -> None:
    book, out = varied(), tmp_path / "verdicts.jsonl"
    result = invoke("audit", "replay", str(folder_of(tmp_path, book)), "--out", str(out))

    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert result.code == 0
    assert result.document["verdicts"] == len(lines) == sum(o.verdict is not None for o in book.outcomes)
    assert all(line["receipt"]["policy"] and line["wrong"] == "" for line in lines)


def test_replay_stops_at_the_first_verdict_that_differs(tmp_path: Path) -> None:
    book, out = Book(WORLD), tmp_path / "verdicts.jsonl"
    book.request(100)
    book.log_request(book.asked(100), claim={"outcome": "deny", "rule": "small"})
    book.request(100)
    result = invoke("audit", "replay", str(folder_of(tmp_path, book)), "--out", str(out))

    assert result.code == 1
    assert result.document["first_wrong"]["index"] == 3
    assert len(out.read_text().splitlines()) == 2


def test_there_is_nothing_to_replay_without_a_log(tmp_path: Path) -> None:
    with pytest.raises(Misuse):
        invoke("audit", "replay", str(tmp_path))
    with pytest.raises(Misuse):
        invoke("audit", "replay", str(folder_of(tmp_path, Book(WORLD))), "--out", str(tmp_path))
