"""A coordinator that does whatever it likes, with one corrupt cosigner at its side, from one seed.

It writes any branches, shows any of them to anybody, withholds, repeats, restarts, collects burns and
abandon statements, and lets the corrupt cosigner sign everything. What honest nodes gave is added up by
``signed``: a transaction counts as signed when every honest signer of its job gave a partial signature.
"""

import random
from collections import Counter
from dataclasses import dataclass
from functools import partial

from policy.encoding import Json
from policy.log.checkpoint import NoteSignature
from policy.state import CANCEL, PAYMENT, Job
from signer_nodes.witness import Branch
from tests.simulation.cluster import (
    SKEW_MS,
    Clock,
    SimNode,
    Statement,
    attempt,
    branch_of,
    cosign,
    cosigned,
    deal,
    note_of,
    started,
)
from tests.simulation.world import (
    CUSTOMER,
    DAY_MS,
    ORIGIN,
    SANCTIONED,
    START_MS,
    Book,
    World,
    state_as,
)

PAIRS = (("node-1", "node-2"), ("node-1", "node-3"), ("node-2", "node-3"))
ALLOWED: Json = {"outcome": "allow", "rule": "small"}
BOOKS_MAX = 4


@dataclass(frozen=True)
class Signed:
    """A transaction that can be on chain, and the log's time when its last honest partial was given."""

    job: Job
    log_ms: int


