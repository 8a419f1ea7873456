"""Numbers that never come twice, whatever the clock does."""

from hypothesis import given
from hypothesis import strategies as st

from custody.rising import Rising


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_each_number_is_above_the_last_and_not_before_the_clock(times: list[int]) -> None:
    clock = iter(times)
    rising = Rising(lambda: next(clock))

    numbers = [rising() for _ in times]

    assert numbers == sorted(set(numbers))
    assert all(number >= at for number, at in zip(numbers, times, strict=True))
