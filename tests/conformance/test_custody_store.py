"""The coordinator's database: what is one transaction, what is once, what survives."""

import dataclasses
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text, update

from custody.adapters.feeds import emit_if_new
from custody.adapters.store import Store
from custody.adapters.tables import REQUESTS
from custody.mail import queue_of
from custody.records import (
    Change,
    Duty,
    IdempotencyConflict,
    NewRequest,
    PendingApproval,
    PooledPresignature,
    ReportRecord,
    SignedTransaction,
)
from custody.requests import Effect, Event, State
from policy.approval import Slot
from policy.errors import InvariantError, OperationalError
from policy.values import replace

NEW = NewRequest(b"\x01" * 32, "shop", "key-1", b"{}", b"s" * 64, expires_ms=1_000)
SLOT = Slot("evm:1", "0x" + "11" * 20, 4)

pytest_plugins = ("tests.fixtures_postgres",)


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url)
    store.take_lease(0, 1_000)
    yield store
    store.close()


def test_sqlite_writes_through(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'custody.db'}")
    store.take_lease(0, 1_000)
    store.submit(NEW, 5)

    with sqlite3.connect(tmp_path / "custody.db") as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("SELECT count(*) FROM requests").fetchone() == (1,)
    store.close()


@pytest.mark.parametrize("weak", ["off", "local", "remote_write"])
def test_postgresql_commits_when_it_is_on_the_disk(new_postgres_url: Callable[[], str], weak: str) -> None:
    store = Store(new_postgres_url().replace("options=", f"options=-csynchronous_commit%3D{weak}%20"))

    with store._reading() as db:
        assert db.execute(text("SHOW synchronous_commit")).scalar() == "on"
    store.close()


def test_a_new_request_owes_its_entry(store: Store) -> None:
    record, is_new = store.submit(NEW, 5)

    assert (record.state, is_new) == (State.RECEIVED, True)
    assert store.duties() == (Duty(NEW.request, Effect.LOG, 0, 5),)


def test_the_same_request_is_stored_once(store: Store) -> None:
    store.submit(NEW, 5)

    record, is_new = store.submit(NEW, 6)

    assert (record.request, is_new) == (NEW.request, False)
    assert len(store.requests()) == 1


def test_an_idempotency_key_belongs_to_one_body_of_one_initiator(store: Store) -> None:
    store.submit(NEW, 5)

    with pytest.raises(IdempotencyConflict):
        store.submit(dataclasses.replace(NEW, request=b"\x02" * 32), 6)
    _, is_new = store.submit(dataclasses.replace(NEW, request=b"\x03" * 32, initiator="desk"), 7)

    assert is_new
    assert store.get(b"\x02" * 32) is None


def test_an_event_changes_state_and_what_is_owed_together(store: Store) -> None:
    store.submit(NEW, 5)

    applied = store.apply(Change(NEW.request, Event.ENTRY_ACCEPTED, {"rule": "small"}), 9)

    assert applied is not None
    assert (applied.record.state, applied.record.rule) == (State.LOGGED, "small")
    assert applied.effects == (Effect.PLAN,)
    assert store.duties() == (Duty(NEW.request, Effect.PLAN, 0, 9),)


def test_an_event_that_comes_too_late_changes_nothing(store: Store) -> None:
    store.submit(NEW, 5)
    before = store.get(NEW.request)

    applied = store.apply(Change(NEW.request, Event.SENT, {"rule": "other"}), 9)

    assert applied is None
    assert store.get(NEW.request) == before
    assert [duty.effect for duty in store.duties()] == [Effect.LOG]


def test_entries_checkpoint_and_changes_are_one_transaction(store: Store) -> None:
    store.submit(NEW, 5)
    store.append(0, [b"first"], note=b"note 1", changes=[], now_ms=6)

    with pytest.raises(OperationalError):  # the second entry is there already
        change = Change(NEW.request, Event.ENTRY_ACCEPTED)
        store.append(0, [b"other"], note=b"note 2", changes=[change], now_ms=7)

    record = store.get(NEW.request)
    assert record is not None and record.state is State.RECEIVED
    assert store.head() == (1, b"note 1")
    assert store.entries(0, 10) == (b"first",)


