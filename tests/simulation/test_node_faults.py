"""Each call of a node to its disk and its token fails once as "not done" and once as "done, not told",
and the node is killed at that point: nothing that left it is ever contradicted by what leaves it later.
"""

from collections import Counter
from pathlib import Path

import pytest

from policy.encoding import canonical
from policy.errors import QuorumkeepError
from policy.log.merkle import leaf_hash
from signer_nodes.api import node_pb2 as pb
from signer_nodes.node_log import CONTRADICTION, NodeLog
from signer_nodes.runtime import NodeRuntime
from signer_nodes.witness import Branch, Cosigner
from tests.simulation.cluster import cosign, cosigned, note_of
from tests.simulation.node_faults import (
    CALLER,
    OTHERS,
    WORLD,
    Fault,
    Faults,
    Machine,
    Way,
    boot_of,
    dealt,
    kinds,
    statement_bytes,
)
from tests.simulation.world import ORIGIN, PAIR, Book, state_as

WRITES = ("add_", "append", "clear_", "keep_", "put_", "resume_", "set_", "sign_", "truncate", "write_")


class Script:
    """A node's life: payments, a retry, burns, a branch it leaves and one it renounces, evidence."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.book, self.nonce = machine, machine.book, 0

    async def play(self) -> None:
        """All of it."""
        await self.machine.send(self.book)
        await self.meet_a_peer()
        await self.pay()
        await self.burn_then_ask()
        await self.retry()
        await self.leave_a_branch()
        self.machine.down()
        await self.pay()
        await self.contradict()

    async def meet_a_peer(self) -> None:
        """A peer that shows two boots."""
        for counter in (1, 2):

            async def greet(runtime: NodeRuntime, counter: int = counter) -> bool:
                runtime.peer_booted("node-2", boot_of("node-2", counter))
                return True

            await self.machine.surely(greet)

    async def reserve(self, book: Book, *, request: bytes = b"") -> tuple[bytes, int]:
        """A reservation with a fresh presignature; the job and the presignature's number."""
        await self.machine.up()
        number = self.machine.pair()
        if not request:
            request, self.nonce = book.request(10), self.nonce + 1
        presignature = dealt(number)[PAIR[0]].presign_id.hex()
        return book.reserve(request, nonce=self.nonce - 1, presignatures=[presignature]), number

    async def pay(self) -> None:
        """Both rounds, the second one twice; a job whose presignature a crash took is retried."""
        job, number = await self.reserve(self.book)
        while True:
            note = await self.machine.send(self.book)
            await self.machine.quorum(note)
            partial = await self.machine.finish(note, job, number=number)
            if partial is not None:
                break
            job, number = await self.reserve(self.book, request=self.book.state.jobs[job].request_id)
        assert await self.machine.finish(note, job, number=number) == partial
        assert await self.machine.burn(job) is None
        self.book.sign(job)
        await self.machine.send(self.book)

    async def burn_then_ask(self) -> None:
        """A job that is burned is not signed, though a quorum has cosigned it."""
        job, number = await self.reserve(self.book)
        note = await self.machine.send(self.book)
        assert await self.machine.burn(job) == await self.machine.burn(job) is not None
        assert await self.machine.finish(note, job, number=number) is None

    async def retry(self) -> None:
        """A job that a later one replaces gets no partial, and may be burned."""
        first, number = await self.reserve(self.book)
        second, _ = await self.reserve(self.book, request=self.book.state.jobs[first].request_id)
        note = await self.machine.send(self.book)
        assert await self.machine.finish(note, first, number=number) is None
        assert await self.machine.burn(first) is not None
        assert self.book.state.jobs[second].request_id == self.book.state.jobs[first].request_id

    async def leave_a_branch(self) -> None:
        """It goes on to a branch below quorum, renounces another, leaves its own, and follows the log."""
        await self.machine.quorum(await self.machine.send(self.book))
        size, root = self.book.frontier.size, self.book.frontier.root()
        mine, other = self.book.fork(), self.book.fork()
        job, number = await self.reserve(mine)
        await self.machine.send(mine)
        other.request(7)
        await self._renounce(Branch(size, root, leaf_hash(other.entries[size])))
        branch = Branch(size, root, leaf_hash(mine.entries[size]))
        await self._leave(branch)
        assert await self.machine.burn(job) is not None
        while self.book.frontier.size <= mine.frontier.size:
            self.book.request(8)
        note = await self.machine.send(self.book)
        assert await self.machine.finish(note, job, number=number) is None

    async def _renounce(self, branch: Branch) -> None:
        call = pb.Abandon(body=canonical_body(branch, PAIR[0]))
        await self.machine.surely(lambda runtime: runtime.abandon(CALLER, call))
        head = self.machine.token.head
        assert head.renounced > 0

    async def _leave(self, branch: Branch) -> None:
        statements = statements_of(branch)

        async def leave(runtime: NodeRuntime) -> bool:
            head = await runtime.head(CALLER, pb.HeadQuery())
            if head.size > branch.q_size:  # else a crash came after it had left
                await runtime.leave(CALLER, pb.Leave(statements=statements))
            return True

        await self.machine.surely(leave)

    async def contradict(self) -> None:
        """A quorum for another log freezes it, for good."""
        other = Book(WORLD)
        while other.frontier.size < self.book.frontier.size:
            other.request(9)
        await self.machine.quorum(await self.machine.send(self.book))
        note = note_of(other)
        contradiction = cosigned(note, *(cosign(name, note) for name in OTHERS))
        self.machine.seen.refusals.clear()
        for _ in range(3):
            await self.machine.ask(lambda runtime: runtime.quorum(CALLER, pb.Quorum(note=contradiction)))
        assert self.machine.seen.refusals == {"frozen"}
        assert await self.machine.burn(bytes(32)) is None


