"""A log as long as one likes, of payments as a busy desk makes them, written to a node's disk as it grows."""

from pathlib import Path

from policy.log.merkle import leaf_hash
from policy.roster import COORDINATOR
from signer_nodes.adapters.store import NodeStore
from signer_nodes.node_log import NodeLog
from signer_nodes.witness import Identity
from tests.simulation.cluster import SKEW_MS, cosign, cosigned, note_of
from tests.simulation.memory_token import MemoryToken
from tests.simulation.world import DAY_MS, ORIGIN, Book, World, limit, public_key

ME = "node-1"
PAUSE_MS = 60_000
LIMITS = [limit("daily", "eth", 10**18), limit("each", "eth", 10**18, per=["destination"])]


def busy_book() -> Book:
    """The beginning of such a log."""
    book = Book(World(), start=False)
    book.genesis(policy=book.world.policy(limits=LIMITS))
    book.key()
    return book


def grow(book: Book, payments: int) -> None:
    """Payments, each to another customer of some, a minute after the other; what is past is forgotten."""
    for _ in range(payments):
        book.advance(PAUSE_MS)
        job = book.pay(100, nonce=len(book.state.jobs))
        book.settle(job)
        book.past, book.outcomes = book.past[-1:], []


def node_at(path: Path, book: Book, token: MemoryToken) -> tuple[NodeLog, NodeStore]:
    """A node that has started on the disk at ``path``."""
    store = NodeStore(path)
    identity = Identity(ME, ORIGIN, leaf_hash(book.entries[0]), public_key(COORDINATOR))
    log = NodeLog(identity, token, store=store, skew_ms=SKEW_MS)
    log.load()
    log.ready = True
    return log, store


def take(log: NodeLog, book: Book) -> None:
    """Have the node fold to the end of the log, and learn that a quorum has."""
    note = note_of(book)
    log.extend(
        log.cosigner.size,
        book.entries[log.cosigner.size :],
        note=note,
        now_ms=book.now_ms,
        marks=lambda _: (),
    )
    log.learn_quorum(cosigned(note, *(cosign(name, note, 2**33) for name in book.world.cosigners)))


__all__ = ["DAY_MS", "busy_book", "grow", "node_at", "take"]
