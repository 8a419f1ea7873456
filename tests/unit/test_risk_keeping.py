"""A scoring observer that starts again goes on from what it kept, as if it had read all."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from custody.adapters.risk_store import RiskStore
from custody.risk.following import Follower
from custody.risk.habits import Payment
from custody.risk.keeping import Keeper, Kept
from custody.risk.memory import reader_document
from policy.errors import CallerError, OperationalError
from policy.log.merkle import leaf_hash
from policy.stored.pages import DamagedState
from tests.simulation.world import DAY_MS, OTHER, SANCTIONED, Book
from tests.unit.risk_house import BookLog
from tests.unit.stored_logs import everyday
from tests.unit.test_audit import pinned
from tests.unit.test_risk_reading import paying, read, state

EVERY = 5


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RiskStore]:
    with closing(RiskStore(tmp_path / "risk.db")) as store:
        yield store


class Life:
    """One run of an observer, from its start on."""

    def __init__(self, log: BookLog, store: RiskStore) -> None:
        genesis = leaf_hash(log.genesis)
        self.keeper = Keeper(store, genesis, every=EVERY)
        self.kept = self.keeper.start()
        self.follower = Follower(
            log, pinned(genesis=genesis), hear=self.kept.reader.hear, start=self.kept.progress
        )

    def look(self) -> Kept:
        self.follower.advance()
        kept = Kept(self.follower.progress, self.kept.reader)
        self.follower.rebase(self.keeper.keep(kept))
        return kept


def living(book: Book) -> None:
    """Some more days, with everything that teaches."""
    nonce = 100 + len(book.entries)
    request = book.request(600, to=OTHER)
    state(book, request, read(book)[1][request].score.points)
    book.request(100, to=SANCTIONED)
    book.reject(book.request(90), by="alice")
    book.settle(book.pay(80, nonce=nonce))
    book.advance(DAY_MS)


def test_what_was_kept_is_what_was_learnt(store: RiskStore) -> None:
    book = paying(9)
    log = BookLog(book)
    for _ in range(4):
        living(book)
        life = Life(log, store)
        kept = life.look()
        (fresh, _, _) = read(book)

        assert reader_document(kept.reader) == reader_document(fresh)
        assert kept.progress.state.digest == book.state.digest
    request = book.request(130, to=OTHER)
    scored = Life(log, store).look().reader.open[request]

    assert scored == read(book)[1][request]
    assert scored.score.points


def test_a_log_of_every_kind_of_entry_is_gone_on_with(store: RiskStore) -> None:
    whole = everyday()
    log = BookLog(whole)
    sizes = range(1, len(whole.entries) + 1, 7)
    for size in (*sizes, len(whole.entries)):
        log.book = whole.fork(size)
        kept = Life(log, store).look()
        assert kept.progress.state.digest == log.book.state.digest

    assert reader_document(kept.reader) == reader_document(read(whole)[0])


def test_a_start_reads_what_is_new_alone(store: RiskStore) -> None:
    log = BookLog(paying(9))
    Life(log, store).look()
    before = log.asked
    log.book.request(50)
    Life(log, store).look()

    assert before == len(log.book.entries) - 1
    assert log.asked == before + 1


def test_little_news_is_not_kept_but_read_again(store: RiskStore) -> None:
    log = BookLog(paying(9))
    Life(log, store).look()
    head = store.head()
    log.book.request(50)
    Life(log, store).look()
    assert store.head() == head
    for _ in range(EVERY):
        log.book.request(50)
    Life(log, store).look()

    assert store.head() != head


@pytest.mark.parametrize(
    ("old", "new"),
    [(b"open-2", b"open-0"), (b'"frontier"', b'"x"'), (b"{", b"["), (b'"peaks":[[', b'"peaks":[[[')],
)
def test_what_is_of_no_use_is_thrown_away_and_the_log_read_anew(
    tmp_path: Path, old: bytes, new: bytes
) -> None:
    log = BookLog(paying(9))
    with closing(RiskStore(tmp_path / "risk.db")) as store:
        Life(log, store).look()
        head = store.head()
        assert head is not None
        assert old in head
        store.keep(head.replace(old, new, 1), added={}, retired=(), payments=())
    with closing(RiskStore(tmp_path / "risk.db")) as store:
        kept = Life(log, store).look()

        assert kept.progress.state.digest == log.book.state.digest
        assert len(store.payments()) == 1
    assert log.asked == 2 * len(log.book.entries)


def test_another_logs_memory_is_not_gone_on_with(store: RiskStore) -> None:
    Life(BookLog(paying(9)), store).look()
    started = Keeper(store, bytes(32)).start()

    assert started.progress.frontier.size == 0
    assert store.head() is None


def test_an_altered_page_is_found_where_it_is_read(tmp_path: Path) -> None:
    log = BookLog(paying(9))
    with closing(RiskStore(tmp_path / "risk.db")) as store:
        Life(log, store).look()
    with closing(sqlite3.connect(tmp_path / "risk.db")) as connection, connection:
        connection.execute("UPDATE pages SET page = x'00'")
    log.book.pay(90, nonce=50)
    with closing(RiskStore(tmp_path / "risk.db")) as store:
        life = Life(log, store)
        with pytest.raises(DamagedState):
            life.look()
        life.keeper.clear()

        assert Life(log, store).look().progress.state.digest == log.book.state.digest


def test_only_the_same_state_can_stand_over_other_layers(store: RiskStore) -> None:
    log = BookLog(paying(2))
    life, other = Life(log, store), Life(BookLog(paying(3)), store)
    life.look()
    other.follower.advance()

    with pytest.raises(CallerError):
        life.follower.rebase(other.follower.progress)


def test_a_store_keeps_all_of_a_head_or_nothing(store: RiskStore) -> None:
    payment = Payment("shop", "evm:1", "0x1", 5)
    store.keep(b"one", added={b"a": b"1", b"b": b"2"}, retired=(), payments=[payment])
    with pytest.raises(OperationalError):
        store.keep(b"two", added={b"c": None}, retired=[b"a"], payments=[payment])  # type: ignore[dict-item]

    assert (store.head(), store.page(b"a"), store.page(b"c")) == (b"one", b"1", None)
    assert store.payments() == [payment]
    store.keep(b"two", added={}, retired=[b"a"], payments=[])
    assert (store.head(), store.page(b"a"), store.page(b"b")) == (b"two", None, b"2")
    store.clear()
    assert (store.head(), store.page(b"b"), list(store.payments())) == (None, None, [])
