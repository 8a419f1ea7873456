"""A cosigner starts from its stored state as if it had folded its log, and notices what was tampered with."""

import dataclasses
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from policy.encoding import canonical
from policy.log.merkle import Frontier, leaf_hash
from policy.roster import COORDINATOR
from policy.state import State
from policy.stored.pages import DamagedState, page_hash
from policy.stored.states import FORMAT
from policy.values import replace
from signer_nodes.adapters.store import NodeStore
from signer_nodes.node_log import NodeLog, RolledBack
from signer_nodes.token_head import HEAD_RECORD, TokenHead
from signer_nodes.witness import Branch, Identity
from tests.simulation.cluster import SKEW_MS, cosign, cosigned, note_of
from tests.simulation.memory_token import MemoryToken
from tests.simulation.world import ORIGIN, Book, World, public_key, state_as
from tests.unit.stored_logs import LOGS

ME = "node-1"
OTHERS = ("node-2", "node-3", "witness-1")


class Counting:
    """A store whose calls are counted, and that may be broken off after some."""

    def __init__(self, inner: NodeStore) -> None:
        self._inner = inner
        self.calls: Counter[str] = Counter()
        self.entries_read = 0
        self.fails = ""

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            if name == self.fails:
                raise KeyboardInterrupt
            found = member(*arguments, **options)
            if name == "entries":
                self.entries_read += len(found)
            return found

        return call


class Home:
    """The disk and the token of one cosigner, and its process when it runs."""

    def __init__(self, folder: Path, book: Book, *, every: int = 4) -> None:
        self.path, self.book, self.every = folder / "node.db", book, every
        self.token = MemoryToken(ME)
        self.store: Counting | None = None
        self.log = self.start()

    def start(self) -> NodeLog:
        """A new process on the same disk and token."""
        self.stop()
        self.store = Counting(NodeStore(self.path))
        identity = Identity(ME, ORIGIN, leaf_hash(self.book.entries[0]), public_key(COORDINATOR))
        store = cast("Any", self.store)
        self.log = NodeLog(identity, self.token, store=store, skew_ms=SKEW_MS, store_every=self.every)
        self.log.load()
        self.log.ready = True
        return self.log

    def stop(self) -> None:
        """The process is gone."""
        if self.store is not None:
            self.store.close()
            self.store = None

    def take(self, size: int, *, of: Book | None = None, quorum: bool = True) -> None:
        """Have it fold up to ``size``, and learn that a quorum has."""
        book = (of or self.book).fork(size)
        start = self.log.cosigner.size
        note = note_of(book)
        self.log.extend(start, book.entries[start:], note=note, now_ms=book.state.time_ms, marks=lambda _: ())
        if quorum:
            signers = self.log.cosigner.roster_at(size)
            assert signers is not None
            self.log.learn_quorum(cosigned(note, *(cosign(n, note, 2**33) for n in signers.cosigners)))

    @property
    def stored_size(self) -> int:
        """How many entries its stored state has folded."""
        return self.log.cosigner.state.stored_size

    @property
    def head(self) -> TokenHead:
        """What its token remembers."""
        return TokenHead.from_bytes(self.token.records[HEAD_RECORD][1])

    def spoil(self, statement: str, *values: object) -> None:
        """Change its disk while it is down."""
        self.stop()
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute(statement, values)
            connection.commit()


def same(one: State, other: State) -> bool:
    return replace(one, stored_size=0) == replace(other, stored_size=0)


@pytest.fixture(scope="module", params=list(LOGS))
def book(request: pytest.FixtureRequest) -> Book:
    made: Book = LOGS[request.param]()
    return made


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """At the end of a log, with a stored state close to it."""
    home = Home(tmp_path, LOGS["everyday"]())
    for size in range(2, len(home.book.entries) + 1):
        home.take(size)
    yield home
    home.stop()


# Starting.