class Adversary:
    """One run. ``met`` counts what it got to, so that a test can tell that it was no walk in a park."""

    def __init__(self, source: random.Random, *, corrupt: tuple[str, ...]) -> None:
        self.source, self.corrupt = source, corrupt
        self.world, self.clock = World(), Clock(START_MS)
        coordinator, everyone = started(self.world, self.clock)
        self.nodes: dict[str, SimNode] = {n: node for n, node in everyone.items() if n not in corrupt}
        self.books = [coordinator.book]
        self.lines: dict[bytes, dict[str, NoteSignature]] = {}
        self.statements: list[Statement] = []
        self.burns: dict[bytes, dict[str, bytes]] = {}
        self.presignatures: dict[tuple[str, ...], list[bytes]] = {}
        self.named: list[bytes] = []
        self.batch, self.temper = 0, source.random()
        self.met: Counter[str] = Counter()
        self.deal()

    def run(self, steps: int) -> None:
        """Do ``steps`` things; its temper says how much of that is confusion."""
        wild = self.temper
        moves = (
            (self.pass_time, 4),
            (self.write_request, 4),
            (self.write_reservation, 5),
            (self.write_signature, 4),
            (self.write_burn, 1),
            (self.ask_burn, wild),
            (self.publish, 4),
            (self.finish, 4),
            (self.pay, 8),
            (self.fork, wild),
            (self.split, wild),
            (self.mend, 2 * wild),
            (self.ask_abandon, 2),
            (self.ask_leave, 2),
            (self.restart, wild),
            (self.deal, 1),
        )
        for _ in range(steps):
            (move,) = self.source.choices([m for m, _ in moves], [weight for _, weight in moves])
            move()

    def signed(self) -> list[Signed]:
        """Everything that can be on chain."""
        jobs = {job_id: given.job for node in self.nodes.values() for job_id, given in node.given.items()}
        found = []
        for job_id, job in jobs.items():
            honest = [self.nodes[name] for name in job.signers if name in self.nodes]
            if all(job_id in node.given for node in honest):
                found.append(Signed(job, max(node.given[job_id].log_ms for node in honest)))
        return found

    # What it writes.

    def pass_time(self) -> None:
        self.clock.now_ms += self.source.choice([0, 1, 1000, 60_000, DAY_MS // 3, DAY_MS // 2 + 1])
        book = self.book()
        latest = self.clock.now_ms + SKEW_MS
        book.now_ms = self.source.choice([book.now_ms, *[self.clock.now_ms] * 3, latest, latest + 1])
        book.now_ms = max(book.now_ms, book.state.time_ms)

    def write_request(self) -> None:
        book = self.book()
        to = self.source.choice([CUSTOMER, CUSTOMER, CUSTOMER, SANCTIONED])
        amount = self.source.choice([100, 400, 590, 700])
        request = book.asked(
            amount,
            to=to,
            fee_ceiling=10,
            expires_ms=book.now_ms + self.source.choice([60_000, 2 * DAY_MS, 9 * DAY_MS]),
            idempotency_key=f"{self.source.random()}",
        )
        book.log_request(request, claim=ALLOWED if self.source.random() < 0.1 else None)

    def write_reservation(self) -> None:
        book, pair = self.book(), self.source.choice(PAIRS)
        requests = sorted(book.state.requests)
        if not requests:
            return
        newest = max(requests, key=lambda request: book.state.requests[request].logged_ms)
        request = self.source.choice([newest, newest, *requests])
        anchor = book.state.requests[request].anchor
        usual = anchor.nonce if anchor else len(book.state.anchors)
        nonce = self.source.choice([usual] * 5 + [self.source.randrange(12)])
        body = book.reservation(
            request,
            nonce=nonce,
            fee=self.source.choice([0, 10, 10, 60]),
            purpose=self.source.choice([PAYMENT] * 6 + [CANCEL]),
            signers=list(pair),
            presignatures=[self.presignature(pair).hex()],
        )
        book.log_reservation(body, claim=ALLOWED if self.source.random() < 0.1 else None)
        self.met["reserved"] += book.last.accepted

    def write_signature(self) -> None:
        done = self.signed()
        if done:
            book, job = self.book(), self.source.choice(done).job
            if job.job_id in book.state.jobs:
                book.sign(job.job_id)
                self.met["signature logged"] += book.last.accepted

    def write_burn(self) -> None:
        book = self.book()
        for job_id, burns in self.burns.items():
            if job_id in book.state.jobs:
                body = {"origin": ORIGIN, "job": job_id.hex()}
                signers = [n for n in book.state.jobs[job_id].signers if n in burns or n in self.corrupt]
                proof: list[Json] = [
                    {"name": n, "signature": state_as("burn", body, n).hex()} for n in signers
                ]
                book.write("burn", body, signatures=proof)
                self.met["burned"] += book.last.accepted

    def fork(self) -> None:
        if len(self.books) >= BOOKS_MAX:
            self.books.pop(self.source.randrange(len(self.books)))
        old = self.book()
        branch = Book(self.world, start=False)
        for entry in old.entries[: self.source.randint(max(2, len(old.entries) - 6), len(old.entries))]:
            branch.append(entry)
        branch.now_ms = self.source.choice([branch.state.time_ms, old.now_ms])
        self.books.append(branch)

    # What it asks of cosigners.

    def publish(self) -> None:
        book = self.book()
        note = note_of(book)
        names = list(self.nodes)
        few = self.source.random() < self.temper / 2
        for name in self.source.sample(names, self.source.randint(1, len(names)) if few else len(names)):
            node = self.nodes[name]
            if attempt(partial(self._append, node, book, note)):
                self.met["cosigned"] += 1
        for name in self.corrupt:
            self.lines.setdefault(note, {})[name] = cosign(name, note)

    def finish(self) -> None:
        enough = self.source.choice([1, *[self.world.w] * 5])  # now and then it tries without a quorum
        notes = [note for note, lines in self.lines.items() if len(lines) >= enough]
        if notes:
            note = self.source.choice(notes[-2:] * 3 + notes)
            full = cosigned(note, *self.lines[note].values())
            for node in self.nodes.values():
                if self.source.random() < 0.8:
                    attempt(partial(node.finish_all, full))

    def pay(self) -> None:
        """The greedy thing: ask, reserve, publish and finish in a row."""
        for move in (self.write_request, self.write_reservation, self.write_reservation, self.publish):
            move()
        self.finish()

    def split(self) -> None:
        """Show one node another branch than everybody else."""
        self.fork()
        lone, book = self.node(), self.books[-1]
        book.append(self.source.randbytes(8))
        note = note_of(book)
        attempt(partial(self._append, lone, book, note))
        self.lines.setdefault(note, {}).update({name: cosign(name, note) for name in self.corrupt})
        self.publish()

    def mend(self) -> None:
        """Have somebody leave its branch, if enough others state that they are not on it."""
        for _ in range(2):
            self.ask_abandon()
            self.ask_leave()

    def ask_burn(self) -> None:
        node = self.node()
        for job_id in sorted(node.cosigner.state.jobs):
            if self.source.random() < 0.3 and attempt(partial(node.burn, job_id)):
                self.burns.setdefault(job_id, {})[node.name] = b""

    def ask_abandon(self) -> None:
        holder = self.node()
        if holder.size <= (holder.cosigner.quorum_head.size if holder.cosigner.quorum_head else 1):
            return
        branch = branch_of(holder)
        for node in self.nodes.values():
            if attempt(partial(self._abandon, node, branch)):
                self.met["abandoned"] += 1
        for name in self.corrupt:
            body = branch.body(ORIGIN, name)
            self.statements.append((body, state_as("abandon", body, name)))

    def ask_leave(self) -> None:
        node = self.node()
        if attempt(lambda: node.leave(self.statements)):
            self.met["left"] += 1

    def restart(self) -> None:
        self.node().restart()
        self.met["restarted"] += 1

    def deal(self) -> None:
        self.batch += 1
        for pair in PAIRS:
            self.presignatures.setdefault(pair, []).extend(deal(self.nodes, pair, self.batch, count=4))

    # Small parts.

    def presignature(self, pair: tuple[str, ...]) -> bytes:
        """Mostly a new one; now and then one that was named before."""
        dealt = self.presignatures[pair]
        if self.source.random() < 0.1:
            return self.source.choice(self.named or dealt)
        if not dealt:
            self.deal()
        self.named.append(dealt.pop())
        return self.named[-1]

    def book(self) -> Book:
        return self.source.choice(self.books)

    def node(self) -> SimNode:
        return self.nodes[self.source.choice(sorted(self.nodes))]

    def _abandon(self, node: SimNode, branch: Branch) -> None:
        self.statements.append(node.abandon(branch))

    def _append(self, node: SimNode, book: Book, note: bytes) -> None:
        self.lines.setdefault(note, {})[node.name] = node.append(node.size, book.entries[node.size :], note)


def most_in_a_window(amounts: list[tuple[int, int]], window_ms: int) -> int:
    """The largest sum of amounts whose times fall into one half-open window."""
    return max(
        (sum(a for a, at in amounts if start <= at < start + window_ms) for _, start in amounts), default=0
    )