def test_entries_come_in_order_within_the_bound(store: Store) -> None:
    store.append(0, [b"a" * 10, b"b" * 10, b"c" * 10], note=b"n", changes=[], now_ms=1)

    assert store.entries(0, 3, bytes_max=20) == (b"a" * 10, b"b" * 10)
    assert store.entries(2, 3, bytes_max=1) == (b"c" * 10,)
    assert store.entries(3, 9) == ()


def test_the_largest_checkpoint_that_fits_is_found(store: Store) -> None:
    for start in range(0, 9, 3):
        store.append(start, [b"x"] * 3, note=b"%d" % (start + 3), changes=[], now_ms=1)

    assert store.checkpoint_between(0, 7) == (6, b"6")
    assert store.checkpoint_between(3, 4) == (6, b"6")
    assert store.checkpoint_between(9, 100) is None


def test_a_quorum_note_is_kept_beside_its_checkpoint(store: Store) -> None:
    store.append(0, [b"x"], note=b"plain", changes=[], now_ms=1)
    before = store.quorum_note()

    store.set_quorum(1, b"cosigned")

    assert (before, store.quorum_note()) == (b"", b"cosigned")
    assert store.head() == (1, b"plain")


def test_a_missing_row_is_made_from_the_log(store: Store) -> None:
    change = Change(NEW.request, Event.ENTRY_ACCEPTED, {"rule": "small"}, new=NEW, slot=SLOT)

    (applied,) = store.append(0, [b"x"], note=b"n", changes=[change], now_ms=3)

    assert applied.record.state is State.LOGGED
    assert store.slots() == ((SLOT, NEW.request),)


def test_a_postponed_duty_shows_why_and_keeps_its_place(database_url: str, store: Store) -> None:
    store.submit(NEW, 5)
    (duty,) = store.duties()

    store.postpone(duty, due_ms=99, error="the chain is down")
    store.close()
    again = Store(database_url)
    record = again.get(NEW.request)

    assert record is not None and record.error == "the chain is down"
    assert again.duties() == (Duty(NEW.request, Effect.LOG, 1, 99),)
    again.close()


def test_every_state_has_room(store: Store) -> None:
    """SQLite keeps more than a column says, and PostgreSQL does not."""
    store.submit(NEW, 5)
    for state in State:
        with store._transaction() as db:
            db.execute(update(REQUESTS).values(state=state))
            emit_if_new(db, NEW.request, now_ms=7)

        (event,) = store.newest_events([NEW.request]).values()
        assert [one.state for one in store.requests(state=state)] == [event.state] == [state]


def test_every_operator_has_room_for_a_queue_of_mails(store: Store) -> None:
    queue = queue_of("o" * 63)
    store.queue_deliveries(queue, "", now_ms=5)
    store.submit(NEW, 5)
    store.queue_deliveries(queue, "", now_ms=5)

    assert len(store.deliveries(queue, 5, limit=9)) == 1


def test_words_that_no_database_takes_are_kept_without_what_it_does_not(store: Store) -> None:
    """An endpoint may answer anything, and what cannot be written would end the coordinator."""
    store.submit(NEW, 5)
    (duty,) = store.duties()
    store.queue_deliveries("orders", "shop", now_ms=5)
    store.submit(dataclasses.replace(NEW, request=b"\x02" * 32, idempotency_key="key-2"), 5)
    store.queue_deliveries("orders", "shop", now_ms=5)
    (told,) = store.deliveries("orders", 5, limit=9)

    store.postpone(duty, due_ms=99, error="it says \ud800\x00\n ü")
    store.postpone_delivery("orders", told.place, due_ms=99, error="it says \ud800")
    shown = store.get(NEW.request)
    applied = store.apply(Change(NEW.request, Event.REFUSED, {"error": "\x00"}), 6)

    assert shown is not None and shown.error == "it says ??? ü"
    assert applied is not None and applied.record.error == "?" and applied.record == store.get(NEW.request)
    assert store.backlog("orders").error == "it says ?"