def statements_of(branch: Branch) -> list[bytes]:
    """The other cosigners' word that they are not on a branch."""
    bodies = [(branch.body(ORIGIN, name), name) for name in OTHERS]
    return [statement_bytes((body, state_as("abandon", body, name))) for body, name in bodies]


def canonical_body(branch: Branch, name: str) -> bytes:
    return canonical(branch.body(ORIGIN, name))


async def played(folder: Path, fault: Fault | None, *, log_type: type[NodeLog] = NodeLog) -> Faults:
    """Play the script with one fault, and check what left the node."""
    machine = Machine(folder, Book(WORLD), log_type=log_type)
    machine.faults.fault = fault
    try:
        await Script(machine).play()
        await machine.up()
        check(machine)
    finally:
        machine.down()
    return machine.faults


def check(machine: Machine) -> None:
    """No two heads of one size, no partial beside a burn, one partial a job, all covered by the token."""
    roots: dict[int, bytes] = {}
    for size, root, head in machine.token.cosigned():
        assert roots.setdefault(size, root) == root, f"two heads of size {size}"
        assert (head.size, head.root) == (size, root), f"head {size} was cosigned before the token knew it"
    assert all(len(partials) == 1 for partials in machine.seen.partials.values())
    assert not machine.seen.burns & machine.seen.partials.keys()
    assert len(machine.seen.partials) == 2
    assert machine.store is not None
    machine.store.check()


@pytest.fixture(scope="module")
async def calls(tmp_path_factory: pytest.TempPathFactory) -> Counter[str]:
    """How often each call is made when nothing goes wrong."""
    return (await played(tmp_path_factory.mktemp("clean") / "node", None)).calls


def is_write(kind: str) -> bool:
    return kind.partition(".")[2].startswith(WRITES)


async def failures(faults: list[Fault], folder: Path) -> list[str]:
    """What went wrong with which of these faults."""
    found = []
    for fault in faults:
        try:
            seen = await played(folder / f"{fault.number}-{fault.way.value}", fault)
            assert seen.happened
        except (AssertionError, QuorumkeepError) as error:
            found.append(f"{fault}: {error!r}")
    return found


async def test_the_script_makes_every_call_of_the_ports(calls: Counter[str]) -> None:
    assert [kind for kind in kinds() if not calls[kind]] == []


def some(kind: str, calls: Counter[str], *, at_most: int) -> list[Fault]:
    """Faults of a kind, at evenly spread calls: the first and the last are among them."""
    count = calls[kind]
    numbers = {1 + round(i * (count - 1) / max(at_most - 1, 1)) for i in range(at_most)}
    ways = Way if is_write(kind) else (Way.NOT_DONE, Way.KILLED_BEFORE)
    return [Fault(kind, number, way) for number in sorted(numbers) for way in ways]


