"""What is kept and shown of tiers: receipts, replays, backtests and proofs say what the fold said."""

from dataclasses import replace
from typing import Any, cast

import pytest

from cli.policies.receipts import receipt_lines
from policy import values
from policy.audit import audit
from policy.backtest import LOOSER, STRICTER, Backtest
from policy.coherence import check_coherent
from policy.document import parse_policy
from policy.encoding import Json
from policy.entries import ReserveEntry, parse_entry
from policy.errors import MalformedError
from policy.explain import verdict_again
from policy.fact_entries import HoldingsEntry, PriceEntry
from policy.model import Level, Policy
from policy.prove.differences import Change, compare, redefined
from policy.prove.invariants import parse_invariants
from policy.prove.mutants import mutants, score
from policy.prove.proofs import Answer, prove
from policy.replay import Judged, watch_verdicts
from policy.roster import parse_roster
from policy.tiers_audit import TiersAudit
from policy.worth import highest
from tests.simulation.world import DAY_MS, OBSERVERS, World, key_of
from tests.unit.test_audit import published
from tests.unit.tier_house import RULES, TierBook, level, tiered

WORLD = World()


def bounded(**bounds: Any) -> TierBook:
    """Moves and payments that bounds allow, refuse and leave open."""
    book = TierBook(**bounds)
    book.move(20, "warm", "hot", fee_ceiling=10)
    book.state_price()
    book.state_all(100, 300, 600)
    first = book.move(20, "warm", "hot", fee_ceiling=10)
    book.agree(first)
    book.take(first)
    book.move(40, "warm", "hot", fee_ceiling=10)
    book.take(book.move(30, "hot", "cold", fee_ceiling=10))
    book.request(5, fee_ceiling=10)
    book.move(10, "cold", "warm", fee_ceiling=10)
    return book


def replayed(book: TierBook, watch: Any) -> None:
    report = audit(published(book).get, trust=None, progress=lambda done, total: None, watch=watch)
    assert report.ok, report.first_bad


BOUNDS = {"hot": {"maximum": level(eth=150), "minimum": level(eth=5)}, "cold": {"share_min_bp": 6000}}


def verdicts(book: TierBook) -> list[Judged]:
    found: list[Judged] = []
    replayed(book, watch_verdicts(found.append))
    return found


def test_every_verdict_follows_again_from_its_receipt_alone() -> None:
    found = verdicts(bounded(**BOUNDS))

    assert [one.wrong for one in found if one.wrong] == []
    decided = {str(cast("Any", one.receipt)["verdict"]["rule"]) for one in found}
    assert {"tier-maximum", "tier-share", "up", "down", "pay"} <= decided


def test_a_receipt_that_lacks_what_is_held_gives_another_verdict() -> None:
    book = bounded(**BOUNDS)
    one = next(one for one in verdicts(book) if one.accepted and one.kind == "reserve")
    less = {**one.receipt, "holdings": cast("Json", {})}

    assert verdict_again(one.policy, one.receipt).rule == "up"
    assert verdict_again(one.policy, less).rule == "tier-maximum"


def test_a_receipt_has_each_bound_before_and_after() -> None:
    refused = next(
        one for one in verdicts(bounded(**BOUNDS)) if "from 120 to 160" in str(one.receipt["reason"])
    )
    receipt: Any = refused.receipt

    assert receipt["decided_by"] == "tier"
    assert receipt["tiers"] == [
        {
            "bound_by": "tier-maximum",
            "tier": "hot",
            "unit": "eth",
            "before": "120",
            "after": "160",
            "bound": "150",
            "holds": "no",
        }
    ]
    assert receipt["holdings"] == {
        "hot": {"low": "100", "high": "120", "value_low": "100", "value_high": "120"}
    }
    assert "  tier        hot: 120 eth before, 160 eth after, at most 150 eth: broken" in receipt_lines(
        refused
    )


def test_shares_are_shown_in_per_cent() -> None:
    shown = [line for one in verdicts(bounded(**BOUNDS)) for line in receipt_lines(one) if "a share" in line]

    assert any("cold: 58.82 % before" in line and "bounded by 60 %: broken" in line for line in shown), shown


