"""What was signed each day, by asset: for a picture of what is usual."""

from dataclasses import dataclass
from typing import Final

from custody.console.requests import units
from policy.state import CANCEL, State

DAY_MS: Final = 24 * 3600 * 1000
DAYS, SIGNED_MAX = 30, 5000


@dataclass(frozen=True, slots=True)
class Outflows:
    """Days, oldest first, as the numbers of days since 1970; of each asset the amounts, with decimals."""

    days: tuple[int, ...]
    amounts: dict[str, tuple[str, ...]]
    texts: dict[str, tuple[str, ...]]
    complete: bool


def outflows(state: State, now_ms: int) -> Outflows:
    """The last days by UTC, of the newest ``SIGNED_MAX`` signatures; a request counts once."""
    days = tuple(range(now_ms // DAY_MS - DAYS + 1, now_ms // DAY_MS + 1))
    sums: dict[tuple[str, int], int] = {}
    seen: set[bytes] = set()
    last = max(0, state.signed_count - SIGNED_MAX)
    number = state.signed_count
    while number > last:
        signed_ms, request = state.signed[number - 1]
        if signed_ms // DAY_MS < days[0]:
            break
        number -= 1
        job, known = state.newest_job(request), state.requests[request]
        if request not in seen and job is not None and job.purpose != CANCEL:
            place = known.request.intent.asset, signed_ms // DAY_MS
            sums[place] = sums.get(place, 0) + known.request.intent.amount
        seen.add(request)
    assets = sorted({asset for asset, _ in sums} & set(state.policy.assets))
    texts = {
        one: tuple(units(state.policy, sums.get((one, day), 0), unit=one) for day in days) for one in assets
    }
    amounts = {one: tuple(text.partition(" ")[0] for text in texts[one]) for one in assets}
    return Outflows(days, amounts, texts, complete=number > last or last == 0)
