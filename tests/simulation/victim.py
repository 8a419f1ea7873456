"""One real node under attack in its key sessions: real store, token and worker processes.

Its peers node-2 and node-3 live in the test: they take part in generating the key, so that they know their
own OT state toward the victim, and afterwards do what a test wants. ``Wire`` is what the victim sees of
them: it hands over what the victim sends and notes when it left.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from policy.errors import FaultyParticipant, OperationalError
from policy.state import State
from policy.suites import DKLS23_SECP256K1
from signer_nodes.adapters.store import NodeStore
from signer_nodes.hsm.context import SealContext
from signer_nodes.hsm.envelope import open_blob
from signer_nodes.key_changes import Order
from signer_nodes.key_sessions import KeySessions
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult
from signer_nodes.mpc.keygen import start_keygen
from signer_nodes.mpc.keyshare import KeyShare, PairState
from signer_nodes.mpc.ot.extension import Direction
from signer_nodes.mpc.presign import PresignParameters, presign_session, start_presign
from signer_nodes.mpc.rounds import Progress, Rounds
from signer_nodes.ports import Peers, SealingHsm, WorkerRun, Workers
from signer_nodes.presignatures import PresignaturePool
from signer_nodes.worker_wire import Job, PresignJob, PresignOutcome
from tests.protocols.selective import guessing_round_1
from tests.simulation.world import KEY, Book, World, seed

VICTIM, ATTACKER, BYSTANDER = NAMES = ("node-1", "node-2", "node-3")
BATCH = 4
Heard = Callable[[bytes, bytes], None]  # (session, payload) that the victim sent


@dataclass
class Wire:
    """The victim's peers, as a port. ``sent``: (session, round) of what left for the attacker, in order."""

    names: tuple[str, ...] = (ATTACKER, BYSTANDER)
    sent: list[tuple[bytes, int]] = field(default_factory=list)
    hear: dict[str, Heard] = field(default_factory=dict)
    stalled: bool = False

    async def boot_id(self, peer: str) -> bytes:
        return seed(f"boot of {peer}")

    async def send_protocol(self, peer: str, session: bytes, *, payload: bytes) -> None:
        if peer == ATTACKER:
            self.sent.append((session, payload[0]))
        self.hear[peer](session, payload)
        if self.stalled and peer == ATTACKER:
            await asyncio.Event().wait()  # it never says that it has taken the message


class Victim:
    """The node. ``up`` again after ``down`` is a restart: the same disk, token and log."""

    def __init__(self, folder: Path, hsm: SealingHsm, workers: Workers) -> None:
        self.path, self.hsm, self.workers = folder / "node.db", hsm, workers
        self.book, self.wire = Book(World(), start=False), Wire()
        self.book.genesis()
        self.boots = 0
        self.shares: dict[str, KeyShare] = {}
        self.pairs: dict[str, Mapping[int, PairState]] = {}
        self.up()

    def up(self) -> None:
        """Start it."""
        self.boots += 1
        self.store = NodeStore(self.path)
        self.pool = PresignaturePool()
        self.sessions = self.with_parts(self.store, self.workers)

    def down(self) -> None:
        """Stop it."""
        self.store.close()

    def with_parts(self, store: Any, workers: Workers) -> KeySessions:
        """Its key sessions, over a disk that fails or workers that a test scripts."""

        def state() -> State:
            return self.book.state

        return KeySessions(
            name=VICTIM,
            boot_id=seed(f"boot {self.boots}"),
            state=state,
            hsm=self.hsm,
            store=store,
            peers=cast("Peers", self.wire),
            workers=workers,
            pool=self.pool,
            quorum_size=lambda: self.book.state.size,
        )

    async def generate(self, attempt: int) -> None:
        """Take part in generating the key."""
        await self.sessions.change_key(Order(KEY, "generate", attempt))

    async def make_key(self) -> None:
        """Generate the key with both peers, and log it."""
        machines = {name: _Machine(self, name) for name in (ATTACKER, BYSTANDER)}
        for name, machine in machines.items():
            machine.others = machines
            self.wire.hear[name] = machine.hear
        await self.generate(1)
        for name, machine in machines.items():
            assert isinstance(machine.result, KeygenResult)
            share = self.shares[name] = machine.result.share
            transcript = machine.result.transcript
            self.pairs[name] = {pair.peer: pair for pair in machine.result.pairs}
        self.book.key(
            group_key=share.group_key.hex(),
            chain_code=share.chain_code.hex(),
            public_shares=[point.hex() for point in share.public_shares],
            transcript=transcript.hex(),
        )
        assert self.book.last.accepted, self.book.last
        self.wire.sent.clear()

    def session(self, batch_id: int, peer: str = ATTACKER) -> bytes:
        """The id of the session that the victim runs with a peer under this batch id."""
        boots = {VICTIM: seed(f"boot {self.boots}"), peer: seed(f"boot of {peer}")}
        return presign_session(
            version=1, key_id=KEY, epoch=0, signers=(VICTIM, peer), batch_id=batch_id, boot_ids=boots
        )

    async def presign(self, batch_id: int, peer: str = ATTACKER) -> tuple[tuple[bytes, bytes], ...]:
        """The coordinator's order for one batch with one peer."""
        return await self.sessions.presign(KEY, (VICTIM, peer), epoch=0, batch_id=batch_id, batch=BATCH)

    def guess(self, guesses: Mapping[bytes, Mapping[int, int]], *, repeated: int = 1) -> None:
        """The attacker answers round 1 of each of these sessions with a guess of bits of Δ."""
        state = self.pairs[ATTACKER][1]

        def hear(session: bytes, payload: bytes) -> None:
            if payload[0] == 1 and session in guesses:
                direction = Direction(session, 1, 2, BATCH)
                answer = guessing_round_1(direction, state, guesses=guesses[session])
                for _ in range(repeated):
                    self.deliver(ATTACKER, session, answer)

        self.wire.hear[ATTACKER] = hear

    def honest(self, peer: str, batch_id: int) -> None:
        """The peer runs one session with the victim as the protocol says."""
        index = NAMES.index(peer) + 1
        run = start_presign(
            PresignParameters(self.session(batch_id, peer), BATCH),
            self.shares[peer],
            pairs=self.pairs[peer],
            signers=(1, index),
            randomness=seed(f"{peer} {batch_id}"),
        )
        waiting = [run.start()]

        def hear(session: bytes, payload: bytes) -> None:
            for progress in (*waiting, run.receive(1, payload)):
                for _, answer in progress.outgoing:
                    self.deliver(peer, session, answer)
            waiting.clear()

        self.wire.hear[peer] = hear

    def deliver(self, sender: str, session: bytes, payload: bytes) -> None:
        """Bring a message to the victim, when it has time."""
        task = asyncio.get_running_loop().create_task(self.sessions.deliver(sender, session, payload=payload))
        _TASKS.add(task)
        task.add_done_callback(_TASKS.discard)

    def true_pair(self) -> PairState:
        """The victim's state toward the attacker, which the attacker does not have."""
        key = self.book.state.keys[KEY]
        context = SealContext(DKLS23_SECP256K1, KEY, key.group_key, VICTIM, 2, 3, 0)
        sealed = self.store.get_sealed(self.blob_name())
        assert sealed is not None
        file_key = self.hsm.unseal_file_key(context, sealed.wrapped_key)
        return PairState.from_bytes(open_blob(file_key, sealed.blob, context=context))

    def blob_name(self, peer: int = 2) -> str:
        """Where its state toward a peer is stored."""
        return f"{KEY}/0/{self.book.state.keys[KEY].transcript.hex()}/pair-{peer}"


