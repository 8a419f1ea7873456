"""A policy that is not in force, over a log: what flips, which way, and how much; and nothing by accident."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.main import invoke
from policy.audit import audit
from policy.backtest import LOOSER, STRICTER, Backtest
from policy.document import parse_policy
from policy.errors import OperationalError
from policy.intent import request_id
from tests.simulation.world import CUSTOMER, DAY_MS, KEY, OTHER, SANCTIONED, STRANGER, Book, World, limit
from tests.unit.policy_documents import as_yaml
from tests.unit.policy_documents import written as in_words
from tests.unit.test_audit import published, written
from tests.unit.typed_data_house import PERMITS, TYPED_DATA, permit, policy_of, request_of

WORLD = World()
ALLOW = {"outcome": "allow"}


def backtested(book: Book, **changed: Any) -> Backtest:
    """A backtest of the first policy with some fields changed, over a book's published files."""
    test = Backtest(parse_policy(WORLD.policy(**changed)))
    report = audit(published(book).get, trust=None, progress=lambda done, total: None, watch=test)
    assert report.ok, report.first_bad
    return test


def flips(test: Backtest) -> list[tuple[str, str, str, str]]:
    """Way, kind, and the rules that decided, of every flip."""
    return [(flip.way, flip.kind, flip.real.rule, flip.other.rule) for flip in test.flips]


def test_typed_data_flips_like_any_request() -> None:
    book = Book(WORLD, start=False)
    book.genesis(policy=policy_of(WORLD, PERMITS))
    book.key()
    asked = [request_of(permit(value=value), key=f"{value}", now_ms=book.now_ms) for value in (5, 101)]
    for request in asked:
        book.log_request(request)
    book.sign(book.reserve(request_id(asked[0].body()), tx=asked[0].intent.typed_data))
    wide = {"name": "wide", "when": {"kinds": ["typed_data"]}, "then": ALLOW}

    assert flips(backtested(book, rules=[PERMITS], typed_data=TYPED_DATA)) == []
    assert flips(backtested(book, rules=[wide], typed_data=TYPED_DATA)) == [
        (LOOSER, "request", "no-rule-matches", "wide")
    ]
    assert flips(backtested(book, rules=[wide])) == [
        (STRICTER, "request", "permits", "error"),
        (STRICTER, "reserve", "permits", "error"),
    ]


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["pay", "reserve", "burn", "large", "deny", "policy"]),
            st.integers(1, 500),
            st.sampled_from(["eth", "usdc"]),
            st.sampled_from([0, DAY_MS // 3, DAY_MS]),
        ),
        max_size=8,
    )
)
def test_the_policy_in_force_flips_nothing(steps: list[tuple[str, int, str, int]]) -> None:
    book = Book(WORLD)
    for nonce, (what, amount, asset, later_ms) in enumerate(steps):
        if what == "policy":
            book.change("policy", WORLD.policy(name=f"number-{nonce}"))
        request = book.request(amount, asset=asset, to=SANCTIONED if what == "deny" else CUSTOMER)
        if book.last.accepted:
            job = book.reserve(request, nonce=nonce)
            if book.last.accepted and what == "pay":
                book.sign(job)
            if book.last.accepted and what == "burn":
                book.burn(job)
        book.advance(later_ms)

    test = backtested(book)

    assert test.flips == []
    assert sum(test.judged.values()) == sum(o.verdict is not None for o in book.outcomes)


def test_a_lower_limit_is_counted_from_what_was_really_paid() -> None:
    book = Book(WORLD)
    for nonce in range(4):
        book.pay(100, nonce=nonce)
    test = backtested(book, limits=[limit("tight", "eth", 320)])

    assert (
        flips(test)
        == [
            (STRICTER, "request", "small", "tight"),
            (STRICTER, "reserve", "small", "tight"),
        ]
        * 2
    )
    assert test.totals(STRICTER, "request") == (2, {"eth": 200})
    assert test.totals(STRICTER, "reserve") == (2, {"eth": 200})
    assert test.totals(LOOSER, "request") == (0, {})
    assert "220 used and 110 asked is above 320" in test.flips[1].other.reason


def test_windows_of_the_new_policy_pass_by_their_own_length() -> None:
    book = Book(WORLD)
    for nonce in range(3):
        book.pay(100, nonce=nonce)
        book.advance(3_600_000)

    assert backtested(book, limits=[limit("hourly", "eth", 300, window_ms=3_600_000)]).flips == []
    assert len(backtested(book, limits=[limit("slower", "eth", 300, window_ms=3_600_001)]).flips) == 2


