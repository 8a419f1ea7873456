"""The feed in the coordinator's database: what is one transaction, what survives, what is given once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import delete

from custody import feeds
from custody.adapters.store import Store
from custody.adapters.tables import EVENTS
from custody.feeds import AddressesInDoubt, DepositAddress, LabelTaken, NonceUse
from custody.records import Change, DepositRecord, NewRequest
from custody.requests import Effect, Event, State, Substate
from policy.errors import InvariantError

NEW = NewRequest(b"\x01" * 32, "shop", "key-1", b"{}", b"s" * 64, expires_ms=1_000)
OTHER = replace(NEW, request=b"\x02" * 32, initiator="desk")
GIVEN = DepositAddress("evm:1", "0x" + "11" * 20, "hot", "m/0/1", "shop", "ann", 5)
NEXT = replace(GIVEN, address="0x" + "22" * 20, path="m/0/2")

pytest_plugins = ("tests.fixtures_postgres",)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    store.take_lease(0, 1_000)
    yield store
    store.close()


def denied(store: Store, new: NewRequest = NEW) -> None:
    store.submit(new, 5)
    store.apply(Change(new.request, Event.ENTRY_ACCEPTED, {"rule": "small"}), 6)
    store.apply(Change(new.request, Event.PLANNED_WAITING), 7)
    store.apply(Change(new.request, Event.TIME_OVER, {"error": "too late"}), 8)


def denied_after(store: Store, new: NewRequest) -> tuple[feeds.Event, ...]:
    denied(store, new)
    return store.events(0, initiator=new.initiator)


def test_each_change_is_an_event_with_what_is_owed(store: Store) -> None:
    denied(store)
    store.drop_duty(NEW.request, Effect.CANCEL, now_ms=9)

    told = [(one.sequence, one.state, one.substate, one.error, one.time_ms) for one in store.events(0)]
    assert told == [
        (1, State.RECEIVED, Substate.LOGGING, "", 5),
        (2, State.LOGGED, Substate.PLANNING, "", 6),
        (3, State.WAITING, Substate.IDLE, "", 7),
        (4, State.EXPIRED, Substate.CANCELLING, "too late", 8),
        (5, State.EXPIRED, Substate.IDLE, "too late", 9),
    ]


def test_what_changes_nothing_is_no_event(store: Store) -> None:
    store.submit(NEW, 5)
    store.submit(NEW, 6)
    store.apply(Change(NEW.request, Event.MINED), 7)
    store.apply(Change(NEW.request, None, {"rule": ""}), 8)

    assert [one.sequence for one in store.events(0)] == [1]


def test_events_are_found_by_request_initiator_and_number(store: Store) -> None:
    denied(store)
    denied(store, OTHER)

    assert [one.sequence for one in store.events(2, request=NEW.request)] == [3, 4]
    assert {one.request for one in store.events(0, initiator="desk")} == {OTHER.request}
    assert [one.sequence for one in store.events(0, limit=3)] == [1, 2, 3]
    assert {one.sequence for one in store.newest_events([NEW.request, OTHER.request]).values()} == {4, 8}


def test_an_initiators_feed_says_nothing_of_what_others_ask_for(store: Store) -> None:
    alone = [one.sequence for one in denied_after(store, NEW)]
    after_others = [one.sequence for one in denied_after(store, OTHER)]
    own, of_all = (store.newest_events([OTHER.request], own=own)[OTHER.request] for own in (True, False))

    assert alone == after_others == [1, 2, 3, 4]
    assert (own.sequence, own.feed) == (store.feed("desk")[1], store.feed("desk")[0])
    assert (of_all.sequence, of_all.feed) == (8, store.feed()[0])
    assert len({store.feed(one)[0] for one in ("", "shop", "desk")}) == 3


def test_events_are_told_again_by_the_numbers_of_the_initiators_feed(store: Store) -> None:
    denied(store, OTHER)
    denied(store)

    assert store.queue_again("orders", "shop", first=2, last=3, now_ms=9) == 2
    (first,) = store.deliveries("orders", 9, limit=10)
    assert (first.place, first.event.id) == (6, f"{store.feed('shop')[0]}-2")


def test_an_initiators_feed_is_trimmed_by_its_own_numbers(store: Store) -> None:
    denied(store)
    denied(store, OTHER)
    store.drop_duty(NEW.request, Effect.CANCEL, now_ms=50)
    nothing_gone = [store.trimmed(one) for one in ("shop", "desk")]

    store.trim_events(20, ())

    assert nothing_gone == [0, 0]
    assert [store.trimmed(one) for one in ("shop", "desk", "stranger")] == [4, 4, 0]
    assert [one.sequence for one in store.events(store.trimmed("shop"), initiator="shop")] == [5]
    assert store.feed("desk")[1] == 4


def test_a_feed_keeps_its_name_and_another_database_has_another(
    store: Store, database_url: str, tmp_path: Path
) -> None:
    store.submit(NEW, 5)
    again = Store(database_url)
    other = Store(f"sqlite:///{tmp_path / 'other.db'}")
    other.take_lease(0, 1_000)

    assert again.feed() == store.feed() == (store.feed()[0], 1)
    assert other.feed()[0] != store.feed()[0]
    again.close()
    other.close()


def test_requests_of_before_the_feed_are_told_at_the_next_start(store: Store) -> None:
    store.submit(NEW, 5)
    with store._engine.begin() as db:
        db.execute(delete(EVENTS))

    store.take_lease(10, 1_000)

    assert [(one.request, one.state) for one in store.events(0)] == [(NEW.request, State.RECEIVED)]


def test_another_branch_of_the_log_is_told_as_a_change(store: Store) -> None:
    denied(store)
    store.set_aside_log(20)

    newest = store.events(0)[-1]
    assert (newest.state, newest.substate, newest.time_ms) == (State.RECEIVED, Substate.LOGGING, 20)


def test_a_writer_that_lost_its_lease_tells_nothing(store: Store, database_url: str) -> None:
    successor = Store(database_url)
    successor.take_lease(2_000, 1_000)

    for write in (
        lambda: store.submit(NEW, 5),
        lambda: store.queue_deliveries("orders", "shop", now_ms=5),
        lambda: store.queue_again("orders", "shop", first=1, last=1, now_ms=5),
        lambda: store.delivered("orders", 1),
        lambda: store.postpone_delivery("orders", 1, due_ms=5, error=""),
        lambda: store.give_address([GIVEN]),
        lambda: store.label_address(GIVEN),
    ):
        with pytest.raises(InvariantError, match="lease"):
            write()
    assert successor.events(0) == ()
    successor.close()


def test_a_webhook_is_owed_what_comes_after_it_was_first_asked_for(store: Store) -> None:
    store.submit(NEW, 5)
    store.queue_deliveries("orders", "shop", now_ms=6)
    denied(store, replace(NEW, request=b"\x03" * 32, idempotency_key="key-2"))
    denied(store, OTHER)
    store.queue_deliveries("orders", "shop", now_ms=9)
    store.queue_deliveries("orders", "shop", now_ms=9)

    assert store.backlog("orders").waiting == 4
    assert [one.event.sequence for one in store.deliveries("orders", 9, limit=10)] == [2]


def test_the_next_event_of_a_request_waits_for_the_one_before(store: Store) -> None:
    store.queue_deliveries("orders", "shop", now_ms=1)
    denied(store)
    denied(store, replace(NEW, request=b"\x03" * 32, idempotency_key="key-2"))
    store.queue_deliveries("orders", "shop", now_ms=9)
    store.postpone_delivery("orders", 1, due_ms=50, error="it answered 500")

    due = [(one.event.sequence, one.attempts) for one in store.deliveries("orders", 9, limit=10)]
    later = [(one.event.sequence, one.attempts) for one in store.deliveries("orders", 50, limit=10)]
    store.delivered("orders", 1)

    assert (due, later) == ([(5, 0)], [(5, 0), (1, 1)])
    assert [one.event.sequence for one in store.deliveries("orders", 50, limit=10)] == [2, 5]


def test_what_is_owed_already_is_not_owed_twice(store: Store) -> None:
    store.queue_deliveries("orders", "shop", now_ms=1)
    denied(store)
    store.queue_deliveries("orders", "shop", now_ms=9)

    assert store.queue_again("orders", "shop", first=2, last=9, now_ms=10) == 3
    assert store.queue_again("orders", "desk", first=1, last=9, now_ms=10) == 0
    assert store.backlog("orders").waiting == 4


def test_an_address_is_given_once_whatever_its_wallet_is_called(store: Store) -> None:
    renamed = [replace(one, wallet="warm", label="ben") for one in (GIVEN, NEXT)]

    assert store.give_address([GIVEN, NEXT]) == GIVEN
    assert store.give_address([GIVEN, NEXT]) == GIVEN
    assert store.give_address(renamed) == renamed[1]
    assert store.give_address([replace(one, label="carl") for one in (GIVEN, NEXT)]) is None


def test_no_new_address_is_given_while_some_may_be_missing_here(store: Store) -> None:
    store.give_address([GIVEN])
    assert store.doubted_ms() == 0
    store.doubt_addresses(1)
    assert store.doubted_ms() == 1
    first = store.addresses_in_doubt()
    ben, carl = replace(NEXT, label="ben"), replace(NEXT, label="carl", address="0xcc", path="m/0/9")

    assert store.give_address([GIVEN, NEXT]) == GIVEN  # by its label
    with pytest.raises(AddressesInDoubt, match=first):
        store.give_address([ben])
    assert store.give_address([ben], claims=True) == ben
    with pytest.raises(AddressesInDoubt):
        store.give_address([carl], vouched="00000000")
    assert store.give_address([carl], vouched=first) == carl
    store.doubt_addresses(2)
    with pytest.raises(AddressesInDoubt):
        store.give_address([replace(carl, label="dora", address="0xdd")], vouched=first)
    assert len(store.addresses("hot", "", after="", limit=9)) == 3


def test_who_claims_an_address_is_told_what_was_paid_there_meanwhile(store: Store) -> None:
    paid = DepositRecord(b"d" * 32, "evm:1", b"t" * 32, 0, "hot", GIVEN.address, "ETH", 7, 9, False, 3, b"{}")
    elsewhere = replace(paid, deposit=b"e" * 32, address=NEXT.address)
    for one in (paid, elsewhere):
        store.apply(Change(one.deposit, None, deposit=one), 4)
    assert store.events(0, initiator="shop") == ()

    store.give_address([GIVEN], claims=True)
    store.give_address([GIVEN], claims=True)

    assert [event.request for event in store.events(0, initiator="shop")] == [paid.deposit]
    assert b"ann" in store.events(0, initiator="shop")[0].deposit


def test_labels_are_of_one_wallet_and_initiator(store: Store) -> None:
    store.give_address([GIVEN])
    store.give_address([replace(NEXT, label="ben")])

    with pytest.raises(LabelTaken):
        store.label_address(replace(GIVEN, label="ben"))
    assert store.label_address(replace(GIVEN, initiator="desk", label="x")) is None
    assert store.label_address(replace(GIVEN, label="anna")) == replace(GIVEN, label="anna")
    assert [one.label for one in store.addresses("hot", "shop", after="", limit=9)] == ["anna", "ben"]
    assert store.addresses("hot", "desk", after="", limit=9) == ()
    assert [one.label for one in store.addresses("hot", "", after=GIVEN.address, limit=9)] == ["ben"]


def test_a_nonce_is_fresh_once_for_each_caller_also_in_the_next_process(
    store: Store, database_url: str
) -> None:
    def use(caller: str, at: Store = store) -> NonceUse:
        return at.use_nonce(caller, "n" * 16, until_s=100, now_s=50, nonces_max=10)

    first = [use("shop"), use("shop"), use("desk")]
    next_one = Store(database_url)
    next_one.take_lease(0, 1_000)
    later = use("shop", next_one)
    next_one.close()

    assert first == [NonceUse.FRESH, NonceUse.USED, NonceUse.FRESH]
    assert later is NonceUse.USED


def test_nonces_are_so_many_at_most_and_forgotten_when_their_time_is_over(store: Store) -> None:
    def use(number: int, now_s: int) -> NonceUse:
        return store.use_nonce("shop", f"{number:016}", until_s=now_s + 10, now_s=now_s, nonces_max=3)

    found = [use(number, 50) for number in range(4)]

    assert found == [*(NonceUse.FRESH,) * 3, NonceUse.TOO_MANY]
    assert use(4, 60) is NonceUse.TOO_MANY
    assert use(4, 61) is NonceUse.FRESH


def test_old_events_are_dropped_but_the_newest_of_each_request(store: Store) -> None:
    denied(store)
    denied(store, OTHER)
    store.drop_duty(NEW.request, Effect.CANCEL, now_ms=50)

    trimmed = store.trim_events(20, ())

    assert (trimmed, store.trimmed()) == (8, 8)
    assert [one.sequence for one in store.events(0)] == [8, 9]
    assert {one.sequence for one in store.newest_events([NEW.request, OTHER.request]).values()} == {8, 9}
    assert (store.trim_events(20, ()), store.feed()[1]) == (0, 9)


def test_what_a_webhook_is_owed_is_not_dropped(store: Store) -> None:
    store.queue_deliveries("orders", "shop", now_ms=1)
    store.queue_deliveries("removed", "shop", now_ms=1)
    denied(store)
    unqueued = store.trim_events(100, ["orders"])
    store.queue_deliveries("orders", "shop", now_ms=9)
    store.delivered("orders", 1)

    store.trim_events(100, ["orders"])

    assert unqueued == 0
    assert [one.sequence for one in store.events(0)] == [2, 3, 4]
    assert [one.event.sequence for one in store.deliveries("orders", 100, limit=10)] == [2]


def test_a_webhook_that_is_configured_no_more_holds_nothing_up(store: Store) -> None:
    store.queue_deliveries("removed", "shop", now_ms=1)
    denied(store)
    store.queue_deliveries("removed", "shop", now_ms=9)

    store.trim_events(100, [])

    assert [one.sequence for one in store.events(0)] == [4]
    assert store.backlog("removed").waiting <= 1
