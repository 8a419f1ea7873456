"""Whatever order things happen in, and whoever lies, no move takes hot above its maximum."""

from typing import Any

import pytest

from policy.entries import parse_entry
from policy.fact_entries import HoldingsEntry, PriceEntry
from policy.holdings import INBOUND, OUTBOUND
from policy.ledger import initial_unverified
from policy.state import State
from policy.tiers_audit import TiersAudit
from policy.values import replace
from tests.simulation.tiers import Sabotage, Walk
from tests.simulation.world import CUSTOMER
from tests.unit.tier_house import WALLETS, TierBook, level

WALKS, VALUED_WALKS = 200, 40
VALUED: dict[str, Any] = {
    "hot": {"maximum": level(2600), "share_max_bp": 1700},
    "cold": {"share_min_bp": 5500},
}


def walks(sabotage: Sabotage = lambda state: state, *, count: int = WALKS, **bounds: Any) -> list[Walk]:
    """Fifty steps each, each after another history."""
    found = [Walk(seed, sabotage=sabotage, **bounds) for seed in range(count)]
    for walk in found:
        walk.run()
    return found


def without_flows(state: State, directions: tuple[str, ...] = (INBOUND,)) -> State:
    """A fold that forgets what is reserved and not yet stated."""
    windows = state.windows
    for place in [place for place in windows if place[0] in directions]:
        windows = windows.delete(place)
    return replace(state, windows=windows)


def test_hot_never_comes_above_its_maximum() -> None:
    found = walks()

    assert [broken for walk in found for broken in (*walk.broken, *walk.audited)] == []
    assert sum(walk.moved for walk in found) > WALKS
    assert sum(walk.refused for walk in found) > WALKS


def test_a_fold_that_forgets_what_is_reserved_is_found_out() -> None:
    found = walks(without_flows)

    assert [broken for walk in found for broken in walk.broken]
    assert [broken for walk in found for broken in walk.audited]


def test_maxima_in_value_and_shares_of_all_holdings_add_up_to_what_the_fold_admits() -> None:
    found = walks(count=VALUED_WALKS, **VALUED)

    assert [broken for walk in found for broken in walk.audited] == []
    assert sum(walk.refused for walk in found) > VALUED_WALKS
    assert sum(walk.moved for walk in found) > VALUED_WALKS // 2


@pytest.mark.parametrize(
    ("bounds", "moves", "said"),
    [
        ({"hot": {"maximum": level(1_500)}}, [("warm", "hot", 30)] * 2, "hot: by this job it can be worth"),
        ({"hot": {"share_max_bp": 1600}}, [("warm", "hot", 40)] * 2, "hot: it can come to hold"),
        ({"cold": {"share_min_bp": 5500}}, [("cold", "out", 80)] * 2, "cold: it can come to hold"),
        ({"hot": {"share_max_bp": 1150}}, [("cold", "out", 80)] * 2, "hot: it can come to hold"),
    ],
)
def test_a_fold_that_forgets_flows_is_found_out_by_values_and_by_shares(
    bounds: dict[str, Any], moves: list[tuple[str, str, int]], said: str
) -> None:
    """Each of the two is within the bounds, and both are not."""
    assert audited(bounds, moves, lambda state: state) == [""]
    found = audited(bounds, moves, lambda state: without_flows(state, (INBOUND, OUTBOUND)))

    assert found[0] == ""
    assert said in found[1]


def audited(bounds: dict[str, Any], moves: list[tuple[str, str, int]], sabotage: Sabotage) -> list[str]:
    """What an audit says of each job that a fold admits, whose state is tampered with after each."""
    book, audit = TierBook(state=initial_unverified(), **bounds), TiersAudit()
    book.state_price(10)
    book.state_all(100, 300, 600)
    found: list[str] = []
    for nonce, (source, destination, amount) in enumerate(moves):
        to = book.address(destination) if destination in WALLETS else CUSTOMER
        request = book.request(amount, to=to, wallet=source, fee_ceiling=10)
        if not book.last.accepted:
            continue
        book.agree(request, nonce=nonce)
        job = book.take(request, nonce=nonce, fee=0)
        if not found:
            _follow(audit, book)
        if book.last.accepted:
            found.append(audit.reserved(book.state, job))
        book.state = sabotage(book.state)
    return found


def _follow(audit: TiersAudit, book: TierBook) -> None:
    for data in book.entries:
        entry = parse_entry(data).entry
        if isinstance(entry, HoldingsEntry):
            audit.stated(book.state, entry)
        if isinstance(entry, PriceEntry):
            audit.priced(entry)


def test_a_fold_that_believes_the_coordinator_is_found_out() -> None:
    def believing(state: State) -> State:
        """Forgets what the coordinator says is settled."""
        windows = state.windows
        for place in [place for place in windows if place[0] == INBOUND]:
            for request in list(windows[place].counted):
                if state.requests[request].closed:
                    windows = windows.set(place, windows[place].without(request))
        return replace(state, windows=windows)

    found = walks(believing)

    assert [broken for walk in found for broken in walk.broken]
