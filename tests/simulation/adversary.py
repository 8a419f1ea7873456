"""A coordinator that does whatever it likes, with corrupt cosigners at its side, from one seed.

It writes any branches, shows any of them to anybody, withholds, repeats, restarts, loses answers, rotates
signers and cosigners, changes policy and roster, lets clocks go wrong, collects burns and abandon statements,
and lets the corrupt cosigners sign everything. What honest nodes gave is added up by ``signed``: a
transaction counts as signed when every honest signer of its job gave a partial signature.
"""

import itertools
import random
from collections import Counter
from collections.abc import Callable, Sequence
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
    cosigner_of,
    state_as,
)

ALLOWED: Json = {"outcome": "allow", "rule": "small"}
BOOKS_MAX = 4
SENT_KEPT = 8
CLOCK_ERROR_MS = 1000
WRONG_CLOCKS_MS = (0, 3_600_000, -3_600_000, 2 * DAY_MS, -2 * DAY_MS)


@dataclass(frozen=True)
class Signed:
    """A transaction that can be on chain, and when its last honest partial was given."""

    job: Job
    log_ms: int
    at_ms: int


class Adversary:
    """One run. ``met`` counts what it got to, so that a test can tell that it was no walk in a park.

    ``clocks_wrong``: honest clocks jump by hours and days; otherwise they are right within a second.
    ``known_ms`` is when an honest cosigner first had each policy, and ``early_ms`` the most by which one had
    it in effect before its delay was over since then.
    """

    def __init__(
        self,
        source: random.Random,
        *,
        corrupt: tuple[str, ...],
        world: World | None = None,
        kind: type[SimNode] = SimNode,
        clocks_wrong: bool = False,
    ) -> None:
        self.source, self.corrupt, self.kind, self.clocks_wrong = source, corrupt, kind, clocks_wrong
        self.world, self.clock = world or World(), Clock(START_MS)
        coordinator, everyone = started(self.world, self.clock, kind=kind)
        self.nodes: dict[str, SimNode] = {n: node for n, node in everyone.items() if n not in corrupt}
        self.errors_ms = dict.fromkeys(self.nodes, 0)
        self.set_clocks()
        self.pairs = tuple(itertools.combinations(self.world.nodes, 2))
        self.known_ms = {coordinator.book.state.policy_hash: -DAY_MS}
        self.early_ms = self.drawn_up = 0
        self.sent: list[tuple[str, int, list[bytes], bytes]] = []
        self.books = [coordinator.book]
        self.lines: dict[bytes, dict[str, NoteSignature]] = {}
        self.statements: list[Statement] = []
        self.burns: dict[bytes, dict[str, bytes]] = {}
        self.presignatures: dict[tuple[str, ...], list[bytes]] = {}
        self.named: list[bytes] = []
        self.current = coordinator.book
        self.batch, self.temper, self.lag = 0, source.random(), source.choice([0.1, 0.6])
        self.met: Counter[str] = Counter()
        self.deal()

    def run(self, steps: int) -> None:
        """Do ``steps`` things; its temper says how much of that is confusion."""
        wild = self.temper
        usual: tuple[tuple[Callable[[], object], float], ...] = (
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
            (self.two_branches, wild),
            (self.from_the_past, wild),
            (self.mend, 2 * wild),
            (self.ask_abandon, 2),
            (self.ask_leave, 2),
            (self.restart, wild),
            (self.repeat, wild),
            (self.move_a_clock, 2 * wild),
            (self.write_change, wild / 2),
            (self.deal, 1),
        )
        moves = [(move, weight * self.source.choice([0.3, 1, 3])) for move, weight in usual]
        self.source.choice([self.two_branches, self.from_the_past, self.pay])()
        for _ in range(steps):
            if self.source.random() < 0.3:
                self.current = self.source.choice(self.books)
            (move,) = self.source.choices([m for m, _ in moves], [weight for _, weight in moves])
            move()

    def signed(self) -> list[Signed]:
        """Everything that can be on chain."""
        jobs = {job_id: given.job for node in self.nodes.values() for job_id, given in node.given.items()}
        found = []
        for job_id, job in jobs.items():
            honest = [self.nodes[name] for name in job.signers if name in self.nodes]
            if all(job_id in node.given for node in honest):
                given = [node.given[job_id] for node in honest]
                found.append(Signed(job, max(g.log_ms for g in given), max(g.at_ms for g in given)))
        return found

    # What it writes.

    def pass_time(self) -> None:
        self.clock.now_ms += self.source.choice([0, 1, 1000, 60_000, DAY_MS // 3, DAY_MS // 2 + 1, DAY_MS])
        self.set_clocks()
        latest = self.clock.now_ms + SKEW_MS
        for book in self.books:
            if self.source.random() > self.lag:
                book.now_ms = self.source.choice([*[self.clock.now_ms] * 3, latest, latest + 1])
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
        book, pair = self.book(), self.pair()
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

    def write_change(self) -> None:
        """Another policy with the same limits, or a roster with another witness; signed by all who must."""
        book = self.book()
        self.drawn_up += 1
        if self.source.random() < 0.5 or not self.world.witnesses:
            book.change("policy", self.world.policy(name=f"policy-{self.drawn_up}"))
        else:
            old = sorted(book.state.roster.cosigners)
            new = f"witness-{self.source.randint(2, 4)}"
            names = [*self.world.nodes, *self.world.witnesses[1:], new]
            members = [cosigner_of(name, "node" if name in self.world.nodes else "witness") for name in names]
            book.change("roster", self.world.roster(cosigners=members), by={"ada", "adam", *old, *names})
            if new not in self.nodes:
                self.nodes[new] = self.kind(new, book.entries[0], Clock(self.clock.now_ms))
                self.errors_ms[new] = 0
        self.met["change logged"] += book.last.accepted

    def fork(self) -> None:
        if len(self.books) >= BOOKS_MAX:
            self.books.pop(self.source.randrange(len(self.books)))
            self.current = self.source.choice(self.books)
        old = self.current
        branch = old.fork(self.source.randint(max(2, len(old.entries) - 6), len(old.entries)))
        branch.now_ms = self.source.choice([branch.state.time_ms, old.now_ms])
        self.books.append(branch)
        self.current = self.source.choice(self.books)

    def two_branches(self) -> None:
        """What the bound is about: each of two branches shown to as few honest cosigners as it takes."""
        first, second = self.current, self.current.fork()
        honest = self.followers()
        few = max(self.world.w - len(self.corrupt), 1)
        self.books = [first, second, *self.books[1 : BOOKS_MAX - 1]]
        self.current = first
        self.pay(honest[:few])
        again = honest[few - 1 : 0 : -1]  # who asks for no proof leaves, and is shown the other, too
        for name in again:
            attempt(partial(self.nodes[name].leave, self.statements))
        self.current = second
        second.idle()  # who left one branch cosigns only what is longer
        self.pay((honest[few:] + again)[:few])

    def from_the_past(self) -> None:
        """Let the clock go on and the log not: what is dated a day ago, and right after it what is not."""
        book = self.current
        self.clock.now_ms += DAY_MS
        self.set_clocks()
        if self.source.random() < 0.5:
            self.write_change()
        self.pay(self.followers())
        for one in self.signed():
            if one.job.job_id in book.state.jobs:
                book.sign(one.job.job_id)
        book.now_ms = max(self.clock.now_ms, book.state.time_ms)
        self.pay(self.followers())

    # What it asks of cosigners.

    def publish(self, shown: Sequence[str] = ()) -> None:
        """Show the branch it works on to ``shown``, or to a few or all."""
        book = self.book()
        note = note_of(book)
        names = list(shown or self.nodes)
        few = self.source.random() < self.temper / 2 and not shown
        for name in self.source.sample(names, self.source.randint(1, len(names)) if few else len(names)):
            if attempt(partial(self._append, self.nodes[name], book, note, told=bool(shown))):
                self.met["cosigned"] += 1
        for name in self.corrupt:
            self.lines.setdefault(note, {})[name] = cosign(name, note)

    def finish(self, shown: Sequence[str] = ()) -> None:
        """Ask ``shown``, or some, for partial signatures under a note; now and then without a quorum."""
        enough = self.source.choice([1, *[self.world.w] * 3])
        notes = [note for note, lines in self.lines.items() if len(lines) >= enough]
        if notes:
            note = note_of(self.current) if shown else self.source.choice(notes[-2:] * 3 + notes)
            full = cosigned(note, *self.lines.get(note, {}).values())
            share = 1 if shown else self.source.choice([0.3, 0.8, 1])
            for name in shown or self.nodes:
                if self.source.random() < share:
                    attempt(partial(self.nodes[name].finish_all, full))

    def pay(self, shown: Sequence[str] = ()) -> None:
        """The greedy thing: ask, reserve, publish and finish in a row, with nothing wrong in it."""
        book, pair = self.book(), self.pair(shown)
        amount = 590 if shown else self.source.choice([590, 390])
        request = book.request(amount, fee_ceiling=10, idempotency_key=f"{self.source.random()}")
        if book.last.accepted:
            nonce = self.source.choice([len(book.state.anchors), 100 + self.batch])
            presignature = self.presignature(pair).hex()
            self.batch += 1
            book.reserve(request, nonce=nonce, signers=list(pair), presignatures=[presignature])
            self.met["reserved"] += book.last.accepted
        self.publish(shown)
        self.finish([name for name in pair if name in self.nodes] if shown else ())

    def split(self) -> None:
        """Show one node another branch than everybody else."""
        self.fork()
        lone, self.current = self.node(), self.books[-1]
        book = self.current
        if self.source.random() < 0.5:
            self.pay()
            return
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

    def repeat(self) -> None:
        """Say once more what was said before, to whomever it was."""
        if self.sent:
            name, start, entries, note = self.source.choice(self.sent)
            self.met["repeated"] += attempt(partial(self.nodes[name].append, start, entries, note))

    def move_a_clock(self) -> None:
        """A clock goes wrong, or right again."""
        wrong = WRONG_CLOCKS_MS if self.clocks_wrong else (0, CLOCK_ERROR_MS, -CLOCK_ERROR_MS)
        self.errors_ms[self.node().name] = self.source.choice(wrong)
        self.set_clocks()

    def set_clocks(self) -> None:
        for name, node in self.nodes.items():
            node.clock = Clock(self.clock.now_ms + self.errors_ms[name])

    def restart(self) -> None:
        self.node().restart()
        self.met["restarted"] += 1

    def deal(self) -> None:
        self.batch += 1
        for pair in self.pairs:
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
        """The branch it works on."""
        return self.current

    def pair(self, shown: Sequence[str] = ()) -> tuple[str, ...]:
        """Two nodes of ``shown`` or corrupt ones; mostly two that follow the branch it works on."""
        willing = [n for n in (*shown[:1], *self.corrupt, *shown[1:]) if n in self.world.nodes]
        if shown and len(willing) > 1:
            return tuple(sorted(willing[:2]))
        following = [pair for pair in self.pairs if all(map(self.follows, pair))]
        return self.source.choice(following * 4 + list(self.pairs))

    def followers(self) -> list[str]:
        """The honest cosigners that follow the branch it works on, in any order."""
        names = [name for name in self.nodes if self.follows(name)]
        return self.source.sample(names, len(names))

    def follows(self, name: str) -> bool:
        """Whether a cosigner can be shown the rest of the branch it works on."""
        node, entries = self.nodes.get(name), self.current.entries
        return node is None or node.entries == entries[: node.size]

    def node(self) -> SimNode:
        return self.nodes[self.source.choice(sorted(self.nodes))]

    def _abandon(self, node: SimNode, branch: Branch) -> None:
        self.statements.append(node.abandon(branch))

    def _append(self, node: SimNode, book: Book, note: bytes, *, told: bool = False) -> None:
        """Show it; the answer is ``told`` or, in a confused run, now and then lost."""
        if self.source.random() < 0.2:  # with what others have cosigned
            note = cosigned(note, *self.lines.get(note, {}).values())
        start, entries = node.size, book.entries[node.size :]
        self.sent = [*self.sent[-SENT_KEPT:], (node.name, start, entries, note)]
        line = node.append(start, entries, note)
        self._look(node)
        if not told and self.source.random() < self.temper / 4:
            self.met["answer lost"] += 1
        else:
            self.lines.setdefault(note_of(book), {})[node.name] = line

    def _look(self, node: SimNode) -> None:
        """Note since when honest cosigners have had each policy, and whether one took effect too early."""
        state = node.cosigner.state
        for digest in (*(change.document_hash for change in state.pending), state.policy_hash):
            self.known_ms.setdefault(digest, node.clock.now_ms)
        due_ms = self.known_ms[state.policy_hash] + DAY_MS
        self.early_ms = max(self.early_ms, due_ms - node.clock.now_ms)
        self.met["changed"] += state.policy.name != "first" or "witness-1" not in state.roster.cosigners
