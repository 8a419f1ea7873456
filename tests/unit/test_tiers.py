"""Tiers in the fold: no transaction takes a tier out of its bounds, whatever is known or not."""

from typing import Any, cast

import pytest

from policy.evaluate import Outcome
from policy.holdings import wallet_held
from policy.reservations import delay_over_ms
from policy.rules import LOWERS, RAISES, SAME
from policy.state import CANCEL
from tests.simulation.world import CUSTOMER, DAY_MS, PATH
from tests.unit.tier_house import AGE_MS, MINUTE_MS, PATHS, TierBook, level, tiered

NOBODY = bytes(32)


def book_with(**bounds: Any) -> TierBook:
    """Bounds, prices, and 100 in hot, 300 in warm, 600 in cold."""
    book = TierBook(**bounds)
    book.state_price()
    book.state_all(100, 300, 600)
    return book


def held(book: TierBook, wallet: str, asset: str = "eth") -> tuple[int, int] | None:
    return wallet_held(book.state, wallet, asset=asset, without=NOBODY, time_ms=book.now_ms)


# What is known of holdings.


def test_what_is_held_is_what_was_stated() -> None:
    book = TierBook()

    assert held(book, "hot") is None
    assert book.state_holdings("hot", 100).accepted
    assert held(book, "hot") == (100, 100)
    book.advance(AGE_MS)
    assert held(book, "hot") is None


def test_a_move_counts_from_its_reservation_until_both_wallets_were_seen_after_it() -> None:
    book = book_with()
    request = book.move(50, "hot", "warm")
    book.take(request, fee=10)

    assert held(book, "hot") == (40, 100)
    assert held(book, "warm") == (300, 350)
    book.state_holdings("hot", 100, pending=[request])
    assert held(book, "hot") == (40, 100)
    book.state_holdings("hot", 40)
    assert held(book, "hot") == (40, 40)
    assert held(book, "warm") == (300, 350)
    book.state_holdings("warm", 350)
    assert held(book, "warm") == (350, 350)


def test_what_is_reserved_after_the_statement_was_made_is_not_seen_by_it() -> None:
    book = book_with()
    size = book.state.size
    book.take(book.move(50, "hot", "warm"))

    book.state_holdings("hot", 100, size=size)
    book.state_holdings("warm", 300, size=size)

    assert held(book, "hot") == (40, 100)
    assert held(book, "warm") == (300, 350)


def test_the_coordinators_word_that_it_settled_releases_nothing() -> None:
    book = book_with()
    request = book.move(50, "hot", "warm")
    job = book.take(request)
    book.sign(job)
    book.settle(job)

    book.state_holdings("warm", 300, pending=[request])

    assert held(book, "warm") == (300, 350)


def test_a_burned_job_counts_no_more_and_a_retry_counts_its_greatest_fee() -> None:
    book = book_with()
    request = book.move(50, "hot", "warm")
    first = book.take(request, fee=10)
    second = book.take(request, fee=20, nonce=0)

    assert held(book, "hot") == (30, 100)
    book.burn(second)
    assert held(book, "hot") == (40, 100)
    book.burn(first)
    assert held(book, "hot") == (100, 100)
    assert held(book, "warm") == (300, 300)


def test_a_burn_after_the_statement_that_saw_a_move_brings_nothing_back() -> None:
    book = book_with()
    request = book.move(50, "hot", "warm")
    book.sign(book.take(request, fee=10))
    late = book.take(request, fee=20, nonce=0)
    book.state_holdings("hot", 40)

    book.burn(late)

    assert held(book, "hot") == (40, 40)


def test_a_payment_goes_out_and_comes_in_nowhere() -> None:
    book = book_with()
    book.take(book.request(30))

    assert held(book, "hot") == (60, 100)
    assert held(book, "warm") == (300, 300)


