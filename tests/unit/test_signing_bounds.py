"""What one job costs another of its call: nothing, by its openings or by a presignature that is gone."""

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace as Simple
from typing import Any, cast

import pytest

from policy.entries import JOB_SIGNATURES_MAX
from policy.suites import FROST_ED25519
from signer_nodes.adapters.store import NodeStore
from signer_nodes.ports import Mark
from signer_nodes.presignatures import Held, PresignaturePool
from signer_nodes.schnorr_wire import ITEMS_MAX
from signer_nodes.signing import GONE, Signer
from signer_nodes.witness import Refusal
from tests.simulation.node_faults import WORLD, dealt
from tests.simulation.world import KEY, PAIR, Book, World
from tests.unit.test_gate import presignature

ME, PEER = PAIR


class Log:
    """The log of a node that has folded ``book``."""

    def __init__(self, book: Book) -> None:
        self.cosigner = book
        self.frozen, self.late = False, dict[bytes, int]()

    def bind_token(self) -> None: ...


class Store:
    def marks_for(self, _job: bytes) -> tuple[Any, ...]:
        return ()


@pytest.mark.parametrize("length", [0, 31, 33, 1 << 20])
def test_an_opening_of_another_length_uses_no_presignature_up(length: int) -> None:
    book, pool = Book(World()), PresignaturePool()
    pool.add([Held(presignature(), KEY, 0, PAIR)])
    identifier = presignature().presign_id
    job = book.reserve(book.request(1), nonce=0, presignatures=[identifier.hex()])
    pool.bind(identifier, job, index=0)
    nobody = cast("Any", None)
    signer = Signer(ME, cast("Any", Log(book)), nobody, cast("Any", Store()), pool, nobody)
    openings = {0: {ME: presignature().rho, PEER: bytes(length)}}

    with pytest.raises(Refusal, match=f"{PEER}'s has {length} bytes"):
        signer._take(book.state.jobs[job], openings)

    assert pool.bound_to(identifier, job, index=0)


class Restarted(PresignaturePool):
    """While a thread takes from it, the event loop drops what was made with a peer that was started anew."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: bytes = b""

    def take(self, identifier: bytes, job: bytes, *, index: int) -> Held | None:
        self.drop([self.gone])
        return super().take(identifier, job, index=index)


def test_a_presignature_that_goes_while_it_is_taken_costs_its_own_job_alone(tmp_path: Path) -> None:
    book, pool, halves = Book(WORLD), Restarted(), [dealt(1), dealt(2)]
    pool.add(Held(half[ME], KEY, 0, PAIR) for half in halves)
    named = [half[ME].presign_id for half in halves]
    jobs = [
        book.reserve(book.request(number + 1), nonce=number, presignatures=[identifier.hex()])
        for number, identifier in enumerate(named)
    ]
    openings = [{0: {name: half[name].rho for name in PAIR}} for half in halves]
    nobody = cast("Any", None)
    with closing(NodeStore(tmp_path / "node.db")) as store:
        for job, identifier in zip(jobs, named, strict=True):
            pool.bind(identifier, job, index=0)
            store.add_marks([Mark("bound", job, 0)])
        signer = Signer(ME, cast("Any", Log(book)), nobody, store, pool, nobody)
        pool.gone = named[0]
        partials, declined = signer.finish(
            dict(zip(jobs, openings, strict=True)), quorum_size=book.state.size, now_ms=book.now_ms
        )

        assert [(one.job_id, one.reason) for one in declined] == [
            (jobs[0], str(Refusal("presignature", GONE)))
        ]
        assert [one.job_id for one in partials] == [jobs[1]]
        assert [mark.kind for mark in store.marks_for(jobs[0])] == ["bound"]


class ReadyJob:
    """A job whose signatures a worker computes, as far as dealing it out goes."""

    def __init__(self, number: int, count: int) -> None:
        self.job = Simple(job_id=number.to_bytes(32, "big"))
        self.key = Simple(key=KEY, suite=FROST_ED25519)
        self.held = (None,) * count

    def schnorr_items(self) -> list[bytes]:
        return [bytes([index]) for index in range(len(self.held))]


def test_a_worker_is_given_no_more_than_its_job_takes_and_every_job_is_answered() -> None:
    asked: list[int] = []

    def schnorr(key: Any, items: Any) -> list[bytes]:
        asked.append(len(items))
        return [bytes(items[index]) for index in range(len(items))]

    nobody = cast("Any", None)
    signer = Signer(ME, nobody, nobody, nobody, PresignaturePool(), cast("Any", schnorr))
    jobs = [ReadyJob(number, JOB_SIGNATURES_MAX) for number in range(70)]
    found = signer._compute(cast("Any", jobs))

    assert asked == [ITEMS_MAX, ITEMS_MAX, 70 * JOB_SIGNATURES_MAX - 2 * ITEMS_MAX]
    for job, marks in zip(jobs, found, strict=True):
        assert isinstance(marks, list)
        assert {mark.job for mark in marks} == {job.job.job_id}
        assert [mark.data for mark in marks] == job.schnorr_items()