def test_it_starts_at_every_size_as_the_fold_has_it_and_goes_on_alike(book: Book, tmp_path: Path) -> None:
    home = Home(tmp_path, book, every=3)
    stored = set()
    for size in range(1, len(book.entries) + 1):
        home.take(size)
        home.start()

        assert same(home.log.cosigner.state, book.past[size][0])
        assert home.log.cosigner.frontier == book.past[size][1]
        stored.add(home.stored_size)
    assert len(stored) > len(book.entries) // 4
    home.stop()


def test_a_restart_knows_of_people_keys_and_delays_what_the_one_before_knew(tmp_path: Path) -> None:
    book = LOGS["governed"]()
    home = Home(tmp_path, book, every=1)
    for size in range(1, len(book.entries) + 1):
        home.take(size)
        before = home.log.cosigner

        after = home.start().cosigner
        assert (after.rosters, after.delays, after.identity) == (
            before.rosters,
            before.delays,
            before.identity,
        )
        assert (after.quorum_head, after.floor) == (before.quorum_head, before.floor)
    home.stop()


def test_a_start_reads_the_entries_after_the_stored_state_alone(home: Home) -> None:
    size = home.log.cosigner.size
    home.start()

    assert home.store is not None
    assert home.store.entries_read == size - home.stored_size <= 2 * home.every
    assert home.store.calls["page"] < 40


def test_only_a_head_of_a_quorum_is_stored(tmp_path: Path) -> None:
    home = Home(tmp_path, LOGS["everyday"](), every=4)
    home.take(20, quorum=False)
    assert (home.stored_size, home.head.state) == (0, b"")

    home.take(21)
    home.take(22)

    assert home.stored_size == 20
    assert home.head.state != b""
    home.stop()


def test_roots_and_leaves_below_the_stored_state_are_those_of_the_log(home: Home) -> None:
    home.start()
    for size, (_, frontier) in enumerate(home.book.past):
        assert home.log.root_at(size) == frontier.root()
    for index, entry in enumerate(home.book.entries):
        assert home.log.leaf_at(index) == leaf_hash(entry)
    assert home.store is not None and home.store.entries_read <= 2 * home.every


def test_hashes_of_a_log_of_several_tiles_come_from_its_pages(tmp_path: Path) -> None:
    book = Book(World())
    for _ in range(600):
        book.idle()
    home = Home(tmp_path, book, every=100)
    for size in (300, 301, 555, 602):
        home.take(size)
    home.start()

    assert home.stored_size == 555
    for size in (1, 2, 255, 256, 257, 300, 511, 512, 513, 601):
        assert home.log.root_at(size) == book.past[size][1].root()
    home.stop()


def test_a_store_of_the_version_before_is_folded_once_and_stored(home: Home) -> None:
    home.stop()
    with closing(sqlite3.connect(home.path)) as connection:
        for statement in ("DROP TABLE pages", "DROP TABLE page_changes", "PRAGMA user_version = 1"):
            connection.execute(statement)
        connection.execute("DELETE FROM meta WHERE name IN ('state', 'state-before')")
        connection.commit()
    home.token.write_record(HEAD_RECORD, dataclasses.replace(home.head, state=b"").to_bytes())

    home.start()
    assert home.store is not None and home.store.entries_read == len(home.book.entries)
    home.start()

    assert home.store.entries_read <= 2 * home.every


@pytest.mark.parametrize(
    ("field", "value"),
    [("format", FORMAT + 1), ("shape", "00" * 32), ("shape", None), ("genesis", "00" * 32)],
)
def test_a_stored_state_of_another_program_or_log_is_not_started_from(
    home: Home, field: str, value: Any
) -> None:
    assert home.store is not None
    document = {**json.loads(home.store.page(home.head.state)), field: value}
    page = canonical({name: one for name, one in document.items() if one is not None})
    home.spoil("INSERT INTO pages VALUES (?, ?)", page_hash(page), page)
    home.spoil("UPDATE meta SET value = ? WHERE name = 'state'", page_hash(page))
    home.token.write_record(HEAD_RECORD, dataclasses.replace(home.head, state=page_hash(page)).to_bytes())

    home.start()

    assert home.store.entries_read == len(home.book.entries)
    assert same(home.log.cosigner.state, home.book.state)


# Branches.


