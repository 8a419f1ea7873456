"""The policy language through the fold: delays, a person's no, counts, values, own tiers, stated facts."""

import itertools
from typing import Any

import pytest

from policy.document import parse_policy
from policy.encoding import Json, document_hash
from policy.evaluate import Outcome as Answer
from policy.evaluate import evaluate
from policy.facts import request_facts
from policy.rules import SWEEP, TIER_MOVE, TRANSFER
from policy.state import CANCEL, PricePoint
from policy.values import replace
from policy.worth import PRICE_POINTS_MAX, add_price
from tests.simulation.world import (
    CHAIN,
    CUSTOMER,
    DAY_MS,
    INITIATORS,
    KEY,
    ORIGIN,
    OTHER,
    Book,
    World,
    authenticator,
    key_of,
)

WORLD = World()
HOUR_MS = 3_600_000
ALLOW = {"outcome": "allow"}
PRICES = {"unit": "usd", "decimals": 2, "max_age_ms": HOUR_MS}
ETHER = 10**18


def rule(name: str, then: dict[str, Any], **when: Any) -> dict[str, Any]:
    return {"name": name, "when": when, "then": then}


def limit(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, "window_ms": DAY_MS, "per": [], **fields}


def book_with(*rules: dict[str, Any], **changed: Any) -> Book:
    book = Book(WORLD, start=False)
    policy = WORLD.policy(rules=list(rules), **{"limits": [], **changed})
    book.genesis(policy=policy)
    assert book.last.accepted, book.last.reason
    book.key()
    return book


def rule_of(book: Book) -> tuple[str, str]:
    verdict = book.last.verdict
    assert verdict is not None, book.last.reason
    return verdict.outcome.name.lower(), verdict.rule


# Delays.


def test_an_allowed_payment_waits_for_its_delay_from_the_request_on() -> None:
    book = book_with(rule("slow", {**ALLOW, "delay_ms": HOUR_MS}))
    request = book.request()
    assert rule_of(book) == ("wait", "slow")

    book.advance(HOUR_MS - 1)
    book.reserve(request)
    assert rule_of(book) == ("wait", "slow") and not book.last.accepted

    book.advance(1)
    book.reserve(request)
    assert rule_of(book) == ("allow", "slow") and book.last.accepted


def test_a_delay_does_not_begin_before_the_backend_made_the_request() -> None:
    book = book_with(rule("slow", {**ALLOW, "delay_ms": HOUR_MS}))
    later_ms = book.now_ms + HOUR_MS  # a log that is kept an hour behind the clock
    request = book.request(created_ms=later_ms, expires_ms=later_ms + DAY_MS)
    book.advance(2 * HOUR_MS - 1)
    book.reserve(request)
    early = rule_of(book)
    book.advance(1)
    book.reserve(request)

    assert early == ("wait", "slow")
    assert rule_of(book) == ("allow", "slow")


def test_without_a_delay_a_backend_whose_clock_is_ahead_waits_for_nothing() -> None:
    book = book_with(rule("all", ALLOW))
    book.request(created_ms=book.now_ms + HOUR_MS, expires_ms=book.now_ms + DAY_MS)

    assert rule_of(book) == ("allow", "all")


