"""One run: payments all the time, faults in the order of a seed, and what can be said of it afterwards."""

import contextlib
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain as chained
from pathlib import Path
from typing import Any

from cli.demo import policy as names
from cli.demo import scenario
from cli.results import progress
from policy.errors import OperationalError
from tests.chaos.checks import Accepted, Limit, ends_of, failures
from tests.chaos.faults import FAULTS
from tests.chaos.house import COORDINATORS, LIMIT_AMOUNT, LIMIT_WINDOW_MS, House, running_house
from tests.chaos.load import Asked, Backend, Doors, Kind, Watch
from tests.chaos.record import ask_again, read_record, wait_ended
from tests.chaos.recovery import BOUND_S, back_after_s
from tests.chaos.schedule import Planned

BACKENDS, GREEDY_EVERY_S = 4, 1.5
SMALLEST, APART = 10**13, 10**9
GREEDY_AMOUNT = 50 * 10**names.TOKEN_DECIMALS
WARM_UP_S, BASELINE_S, PATIENCE_S, LOOK_S, CALM_S, SETTLE_S = 3.0, 5.0, 45.0, 0.2, 1.0, 120.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A fault that was done, and after how long throughput was back; None if it never was."""

    at_s: float
    planned: Planned
    remark: str
    back_s: float | None

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return {
            "at_s": round(self.at_s, 1),
            "fault": self.planned.kind,
            "target": self.planned.target,
            "held_s": self.planned.hold_s,
            "remark": self.remark,
            "back_s": None if self.back_s is None else round(self.back_s, 1),
        }


@dataclass
class Run:
    """A house under load."""

    house: House
    backends: Sequence[Backend]
    watch: Watch
    rate: float
    asked_again: int = 0

    def ask_again(self) -> None:
        """Have what a promotion may have lost asked for again."""
        lossy, self.house.database.lossy = self.house.database.lossy, []
        self.asked_again += ask_again(_doors(self.house), self.accepted(), lossy)

    def accepted(self) -> list[Asked]:
        """Everything that was acknowledged so far."""
        return list(chained.from_iterable(list(one.accepted) for one in self.backends))

    def times(self) -> list[tuple[float, float]]:
        """When each payment that was made was asked for, and when it was made; those without a limit."""
        paid = dict(self.watch.paid)
        return [
            (one.at_s, paid[one.asset, one.amount])
            for one in self.accepted()
            if one.asset == names.ETH and (one.asset, one.amount) in paid
        ]

    def measure(self) -> None:
        """What is paid in a second while nothing is wrong."""
        time.sleep(WARM_UP_S + BASELINE_S)
        begun = time.monotonic() - BASELINE_S
        paid = sum(1 for _, paid in self.times() if paid >= begun)
        self.rate = min(self.rate, paid / BASELINE_S)
        if not paid:
            raise OperationalError("nothing is paid, and no fault was done yet: look at the logs")

    def play(self, planned: Planned, begun_s: float) -> Seen:
        """One fault, from its beginning until throughput is back."""
        self.house.database.joined()
        at_s = time.monotonic() - begun_s
        remark = self._do(planned)
        ended_s = time.monotonic()
        back_s = None
        while back_s is None and time.monotonic() < ended_s + PATIENCE_S:
            time.sleep(LOOK_S)
            for backend in self.backends:
                backend.check()
            back_s = back_after_s(self.times(), ended_s, rate=self.rate)
        return Seen(at_s, planned, remark, back_s)

    def _do(self, planned: Planned) -> str:
        """Do a fault, and half of its time later the one that comes meanwhile, which outlasts it."""
        second, said = planned.meanwhile, ""
        with contextlib.ExitStack() as later:
            with FAULTS[planned.kind](self.house, planned.target) as remark:
                time.sleep(planned.hold_s / 2)
                if second is not None:
                    said = later.enter_context(FAULTS[second.kind](self.house, second.target))
                time.sleep(planned.hold_s / 2)
            if second is not None:
                time.sleep(second.hold_s)
        return remark if second is None else f"{remark}; then {second.kind} {second.target} {said}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: ``rate`` is how many payments a second are asked for beside those that a limit refuses.

    Faults go on until there are no more, or for ``seconds``. ``judge_speed`` is for a machine that does
    nothing else: on another one, how soon payments go on says nothing of this program.
    """

    seconds: float
    seed: int
    faults: Iterable[Planned]
    rate: float
    logs: Path | None = None
    judge_speed: bool = True