def test_a_cancellation_costs_its_fee() -> None:
    book = book_with()
    request = book.move(50, "hot", "warm")
    burned = book.take(request)
    book.burn(burned)
    book.advance(DAY_MS)
    book.log_reservation(book.reservation(request, nonce=0, purpose=CANCEL, paths=[PATH]))
    assert book.last.accepted

    book.state_holdings("hot", 100, pending=[request])
    assert held(book, "hot") == (90, 100)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"by": ["oskar"]}, "need 2 observers, got 1"),
        ({"wallet": "ice"}, "no wallet ice"),
        ({"asset": "doge"}, "an asset doge"),
        ({"observed_ms": 1}, "not newer than the last one"),
        ({"observed_ms": 2**52}, "or of a time to come"),
        ({"size": 10_000}, "the statement saw 10000 entries"),
        ({"size": 0}, "the statement saw 0 entries"),
        ({"pending": [b"\xab" * 32]}, "no admitted request has the id abab"),
        ({"amount": -1}, "decimal string"),
        ({"more": 1}, "unknown field"),
    ],
)
def test_a_statement_that_cannot_count_is_inert(changed: dict[str, Any], reason: str) -> None:
    book = book_with()
    by = changed.pop("by", None)
    body = {"wallet": "hot", "amount": 7, **changed}

    outcome = book.state_holdings(**body, **({"by": by} if by else {}))

    assert not outcome.accepted
    assert reason in outcome.reason
    assert held(book, "hot") == (100, 100)


def test_without_tiers_nothing_is_held_against_a_statement() -> None:
    book = TierBook()
    plain = cast("dict[str, Any]", tiered(book.world))
    rules = [one for one in plain["rules"] if "exposure" not in one["when"]]
    del plain["tiers"], plain["holdings"]
    book.change("policy", plain | {"rules": rules})
    book.advance(DAY_MS)

    assert "declares no tiers" in book.state_holdings("hot", 1).reason


def test_a_new_policy_knows_nothing_of_what_was_stated_under_the_old_one() -> None:
    book = book_with()
    open_one = book.move(50, "hot", "warm")
    size = book.state.size
    book.take(open_one)
    book.change("policy", tiered(book.world, hot={"maximum": level(eth=90)}))
    book.advance(DAY_MS)
    assert "the statement saw" in book.state_holdings("hot", 100, size=size).reason
    assert held(book, "hot") is None

    assert book.state_holdings("hot", 100, pending=[open_one]).accepted

    assert held(book, "hot") == (40, 100)


# Maxima.


def test_nothing_is_moved_into_hot_above_its_maximum() -> None:
    book = book_with(hot={"maximum": level(eth=150)})

    assert book.asked_verdict(50, "warm", "hot").outcome is Outcome.WAIT
    refused = book.asked_verdict(51, "warm", "hot")

    assert (refused.outcome, refused.rule) == (Outcome.DENY, "tier-maximum")
    assert refused.reason == "tier 'hot': from 100 to 151 eth is above 150 eth"


def test_what_is_reserved_and_not_seen_counts_towards_the_maximum() -> None:
    book = book_with(hot={"maximum": level(eth=150)})
    first = book.move(30, "warm", "hot")
    book.agree(first)
    book.take(first)

    assert book.asked_verdict(20, "warm", "hot").outcome is Outcome.WAIT
    assert book.asked_verdict(21, "warm", "hot").rule == "tier-maximum"
    book.take(book.request(90))
    assert book.asked_verdict(21, "warm", "hot").rule == "tier-maximum"


def test_of_two_requests_that_fit_alone_the_second_is_refused_when_it_is_reserved() -> None:
    book = book_with(hot={"maximum": level(eth=150)})
    first, second = book.move(50, "warm", "hot"), book.move(50, "cold", "hot")
    book.agree(first)
    book.agree(second)
    book.take(first)

    refused = book.verdict_of(second)

    assert (refused.outcome, refused.rule) == (Outcome.DENY, "tier-maximum")
    assert refused.reason == "tier 'hot': from 150 to 200 eth is above 150 eth"