def test_what_was_burned_does_not_count() -> None:
    book = Book(WORLD)
    book.burn(book.reserve(book.request(200), nonce=0))
    book.pay(200, nonce=1)

    assert backtested(book, limits=[limit("tight", "eth", 310)]).flips == []


def test_a_denied_request_that_the_new_policy_allows_is_looser() -> None:
    book = Book(WORLD)
    denied = book.request(70, to=STRANGER)
    book.request(30, to=OTHER)
    test = backtested(book, rules=[{"name": "all", "when": {}, "then": ALLOW}])

    assert flips(test) == [(LOOSER, "request", "no-rule-matches", "all")]
    assert test.flips[0].request == denied
    assert list(test.by_rule()) == [
        ((LOOSER, "request", "deny by no-rule-matches", "allow by all"), (1, {"eth": 70}))
    ]


def test_approvals_count_as_they_were_given() -> None:
    book = Book(WORLD)
    request = book.request(700)
    for operator in ("alice", "bob"):
        book.approve(request, operator, nonce=0)
    book.reserve(request, nonce=0)
    one = {
        "outcome": "approve",
        "approvals": [{"group": "treasury", "count": 2}, {"group": "risk", "count": 1}],
    }
    same = backtested(book, name="other")
    more = backtested(book, rules=[{"name": "three", "when": {}, "then": one}])

    assert same.flips == []
    assert flips(more) == [(STRICTER, "reserve", "large", "three")]


def test_a_request_tried_twice_counts_once() -> None:
    book = Book(WORLD)
    request = book.request(100)
    book.reserve(request, fee=10)
    book.reserve(request, fee=20)
    test = backtested(book, rules=[])

    assert len(test.flips) == 3
    assert test.totals(STRICTER, "reserve") == (1, {"eth": 100})


def test_a_new_wallet_and_a_missing_one_are_judged_by_the_new_policy() -> None:
    book = Book(WORLD)
    book.request(100)
    cold = {"cold": {"tier": "cold", "key": KEY, "chain": "evm:1", "paths": ["m/1/0"]}}

    assert flips(backtested(book, wallets=cold)) == [(STRICTER, "request", "small", "error")]


# The command.


def new_policy(tmp_path: Path, **changed: Any) -> str:
    path = tmp_path / "new.json"
    path.write_text(json.dumps(WORLD.policy(**changed)))
    return str(path)


def test_the_command_shows_flips_with_amounts_and_exits_1(tmp_path: Path) -> None:
    book = Book(WORLD)
    for nonce in range(2):
        book.pay(100, nonce=nonce)
    folder = str(written(tmp_path / "log", published(book)))
    none = {"name": "none", "when": {"destinations": ["customers"]}, "then": {"outcome": "deny"}}
    result = invoke("policy", "backtest", new_policy(tmp_path, rules=[none]), "--log", folder)

    assert result.code == 1
    assert result.document["totals"]["stricter"]["reserve"] == {"requests": 2, "amounts": {"eth": "200"}}
    assert result.document["by_rule"][0]["real"] == "allow by small"
    assert result.text[0] == "4 verdicts judged again, 4 flip"
    assert json.dumps(result.document)


def test_the_command_reads_yaml_too_and_exits_0_when_nothing_flips(tmp_path: Path) -> None:
    book = Book(WORLD)
    book.pay(100, nonce=0)
    folder, new = str(written(tmp_path / "log", published(book))), tmp_path / "new.yaml"
    new.write_text(as_yaml(in_words(WORLD.policy(name="second"))))
    result = invoke("policy", "backtest", str(new), "--log", folder)

    assert (result.code, result.document["flips"]) == (0, [])


def test_the_command_refuses_what_is_no_policy(tmp_path: Path) -> None:
    folder = str(written(tmp_path / "log", published(Book(WORLD))))

    with pytest.raises(OperationalError):
        invoke("policy", "backtest", new_policy(tmp_path, version=9), "--log", folder)


def test_what_was_put_on_a_list_by_itself_is_there_for_the_new_policy_too() -> None:
    customers = {"addresses": [CUSTOMER, OTHER, SANCTIONED], "quorum": 1, "cool_down_ms": 1000}
    lists = {"customers": customers, "sanctioned": [SANCTIONED]}
    book = Book(WORLD, start=False)
    book.genesis(policy=WORLD.policy(lists=lists))
    book.key()
    book.list_address("add", STRANGER)
    book.advance(1000)
    book.request(100, to=STRANGER)
    assert book.last.verdict is not None and book.last.verdict.rule == "small"

    assert flips(backtested(book, lists=lists, name="second")) == []
    assert flips(backtested(book)) == [(STRICTER, "request", "small", "no-rule-matches")]