@pytest.mark.parametrize("kind", kinds())
async def test_what_left_the_node_is_never_contradicted(
    kind: str, calls: Counter[str], tmp_path: Path
) -> None:
    faults = some(kind, calls, at_most=4 if is_write(kind) else 2)

    assert await failures(faults, tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(900)  # nearly two hundred lives for the call made most often; a busy machine is slower
@pytest.mark.parametrize("kind", kinds())
async def test_what_left_the_node_is_never_contradicted_whichever_call_fails(
    kind: str, calls: Counter[str], tmp_path: Path
) -> None:
    faults = some(kind, calls, at_most=calls[kind])

    assert await failures(faults, tmp_path) == []


async def test_what_is_killed_once_it_has_answered_has_the_mark_of_its_answer_on_the_disk(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path, Book(WORLD))
    script = Script(machine)
    job, number = await script.reserve(machine.book)
    note = await machine.send(machine.book)
    await machine.quorum(note)
    machine.faults.fault = Fault("Hsm.tidy", machine.faults.calls["Hsm.tidy"] + 1, Way.KILLED_BEFORE)

    partial = await machine.finish(note, job, number=number)

    assert partial is not None
    assert machine.runtime is None
    assert await machine.burn(job) is None
    machine.down()


class Forgetful(NodeLog):
    """A log that signs without telling its token."""

    def _bind(self, cosigner: Cosigner) -> None:
        if cosigner.size < 4:
            super()._bind(cosigner)


async def test_a_node_that_does_not_tell_its_token_is_seen(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        await played(tmp_path / "node", None, log_type=Forgetful)


async def test_a_frozen_node_cosigns_nothing_when_it_starts(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Book(WORLD))
    await machine.send(machine.book)
    size = machine.book.frontier.size
    machine.book.request(7)
    call = pb.Append(start=size, entries=machine.book.entries[size:], checkpoint=note_of(machine.book))
    signing = "Hsm.sign_statement"
    machine.faults.fault = Fault(signing, machine.faults.calls[signing] + 1, Way.NOT_DONE)
    unsigned = await machine.ask(lambda runtime: runtime.append(CALLER, call))
    assert machine.store is not None
    machine.store.keep_evidence(CONTRADICTION, b"two logs")
    signed = len(machine.token.signed)
    machine.down()

    runtime = await machine.up()

    assert unsigned is None
    assert (await runtime.head(CALLER, pb.HeadQuery())).size == size + 1
    assert len(machine.token.signed) == signed
    machine.down()


async def test_a_checkpoint_that_does_not_fit_below_quorum_is_kept_and_freezes_nothing(
    tmp_path: Path,
) -> None:
    machine = Machine(tmp_path, Book(WORLD))
    await machine.send(machine.book)
    size = machine.book.frontier.size
    other = machine.book.fork()
    machine.book.request(7)
    other.request(8)
    misfit = pb.Append(start=size, entries=machine.book.entries[size:], checkpoint=note_of(other))

    refused = [await machine.ask(lambda runtime: runtime.append(CALLER, misfit)) for _ in range(2)]
    assert machine.store is not None
    kept = machine.store.evidence()
    await machine.send(machine.book)

    assert refused == [None, None]
    assert kept == [("misfit/root", misfit.checkpoint)]
    machine.down()


async def test_a_branch_it_could_not_write_down_is_not_in_the_token_either(tmp_path: Path) -> None:
    machine = Machine(tmp_path, Book(WORLD))
    await machine.quorum(await machine.send(machine.book))
    other = machine.book.fork()
    other.request(7)
    branch = Branch(machine.book.frontier.size, machine.book.frontier.root(), leaf_hash(other.entries[-1]))
    call = pb.Abandon(body=canonical_body(branch, PAIR[0]))
    machine.faults.fault = Fault("RuntimeStore.put_meta", 1, Way.NOT_DONE)
    refused = await machine.ask(lambda runtime: runtime.abandon(CALLER, call))
    machine.book.request(8)
    await machine.send(machine.book)
    machine.down()

    await machine.up()

    assert refused is None
    assert machine.token.head.renounced == 0
    machine.down()


@pytest.mark.parametrize("kind", ["RuntimeStore.put_meta", "Hsm.write_record", "RuntimeStore.truncate"])
@pytest.mark.parametrize("way", [Way.NOT_DONE, Way.DONE_NOT_TOLD], ids=lambda way: way.value)
async def test_a_branch_half_left_is_not_gone_on_with(kind: str, way: Way, tmp_path: Path) -> None:
    machine = Machine(tmp_path, Book(WORLD))
    script = Script(machine)
    await machine.quorum(await machine.send(machine.book))
    size, root = machine.book.frontier.size, machine.book.frontier.root()
    mine = machine.book.fork()
    await script.reserve(mine)
    await machine.send(mine)
    branch = Branch(size, root, leaf_hash(mine.entries[size]))
    machine.faults.fault = Fault(kind, machine.faults.calls[kind] + 1, way)
    left = await machine.ask(
        lambda runtime: runtime.leave(CALLER, pb.Leave(statements=statements_of(branch)))
    )
    signed = len(machine.token.signed)
    mine.request(8)
    call = pb.Append(start=mine.frontier.size - 1, entries=mine.entries[-1:], checkpoint=note_of(mine))
    gone_on = await machine.ask(lambda runtime: runtime.append(CALLER, call))
    machine.down()

    runtime = await machine.up()

    assert machine.faults.happened
    assert left is None
    assert gone_on is None
    assert len(machine.token.signed) == signed
    assert "leaving" in machine.seen.refusals
    assert (await runtime.head(CALLER, pb.HeadQuery())).size in (size, mine.frontier.size - 1)
    machine.down()