def test_a_delay_after_approvals_runs_from_the_one_that_was_missing_last() -> None:
    then = {"outcome": "approve", "approvals": [{"group": "treasury", "count": 2}], "delay_ms": HOUR_MS}
    book = book_with(rule("slow", then))
    request = book.request(initiator="backend")
    book.approve(request, "alice", nonce=0)
    book.advance(HOUR_MS)
    book.approve(request, "bob", nonce=0)
    book.advance(HOUR_MS // 2)
    book.approve(request, "carol", nonce=0)  # one too many: it does not start the delay anew
    book.reserve(request)
    early = rule_of(book)
    book.advance(HOUR_MS // 2)
    book.reserve(request)

    assert early == ("wait", "slow")
    assert rule_of(book) == ("allow", "slow")


def test_any_of_several_ways_of_approval_is_enough() -> None:
    ways = [
        {"approvals": [{"group": "treasury", "count": 2}]},
        {"approvals": [{"group": "risk", "count": 1}]},
    ]
    book = book_with(rule("ways", {"outcome": "approve", "any_of": ways}))
    request = book.request(initiator="backend")
    book.approve(request, "alice", nonce=0)
    book.reserve(request)
    one = rule_of(book)
    book.approve(request, "dave", nonce=0)
    book.reserve(request)

    assert one == ("wait", "ways")
    assert rule_of(book) == ("allow", "ways")


# A person's no.


@pytest.mark.parametrize("by", ["alice", "ada", "desk"])
def test_one_person_stops_a_request_for_good_and_its_slot_can_be_closed(by: str) -> None:
    book = book_with(rule("all", ALLOW))
    request = book.request()
    book.reserve(request)
    book.reject(request, by=by)
    assert book.last.accepted

    book.reserve(request, fee=20)
    refused = rule_of(book)
    book.reserve(request, purpose=CANCEL)

    assert refused == ("deny", "request-rejected")
    assert book.last.accepted


@pytest.mark.parametrize(
    ("by", "signer"), [("backend", "backend"), ("oskar", "oskar"), ("node-1", "node-1"), ("alice", "bob")]
)
def test_a_no_of_others_is_inert(by: str, signer: str) -> None:
    book = book_with(rule("all", ALLOW))
    request = book.request()
    book.reject(request, by=by, signer=signer)

    assert not book.last.accepted
    assert not book.state.requests[request].rejected_by


def reject_by_passkey(book: Book, request: bytes, *, by: str, passkey: str = "", tag: str = "reject") -> None:
    """Log a no that a passkey signed; of ``by`` and under ``reject`` unless told otherwise."""
    body: Json = {"origin": ORIGIN, "request": request.hex(), "by": by, "reason": "a test"}
    assertion = authenticator(passkey or by).assert_(document_hash(tag, body))
    book.write("reject", body, assertion=assertion.body())


def test_an_operators_passkey_stops_a_request_as_their_key_does() -> None:
    book = book_with(rule("all", ALLOW))
    request = book.request()
    reject_by_passkey(book, request, by="alice")

    assert book.last.accepted
    assert book.state.requests[request].rejected_by == "alice"


@pytest.mark.parametrize(
    ("by", "passkey", "tag"),
    [("alice", "bob", "reject"), ("alice", "", "approval"), ("ada", "alice", "reject")],
)
def test_a_no_by_another_passkey_or_for_something_else_is_inert(by: str, passkey: str, tag: str) -> None:
    book = book_with(rule("all", ALLOW))
    request = book.request()
    reject_by_passkey(book, request, by=by, passkey=passkey, tag=tag)

    assert not book.last.accepted
    assert not book.state.requests[request].rejected_by


def test_a_no_comes_too_late_for_what_is_signed_and_counts_once() -> None:
    book = book_with(rule("all", ALLOW))
    paid, stopped = book.request(), book.request()
    book.sign(book.reserve(paid))
    book.reject(paid, by="alice")
    assert "signed already" in book.last.reason

    book.reject(stopped, by="alice")
    book.reject(stopped, by="bob")
    assert not book.last.accepted
    assert book.state.requests[stopped].rejected_by == "alice"


def test_approvals_of_a_rejected_request_are_void() -> None:
    then = {"outcome": "approve", "approvals": [{"group": "treasury", "count": 1}]}
    book = book_with(rule("ask", then))
    request = book.request(initiator="backend")
    book.approve(request, "alice", nonce=0)
    book.reject(request, by="dave")
    book.approve(request, "bob", nonce=0)

    assert not book.last.accepted
    assert book.state.requests[request].approvals == ()


# Limits by count and by value, and by other scopes.


def test_a_count_is_of_payments_and_a_retry_is_the_same_payment() -> None:
    book = book_with(rule("all", ALLOW), limits=[limit("often", count_max=2)])
    first = book.request()
    book.reserve(first)
    book.reserve(first, fee=20)
    book.sign(book.reserve(book.request(), nonce=1))
    book.request()
    assert rule_of(book) == ("deny", "often")

    book.advance(2 * DAY_MS)
    book.reserve(first, purpose=CANCEL)
    assert book.last.accepted  # a cancellation is no payment


def test_a_limit_may_be_for_each_tier_and_for_some_tiers() -> None:
    wallets = {
        name: {"tier": tier, "key": KEY, "chain": CHAIN, "paths": [path]}
        for name, tier, path in (("a", "hot", "m/0/0"), ("b", "hot", "m/0/1"), ("c", "warm", "m/0/2"))
    }
    book = book_with(
        rule("all", ALLOW),
        wallets=wallets,
        limits=[limit("each", count_max=1, per=["tier"]), limit("warm", count_max=5, tiers=["warm"])],
    )
    book.reserve(book.request(wallet="a"))
    book.request(wallet="b")
    same_tier = rule_of(book)
    book.request(wallet="c")

    assert same_tier == ("deny", "each")
    assert rule_of(book) == ("allow", "all")


def test_a_value_is_rounded_up_and_counts_what_it_was_when_reserved() -> None:
    book = book_with(rule("all", ALLOW), prices=PRICES, limits=[limit("daily", value_max="2")])
    book.price(2500_00)
    book.pay(1, nonce=0, fee=1)  # two wei are worth a cent each, as each is rounded up
    assert book.used() == 2

    book.request(1)
    assert rule_of(book) == ("deny", "daily")


def test_a_value_of_a_change_of_unit_counts_as_the_whole_limit_until_it_can_be_told() -> None:
    book = book_with(rule("all", ALLOW), prices=PRICES, limits=[limit("daily", value_max="9")])
    book.price(2500_00)
    book.pay(1, nonce=0, fee=1)
    changed = WORLD.policy(
        name="euros",
        rules=[rule("all", ALLOW)],
        prices={**PRICES, "unit": "eur"},
        limits=[limit("daily", value_max="500")],
    )
    book.change("policy", changed)
    book.now_ms += DAY_MS - 1_000
    before = book.used()
    book.advance(1_000)
    book.idle()

    assert before == 2
    assert book.state.windows["daily", ""].total == 500


@pytest.mark.parametrize("age_ms", [HOUR_MS, None])
def test_a_value_without_a_price_new_enough_is_no_consent(age_ms: int | None) -> None:
    book = book_with(rule("all", ALLOW), prices=PRICES, limits=[limit("daily", value_max=str(10**9))])
    if age_ms is not None:
        book.price(2500_00)
        book.request(1)
        assert rule_of(book) == ("allow", "all")
        book.advance(age_ms)
    book.request(2)

    assert rule_of(book) == ("wait", "daily")


def test_the_highest_price_of_the_age_counts_so_one_low_price_opens_nothing() -> None:
    book = book_with(rule("small", ALLOW, value_max="250001"), prices=PRICES)
    book.price(2500_00)
    book.advance(1000)
    book.price(1_00)
    book.request(2 * ETHER)
    at_once = rule_of(book)
    book.advance(HOUR_MS - 1000)
    book.request(2 * ETHER)

    assert at_once == ("deny", "no-rule-matches")
    assert rule_of(book) == ("allow", "small")


@pytest.mark.parametrize(
    "changed",
    [
        {"by": ("oskar",)},
        {"by": ("ada", "adam")},
        {"unit": "eur/2"},
        {"unit": "usd/3"},
        {"asset": "etc"},
        {"origin": "log.example.com/other"},
        {"observed_ms": 1_800_000_000_001},
    ],
)
def test_a_price_that_too_few_or_others_state_is_inert(changed: dict[str, Any]) -> None:
    book = book_with(rule("all", ALLOW), prices=PRICES)
    book.price(5, **changed)

    assert not book.last.accepted
    assert not book.state.prices


def test_prices_come_in_their_order_and_a_signed_one_counts_once() -> None:
    book = book_with(rule("all", ALLOW), prices=PRICES)
    observed_ms = book.now_ms
    book.price(5)
    book.price(6)
    again = book.last
    book.advance(10)
    book.price(5, observed_ms=observed_ms)

    assert not again.accepted
    assert not book.last.accepted


def test_the_points_kept_of_a_price_are_bounded_and_never_lower_the_highest() -> None:
    points: tuple[PricePoint, ...] = ()
    every: list[PricePoint] = []
    for time_ms in range(3 * PRICE_POINTS_MAX):
        new = PricePoint(time_ms, 10_000 - time_ms + 37 * (time_ms % 5))
        every.append(new)
        points = add_price(points, new)
        for after_ms in (time_ms - 500, time_ms - 20, time_ms - 1):
            exact = max(p.price for p in every if p.observed_ms > after_ms)
            assert max(p.price for p in points if p.observed_ms > after_ms) >= exact

    assert len(points) <= PRICE_POINTS_MAX


# Facts of a request.


def test_a_destination_is_new_until_a_payment_to_it_is_signed_and_not_for_its_own_retry() -> None:
    rules = (
        rule("first", ALLOW, assets=["eth"], first_use=True, amount_max="100"),
        rule("known", ALLOW, first_use=False),
    )
    book = book_with(*rules)
    book.request(101)
    over_the_cap = rule_of(book)
    request = book.request(100)
    book.sign(book.reserve(request))
    book.reserve(request, fee=20)
    retry = rule_of(book)
    book.request(500)

    assert over_the_cap == ("deny", "no-rule-matches")
    assert retry == ("allow", "first")
    assert rule_of(book) == ("allow", "known")
    book.request(500, to=OTHER)
    assert rule_of(book) == ("deny", "no-rule-matches")


def test_what_goes_to_an_own_account_is_a_tier_move_or_a_sweep_by_derivation_alone() -> None:
    wallets = {
        "hot": {"tier": "hot", "key": KEY, "chain": CHAIN, "paths": ["m/0/0", "m/0/1"]},
        "cold": {"tier": "cold", "key": KEY, "chain": CHAIN, "paths": ["m/1/0"]},
    }
    book = book_with(
        rule("down", ALLOW, kinds=[TIER_MOVE], tiers=["hot"], destination_tiers=["cold"]),
        rule("sweeps", ALLOW, kinds=[SWEEP]),
        rule("out", ALLOW, kinds=[TRANSFER], destinations=["customers"]),
        wallets=wallets,
    )
    found = []
    for to, wallet in (
        (WORLD.account("m/1/0"), "hot"),
        (WORLD.account("m/0/1"), "hot"),
        (WORLD.account("m/0/0"), "cold"),
        (WORLD.account("m/9/9"), "hot"),
        (CUSTOMER, "hot"),
    ):
        book.request(to=to, wallet=wallet)
        found.append(rule_of(book)[1])

    assert found == ["down", "sweeps", "no-rule-matches", "no-rule-matches", "out"]


def test_an_initiator_is_known_by_its_groups() -> None:
    desks: list[Json] = [
        {**key_of(name), "people": [], "groups": ["desks"] if name == "desk" else []} for name in INITIATORS
    ]
    roster = WORLD.roster(initiators=desks)
    book = Book(WORLD, start=False)
    policy = WORLD.policy(rules=[rule("desks", ALLOW, initiator_groups=["desks"])])
    book.genesis(roster=roster, policy=policy)
    book.key()
    book.request(initiator="desk")
    desk = rule_of(book)
    book.request(initiator="backend")

    assert desk == ("allow", "desks")
    assert rule_of(book) == ("deny", "no-rule-matches")


def test_a_group_of_initiators_that_nobody_is_in_is_refused() -> None:
    with pytest.raises(AssertionError, match="no initiator of the roster is in group ghosts"):
        book_with(rule("x", ALLOW, initiator_groups=["ghosts"]))


def test_a_request_waits_for_its_screening_which_then_decides() -> None:
    rules = (rule("risky", {"outcome": "deny"}, risk_min=80), rule("clear", ALLOW, screenings=["clear"]))
    book = book_with(*rules)
    request = book.request()
    assert rule_of(book) == ("wait", "risky")

    book.reserve(request)
    assert rule_of(book) == ("wait", "risky")

    book.screen(request, by=("oskar",))
    assert not book.last.accepted

    for statement, expected in (
        ({"risk": 90}, ("deny", "risky")),
        ({"risk": 10, "result": "unclear"}, ("deny", "no-rule-matches")),
        ({"risk": 10}, ("allow", "clear")),
    ):
        book.advance(1)
        book.screen(request, **statement)
        book.reserve(request)
        assert rule_of(book) == expected


def test_hours_are_of_the_logs_time_in_utc() -> None:
    hours = [{"days": ["fri"], "from": "09:00", "to": "10:00"}]
    book = book_with(rule("office", ALLOW, hours=hours))
    found = {}
    for minutes in (59, 60, 119, 120):
        copy = book.fork()
        copy.now_ms += minutes * 60_000  # the log starts on Friday, 2027-01-15, at 08:00:00 UTC
        copy.request()
        found[minutes] = rule_of(copy)[1]
    book.advance(7 * DAY_MS + HOUR_MS)
    book.request()

    assert found == {59: "no-rule-matches", 60: "office", 119: "office", 120: "no-rule-matches"}
    assert rule_of(book)[1] == "office"


@pytest.mark.parametrize("bounds", [{"risk_min": 50}, {"risk_max": 50}])
def test_a_missing_fact_allows_nothing_that_some_value_of_it_would_not(
    bounds: dict[str, Any],
) -> None:
    thens: list[dict[str, Any]] = [
        ALLOW,
        {"outcome": "deny"},
        {**ALLOW, "delay_ms": 5},
        {"outcome": "approve", "approvals": [{"group": "risk", "count": 1}]},
    ]
    book = book_with(rule("all", ALLOW))
    facts = request_facts(book.state, book.asked(), identifier=bytes(32), fee_max=1, time_ms=1, usage={})
    allowed = 0
    for first, second in itertools.product(thens, thens):
        policy = parse_policy(WORLD.policy(rules=[rule("a", first, **bounds), rule("b", second)]))
        absent = evaluate(policy, facts).outcome
        found = {evaluate(policy, replace(facts, risk=risk)).outcome for risk in (0, 50, 51, 100)}

        assert absent is not Answer.ALLOW or found == {Answer.ALLOW}
        allowed += absent is Answer.ALLOW
    assert allowed == 1