def test_without_tiers_a_receipt_says_nothing_of_them() -> None:
    plain = cast("dict[str, Any]", tiered(WORLD))
    rules = [rule for rule in RULES if "exposure" not in rule["when"]]
    plain = {k: v for k, v in plain.items() if k not in ("tiers", "holdings")} | {"rules": rules}
    book = TierBook()
    book.change("policy", plain)
    book.advance(DAY_MS)
    book.request(5)

    assert not {"tiers", "holdings"} & verdicts(book)[-1].receipt.keys()


# Audits.


def test_an_audit_adds_maxima_up_by_itself() -> None:
    book, audited = bounded(**BOUNDS), TiersAudit()
    said = []
    for data, outcome, (state, _) in zip(book.entries, book.outcomes, book.past[1:], strict=True):
        entry = parse_entry(data).entry
        if outcome.accepted and isinstance(entry, HoldingsEntry):
            audited.stated(state, entry)
        if outcome.accepted and isinstance(entry, PriceEntry):
            audited.priced(entry)
        if outcome.accepted and isinstance(entry, ReserveEntry):
            said.append(audited.reserved(state, outcome.subject))

    assert said == ["", ""]


def test_an_audit_sees_a_fold_that_let_hot_come_above_its_maximum() -> None:
    book, audited = bounded(**BOUNDS), TiersAudit()
    lower = replace(book.state.policy.tiers[0], maximum=Level(amounts={"eth": 119}))
    wrong = replace(book.state.policy, tiers=(lower, *book.state.policy.tiers[1:]))
    said = []
    for data, outcome, (state, _) in zip(book.entries, book.outcomes, book.past[1:], strict=True):
        entry = parse_entry(data).entry
        if outcome.accepted and isinstance(entry, HoldingsEntry):
            audited.stated(state, entry)
        if outcome.accepted and isinstance(entry, PriceEntry):
            audited.priced(entry)
        if outcome.accepted and isinstance(entry, ReserveEntry):
            said.append(audited.reserved(values.replace(state, policy_or_none=wrong), outcome.subject))

    assert said == ["tier hot: it can come to 120 eth by this job, above 119", ""]


def test_a_price_in_another_unit_counts_no_more_once_the_policy_has_changed_it() -> None:
    book = TierBook()
    book.state_price(100)
    finer = cast("dict[str, Any]", tiered(WORLD))
    book.change("policy", finer | {"prices": {"unit": "usd", "decimals": 8, "max_age_ms": 5 * DAY_MS}})
    book.advance(DAY_MS)
    book.idle()

    assert highest(book.state, "eth", amount=1, time_ms=book.now_ms) is None
    book.state_price(7, unit="usd/8")
    assert highest(book.state, "eth", amount=1, time_ms=book.now_ms) == 7


# Backtests.


def backtested(book: TierBook, **bounds: Any) -> list[tuple[str, str, str]]:
    test = Backtest(parse_policy(tiered(WORLD, **bounds)))
    replayed(book, test)
    return [(flip.way, flip.real.rule, flip.other.rule) for flip in test.flips]


def test_a_backtest_judges_by_what_was_held() -> None:
    book = bounded(**BOUNDS)

    assert backtested(book, **BOUNDS) == []
    tight = backtested(book, hot={"maximum": level(eth=110), "minimum": level(eth=5)}, cold=BOUNDS["cold"])
    wide = backtested(book, hot={"maximum": level(eth=500), "minimum": level(eth=5)}, cold=BOUNDS["cold"])
    assert tight == [(STRICTER, "up", "tier-maximum"), (STRICTER, "up", "tier-maximum")]
    assert wide == [(LOOSER, "tier-maximum", "up")]


# Proofs.


def policy(**bounds: Any) -> Policy:
    return parse_policy(tiered(WORLD, **bounds))


def proved(judged: Policy, must: dict[str, Any], **when: Any) -> Answer:
    body: Any = {"version": 1, "invariants": [{"name": "demand", "when": when, "must": must}]}
    return prove(judged, parse_invariants(body, judged))[0].answer


HOT = {"name": "hot", "maximum": level(eth=150), "minimum": level(eth=5)}


