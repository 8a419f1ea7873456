"""Whatever order things happen in, and whoever lies, no move takes hot above its maximum."""

from policy.holdings import INBOUND
from policy.state import State
from policy.values import replace
from tests.simulation.tiers import Sabotage, Walk

WALKS = 200


def walks(sabotage: Sabotage = lambda state: state) -> list[Walk]:
    """Ten thousand steps, each after another history."""
    found = [Walk(seed, sabotage=sabotage) for seed in range(WALKS)]
    for walk in found:
        walk.run()
    return found


def without_flows(state: State) -> State:
    """A fold that forgets what is reserved and not yet stated."""
    windows = state.windows
    for place in [place for place in windows if place[0] == INBOUND]:
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
