"""What is asked and tried again for ever, is so ever more seldom."""

import asyncio
from types import SimpleNamespace as Simple
from typing import Any, cast

import pytest

from custody.burns import Burns
from custody.candidates import Candidate
from custody.duties import Errand, NotYet
from custody.parts import Parts
from custody.payments import DENIED_MS, DENIED_MS_MAX, not_reserved
from custody.records import Duty
from custody.requests import Effect
from policy.admission import denied
from policy.errors import OperationalError, ProtocolError
from policy.state import JobStatus, Outcome

HOUR_MS = 3_600_000


class Signer:
    """Does not burn, by its own word or because it cannot be reached."""

    def __init__(self, error: Exception) -> None:
        self.asked = 0
        self._error = error

    async def burn(self, job: bytes) -> bytes:
        self.asked += 1
        raise self._error


class Clock:
    """Two seconds more at each look; ``over`` after an hour."""

    def __init__(self) -> None:
        self.now_ms, self.over = 0, asyncio.Event()

    def look(self) -> int:
        self.now_ms += 2_000
        if self.now_ms >= HOUR_MS:
            self.over.set()
        return self.now_ms


def parts_with(signer: object, clock: Clock) -> Parts:
    job = Simple(job_id=b"j", request_id=b"r", purpose="payment", signers=("one",), status=JobStatus.RESERVED)
    request = Simple(request=Simple(expires_ms=0), jobs=(b"j",), closed=False)
    state = Simple(origin="o", jobs={b"j": job}, requests={b"r": request}, reserved={b"j": b"r"})
    made = Simple(sequencer=Simple(state=state), nodes={"one": signer}, now_ms=clock.look)
    return cast("Parts", made)


@pytest.mark.parametrize(
    ("error", "least", "most"),
    [(ProtocolError("a partial signature is out"), 55, 66), (OperationalError("it is down"), 1790, 1810)],
)
async def test_in_an_hour_a_signer_that_refuses_to_burn_is_asked_seldom_and_one_that_is_down_often(
    error: Exception, least: int, most: int
) -> None:
    clock, signer = Clock(), Signer(error)
    parts, burns = parts_with(signer, clock), Burns(sweep_s=0)
    burns.load(parts.sequencer.state)
    sweeping = asyncio.create_task(burns.run(parts))
    await clock.over.wait()
    sweeping.cancel()

    assert least <= signer.asked <= most


class Stating:
    """A signer that burns, each time it is asked, and a log that takes none of it."""

    def __init__(self) -> None:
        self.asked = self.logged = 0

    async def burn(self, job: bytes) -> bytes:
        self.asked += 1
        return bytes(64)

    async def log(self, candidate: Candidate) -> Outcome:
        self.logged += 1
        return Outcome("burn", False, "a signature does not hold", b"", None)


async def test_in_an_hour_a_burn_that_the_log_refuses_is_tried_seldom() -> None:
    clock, signer = Clock(), Stating()
    parts, burns = parts_with(signer, clock), Burns(sweep_s=0)
    cast("Any", parts.sequencer).log = signer.log
    burns.load(parts.sequencer.state)
    sweeping = asyncio.create_task(burns.run(parts))
    await clock.over.wait()
    sweeping.cancel()

    assert 55 <= signer.logged <= 66
    assert signer.asked == signer.logged


def tried(attempts: int, outcome: Outcome) -> Any:
    errand = Errand(cast("Any", None), Duty(b"r", Effect.CANCEL, attempts, 0))
    not_reserved(cast("Parts", Simple(now_ms=lambda: 0)), errand, outcome=outcome, what="not yet")


def test_what_the_policy_denies_is_asked_again_ever_more_seldom_and_people_read_why() -> None:
    outcome = Outcome("reserve", False, "above 5", b"", denied("daily", "above 5"))
    waits = []
    for attempts in (0, 1, 2, 9, 1000):
        with pytest.raises(NotYet, match="not yet: above 5") as seen:
            tried(attempts, outcome)
        waits.append(seen.value.due_ms)

    assert waits == [DENIED_MS, 2 * DENIED_MS, 4 * DENIED_MS, 512 * DENIED_MS, DENIED_MS_MAX]


@pytest.mark.parametrize("verdict", [None, denied("presignature-used", "it was taken")])
def test_what_says_nothing_about_the_payment_is_tried_again_at_once(verdict: Any) -> None:
    with pytest.raises(OperationalError, match="not yet"):
        tried(9, Outcome("reserve", False, "it was taken", b"", verdict))
