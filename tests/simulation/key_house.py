"""Whole nodes, witnesses and a coordinator around one key whose epochs change.

The coordinator does what ``custody/keys.py`` and the replication do, each step once; its book is its disk.
When it fails or is killed, the next one goes on from the book, and people ask again for what was not done.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, count
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import ecdsa as independent

from policy.ecdsa import Partial, SigningTask, combine
from policy.encoding import Json, parse_canonical
from policy.entries import signature_list
from policy.errors import OperationalError
from policy.log.checkpoint import parse_note
from policy.roster import parse_roster
from policy.state import Job, KeyRecord
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.errors import Refused
from tests.simulation.cluster import Clock, SimNode, cosigned, note_of
from tests.simulation.machines import Machines
from tests.simulation.memory_token import MemoryToken
from tests.simulation.node_faults import Fault, Faults, Killed, Way, broken
from tests.simulation.whole_nodes import OF_COORDINATOR, Answers, Node, WitnessLine
from tests.simulation.world import DAY_MS, KEY, Book, World

T = TypeVar("T")
TRIES_MAX: Final = 4
BATCH: Final = 4
COORDINATOR: Final = "coordinator"
TROUBLE: Final = (OperationalError, Refused, Killed)


@dataclass
class House:
    """``lost`` nodes never come up again."""

    world: World
    folder: Path
    machines: Machines
    book: Book
    nodes: dict[str, Node] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()
    faults: Faults = field(default_factory=Faults)  # of the coordinator
    forgetful: bool = False  # a coordinator that is killed loses its book
    pays: bool = True  # whenever somebody is down
    paid_meanwhile: int = 0
    attempts: Iterator[int] = field(default_factory=lambda: count(1))
    nonces: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.clock = Clock(self.book.now_ms)
        genesis = self.book.entries[0]
        self.witnesses = {name: SimNode(name, genesis, self.clock) for name in self.world.witnesses}
        roster = parse_roster(self.world.roster())
        for name in self.world.nodes:
            self.nodes[name] = Node(
                name,
                self.folder / name,
                genesis,
                roster,
                lambda: self.clock.now_ms,
                self.machines,
                MemoryToken(name),
            )
        everybody: dict[str, Answers] = {
            **self.nodes,
            **{name: WitnessLine(one) for name, one in self.witnesses.items()},
        }
        for name, node in self.nodes.items():
            node.network.update({peer: line for peer, line in everybody.items() if peer != name})

    @classmethod
    def founded(cls, world: World, folder: Path, machines: Machines, *, committee: Iterable[str]) -> "House":
        """With a log that names the committee of a key that is yet to be made."""
        book = Book(world, start=False)
        book.genesis(roster=world.roster(policy_delay_ms=0), policy=world.policy(keys=wanted(committee)))
        assert book.last.accepted, book.last
        return cls(world, folder, machines, book)

    def copy(self, folder: Path) -> "House":
        """The same at another place; nobody runs there."""
        shutil.copytree(self.folder, folder)
        other = House(self.world, folder, self.machines, self.book.fork(), lost=self.lost)
        other.clock.now_ms = self.clock.now_ms
        for name, witness in other.witnesses.items():
            mine = self.witnesses[name]
            witness.cosigner, witness.entries = mine.cosigner, list(mine.entries)
            witness.head, witness.quorum = mine.head, mine.quorum
        for name, node in other.nodes.items():
            node.token, node.boots = self.nodes[name].token.copy(), self.nodes[name].boots
        other.nonces = count(1000)
        other.attempts = count(100)
        return other

    @property
    def record(self) -> KeyRecord:
        """The key as the coordinator's book has it."""
        return self.book.state.keys[KEY]

    @property
    def running(self) -> list[Node]:
        """The nodes that can run."""
        return [node for name, node in self.nodes.items() if name not in self.lost]

    @property
    def alive(self) -> list[Node]:
        """The nodes that run."""
        return [node for node in self.running if node.listens]

    async def up(self) -> None:
        """Whoever is down and not lost comes back."""
        await asyncio.gather(*(node.up() for node in self.running))

    async def down(self) -> None:
        """Everything stops at once."""
        await asyncio.gather(*(node.down() for node in self.nodes.values()))

    def want(self, committee: Iterable[str], min_signers: int = 2) -> None:
        """A policy that names another committee comes into force."""
        keys = wanted(committee, min_signers)
        self.book.change("policy", self.world.policy(keys=keys))
        assert self.book.last.accepted, self.book.last
        self.book.advance(DAY_MS)
        self.clock.now_ms = self.book.now_ms
        self.book.idle()

    async def change(self, change: str, *parties: str, dealers: tuple[str, ...] = ()) -> None:
        """A change of the key, asked for until the log has it and everybody has forgotten what is over."""
        before = self.book.state.keys.get(KEY)
        for _ in range(TRIES_MAX):
            with suppress(*TROUBLE):
                if self.book.state.keys.get(KEY) == before:
                    await self._once(change, parties, dealers)
                await self._replicated()
                return
            if before is not None and self.pays:
                self.paid_meanwhile += await self.pay_meanwhile()
            await self._restarted()
        raise AssertionError(f"no {change} within {TRIES_MAX} tries: {self.trouble()}")

    async def replicate(self) -> bytes:
        """Bring everybody to the end of the log and tell them; the note with all cosignatures."""
        for _ in range(TRIES_MAX):
            with suppress(*TROUBLE):
                return await self._replicated()
            await self._restarted()
        raise AssertionError(f"the log is not cosigned within {TRIES_MAX} tries: {self.trouble()}")

    async def pay(self, *signers: str) -> None:
        """One whole payment by these signers; another library verifies the signature."""
        key = self.record
        presignature, point = await self.presign(*signers)
        job = self.reserve(presignature, *signers)
        replies = await self._append_all(self.alive)
        note = cosigned(note_of(self.book), *self._lines(replies))
        openings = {name: replies[name].openings for name in signers}
        assert all(openings.values()), {name: reply.declined for name, reply in replies.items()}
        rhos = {name: opened[0].rho for name, opened in openings.items()}
        call = pb.Finish(note=note, jobs=[_finish_job(job.job_id, rhos)])
        finished = await asyncio.gather(*(self.ask(name, "finish", call) for name in signers))
        partials = {
            key.index_of(name): Partial.from_bytes(reply.partials[0].partial)
            for name, reply in zip(signers, finished, strict=True)
        }
        signing = job.signings[0]
        task = SigningTask(signing.message, signing.tweak, signing.public_key, job.job_id, 0)
        by_index = {key.index_of(name): rho for name, rho in rhos.items()}
        signature = combine(partials, R=point, rhos=by_index, task=task)
        verifier = independent.VerifyingKey.from_string(signing.public_key, curve=independent.SECP256k1)
        assert verifier.verify_digest(signature.to_bytes(), signing.message)
        encoded = signature.to_bytes() + bytes([signature.recovery_id])
        self.book.write("signature", {"job": job.job_id.hex(), "index": 0, "signature": encoded.hex()})
        assert self.book.last.accepted, self.book.last

    async def pay_meanwhile(self) -> bool:
        """A payment by those who are up, if they are enough: whatever came of a change, one epoch works."""
        up = [node.name for node in self.alive]
        signers = [name for name in self.record.participants if name in up][: self.record.min_signers]
        if len(signers) < self.record.min_signers or len(up) + len(self.witnesses) < self.world.w:
            return False
        await self._append_all(self.alive)
        await self.pay(*signers)
        return True

    async def pay_by_all(self, *, together: int = 1) -> None:
        """Payments so that each participant that can run signs one; with 2, each two of them one together."""
        up = [name for name in self.record.participants if name not in self.lost]
        open_ = set(combinations(up, together))
        for signers in combinations(up, self.record.min_signers):
            if open_ & set(combinations(signers, together)):
                await self.pay(*signers)
                open_ -= set(combinations(signers, together))

    async def log_receipts(self) -> set[tuple[str, int, str]]:
        """Log what the nodes state to have destroyed; all receipts there are then."""
        for node in self.running:
            reply = await self.ask(node.name, "status", pb.Status())
            document = cast("dict[str, Any]", parse_canonical(reply.document, bytes_max=1 << 20))
            for shred in document["shreds"]:
                signatures = signature_list({node.name: bytes.fromhex(shred["signature"])})
                self.book.write("shred", shred["body"], signatures=signatures)
                assert self.book.last.accepted, self.book.last
        return set(self.book.state.shreds)

    def trouble(self) -> dict[str, list[str]]:
        """What the nodes had to complain of."""
        return {name: node.trouble[-3:] for name, node in self.nodes.items()}

    def faulty(self, faults: Mapping[str, Fault]) -> None:
        """From now on count calls, and have these go wrong: of nodes by their name, or of the coordinator."""
        self.faults = Faults(faults.get(COORDINATOR))
        for name, node in self.nodes.items():
            node.faults = Faults(faults.get(name))

    def reserve(self, presignature: bytes, *signers: str) -> Job:
        """Log a request and a reservation for it."""
        job_id = self.book.reserve(
            self.book.request(1),
            nonce=next(self.nonces),
            fee=1,
            epoch=self.record.epoch,
            signers=[*signers],
            presignatures=[presignature.hex()],
        )
        assert self.book.last.accepted, self.book.last
        return self.book.state.jobs[job_id]

    async def agree(self, change: str, *parties: str, dealers: tuple[str, ...] = ()) -> tuple[Json, Json]:
        """One run of all parties: the entry's body and their signatures."""
        call = pb.ChangeKey(key_id=KEY, attempt=next(self.attempts), change=change, dealers=dealers)
        nodes = [self.nodes[name] for name in parties]
        answers = await self._all("change_key", nodes, lambda name: self.ask(name, "change_key", call))
        bodies = {answer.body for answer in answers.values()}
        assert len(bodies) == 1
        body = parse_canonical(bodies.pop(), bytes_max=65536)
        return body, signature_list({name: answer.signature for name, answer in answers.items()})

    async def _once(self, change: str, parties: tuple[str, ...], dealers: tuple[str, ...]) -> None:
        if change == "reshare":
            await self._replicated()  # a dealer waits for a quorum over what it follows
        body, signatures = await self.agree(change, *parties, dealers=dealers)

        async def log() -> None:
            self.book.write("key", body, signatures=signatures)
            assert self.book.last.accepted, self.book.last

        await self._call("log", log)

    async def _replicated(self) -> bytes:
        replies = await self._append_all(self.running)
        note = cosigned(note_of(self.book), *self._lines(replies))
        for witness in self.witnesses.values():
            witness.learn(note)
        await self._all("quorum", self.running, lambda name: self.ask(name, "quorum", pb.Quorum(note=note)))
        return note

    async def _append_all(self, nodes: Iterable[Node]) -> dict[str, pb.AppendReply]:
        return await self._all("append", nodes, self.append)

    async def append(self, name: str, book: Book | None = None) -> pb.AppendReply:
        """Bring one node to the end of the book, or of another one."""
        book = book or self.book
        size = (await self.ask(name, "head", pb.HeadQuery())).size
        call = pb.Append(start=size, entries=book.entries[size:], checkpoint=note_of(book))
        return cast("pb.AppendReply", await self.ask(name, "append", call))

    def _lines(self, replies: dict[str, pb.AppendReply]) -> list[Any]:
        note = note_of(self.book)
        body = parse_note(note, 65536).body
        lines = [
            parse_note(body + b"\n" + reply.cosignature, 65536).signatures[0] for reply in replies.values()
        ]
        entries = self.book.entries
        return lines + [one.append(one.size, entries[one.size :], note) for one in self.witnesses.values()]

    async def presign(self, *signers: str) -> tuple[bytes, bytes]:
        """A batch of presignatures by these signers; the first one's id and nonce point."""
        number, epoch = next(self.attempts), self.record.epoch
        call = pb.Presign(key_id=KEY, signers=signers, batch_id=number, batch=BATCH, epoch=epoch)
        made = await asyncio.gather(*(self.ask(name, "presign", call) for name in signers))
        assert all(reply == made[0] for reply in made)
        return made[0].presignatures[0], made[0].nonce_points[0]

    async def ask(self, name: str, method: str, call: Any) -> Any:
        return await self.nodes[name].ask(method, OF_COORDINATOR, call=call)

    async def _all(
        self, kind: str, nodes: Iterable[Node], call: Callable[[str], Awaitable[T]]
    ) -> dict[str, T]:
        """The coordinator asks all at once; the first failure is the end of it, and the others go on."""
        names = [node.name for node in nodes]
        answers = await asyncio.gather(*(self._call(kind, partial(call, name)) for name in names))
        return dict(zip(names, answers, strict=True))

    async def _call(self, kind: str, call: Callable[[], Awaitable[T]]) -> T:
        """A call of the coordinator, which may go wrong on purpose."""
        way = self.faults.way(f"Coordinator.{kind}")
        if way in (Way.NOT_DONE, Way.KILLED_BEFORE):
            raise broken(kind, way)
        answer = await call()
        if way is not None:
            raise broken(kind, way)
        return answer

    async def _restarted(self) -> None:
        """The machines' supervisors, and the coordinator that starts: it asks who has the longest log."""
        await self.up()
        if self.forgetful and self.faults.happened:
            logs = [node.store.entries(0, node.store.size()) for node in self.running]
            book = Book(self.world, start=False)
            logs += [witness.entries for witness in self.witnesses.values()]
            for entry in max(logs, key=len):
                book.append(entry)
            book.now_ms, self.book = self.book.now_ms, book


def wanted(committee: Iterable[str], min_signers: int = 2) -> dict[str, Any]:
    """What a policy says of the key."""
    return {KEY: {"suite": "dkls23-secp256k1", "min_signers": min_signers, "participants": [*committee]}}


def _finish_job(job: bytes, rhos: dict[str, bytes]) -> pb.FinishJob:
    opened = [pb.Opened(index=0, signer=name, rho=rho) for name, rho in rhos.items()]
    return pb.FinishJob(job=job, opened=opened)