def test_it_leaves_a_branch_back_to_where_the_stored_state_is_or_after_it(home: Home) -> None:
    size, root = len(home.book.entries), home.book.frontier.root()
    book = home.book.fork()
    for _ in range(6):
        book.request(1)
    home.take(size + 6, of=book, quorum=False)
    branch = Branch(size, root, leaf_hash(book.entries[size]))
    bodies = [(branch.body(ORIGIN, name), name) for name in OTHERS]
    statements = [(body, bytes.fromhex(_signature("abandon", body, name))) for body, name in bodies]

    assert home.log.leave(statements, marks=lambda _: ()) == size

    assert same(home.log.cosigner.state, home.book.state)
    for _ in range(9):
        home.book.request(2)
    home.take(len(home.book.entries))
    home.start()
    assert same(home.log.cosigner.state, home.book.state)


def _signature(tag: str, body: Any, name: str) -> str:
    return state_as(tag, body, name).hex()


# Crashes.


@pytest.mark.parametrize("fails", ["forget_before", "add_pages", "put_state", "write_record"])
def test_a_crash_before_the_token_names_a_stored_state_leads_back_to_the_one_it_names(
    tmp_path: Path, fails: str
) -> None:
    home = Home(tmp_path, LOGS["everyday"]())
    home.take(2)
    for size in range(3, len(home.book.entries) + 1):
        assert home.store is not None
        if fails != "write_record":
            home.store.fails = fails
        named, token = home.head.state, home.token.copy()
        try:
            home.take(size)
        except KeyboardInterrupt:
            assert home.head.state == named
        if fails == "write_record":
            home.token = token
        home.start()

        assert home.store is not None
        assert home.store.entries_read <= 3 * home.every + 1 or not named
        assert home.log.cosigner.size >= size - 1
        if home.log.cosigner.size < size:
            home.take(size)
        assert same(home.log.cosigner.state, home.book.past[size][0])
    home.stop()


# Tampering, while it is down and while it runs.


PUT_BACK = """
DELETE FROM pages; INSERT INTO pages SELECT * FROM older.pages;
DELETE FROM page_changes; INSERT INTO page_changes SELECT * FROM older.page_changes;
INSERT OR REPLACE INTO meta SELECT * FROM older.meta WHERE name LIKE 'state%';
"""
LIVE = "SELECT name FROM pages WHERE name NOT IN (SELECT name FROM page_changes WHERE NOT added)"
SPOILED: dict[str, Callable[[Home, bytes], None]] = {
    "altered": lambda home, name: home.spoil("UPDATE pages SET page = zeroblob(9) WHERE name = ?", name),
    "deleted": lambda home, name: home.spoil("DELETE FROM pages WHERE name = ?", name),
}


@pytest.mark.parametrize("how", list(SPOILED))
def test_no_page_can_be_spoiled_without_the_log_being_folded_anew(home: Home, how: str) -> None:
    home.stop()
    disk, token = home.path.read_bytes(), home.token.copy()
    with closing(sqlite3.connect(home.path)) as connection:
        names = [name for (name,) in connection.execute(LIVE)]
    assert len(names) > 10
    for name in names:
        home.path.write_bytes(disk)
        home.token = token.copy()
        SPOILED[how](home, name)
        home.start()

        assert same(read_all(home), home.book.state)
        assert home.store is not None
        assert home.store.entries_read >= len(home.book.entries)
        home.stop()


def read_all(home: Home) -> State:
    """The whole state, and all hashes of the log; over what is stored, as it is folded anew if it must be."""
    for _ in range(2):
        try:
            state = home.log.cosigner.state
            assert same(state, home.book.state)
            home.log.root_at(1)
            return state
        except DamagedState:
            home.log.check_open()
    raise AssertionError("it reads a damaged state for good")