def test_a_retry_of_a_request_is_not_counted_twice() -> None:
    book = book_with(hot={"maximum": level(eth=150)})
    request = book.move(50, "warm", "hot")
    book.agree(request)
    book.take(request)

    assert book.verdict_of(request, nonce=0, fee=20).outcome is Outcome.ALLOW


def test_a_maximum_of_value_counts_at_the_highest_price() -> None:
    book = book_with(hot={"maximum": level(300)})
    book.state_price(2)
    book.state_price(1)

    assert book.asked_verdict(10, "warm", "hot", fee_ceiling=40).outcome is Outcome.WAIT
    refused = book.asked_verdict(11, "warm", "hot", fee_ceiling=40)

    assert refused.reason == "tier 'hot': from 200 to 302 usd is above 300 usd"


@pytest.mark.parametrize("missing", ["statement", "stale", "price"])
def test_what_raises_exposure_waits_for_what_is_not_known(missing: str) -> None:
    book = TierBook(hot={"maximum": level(1000, eth=1000)})
    if missing != "price":
        book.state_price()
    if missing != "statement":
        book.state_all(100, 300, 600)
    if missing == "stale":
        book.advance(AGE_MS)
        book.state_price(1)

    verdict = book.asked_verdict(5, "warm", "hot")

    assert (verdict.outcome, verdict.rule) == (Outcome.WAIT, "tier-maximum")
    assert "no statement of holdings or prices" in verdict.reason
    assert book.asked_verdict(5, "hot", "warm").rule == "down"
    assert book.asked_verdict(5, "hot", CUSTOMER).rule == "pay"


def test_a_middle_tiers_maximum_holds_for_what_comes_from_above_as_well() -> None:
    book = book_with(warm={"maximum": level(eth=320)})

    assert book.asked_verdict(20, "hot", "warm").rule == "down"
    assert book.asked_verdict(21, "hot", "warm").rule == "tier-maximum"
    assert book.asked_verdict(21, "hot", "cold").rule == "down"
    book.advance(AGE_MS)
    assert book.asked_verdict(1, "hot", "warm").outcome is Outcome.WAIT
    assert book.asked_verdict(1, "hot", "cold").outcome is Outcome.ALLOW


# Minima.


def test_a_move_that_nobody_approves_leaves_the_minimum() -> None:
    book = book_with(hot={"minimum": level(eth=20)})

    assert book.asked_verdict(70, "hot", "cold", fee_ceiling=10).outcome is Outcome.ALLOW
    refused = book.asked_verdict(71, "hot", "cold", fee_ceiling=10)

    assert (refused.outcome, refused.rule) == (Outcome.DENY, "tier-minimum")
    assert refused.reason == "tier 'hot': from 100 to 19 eth is below 20 eth"


def test_a_payment_and_what_people_approve_may_go_below_the_minimum() -> None:
    book = book_with(hot={"minimum": level(eth=20)}, warm={"minimum": level(eth=200)})

    assert book.asked_verdict(95, "hot", CUSTOMER).outcome is Outcome.ALLOW
    assert book.asked_verdict(501, "hot", "cold").rule == "down-large"
    assert book.asked_verdict(150, "warm", "hot").rule == "up"


def test_an_unseen_payment_counts_towards_the_minimum() -> None:
    book = book_with(hot={"minimum": level(eth=20)})
    book.take(book.request(30))

    assert book.asked_verdict(40, "hot", "cold", fee_ceiling=1).rule == "tier-minimum"


# Shares.


def test_a_share_is_not_broken_by_a_move_and_improving_is_allowed_out_of_bounds() -> None:
    book = book_with(cold={"share_min_bp": 6000}, hot={"share_max_bp": 1000})

    refused = book.asked_verdict(10, "warm", "hot", fee_ceiling=0)
    assert (refused.outcome, refused.rule) == (Outcome.DENY, "tier-share")
    assert refused.reason == "tier 'hot': from 1000 to 1100 bp is outside 1000 bp"
    assert book.asked_verdict(10, "cold", "warm", fee_ceiling=0).rule == "tier-share"
    book.state_all(500, 300, 200)
    assert book.asked_verdict(10, "hot", "cold").outcome is Outcome.ALLOW
    assert book.asked_verdict(10, "hot", CUSTOMER).outcome is Outcome.ALLOW
    assert book.asked_verdict(10, "warm", "cold").outcome is Outcome.ALLOW