class ScriptedRun:
    """A worker's run of which a test decides what it says and when."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self._said: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue()
        self._end: asyncio.Future[PresignOutcome] = asyncio.get_running_loop().create_future()
        self._told: Callable[[FaultyParticipant], None] | None = None
        self._ending = False

    def say(self, payload: bytes) -> None:
        """Send something to the attacker."""
        self._said.put_nowait((2, payload))

    def fault(self, error: FaultyParticipant) -> None:
        """End by a fault: whoever asked is told before the run ends."""
        assert self._told is not None
        self._ending = True
        self._told(error)
        self._end.set_exception(error)

    def on_fault(self, call: Callable[[FaultyParticipant], None]) -> None:
        self._told = call

    async def outgoing(self) -> AsyncIterator[tuple[int, bytes]]:
        self.started.set()
        while (message := await self._said.get()) is not None:
            yield message

    async def deliver(self, sender: int, payload: bytes) -> None:
        return

    async def result(self) -> PresignOutcome:
        return await asyncio.shield(self._end)

    def cancel(self) -> None:
        self._said.put_nowait(None)
        if not self._ending:
            self._ending = True
            self._end.set_exception(OperationalError("the worker ended without a result"))


class ScriptedWorkers:
    """Gives out scripted runs in order."""

    def __init__(self, *runs: ScriptedRun) -> None:
        self._runs = list(runs)

    async def start(self, job: Job, *, randomness: bytes, timeout_s: float) -> WorkerRun:
        if not isinstance(job, PresignJob):
            raise NotImplementedError
        return self._runs.pop(0)


_TASKS: set["asyncio.Task[None]"] = set()


class _Machine:
    """One peer in key generation."""

    def __init__(self, victim: Victim, name: str) -> None:
        self.victim, self.name = victim, name
        self.index = NAMES.index(name) + 1
        self.others: Mapping[str, _Machine] = {}
        self.run: Rounds | None = None
        self.result: object | None = None

    def hear(self, session: bytes, payload: bytes) -> None:
        """What the victim sends it."""
        self.receive(1, session, payload)

    def receive(self, sender: int, session: bytes, payload: bytes) -> None:
        """Take a message; the first one of a session starts the run."""
        if self.run is None:
            parameters = KeygenParameters(session, DKLS23_SECP256K1, KEY, 2, NAMES, self.index)
            self.run = start_keygen(parameters, seed(f"keygen {self.name}"))
            self.send(session, self.run.start())
        self.send(session, self.run.receive(sender, payload))

    def send(self, session: bytes, progress: Progress) -> None:
        """Bring its messages about."""
        self.result = self.result or progress.result
        for to, payload in progress.outgoing:
            if to == 1:
                self.victim.deliver(self.name, session, payload)
            else:
                self.others[NAMES[to - 1]].receive(self.index, session, payload)