def run(plan: Plan) -> dict[str, Any]:
    """Make a deployment, do faults to it, and check everything; the report."""
    with running_house(plan.seed, plan.logs) as house:
        made, seen = _under_load(house, plan)
        asked = made.accepted()
        progress(f"{len(asked)} requests were accepted; waiting for their ends")
        made.ask_again()
        states = wait_ended(_doors(house), asked, SETTLE_S)
        house.call(house.leader())
        scenario.wait_live(house.deployment, scenario.COSIGNERS)
        accepted = [Accepted(one.request, one.asset, one.amount, states[one.request]) for one in asked]
        limits = [Limit(names.TOKEN, LIMIT_WINDOW_MS, LIMIT_AMOUNT)]
        record = read_record(house.deployment, accepted, limits)
    found = failures(record)
    late = [one for one in seen if one.back_s is None or one.back_s > BOUND_S]
    return {
        "seed": plan.seed,
        "rate": round(made.rate, 1),
        "faults": [one.to_json() for one in seen],
        "back_within_10_s": not late,
        "speed_judged": plan.judge_speed,
        "requests": ends_of(record),
        "asked_again": made.asked_again,
        "checks": {name: {"ok": not wrong, "wrong": wrong[:20]} for name, wrong in found.items()},
        "ok": not (late and plan.judge_speed) and not any(found.values()),
    }


def _under_load(house: House, plan: Plan) -> tuple[Run, list[Seen]]:
    """Faults while payments go on."""
    contract = house.deployment.connection().policy.assets[names.TOKEN].contract or ""
    watch = Watch(house.deployment.chain, contract.lower())
    backends = [Backend(_doors(house), kind) for kind in _kinds(plan.rate)]
    made = Run(house, backends, watch, plan.rate)
    with contextlib.ExitStack() as stack:
        stack.enter_context(watch.looking())
        for backend in backends:
            stack.enter_context(backend.asking())
        seen = _faults(made, plan.seconds, plan.faults)
    return made, seen


def _doors(house: House) -> Doors:
    deployment = house.deployment
    addresses = tuple(deployment.address(name) for name in COORDINATORS)
    return Doors(deployment.connection(), deployment.identity(names.PAYMENTS), addresses)


def _kinds(rate: float) -> list[Kind]:
    plain = [
        Kind(f"backend-{number}", names.ETH, SMALLEST + number * APART, BACKENDS / rate)
        for number in range(BACKENDS)
    ]
    return [*plain, Kind("greedy", names.TOKEN, GREEDY_AMOUNT, GREEDY_EVERY_S)]


def _faults(made: Run, seconds: float, planned: Iterable[Planned]) -> list[Seen]:
    made.measure()
    progress(f"{made.rate:.1f} payments a second without a fault")
    begun_s = time.monotonic()
    seen: list[Seen] = []
    for fault in planned:
        if time.monotonic() >= begun_s + seconds:
            break
        one = made.play(fault, begun_s)
        back = "not back" if one.back_s is None else f"back after {one.back_s:.1f} s"
        progress(f"{one.at_s:6.1f} s {one.planned.kind} {one.planned.target} {one.remark}: {back}")
        seen.append(one)
        if one.back_s is not None:  # else in the end
            made.ask_again()
        time.sleep(CALM_S)
    return seen