def test_a_duty_that_is_owed_no_more_says_nothing_of_its_request(store: Store) -> None:
    store.submit(NEW, 5)
    (duty,) = store.duties()
    store.apply(Change(NEW.request, Event.REFUSED, {"error": "it is denied"}), 6)

    store.postpone(duty, due_ms=99, error="a try that was still under way")
    record = store.get(NEW.request)

    assert record is not None and record.error == "it is denied"


def test_what_is_overdue_is_found_until_it_is_signed(store: Store) -> None:
    store.submit(NEW, 5)
    early = store.overdue(999)
    late = store.overdue(1_000)

    store.apply(Change(NEW.request, Event.TIME_OVER), 1_001)

    assert (len(early), len(late)) == (0, 1)
    assert store.overdue(2_000) == ()


def test_a_waiting_account_is_counted(store: Store) -> None:
    store.submit(NEW, 5)
    fields = {"chain": "evm:1", "account": SLOT.account}
    store.apply(Change(NEW.request, Event.ENTRY_ACCEPTED), 6)
    store.apply(Change(NEW.request, Event.PLANNED_WAITING, fields, slot=SLOT), 7)

    assert store.waiting_by_account("evm:1") == {SLOT.account: 1}
    assert store.waiting_by_account("evm:2") == {}


def test_a_slot_is_waited_for_when_a_later_one_is_taken(store: Store) -> None:
    other = dataclasses.replace(NEW, request=b"\x02" * 32, idempotency_key="key-2")
    store.submit(NEW, 5)
    store.submit(other, 5)
    store.apply(Change(NEW.request, None, slot=SLOT), 6)
    alone = store.slot_is_waited_for(NEW.request)
    store.apply(Change(other.request, None, slot=replace(SLOT, nonce=5)), 6)

    assert not alone
    assert store.slot_is_waited_for(NEW.request)
    assert not store.slot_is_waited_for(other.request)


@pytest.mark.parametrize(("earlier", "later"), [(255, 256), (2**63 - 1, 2**63), (9, 2**256 - 1)])
def test_nonces_of_any_size_keep_their_order(store: Store, earlier: int, later: int) -> None:
    other = dataclasses.replace(NEW, request=b"\x02" * 32, idempotency_key="key-2")
    for new, nonce in ((NEW, earlier), (other, later)):
        store.submit(new, 5)
        store.apply(Change(new.request, None, {"nonce": nonce}, slot=replace(SLOT, nonce=nonce)), 6)

    record = store.get(other.request)
    assert record is not None
    assert record.nonce == later
    assert {slot.nonce for slot, _ in store.slots()} == {earlier, later}
    assert store.slot_is_waited_for(NEW.request)
    assert not store.slot_is_waited_for(other.request)


def test_pending_approvals_last_until_they_are_logged(store: Store) -> None:
    approval = PendingApproval(b"a" * 32, NEW.request, b"{}", b"{}")
    store.add_approval(approval)
    store.add_approval(approval)
    kept = store.pending_approvals()

    store.drop_approval(approval.approval_id)

    assert kept == (approval,)
    assert store.pending_approvals() == ()


def test_signed_transactions_are_kept(store: Store) -> None:
    store.submit(NEW, 5)
    signed = SignedTransaction(b"j" * 32, NEW.request, "payment", b"h" * 32, b"raw")

    store.apply(Change(NEW.request, None, transaction=signed), 6)
    store.apply(Change(NEW.request, None, transaction=signed), 7)

    assert store.transactions(NEW.request) == (signed,)


def test_used_presignatures_leave_the_pool(store: Store) -> None:
    pool = [PooledPresignature(bytes([i]) * 32, b"R" * 33, "hot", 0, "a,b", "1,1") for i in range(3)]
    store.add_presignatures(pool)
    store.submit(NEW, 5)

    store.apply(Change(NEW.request, None, presignatures=(pool[0].presignature,)), 6)

    assert store.free_presignatures() == tuple(pool[1:])


