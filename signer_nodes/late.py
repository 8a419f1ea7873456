"""Which requests came late to this node, so late that the log's time does not tell how long they were known.

The log's writer dates entries, and may date them back. So a payment's delay, in which one person can stop it,
could be over by the log's time as soon as anybody sees the request. A node therefore remembers when it had a
request, or an approval of one, that is dated more than ``LAG_MS_MAX`` before its clock, and the gate counts
the delay of such a request from then. See docs/adr/0025-a-payments-delay-is-held-by-clocks-too.md.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from policy.delays import LAG_MS_MAX
from policy.encoding import canonical, parse_canonical
from policy.fields import Fields
from policy.shapes import read_entry
from policy.state import Outcome, State

LATE_MAX = 4096
BYTES_MAX = 1 << 20
EVERYTHING = b""
"""In the place of a request: all of them. More late ones than ``LATE_MAX`` are not told apart."""
_DATED = frozenset({"request", "approval"})
Late: TypeAlias = Mapping[bytes, int]
"""When this node had the last late entry of a request, by its id, in milliseconds of this node's clock."""


def late_ms(late: Late, request: bytes) -> int | None:
    """When the last late entry of a request came; None if none did."""
    return late.get(request, late.get(EVERYTHING))


def noted(
    late: Late, entries: Sequence[bytes], *, outcomes: Sequence[Outcome], state: State, now_ms: int
) -> Late:
    """``late`` after these entries, which led to ``state``, came at ``now_ms``; without what is over.

    What came later than that, by a clock that was wrong then, came by now.
    """
    dated = [
        (entry, outcome.subject)
        for entry, outcome in zip(entries, outcomes, strict=True)
        if outcome.accepted and outcome.kind in _DATED
    ]
    first_timely = bisect_left(dated, now_ms - LAG_MS_MAX, key=lambda one: _date(one[0]))  # none goes back
    came = {subject for _, subject in dated[:first_timely]}
    ahead = {one for one, had_ms in late.items() if had_ms > now_ms}
    if not ahead and not any(_open(state, one) for one in came):
        return late
    after = {**late, **dict.fromkeys(ahead | came, now_ms)}
    after = {one: had_ms for one, had_ms in after.items() if one == EVERYTHING or _open(state, one)}
    return after if len(after) <= LATE_MAX else {EVERYTHING: now_ms}


def to_bytes(late: Late) -> bytes:
    """What the disk keeps."""
    return canonical({one.hex(): had_ms for one, had_ms in late.items()})


def from_bytes(data: bytes | None) -> Late:
    """Read ``to_bytes``; nothing was late if nothing is stored. Raises ``MalformedError``."""
    if data is None:
        return {}
    found = parse_canonical(data, bytes_max=BYTES_MAX)
    fields = Fields(found, "late requests")
    return {bytes.fromhex(name): fields.integer(name) for name in (found if isinstance(found, dict) else ())}


def _date(entry: bytes) -> int:
    return read_entry(entry).time_ms


def _open(state: State, request: bytes) -> bool:
    """Whether a request can still be paid. One of a branch that was left may come again."""
    found = state.requests.get(request)
    if found is None:
        return True
    return not (found.closed or found.rejected_by or found.request.expires_ms < state.time_ms)