def test_an_older_stored_state_put_back_with_its_pages_is_not_started_from(tmp_path: Path) -> None:
    home = Home(tmp_path, LOGS["everyday"]())
    home.take(12)
    home.stop()
    older = home.path.with_name("older")
    older.write_bytes(home.path.read_bytes())
    home.start()
    for size in range(13, len(home.book.entries) + 1):
        home.take(size)
    quorum = home.log.cosigner.quorum_head
    home.stop()
    with closing(sqlite3.connect(home.path)) as connection:
        connection.execute("ATTACH ? AS older", (str(older),))
        connection.executescript(PUT_BACK)

    home.start()

    assert home.store is not None and home.store.entries_read == len(home.book.entries)
    assert same(home.log.cosigner.state, home.book.state)
    assert home.log.cosigner.quorum_head == quorum
    home.stop()


def test_a_whole_disk_of_yesterday_is_still_known_as_old(home: Home) -> None:
    yesterday = home.path.with_name("yesterday")
    home.stop()
    with closing(sqlite3.connect(home.path)) as source, closing(sqlite3.connect(yesterday)) as target:
        source.backup(target)
    yesterday.chmod(0o600)
    home.start()
    for _ in range(9):
        home.book.request(2)
    home.take(len(home.book.entries))
    home.stop()
    for file in home.path.parent.glob("node.db*"):
        file.unlink()
    yesterday.rename(home.path)

    with pytest.raises(RolledBack, match="enrol"):
        home.start()


def test_entries_that_are_not_behind_the_stored_state_are_noticed_by_a_start(home: Home) -> None:
    home.spoil("UPDATE entries SET entry = ? WHERE position = ?", canonical({}), len(home.book.entries) - 1)

    with pytest.raises(RolledBack):
        home.start()


def test_a_disk_without_entries_that_the_stored_state_has_folded_was_rolled_back(home: Home) -> None:
    home.spoil("DELETE FROM entries WHERE position >= ?", home.stored_size - 1)

    with pytest.raises(RolledBack):
        home.start()


def test_a_running_node_that_meets_a_damaged_page_folds_anew_and_goes_on(home: Home) -> None:
    assert home.store is not None
    home.start()
    home.store._inner._connection.execute("DELETE FROM pages")
    request = home.book.request(3)
    size = len(home.book.entries)
    with pytest.raises(DamagedState):
        home.take(size)

    home.take(size)

    assert request in home.log.cosigner.state.requests
    assert same(home.log.cosigner.state, home.book.state)
    home.start()
    assert home.store.entries_read <= 2 * home.every


def test_a_running_node_whose_log_is_not_intact_either_stops(home: Home) -> None:
    assert home.store is not None
    home.start()
    connection = home.store._inner._connection
    connection.execute("DELETE FROM pages")
    connection.execute("UPDATE entries SET entry = ? WHERE position = 5", (canonical({}),))
    home.book.request(3)
    with pytest.raises(DamagedState):
        home.take(len(home.book.entries))

    for _ in range(2):
        with pytest.raises(RolledBack):
            home.take(len(home.book.entries))


def test_memory_keeps_no_more_of_a_longer_log(tmp_path: Path) -> None:
    book = Book(World())
    home = Home(tmp_path, book)
    kept = []
    for _ in range(30):
        book.request(1)
        home.take(len(book.entries))
        state = home.log.cosigner.state
        kept.append(len(state.requests.top) if hasattr(state.requests, "top") else 0)

    assert max(kept) <= 2 * home.every
    assert len(home.log._stored._leaves) <= 2 * home.every
    home.stop()


def test_the_frontier_of_nothing_is_empty(home: Home) -> None:
    assert home.log.root_at(0) == Frontier().root()


def test_what_waited_for_a_quorum_is_stored_while_nobody_asks(tmp_path: Path) -> None:
    """As after it caught up: no call has to wait for it, and the token names what was stored."""
    book = LOGS["everyday"]()
    home = Home(tmp_path, book)
    size = len(book.entries)
    home.take(size, quorum=False)
    assert not home.log.store_more() and not home.head.state
    home.log.learn_quorum(cosigned(note_of(book), *(cosign(name, note_of(book), 2**33) for name in OTHERS)))
    parts = 0
    while home.log.store_more():
        parts += 1

    assert home.stored_size > size - home.every - 1
    assert home.head.state == home.log._stored.root != b""
    assert home.start().cosigner.state.digest == book.state.digest
