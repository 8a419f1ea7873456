"""What a node's store keeps, through crashes, and what it never lets happen."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.encoding import tagged_hash
from policy.errors import CallerError, InvariantError, OperationalError
from signer_nodes.adapters.schema import VERSION
from signer_nodes.adapters.store import CHAIN_START, NodeStore
from signer_nodes.ports import Ban, Mark, MarkKind, RuntimeStore, SealedSecret, SecretStore

JOB, OTHER = b"j" * 32, b"o" * 32


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


def as_ports(store: NodeStore) -> tuple[RuntimeStore, SecretStore]:
    """mypy checks here that the store is what the node asks for."""
    return store, store


@pytest.fixture
def store(path: Path) -> Iterator[NodeStore]:
    store = NodeStore(path)
    yield store
    store.close()


def reopened(store: NodeStore, path: Path) -> NodeStore:
    store.close()
    return NodeStore(path)


def test_entries_and_their_checkpoint_survive(store: NodeStore, path: Path) -> None:
    store.append(0, [b"a", b"b"], checkpoint=b"two")
    store.append(2, [b"c"], checkpoint=b"three")

    again = reopened(store, path)

    assert (again.size(), again.entries(1, 9)) == (3, [b"b", b"c"])
    assert (again.checkpoint_at(2), again.checkpoint_at(3), again.checkpoint_at(1)) == (
        b"two",
        b"three",
        None,
    )
    assert again.latest_checkpoint() == b"three"
    again.check()
    again.close()


def test_empty_store_has_nothing(store: NodeStore) -> None:
    assert (store.size(), store.entries(0, 5), store.latest_checkpoint(), store.quorum()) == (
        0,
        [],
        None,
        None,
    )
    assert (store.marks_head(), store.boot_of("node-b"), store.latest_cosigned()) == (
        (0, CHAIN_START),
        None,
        None,
    )


def test_what_is_committed_is_on_disk(store: NodeStore) -> None:
    modes = [
        store._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
    ]

    assert modes == ["wal", 2]  # 2 is FULL


def test_same_entries_may_come_again_and_more_with_them(store: NodeStore) -> None:
    store.append(0, [b"a", b"b"], checkpoint=b"two")
    store.set_cosigned(2, b"two cosigned")

    store.append(1, [b"b"], checkpoint=b"two by another pen")
    store.append(1, [b"b", b"c"], checkpoint=b"three")

    assert store.entries(0, 9) == [b"a", b"b", b"c"]
    assert store.checkpoint_at(2) == b"two cosigned"


@pytest.mark.parametrize(
    ("start", "entries"),
    [(3, [b"d"]), (1, [b"x"]), (1, [b"x", b"c"]), (0, [b"a"]), (-1, [b"a", b"b", b"c"])],
    ids=["gap", "another entry", "another entry and more", "shorter", "negative"],
)
def test_what_does_not_go_on_is_refused_whole(store: NodeStore, start: int, entries: list[bytes]) -> None:
    store.append(0, [b"a", b"b"], checkpoint=b"two")

    with pytest.raises(CallerError):
        store.append(start, entries, checkpoint=b"no")
    assert (store.entries(0, 9), store.latest_checkpoint()) == ([b"a", b"b"], b"two")


def test_cosigned_and_quorum_notes(store: NodeStore, path: Path) -> None:
    store.append(0, [b"a"], checkpoint=b"one")
    store.append(1, [b"b"], checkpoint=b"two")
    store.set_cosigned(1, b"one, cosigned")
    store.set_quorum(b"quorum of one", 1)

    again = reopened(store, path)

    assert again.latest_cosigned() == (1, b"one, cosigned")
    assert again.quorum() == (1, b"quorum of one")
    with pytest.raises(InvariantError):
        again.set_cosigned(7, b"never stored")
    with pytest.raises(InvariantError):
        again.set_quorum(b"quorum of nothing", 0)
    with pytest.raises(CallerError):
        again.put_meta("quorum-size", b"0")
    again.close()


def test_a_cosigned_note_is_lost_by_a_crash_unless_something_came_next(path: Path) -> None:
    store = NodeStore(path)
    store.append(0, [b"a"], checkpoint=b"one")
    store.set_cosigned(1, b"one, cosigned")
    assert store.checkpoint_at(1) == b"one, cosigned"
    store._connection.close()
    store = NodeStore(path)
    assert store.latest_cosigned() is None

    store.set_cosigned(1, b"one, cosigned")
    store.add_marks([Mark("bound", b"job", 0)])
    store._connection.close()
    store = NodeStore(path)

    assert store.latest_cosigned() == (1, b"one, cosigned")
    store.close()


def test_entries_and_their_marks_come_together_or_not_at_all(store: NodeStore) -> None:
    store.append(0, [b"a"], checkpoint=b"one", marks=[Mark("bound", b"job", 0)])
    with pytest.raises(InvariantError):
        store.append(1, [b"b"], checkpoint=b"two", marks=[Mark("bound", b"job", 0)])

    assert (store.size(), len(store.marks())) == (1, 1)


def test_left_branch_is_gone_from_the_log_and_kept_for_audit(store: NodeStore) -> None:
    store.append(0, [b"a"], checkpoint=b"one")
    store.append(1, [b"b", b"c"], checkpoint=b"three")
    store.set_cosigned(3, b"three, cosigned")
    store.set_quorum(b"q", 1)

    assert store.truncate(1) == 2

    assert (store.size(), store.latest_checkpoint(), store.latest_cosigned()) == (1, b"one", None)
    assert store.abandoned() == [
        (1, "entry", 1, b"b"),
        (1, "entry", 2, b"c"),
        (1, "note", 3, b"three"),
        (1, "cosigned", 3, b"three, cosigned"),
    ]
    store.append(1, [b"B"], checkpoint=b"other two")
    store.truncate(1)
    assert store.abandoned()[4:] == [(2, "entry", 1, b"B"), (2, "note", 2, b"other two")]


def test_what_a_quorum_cosigned_cannot_be_left(store: NodeStore) -> None:
    store.append(0, [b"a", b"b"], checkpoint=b"two")
    store.set_quorum(b"q", 2)

    with pytest.raises(InvariantError):
        store.truncate(1)
    assert store.size() == 2


@pytest.mark.parametrize(("first", "second"), [("sent", "burned"), ("burned", "sent"), ("sent", "sent")])
def test_sent_and_burned_exclude_each_other_and_themselves(
    store: NodeStore, first: MarkKind, second: MarkKind
) -> None:
    store.add_marks([Mark("bound", JOB, 0), Mark(first, JOB, 0, b"bytes")])
    head = store.marks_head()

    with pytest.raises(InvariantError):
        store.add_marks([Mark(second, OTHER, 0), Mark(second, JOB, 0, b"other bytes")])
    assert store.marks_head() == head
    assert store.marks_for(OTHER) == []
    store.add_marks([Mark(second, JOB, 1), Mark(second, OTHER, 0)])


def test_one_item_is_bound_once(store: NodeStore) -> None:
    store.add_marks([Mark("bound", JOB, 0, b"presignature")])

    with pytest.raises(InvariantError):
        store.add_marks([Mark("bound", JOB, 0, b"another presignature")])


def test_marks_are_never_changed_or_removed(store: NodeStore, path: Path) -> None:
    store.add_marks([Mark("sent", JOB, 0, b"bytes")])
    store.close()
    connection = sqlite3.connect(path)

    for statement in ("DELETE FROM marks", "UPDATE marks SET kind = 'burned'"):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)
    connection.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["bound", "sent", "burned"]), st.sampled_from([JOB, OTHER]), st.integers(0, 3)
        ),
        max_size=12,
    )
)
@settings(max_examples=40)
def test_chain_covers_every_mark_in_order(drawn: list[tuple[MarkKind, bytes, int]]) -> None:
    folder = TemporaryDirectory()
    store = NodeStore(Path(folder.name) / "node.sqlite")
    expected = CHAIN_START
    count = 0
    for kind, job, index in drawn:
        try:
            store.add_marks([Mark(kind, job, index, b"d")])
        except InvariantError:
            continue
        expected = tagged_hash("mark", expected, kind.encode(), job, index.to_bytes(4, "big"), b"d")
        count += 1

    assert store.marks_head() == (count, expected)
    assert len(store.marks()) == count
    assert (store.marks_chain_at(count), store.marks_chain_at(0)) == (expected, CHAIN_START)
    assert store.marks_chain_at(count + 1) is None
    store.check()
    store.close()
    folder.cleanup()


def test_check_notices_a_mark_that_was_taken_out(store: NodeStore, path: Path) -> None:
    store.add_marks([Mark("bound", JOB, 0), Mark("sent", JOB, 0), Mark("bound", OTHER, 0)])
    store.close()
    connection = sqlite3.connect(path)
    connection.executescript("DROP TRIGGER marks_keep; DELETE FROM marks WHERE kind = 'sent';")
    connection.close()

    tampered = NodeStore(path)

    with pytest.raises(InvariantError, match="damaged"):
        tampered.check()
    tampered.close()


def test_bans_evidence_and_statements_stay(store: NodeStore, path: Path) -> None:
    store.add_ban(Ban("node-b", "key-1", 0, "first"))
    store.add_ban(Ban("node-b", "key-1", 0, "second"))
    store.add_ban(Ban("node-b", "key-1", 1, "next epoch"))
    store.keep_evidence("split", b"two notes")
    store.put_statement("abandon/1", b"statement")
    store.put_statement("abandon/1", b"statement")

    again = reopened(store, path)

    assert [ban.reason for ban in again.bans()] == ["first", "next epoch"]
    assert again.evidence() == [("split", b"two notes")]
    assert (again.statement("abandon/1"), again.statement("abandon/2")) == (b"statement", None)
    assert again.statements() == {"abandon/1": b"statement"}
    with pytest.raises(InvariantError):
        again.put_statement("abandon/1", b"another")
    again.close()


def test_boots_only_rise(store: NodeStore) -> None:
    store.put_boot("node-b", 4, boot_id=b"x" * 32)
    store.put_boot("node-b", 4, boot_id=b"x" * 32)
    store.put_boot("node-b", 6, boot_id=b"y" * 32)

    for counter, boot_id in ((5, b"x" * 32), (6, b"z" * 32)):
        with pytest.raises(InvariantError):
            store.put_boot("node-b", counter, boot_id=boot_id)
    assert store.boot_of("node-b") == (6, b"y" * 32)


def test_sealed_secrets_come_all_or_none_and_go(store: NodeStore, path: Path) -> None:
    store.put_sealed("key-1/0/share", b"blob", wrapped_key=b"wrapped")

    with pytest.raises(InvariantError):
        store.put_all_sealed(
            {"key-1/0/pair/2": SealedSecret(b"", b""), "key-1/0/share": SealedSecret(b"", b"")}
        )

    assert store.sealed_names("key-1/") == ["key-1/0/share"]
    assert store.get_sealed("key-1/0/share") == SealedSecret(b"blob", b"wrapped")
    assert "wrapped" not in repr(store.get_sealed("key-1/0/share"))
    assert [store.drop_sealed(["key-1/0/share", "key-1/0/gone"]) for _ in range(2)] == [1, 0]
    assert store.get_sealed("key-1/0/share") is None


def test_dropped_secret_is_not_left_in_the_file(store: NodeStore, path: Path) -> None:
    blob = b"needle in the file" * 10
    store.put_sealed("name", blob, wrapped_key=b"wrapped")
    store.put_state(b"one", before=b"", added={b"a": b"A"}, retired=())
    with pytest.raises(InvariantError):
        store.put_state(b"two", before=b"none", added={}, retired=())
    store.drop_sealed(["name"])
    store.close()

    assert all(blob[:18] not in file.read_bytes() for file in path.parent.iterdir())


def test_meta_is_replaced(store: NodeStore) -> None:
    store.put_meta("frozen", b"no")
    store.put_meta("frozen", b"yes")

    assert (store.meta("frozen"), store.meta("other")) == (b"yes", None)


def test_a_stored_state_can_be_read_and_so_can_the_one_before_it(store: NodeStore, path: Path) -> None:
    store.put_state(b"one", before=b"", added={b"a": b"A", b"b": b"B"}, retired=())
    store.put_state(b"two", before=b"one", added={b"c": b"C"}, retired=[b"b"])

    again = reopened(store, path)

    assert [again.page(name) for name in (b"a", b"b", b"c", b"d")] == [b"A", b"B", b"C", None]
    again.put_state(b"three", before=b"two", added={b"b": b"B"}, retired=[b"a"])
    assert [again.page(name) for name in (b"a", b"b", b"c")] == [b"A", b"B", b"C"]
    again.put_state(b"four", before=b"three", added={}, retired=())
    assert [again.page(name) for name in (b"a", b"b", b"c")] == [None, b"B", b"C"]
    again.close()


def test_a_stored_state_is_resumed_at_the_last_one_or_the_one_before(store: NodeStore) -> None:
    store.put_state(b"one", before=b"", added={b"a": b"A", b"b": b"B"}, retired=())
    store.put_state(b"two", before=b"one", added={b"c": b"C"}, retired=[b"b"])

    assert not any(store.resume_state(root) for root in (b"", b"none", b"three"))
    assert store.resume_state(b"two")
    assert store.resume_state(b"one")
    assert [store.page(name) for name in (b"a", b"b", b"c")] == [b"A", b"B", None]
    assert not store.resume_state(b"two")
    store.put_state(b"other", before=b"one", added={b"d": b"D"}, retired=[b"a"])
    assert [store.page(name) for name in (b"a", b"b", b"c", b"d")] == [b"A", b"B", None, b"D"]


def test_a_stored_state_follows_the_one_its_writer_knows(store: NodeStore) -> None:
    """A writer that was not told of a state that was stored stores another in its place."""
    store.put_state(b"one", before=b"", added={b"a": b"A"}, retired=())
    store.put_state(b"untold", before=b"one", added={b"b": b"B"}, retired=[b"a"])

    store.put_state(b"two", before=b"one", added={b"c": b"C"}, retired=())
    assert [store.page(name) for name in (b"a", b"b", b"c")] == [b"A", None, b"C"]
    with pytest.raises(InvariantError, match="nothing can follow"):
        store.put_state(b"no", before=b"untold", added={b"d": b"D"}, retired=())
    assert store.page(b"d") is None
    store.put_state(b"first", before=b"", added={b"e": b"E"}, retired=())
    assert [store.page(name) for name in (b"a", b"c", b"e")] == [None, None, b"E"]


def test_a_state_that_is_cleared_is_gone(store: NodeStore) -> None:
    store.put_state(b"one", before=b"", added={b"a": b"A"}, retired=())
    store.put_state(b"two", before=b"one", added={b"b": b"B"}, retired=())
    store.put_meta("kept", b"value")

    store.clear_state()

    assert [store.page(name) for name in (b"a", b"b")] == [None, None]
    assert not store.resume_state(b"one") and not store.resume_state(b"two")
    assert store.meta("kept") == b"value"
    with pytest.raises(CallerError):
        store.put_meta("state", b"one")


def test_a_store_of_the_version_before_gets_what_is_new(store: NodeStore, path: Path) -> None:
    store.append(0, [b"a"], checkpoint=b"one")
    store.close()
    connection = sqlite3.connect(path)
    connection.executescript("DROP TABLE pages; DROP TABLE page_changes; PRAGMA user_version = 1;")
    connection.close()

    again = NodeStore(path)

    again.put_state(b"one", before=b"", added={b"a": b"A"}, retired=())
    assert (again.entries(0, 9), again.page(b"a")) == ([b"a"], b"A")
    again.check()
    again.close()


def test_file_is_the_owners_alone(store: NodeStore, path: Path) -> None:
    store.put_meta("x", b"y")

    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    store.close()
    path.chmod(0o644)
    with pytest.raises(OperationalError, match="chmod 600"):
        NodeStore(path)


def test_second_process_of_one_store_is_refused(store: NodeStore, path: Path) -> None:
    with pytest.raises(OperationalError, match="another process"):
        NodeStore(path)


def test_newer_version_is_refused(store: NodeStore, path: Path) -> None:
    store.close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()

    with pytest.raises(OperationalError, match="start the newer program"):
        NodeStore(path)


def test_trouble_with_the_disk_says_what_to_do(store: NodeStore, path: Path) -> None:
    store._connection.execute("PRAGMA max_page_count = 1")
    with pytest.raises(OperationalError, match="free space"):
        store.append(0, [bytes(60_000)] * 9, checkpoint=b"n")
    assert store.size() == 0
    store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(OperationalError, match="writable"):
        store.put_meta("x", b"y")
    store._connection.execute("PRAGMA query_only = OFF")
    store._connection.execute("DROP TABLE meta")
    with pytest.raises(OperationalError, match="damaged"):
        store.put_meta("x", b"y")
    store.close()
    with pytest.raises(OperationalError):
        store.size()

    path.write_bytes(b"not a database at all" * 300)
    with pytest.raises(OperationalError, match="damaged"):
        NodeStore(path)
    with pytest.raises(OperationalError, match="data folder"):
        NodeStore(path.parent / "nowhere" / "node.sqlite")


def test_threads_share_one_store(store: NodeStore) -> None:
    def work(number: int) -> None:
        for index in range(20):
            store.add_marks([Mark("bound", bytes([number]), index)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.marks_head()[0] == 80
    store.check()


_APPENDER = """
import sys
from pathlib import Path
from signer_nodes.adapters.store import NodeStore
from signer_nodes.ports import Mark
store = NodeStore(Path(sys.argv[1]))
while True:
    start = store.size()
    entries = [b"%d" % (start + offset) for offset in range(7)]
    store.append(start, entries, checkpoint=b"note %d" % (start + 7))
    store.add_marks([Mark("bound", b"job", start), Mark("sent", b"job", start)])
    sys.stdout.write(f"{start + 7}\\n")
    sys.stdout.flush()
"""


def test_killed_writer_leaves_a_whole_prefix_with_all_that_it_reported(path: Path) -> None:
    for kill_after in (1, 17, 40):
        process = subprocess.Popen(
            [sys.executable, "-c", _APPENDER, str(path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        reported = [int(process.stdout.readline()) for _ in range(kill_after)]
        os.kill(process.pid, signal.SIGKILL)
        reported += [int(line) for line in process.stdout if line.endswith(b"\n")]
        process.wait()
        process.stdout.close()

        store = NodeStore(path)
        size, marks = store.size(), store.marks()

        store.check()
        assert size >= reported[-1]
        assert store.entries(0, size) == [b"%d" % position for position in range(size)]
        assert store.latest_checkpoint() == b"note %d" % size
        assert len(marks) % 2 == 0
        assert len(marks) // 2 in (size // 7, size // 7 - 1)
        if len(marks) // 2 < size // 7:
            store.add_marks([Mark("bound", b"job", size - 7), Mark("sent", b"job", size - 7)])
        store.close()
