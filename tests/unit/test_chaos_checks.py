"""The checks of a chaos run see what they look for: each is shown a record with the one thing wrong."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.chaos.checks import Accepted, Limit, Payment, Record, Reserved, Signed, failures
from tests.chaos.recovery import WINDOW_S, back_after_s
from tests.chaos.schedule import CLASSES, TARGETS, Planned, brief_schedule, overlapping, schedule

ETH, TOKEN, ACCOUNT, PATH = "eth", "exd", "0xaa", "m/0/0"
AMOUNTS = (40, 41, 22, 43)
TIMES_MS = (0, 10, 20, 1_040)
WINDOW_MS, AMOUNT_MAX = 1_000, 103


def request(number: int) -> str:
    return f"{number:064x}"


def reserved(number: int, time_ms: int) -> Reserved:
    return Reserved(bytes([number]), request(number), (PATH, number), (bytes([50 + number]),), time_ms)


@pytest.fixture
def record() -> Record:
    """Payments up to the limit, one more once the first two count no longer, and one that it refused."""
    numbers = range(len(AMOUNTS))
    return Record(
        accepted=[
            *(Accepted(request(number), TOKEN, AMOUNTS[number], "settled") for number in numbers),
            Accepted(request(9), TOKEN, 90, "denied"),
        ],
        payments=[Payment(ACCOUNT, number, TOKEN, AMOUNTS[number], True) for number in numbers],
        reserved=[reserved(number, TIMES_MS[number]) for number in numbers],
        signed=[Signed(bytes([number]), bytes([number] * 64), TIMES_MS[number] + 5) for number in numbers],
        limits=[Limit(TOKEN, WINDOW_MS, AMOUNT_MAX)],
        verified=True,
    )


def test_a_good_record_passes_every_check(record: Record) -> None:
    assert not any(failures(record).values())


WRONG: dict[str, tuple[str, Callable[[Record], Record]]] = {
    "an amount paid twice": (
        "signed-once",
        lambda one: replace(one, payments=[*one.payments, replace(one.payments[0], nonce=77)]),
    ),
    "two transactions at a nonce": (
        "signed-once",
        lambda one: replace(one, payments=[*one.payments, replace(one.payments[0], amount=77)]),
    ),
    "a request with two anchors": (
        "signed-once",
        lambda one: replace(one, reserved=[*one.reserved, replace(reserved(0, 9), slot=(PATH, 77))]),
    ),
    "an anchor of two requests": (
        "signed-once",
        lambda one: replace(one, reserved=[*one.reserved, replace(reserved(0, 9), request=request(1))]),
    ),
    "a presignature reserved twice": (
        "signed-once",
        lambda one: replace(one, reserved=[*one.reserved, replace(one.reserved[0], job=b"new")]),
    ),
    "two signatures of a job": (
        "signed-once",
        lambda one: replace(one, signed=[*one.signed, Signed(bytes([0]), bytes([8] * 64), 9)]),
    ),
    "an R used twice": (
        "signed-once",
        lambda one: replace(one, signed=[*one.signed, Signed(b"new", bytes([0] * 32) + bytes([9] * 32), 9)]),
    ),
    "a window with too much": (
        "within-limits",
        lambda one: replace(one, limits=[replace(one.limits[0], amount_max=102)]),
    ),
    "a payment before the window has passed": (
        "within-limits",
        lambda one: replace(one, reserved=[*one.reserved[:3], reserved(3, 1_004)]),
    ),
    "payments that were never signed and count for ever": (
        "within-limits",
        lambda one: replace(one, signed=[]),
    ),
    "a reservation that nobody asked for": (
        "within-limits",
        lambda one: replace(one, accepted=one.accepted[1:]),
    ),
    "a request without an end": (
        "all-ended",
        lambda one: replace(one, accepted=[replace(one.accepted[0], end="received"), *one.accepted[1:]]),
    ),
    "a settled request that is not on the chain": (
        "paid-as-ended",
        lambda one: replace(one, payments=one.payments[1:]),
    ),
    "a paid request that was told to be denied": (
        "paid-as-ended",
        lambda one: replace(one, accepted=[replace(one.accepted[0], end="denied"), *one.accepted[1:]]),
    ),
    "a denied request that no limit is about": (
        "paid-as-ended",
        lambda one: replace(one, accepted=[*one.accepted, Accepted(request(10), ETH, 5, "denied")]),
    ),
    "a transaction that failed": (
        "paid-as-ended",
        lambda one: replace(one, payments=[replace(one.payments[0], worked=False), *one.payments[1:]]),
    ),
    "a log that does not verify": ("log-verifies", lambda one: replace(one, verified=False)),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_doctored_record_is_found_by_its_check(record: Record, wrong: str) -> None:
    check, doctored = WRONG[wrong]

    assert failures(doctored(record))[check], wrong


def test_throughput_is_back_when_new_payments_are_paid_at_the_rate_again() -> None:
    old = [(1.0, 11.0 + number / 10) for number in range(30)]
    new = [(10.0 + number, 14.0 + number) for number in range(6)]

    assert back_after_s(old, 10.0, rate=1.0) is None, "what had piled up says nothing"
    assert back_after_s([*old, *new], 10.0, rate=1.0) == 4.0
    assert back_after_s([*old, *new], 10.0, rate=2.0) is None, "half of the rate is not the rate"
    assert back_after_s(new[:1], 10.0, rate=4 / WINDOW_S) is None


def test_a_seed_gives_one_schedule_and_every_kind_and_target_has_its_turn() -> None:
    def first(count: int, seed: int) -> list[Planned]:
        return [one for one, _ in zip(schedule(seed, list(TARGETS)), range(count), strict=False)]

    count = len(TARGETS) * max(map(len, TARGETS.values()))

    assert first(count, 7) == first(count, 7) != first(count, 8)
    assert {one.kind for one in first(len(TARGETS), 7)} == set(TARGETS)
    assert {(one.kind, one.target) for one in first(count, 7)} == {
        (kind, target) for kind, targets in TARGETS.items() for target in targets
    }


def test_a_brief_schedule_has_one_fault_of_each_class_and_days_bring_every_kind() -> None:
    days = [[one.kind for one in brief_schedule(seed)] for seed in range(7, 13)]

    assert sorted(kind for kinds in CLASSES for kind in kinds) == sorted(TARGETS)
    assert all(sum(kind in kinds for kind in day) == 1 for day in days for kinds in CLASSES)
    assert {kind for day in days for kind in day} == set(TARGETS)


def test_what_overlaps_is_of_another_class_and_on_another_part_and_all_kinds_do() -> None:
    kinds = list(TARGETS)
    pairs = [one for one, _ in zip(overlapping(schedule(7, kinds), 7, kinds), range(500), strict=False)]
    seconds = [one.meanwhile for one in pairs if one.meanwhile is not None]
    coordinators, server = {"leader", "standby"}, {"database", "failover"}

    assert len(seconds) == len(pairs)
    assert {one.kind for one in seconds} == set(kinds)
    for first, second in zip(pairs, seconds, strict=True):
        assert not any({first.kind, second.kind} <= set(kinds) for kinds in CLASSES), (first, second)
        assert first.target != second.target, (first, second)
        assert not {first.target, second.target} <= coordinators, (first, second)
        assert not all({one.kind, one.target} & server for one in (first, second)), (first, second)


def test_a_kind_with_which_no_other_goes_comes_alone() -> None:
    kinds = ["database", "failover"]

    assert all(
        one.meanwhile is None
        for one, _ in zip(overlapping(schedule(7, kinds), 7, kinds), range(9), strict=False)
    )
