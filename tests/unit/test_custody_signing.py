"""The coordinator's two rounds for a job of several signatures: every opening to every signer."""

import asyncio
from contextlib import suppress
from typing import Any, cast

import pytest

from custody.candidates import Folded
from custody.ports import Appended, Finished, FinishJob, Node, Opening, PartialSignature
from custody.signing import Signing, SigningFailed
from policy import signatures
from policy.state import Job
from tests.simulation.world import PAIR, World
from tests.unit.schnorr_house import SchnorrBook, both_rounds

WORLD = World()


class Signer:
    """A node that signs two inputs, or gives a partial signature of another one for the second."""

    def __init__(self, name: str, book: SchnorrBook, job: Job, *, cheats: bool = False) -> None:
        party = WORLD.nodes.index(name) + 1
        rounds = [both_rounds(job, index, book.state.keys) for index in range(len(job.signings))]
        self.openings = tuple(
            Opening(job.job_id, index, openings[party]) for index, (openings, _) in enumerate(rounds)
        )
        self.partials = [partials[party] for _, partials in rounds]
        if cheats:
            self.partials[1] = self.partials[0]
        self.asked: list[FinishJob] = []

    async def finish(self, note: bytes, jobs: tuple[FinishJob, ...]) -> Finished:
        self.asked += jobs
        given = [
            PartialSignature(job.job, index, partial)
            for job in jobs
            for index, partial in enumerate(self.partials)
        ]
        return Finished(tuple(reversed(given)), ())


class Cosigned:
    """A log whose every checkpoint has its cosignatures at once."""

    async def wait_binding(self, size: int, timeout_s: float) -> None:
        return


class House:
    """One Bitcoin job of two inputs that is reserved, and its signers."""

    def __init__(self, *, cheat: str = "") -> None:
        book = SchnorrBook(WORLD)
        reserved = book.bitcoin(book.ask("btc", 60_000))
        self.job = book.state.jobs[reserved]
        self.signers = {name: Signer(name, book, self.job, cheats=name == cheat) for name in PAIR}
        self.signing = Signing(cast("dict[str, Node]", self.signers), timeout_s=5)
        for presignature in self.job.presignatures:
            self.signing.promise(presignature, b"")
        self.signing.written(Folded(book.entries[-1], book.last, book.state))

    async def sign(self) -> tuple[bytes, ...]:
        """Both rounds, round 1 answered in two parts."""
        calls = asyncio.create_task(self.signing.run(lambda: b"note"))
        try:
            made = asyncio.create_task(self.signing.sign(self.job.job_id, cast("Any", Cosigned())))
            for index in (1, 0):
                for name, signer in self.signers.items():
                    self.signing.answered(name, Appended(b"", (signer.openings[index],), ()))
                    await asyncio.sleep(0)
            return await made
        finally:
            calls.cancel()
            with suppress(asyncio.CancelledError):
                await calls


async def test_every_signer_gets_every_opening_and_all_signatures_come_out() -> None:
    house = House()

    made = await house.sign()

    assert len(made) == 2
    for signature, signing in zip(made, house.job.signings, strict=True):
        assert signatures.verify(house.job.suite, signature, signing=signing)
    expected = {
        (opening.index, name, opening.rho)
        for name, signer in house.signers.items()
        for opening in signer.openings
    }
    for signer in house.signers.values():
        assert [set(job.rhos) for job in signer.asked] == [expected]


async def test_a_signer_of_a_bad_partial_signature_is_named() -> None:
    house = House(cheat="node-2")

    with pytest.raises(SigningFailed, match=r"^node-2: its partial signature does not fit") as caught:
        await house.sign()

    assert caught.value.silent == {"node-2"}


async def test_openings_of_others_and_of_no_signature_are_ignored() -> None:
    house = House()
    junk = tuple(Opening(house.job.job_id, index, b"x") for index in (0, 1, 2))

    house.signing.answered("node-3", Appended(b"", junk, ()))
    house.signing.answered("node-1", Appended(b"", junk[2:], ()))

    assert len(await house.sign()) == 2
