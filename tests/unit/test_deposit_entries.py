"""Deposits and confirmations in the log: on the word of f + 1 observers, each once, and nothing follows."""

from typing import Any

import pytest

from cli.evidence.statement import as_csv
from policy.encoding import canonical
from policy.entries import parse_entry
from policy.errors import MalformedError
from policy.fact_entries import DepositEntry, deposit_id
from policy.ledger import fold
from policy.movements import DAY_MS, Movements
from policy.replay import Step
from policy.roster import COORDINATOR
from policy.state import Deposit, RequestState
from policy.values import replace
from tests.simulation.deposits import deposit
from tests.simulation.names import name_of
from tests.simulation.world import CHAIN, CUSTOMER, OBSERVERS, Book, World, seed
from tests.unit.schnorr_house import BTC, SOL, SchnorrBook

DEPOSIT = deposit_id(CHAIN, seed("from outside"), index=0)


@pytest.fixture
def book() -> Book:
    return Book(World())


def test_a_deposit_is_taken_in_on_the_word_of_f_plus_one_observers(book: Book) -> None:
    outcome = deposit(book)

    assert outcome.accepted and outcome.subject == DEPOSIT
    assert book.state.deposits[DEPOSIT].turns == 1


@pytest.mark.parametrize(
    "by", [(), ("oskar",), (COORDINATOR, "oskar"), ("oskar", "ada"), ("desk", "backend")]
)
def test_fewer_observers_or_others_cause_nothing(book: Book, by: tuple[str, ...]) -> None:
    outcome = deposit(book, by=by)

    assert not outcome.accepted
    assert not book.state.deposits


def test_a_deposit_is_taken_in_once_however_often_it_is_stated(book: Book) -> None:
    deposit(book)

    assert not deposit(book).accepted
    assert not deposit(book, block=8).accepted
    assert len(book.state.deposits) == 1


def test_the_same_transaction_may_pay_twice(book: Book) -> None:
    deposit(book)

    assert deposit(book, index=1).accepted
    assert len(book.state.deposits) == 2


def test_what_a_chain_lost_is_gone_and_may_come_again(book: Book) -> None:
    assert [deposit(book, turn).accepted for turn in (0, 1, 2, 3)] == [True] * 4
    assert book.state.deposits[DEPOSIT].turns == 4


def test_no_old_statement_is_taken_in_again(book: Book) -> None:
    for turn in (0, 1, 2):
        deposit(book, turn)

    assert [deposit(book, turn).accepted for turn in (0, 1, 2, 4, 5)] == [False] * 5


@pytest.mark.parametrize("changed", [{"amount": "501"}, {"asset": "usdc"}, {"wallet": "cold"}])
def test_what_is_gone_is_what_was_stated(book: Book, changed: dict[str, Any]) -> None:
    deposit(book)

    assert "not what the deposit was" in deposit(book, 1, **changed).reason


def test_what_was_never_stated_is_not_gone(book: Book) -> None:
    assert not deposit(book, 1).accepted


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"address": CUSTOMER}, "no account of wallet"),
        ({"wallet": "other"}, "no account of wallet"),
        ({"asset": "doge"}, "no asset"),
        ({"chain": "evm:2"}, "no asset"),
        ({"origin": "log.example.com/other"}, "signed for"),
    ],
)
def test_a_deposit_is_of_an_asset_to_an_account_of_ours(
    book: Book, changed: dict[str, Any], why: str
) -> None:
    assert why in deposit(book, **changed).reason


def test_less_than_the_least_deposit_is_none_and_what_was_one_can_still_be_gone(book: Book) -> None:
    deposit(book)
    document: dict[str, Any] = book.world.policy(name="second")
    document["assets"]["eth"]["deposit_min"] = "501"
    book.change("policy", document)
    book.now_ms += DAY_MS

    assert "less than 501" in deposit(book, tx=seed("dust").hex()).reason
    assert deposit(book, tx=seed("enough").hex(), amount="501").accepted
    assert deposit(book, 1).accepted


@pytest.mark.parametrize(("chain", "wallet", "path"), [(SOL, "sol", "m"), (BTC, "btc", "m/0/0")])
def test_what_a_transaction_of_ours_pays_is_no_deposit_whatever_its_signers_knew(
    chain: str, wallet: str, path: str
) -> None:
    book = SchnorrBook(World())
    address = book.account(wallet, path).address
    paid: dict[str, Any] = {
        "chain": chain,
        "wallet": wallet,
        "address": address,
        "asset": wallet,
        "amount": "100000",
    }
    job = book.solana(book.ask("sol", 7_000)) if chain == SOL else book.bitcoin(book.ask("btc", 10_000))
    anchor = book.state.jobs[job].anchor  # reserved, and not signed yet

    assert "of ours" in deposit(book, **paid, uses=anchor.to_json()).reason
    changed = {"nonce": anchor.nonce + 1} if chain == SOL else {"account": f"{'ab' * 32}:0"}
    assert deposit(book, **paid, uses=replace(anchor, **changed).to_json()).accepted


def test_what_an_account_of_ours_pays_is_no_deposit(book: Book) -> None:
    uses = {"chain": CHAIN, "account": book.world.account(), "nonce": "99"}

    assert "of ours" in deposit(book, uses=uses).reason
    assert deposit(book, uses={**uses, "account": CUSTOMER}).accepted


