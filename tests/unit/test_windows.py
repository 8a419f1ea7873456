"""Rolling windows agree with adding everything up anew, to the millisecond."""

from hypothesis import given
from hypothesis import strategies as st

from policy.windows import Counted, Window

WINDOW_MS = 10
REQUESTS = [bytes([i]) * 32 for i in range(4)]
STEPS = st.lists(
    st.tuples(
        st.integers(0, 6),  # how far time goes on
        st.sampled_from(REQUESTS),
        st.sampled_from(["hold", "sign", "release", "expire"]),
        st.integers(1, 9),
    ),
    max_size=40,
)


def test_a_signed_request_counts_for_exactly_the_window() -> None:
    window = Window().with_request(REQUESTS[0], Counted(5, 100))

    assert window.expired(100 + WINDOW_MS - 1, window_ms=WINDOW_MS).total == 5
    assert window.expired(100 + WINDOW_MS, window_ms=WINDOW_MS).total == 0


def test_a_held_request_counts_until_it_is_released() -> None:
    window = Window().with_request(REQUESTS[0], Counted(5, None))

    assert window.expired(10**12, window_ms=WINDOW_MS).total == 5
    assert window.without(REQUESTS[0]).total == 0


def test_a_request_counts_once_however_often_it_is_counted() -> None:
    window = Window().with_request(REQUESTS[0], Counted(5, 100)).with_request(REQUESTS[0], Counted(7, 103))

    assert window.total == 7
    assert window.used_by_others(REQUESTS[0], 0, window_ms=WINDOW_MS) == 0
    assert window.expired(100 + WINDOW_MS, window_ms=WINDOW_MS).total == 7
    assert window.expired(103 + WINDOW_MS, window_ms=WINDOW_MS) == Window(head=2, tail=2)


@given(STEPS)
def test_a_window_is_what_adding_up_its_requests_gives(
    steps: list[tuple[int, bytes, str, int]],
) -> None:
    window, now_ms = Window(), 0
    model: dict[bytes, tuple[int, int | None]] = {}
    for passed, request, event, amount in steps:
        now_ms += passed
        match event:
            case "hold":
                model[request] = (amount, None)
                window = window.with_request(request, Counted(amount, None))
            case "sign":
                model[request] = (amount, now_ms)
                window = window.with_request(request, Counted(amount, now_ms))
            case "release":
                model.pop(request, None)
                window = window.without(request)
            case _:
                window = window.expired(now_ms, window_ms=WINDOW_MS)
    counted = {r: amount for r, (amount, at) in model.items() if at is None or at > now_ms - WINDOW_MS}
    shown = window.expired(now_ms, window_ms=WINDOW_MS)

    assert shown.total == sum(counted.values())
    others = sum(a for r, a in counted.items() if r != REQUESTS[0])
    assert shown.used_by_others(REQUESTS[0], now_ms, window_ms=WINDOW_MS) == others
    assert window.used_by_others(REQUESTS[0], now_ms, window_ms=WINDOW_MS) == others


def test_what_expires_leaves_no_trace_behind() -> None:
    window = Window()
    for at in range(100):
        window = window.with_request(at.to_bytes(32, "big"), Counted(1, at)).expired(at, window_ms=WINDOW_MS)

    assert window.total == WINDOW_MS
    assert len(window.queue) == len(window.counted) == WINDOW_MS