def test_requests_are_listed_newest_first_in_pages(store: Store) -> None:
    for i in range(5):
        store.submit(dataclasses.replace(NEW, request=bytes([i]) * 32, idempotency_key=str(i)), i)

    first = store.requests(limit=2)
    rest = store.requests(before=first[-1].request)

    assert [one.request[0] for one in (*first, *rest)] == [4, 3, 2, 1, 0]
    assert store.counts() == {"received": 5}
    assert store.requests(initiator="desk") == ()


def test_a_database_that_cannot_be_opened_is_an_operational_error(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="check its URL"):
        Store(f"sqlite:///{tmp_path / 'missing' / 'custody.db'}")


def test_a_log_that_is_set_aside_leaves_what_was_received_and_what_was_signed(store: Store) -> None:
    signed = SignedTransaction(b"j" * 32, NEW.request, "payment", b"h" * 32, b"raw")
    store.submit(NEW, 5)
    store.append(0, [b"{}"], note=b"note", changes=[], now_ms=5)
    store.apply(Change(NEW.request, Event.ENTRY_ACCEPTED, {"rule": "small"}), 5)
    store.apply(Change(NEW.request, Event.PLANNED, {"nonce": 4}, transaction=signed, slot=SLOT), 5)

    store.set_aside_log(9)
    record = store.get(NEW.request)

    assert record is not None and (record.state, record.rule, record.nonce) == (State.RECEIVED, "", None)
    assert store.duties() == (Duty(NEW.request, Effect.LOG, 0, 9),)
    assert (store.head(), store.slots(), store.transactions(NEW.request)) == ((0, b""), (), (signed,))


def test_the_largest_quorum_note_of_a_range_is_found(store: Store) -> None:
    for size in range(4):
        store.append(size, [b"{}"], note=b"note", changes=[], now_ms=5)
    store.set_quorum(2, b"two")
    store.set_quorum(3, b"three")

    assert store.quorum_between(1, 4) == (3, b"three")
    assert store.quorum_between(1, 2) == (2, b"two")
    assert store.quorum_between(3, 4) is None
    assert [store.first_quorum(above) for above in (0, 2, 3)] == [(2, b"two"), (3, b"three"), None]


def test_the_newest_report_of_each_rebalancer_is_kept(store: Store, database_url: str) -> None:
    first = ReportRecord("mover", 5, 6, b"{}", b"s" * 64)
    other = dataclasses.replace(first, initiator="another", time_ms=1)
    newer = dataclasses.replace(first, time_ms=7, body=b'{"a":1}')

    for report in (first, other, newer, dataclasses.replace(first, time_ms=7), first):
        store.put_report(report)

    assert store.reports() == (other, newer)
    again = Store(database_url)
    assert again.reports() == (other, newer)
    again.close()


def test_how_ceremonies_stand_is_kept_whole_in_place_of_what_was(store: Store, database_url: str) -> None:
    assert store.ceremonies() == b""
    store.keep_ceremonies(b"first" * 1_000_000)
    store.keep_ceremonies(b"second")
    store.close()

    reopened = Store(database_url)
    assert reopened.ceremonies() == b"second"
    reopened.close()


def test_a_ceremony_ends_with_the_log_that_it_was_of(store: Store) -> None:
    store.keep_ceremonies(b"one")

    store.set_aside_log(5)

    assert store.ceremonies() == b""


def test_what_is_set_aside_is_neither_read_nor_written_over(store: Store) -> None:
    for document in (b"one", b"two"):
        store.keep_ceremonies(document)
        place = store.set_aside_ceremonies()
    store.keep_ceremonies(b"three")
    store.set_aside_log(5)

    assert (place, store.ceremonies(), store.set_aside_ceremonies()) == (2, b"", 3)


def test_only_the_writer_keeps_ceremonies(store: Store, database_url: str) -> None:
    other = Store(database_url)
    other.take_lease(2_000, 1_000)

    with pytest.raises(InvariantError, match="another coordinator"):
        store.keep_ceremonies(b"late")

    assert other.ceremonies() == b""
    other.close()