def test_a_payment_from_a_colder_tier_counts_into_the_shares() -> None:
    book = book_with(cold={"share_min_bp": 6000}, hot={"share_max_bp": 1000})

    cold = book.asked_verdict(10, "cold", CUSTOMER, fee_ceiling=0)
    warm = book.asked_verdict(10, "warm", CUSTOMER, fee_ceiling=0)

    assert (cold.rule, warm.rule) == ("tier-share", "tier-share")
    assert "tier 'hot': from 1000 to 1011 bp" in warm.reason


def test_hot_counts_at_the_highest_price_and_the_rest_at_the_lowest() -> None:
    book = book_with(hot={"share_max_bp": 2000})
    assert book.asked_verdict(10, "cold", "hot", fee_ceiling=0).rule == "from-cold"
    book.state_price(3)

    assert book.asked_verdict(10, "cold", "hot", fee_ceiling=0).rule == "tier-share"
    book.advance(AGE_MS)
    book.state_price(3)
    book.state_all(100, 300, 600)
    assert book.asked_verdict(10, "cold", "hot", fee_ceiling=0).rule == "from-cold"


def test_shares_wait_for_every_wallet_but_for_what_lowers_exposure() -> None:
    book = TierBook(cold={"share_min_bp": 6000}, warm={"share_max_bp": 4000})
    book.state_price()
    book.state_holdings("hot", 100)

    assert book.asked_verdict(1, "cold", "warm").outcome is Outcome.WAIT
    assert book.asked_verdict(1, "cold", "warm").rule == "tier-share"
    assert book.asked_verdict(1, "cold", CUSTOMER).rule == "tier-share"
    assert book.asked_verdict(1, "hot", "warm").outcome is Outcome.ALLOW
    assert book.asked_verdict(1, "hot", CUSTOMER).outcome is Outcome.ALLOW


def test_a_move_down_that_is_known_to_break_a_share_is_denied() -> None:
    book = book_with(warm={"share_max_bp": 3000})

    assert book.asked_verdict(50, "hot", "warm").rule == "tier-share"


# What a move is.


@pytest.mark.parametrize(
    ("source", "destination", "exposure"),
    [("hot", "cold", LOWERS), ("cold", "warm", RAISES), ("hot", "hot", SAME), ("hot", "", "")],
)
def test_exposure_is_what_a_move_between_declared_tiers_does(
    source: str, destination: str, exposure: str
) -> None:
    book = TierBook()

    assert book.state.policy.exposure(source, destination) == exposure


def test_a_move_up_from_cold_takes_people_and_a_delay() -> None:
    book = book_with(hot={"maximum": level(eth=150)})
    request = book.move(50, "cold", "hot")
    assert book.verdict_of(request).outcome is Outcome.WAIT
    book.agree(request)
    book.advance(-1)
    assert book.verdict_of(request).not_before_ms
    book.advance(1)

    book.take(request)

    assert book.last.accepted
    assert PATHS["cold"] in {signing.path for signing in book.state.jobs[book.last.subject].signings}


def test_the_clock_of_a_node_asks_no_tier_again() -> None:
    book = book_with(hot={"maximum": level(eth=150)})
    request = book.move(50, "cold", "hot")
    book.agree(request)
    identifier = book.take(request)
    job = book.state.jobs[identifier]
    book.advance(AGE_MS)

    assert delay_over_ms(book.state, job, floor_ms=0) == 0
    assert delay_over_ms(book.state, job, floor_ms=job.time_ms) == job.time_ms + MINUTE_MS