@pytest.mark.parametrize(
    "changed",
    [
        {"uses": {"chain": "evm:2", "account": CUSTOMER, "nonce": "1"}},
        {"uses": {"chain": CHAIN, "account": CUSTOMER}},
        {"uses": {"chain": CHAIN, "account": "0xAB", "nonce": "1"}},
        {"fact": "gone"},
        {"fact": "settled"},
        {"amount": "0"},
        {"amount": 500},
        {"tx": "ab" * 31},
        {"tx": "ab" * 65},
        {"index": -1},
        {"turn": -2},
        {"more": 1},
    ],
)
def test_a_deposit_that_cannot_be_read_is_no_entry(book: Book, changed: dict[str, Any]) -> None:
    assert deposit(book, **changed).kind == "malformed"
    with pytest.raises(MalformedError):
        parse_entry(book.entries[-1])


def test_a_verdict_is_the_same_with_and_without_deposits(book: Book) -> None:
    other = book.fork()
    deposit(book)
    deposit(book, index=1, amount="1000000")

    requests = [one.log_request(one.asked(500, idempotency_key="k")).verdict for one in (book, other)]
    assert requests[0] == requests[1]


def test_the_coordinators_word_settles_and_f_plus_one_observers_may_say_it_once_more(book: Book) -> None:
    job = book.pay(100, nonce=0)

    assert book.settle(job).accepted and not _request(book, job).observed
    assert not book.settle(job).accepted
    assert not book.settle(job, by=OBSERVERS[:1]).accepted
    assert not book.settle(job, by=(COORDINATOR, OBSERVERS[0])).accepted
    assert book.settle(job, by=OBSERVERS).accepted
    assert _request(book, job).observed == job
    assert not book.settle(job, by=OBSERVERS).accepted


@pytest.mark.parametrize("by", [(COORDINATOR,), OBSERVERS])
def test_who_says_that_a_job_settled_names_its_transaction(book: Book, by: tuple[str, ...]) -> None:
    job, other = book.pay(100, nonce=0), book.pay(100, nonce=1, idempotency_key="other")

    theirs = name_of(book.state.jobs[other]).hex()
    for wrong in (theirs, "ab" * 32, "ab" * 64):
        outcome = book.settle(job, by=by, tx_hash=wrong)
        assert not outcome.accepted and "transaction is" in outcome.reason
    assert not _request(book, job).closed
    assert book.settle(job, by=by).accepted


def test_observers_may_say_it_first(book: Book) -> None:
    job = book.pay(100, nonce=0)

    assert book.settle(job, by=OBSERVERS).accepted
    assert _request(book, job).closed
    assert not book.settle(job).accepted


def test_what_is_said_twice_is_moved_once(book: Book) -> None:
    job = book.pay(100, nonce=0)
    book.settle(job)
    book.settle(job, by=OBSERVERS)

    assert [one.amount for one in _heard(book).found] == [100]


def test_a_deposit_is_a_credit_and_one_that_is_gone_is_taken_off(book: Book) -> None:
    deposit(book)
    deposit(book, index=1, amount="70")
    deposit(book, 1)

    heard = _heard(book)
    assert [(one.kind, one.amount, one.credit) for one in heard.found] == [
        ("deposit", 500, True),
        ("deposit", 70, True),
        ("deposit-gone", 500, False),
    ]
    assert [one.net for one in heard.totals()] == [70]
    assert "deposit-gone,eth" in as_csv(heard)


def test_what_comes_anew_after_it_was_gone_is_booked_by_what_it_is_now(book: Book) -> None:
    deposit(book)
    deposit(book, 1)
    deposit(book, 2, asset="usdc", amount="9")

    assert {one.asset.name: one.net for one in _heard(book).totals()} == {"eth": 0, "usdc": 9}


def test_what_settles_when_its_asset_is_in_the_policy_no_more_is_booked(book: Book) -> None:
    job = book.pay(100, nonce=4, asset="usdc")
    document: dict[str, Any] = book.world.policy(name="second", limits=[])
    del document["assets"]["usdc"], document["rules"][2]
    book.change("policy", document)
    book.now_ms += DAY_MS
    book.settle(job)

    assert "usdc" not in book.state.policy.assets
    assert {one.asset.name: one.net for one in _heard(book).totals()} == {"usdc": -100}


def test_an_entry_of_a_deposit_reads_to_what_it_says(book: Book) -> None:
    deposit(book, 3)

    entry = parse_entry(book.entries[-1]).entry
    assert isinstance(entry, DepositEntry)
    assert (entry.amount, entry.block, entry.gone, entry.deposit) == (500, 7, True, DEPOSIT)
    assert canonical(entry.body) in book.entries[-1]


def test_deposits_fold_alike_whatever_was_before(book: Book) -> None:
    state = book.state
    deposit(book)

    again, _ = fold(state, book.entries[-1])
    assert again.digest == book.state.digest
    assert again.deposits[DEPOSIT] == Deposit(1, book.state.deposits[DEPOSIT].paid)


def _heard(book: Book) -> Movements:
    heard = Movements("hot", from_ms=0, to_ms=book.now_ms + 1)
    for index, (entry, outcome) in enumerate(zip(book.entries, book.outcomes, strict=True)):
        if outcome.accepted:
            before, after = book.past[index][0], book.past[index + 1][0]
            heard(Step(before, index, entry, parse_entry(entry), outcome, after))
    return heard


def _request(book: Book, job: bytes) -> RequestState:
    return book.state.requests[book.state.jobs[job].request_id]