def test_a_tier_that_keeps_its_bounds_is_proved_and_one_that_need_not_is_shown() -> None:
    assert proved(policy(**BOUNDS), {"keeps_tier": HOT}) is Answer.PROVED
    assert proved(policy(**BOUNDS), {"keeps_tier": {"name": "cold", "share_min_bp": 6000}}) is Answer.PROVED
    assert proved(policy(**BOUNDS), {"keeps_tier": {"name": "cold", "share_min_bp": 6001}}) is Answer.BROKEN
    assert proved(policy(**BOUNDS), {"keeps_tier": HOT | {"maximum": level(eth=149)}}) is Answer.BROKEN
    assert proved(policy(), {"keeps_tier": HOT}) is Answer.BROKEN


def test_up_takes_people_and_from_cold_a_delay() -> None:
    assert proved(policy(), {"approvals_min": 1}, exposure=["raises"]) is Answer.PROVED
    assert proved(policy(), {"delay_min_ms": 60_000}, tiers=["cold"]) is Answer.PROVED
    assert proved(policy(), {"approvals_min": 1}, exposure=["lowers"]) is Answer.BROKEN


def test_a_key_that_signs_for_two_tiers_breaks_an_invariant() -> None:
    shared = policy()
    wallets = {**shared.wallets, "cold": replace(shared.wallets["cold"], key="main")}
    shared = replace(shared, wallets=wallets)

    assert proved(policy(), {"keys_apart": True}) is Answer.PROVED
    assert proved(shared, {"keys_apart": True}) is Answer.BROKEN
    assert proved(shared, {"keys_apart": True}, tiers=["warm"]) is Answer.PROVED


@pytest.mark.parametrize(
    ("must", "message"),
    [
        ({"keeps_tier": {"name": "ice"}}, "unknown tier 'ice'"),
        ({"keeps_tier": {"name": "hot", "role": "hot"}}, "unknown field 'role'"),
        ({"keeps_tier": {"name": "hot", "maximum": level(doge=1)}}, "unknown asset 'doge'"),
        ({"keys_apart": False}, "demands nothing"),
    ],
)
def test_a_mistake_in_a_demand_is_refused(must: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        proved(policy(), must)


def test_every_bound_has_mutants_and_the_invariants_catch_those_that_allow_more() -> None:
    judged = policy(**BOUNDS)
    body: Any = {
        "version": 1,
        "invariants": [
            {"name": "hot", "when": {}, "must": {"keeps_tier": HOT}},
            {"name": "cold", "when": {}, "must": {"keeps_tier": {"name": "cold", "share_min_bp": 6000}}},
        ],
    }

    slips = [mutant.slip for mutant in mutants(judged) if mutant.slip.startswith("tier ")]
    found = score(judged, parse_invariants(body, judged))

    assert {slip.split(": ")[1].split()[0] for slip in slips} == {"maximum", "minimum", "share_min"}
    assert not [slip for slip in found.survivors if slip.startswith("tier ")]
    assert "tier hot: maximum of eth + 1" in [s for s in score(judged, ()).survivors if s.startswith("tier ")]


def test_a_wider_bound_is_a_difference_and_a_target_is_named() -> None:
    old, wide = (
        policy(**BOUNDS),
        policy(**BOUNDS | {"hot": {"maximum": level(eth=151), "minimum": level(eth=5)}}),
    )
    aimed = replace(old, tiers=(replace(old.tiers[0], target_max=Level(amounts={"eth": 9})), *old.tiers[1:]))

    changes = {one.change for one in compare(old, wide).differences}
    assert Change.EASED in changes or Change.ALLOWED in changes
    assert not compare(old, aimed).differences
    assert [text for text in redefined(old, aimed) if text.startswith("tier hot is changed")]


# Who has to be there.


def test_bounds_need_observers_and_tiers_alone_do_not() -> None:
    alone = parse_roster(WORLD.roster(observers=[key_of(OBSERVERS[0])]))
    free = cast("dict[str, Any]", tiered(WORLD))
    del free["prices"]
    asked = free | {"tiers": [free["tiers"][0] | {"maximum": level(eth=9)}, *free["tiers"][1:]]}

    check_coherent(alone, parse_policy(cast("Json", free)))
    with pytest.raises(MalformedError, match=r"holdings need the word of f \+ 1 = 2 observers"):
        check_coherent(alone, parse_policy(cast("Json", asked)))
