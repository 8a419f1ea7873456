"""How much risk scoring finds of labelled synthetic attacks, and how often it cries wolf.

    python -m tests.bench.risk [--seed 200] [--worlds 20] [--threshold 50] [--json]

For each seed the house learns from 90 honest days, and 30 more are scored. Into those each attack is made by
itself, on a random day; what is stopped teaches nothing. See docs/risk.md.
"""

import argparse
import copy
import json
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from custody.risk.habits import DAY_MS, Ask, House
from custody.risk.scoring import THRESHOLD, Score, score
from tests.bench.risk_world import ATTACKS, INITIATORS, MINUTE_MS, START_MS, World

LEARNT_DAYS, SCORED_DAYS = 90, 30
SIGNED_AFTER_MS = 2 * MINUTE_MS


@dataclass
class Honest:
    """The honest requests of one initiator: how many, how many alarms, and their features."""

    requests: int = 0
    alarms: int = 0
    features: Counter[str] = field(default_factory=Counter)


@dataclass
class Attacked:
    """The attacks of one kind. An attack is found when one of its requests is at the threshold or above."""

    attacks: int = 0
    found: int = 0
    at_first: int = 0
    requests: int = 0
    alarms: int = 0
    amount: int = 0
    stopped: int = 0


@dataclass
class Report:
    """What came of all worlds."""

    threshold: int
    honest: dict[str, Honest] = field(default_factory=lambda: {one.name: Honest() for one in INITIATORS})
    attacks: dict[str, Attacked] = field(default_factory=lambda: {name: Attacked() for name in ATTACKS})
    worlds: int = 0

    def to_json(self) -> dict[str, object]:
        """Shares are from 0 to 1."""
        return {
            "threshold": self.threshold,
            "worlds": self.worlds,
            "honest": {
                name: {
                    "requests": one.requests,
                    "alarms": one.alarms,
                    "share": one.alarms / max(1, one.requests),
                    "alarms_a_week": 7 * one.alarms / (SCORED_DAYS * self.worlds),
                    "features": dict(one.features.most_common()),
                }
                for name, one in self.honest.items()
            },
            "attacks": {
                name: {
                    "attacks": one.attacks,
                    "found": one.found / max(1, one.attacks),
                    "at_first": one.at_first / max(1, one.attacks),
                    "requests": one.alarms / max(1, one.requests),
                    "amount_stopped": one.stopped / max(1, one.amount),
                }
                for name, one in self.attacks.items()
            },
        }


class Log:
    """A house that learns what is signed when it is signed: some time after it was asked for."""

    def __init__(self) -> None:
        self.house = House()
        self.waiting: deque[Ask] = deque()

    def judge(self, ask: Ask) -> Score:
        """The score of the next request."""
        while self.waiting and self.waiting[0].time_ms + SIGNED_AFTER_MS <= ask.time_ms:
            old = self.waiting.popleft()
            self.house.signed(old, old.time_ms + SIGNED_AFTER_MS)
        found = score(ask, self.house)
        self.house.asked(ask)
        return found

    def sign(self, ask: Ask) -> None:
        """It is going to be signed."""
        self.waiting.append(ask)


def measure(seeds: Sequence[int], *, threshold: int = THRESHOLD) -> Report:
    """All worlds."""
    report = Report(threshold, worlds=len(seeds))
    for seed in seeds:
        _one_world(World(seed), report)
    return report


def _one_world(world: World, report: Report) -> None:
    log, scored_ms = Log(), START_MS + LEARNT_DAYS * DAY_MS
    starts = {name: world.random.randrange(SCORED_DAYS) for name in ATTACKS}
    days = iter(sorted((scored_ms + day * DAY_MS, name) for name, day in starts.items()))
    attack = next(days, None)
    for tried in world.honest(LEARNT_DAYS + SCORED_DAYS):
        ask = tried.ask
        while attack is not None and attack[0] <= ask.time_ms:
            _attack(world, attack[1], copy.deepcopy(log), day_ms=attack[0], report=report)
            attack = next(days, None)
        if tried.denied:
            log.house.failed(ask.initiator, ask.time_ms)
            continue
        found = log.judge(ask)
        log.sign(ask)
        if ask.time_ms >= scored_ms:
            _count_honest(report, ask, found)


def _count_honest(report: Report, ask: Ask, found: Score) -> None:
    one = report.honest[ask.initiator]
    one.requests += 1
    if found.risk >= report.threshold:
        one.alarms += 1
        one.features.update(share.feature for share in found.shares)


def _attack(world: World, name: str, log: Log, *, day_ms: int, report: Report) -> None:
    one, alarms = report.attacks[name], list[bool]()
    for tried in ATTACKS[name](world, day_ms):
        if tried.denied:
            log.house.failed(tried.ask.initiator, tried.ask.time_ms)
            continue
        alarm = log.judge(tried.ask).risk >= report.threshold
        if not alarm:
            log.sign(tried.ask)
        alarms.append(alarm)
        one.amount += tried.ask.amount
        one.stopped += tried.ask.amount if alarm else 0
    one.attacks += 1
    one.found += any(alarms)
    one.at_first += alarms[0]
    one.requests += len(alarms)
    one.alarms += sum(alarms)


def as_text(report: Report) -> str:
    """Tables for people."""
    lines = [f"threshold {report.threshold}, {report.worlds} worlds of {SCORED_DAYS} days", ""]
    lines.append(f"{'honest':14}{'requests':>10}{'alarms':>8}{'share':>9}{'a week':>8}")
    for name, one in report.honest.items():
        share, week = one.alarms / max(1, one.requests), 7 * one.alarms / (SCORED_DAYS * report.worlds)
        lines.append(f"{name:14}{one.requests:>10}{one.alarms:>8}{share:>9.2%}{week:>8.2f}")
    lines += ["", f"{'attack':14}{'found':>8}{'at first':>10}{'requests':>10}{'amount':>8}"]
    for name, two in report.attacks.items():
        lines.append(
            f"{name:14}{two.found / two.attacks:>8.0%}{two.at_first / two.attacks:>10.0%}"
            f"{two.alarms / two.requests:>10.0%}{two.stopped / two.amount:>8.0%}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.risk")
    parser.add_argument("--seed", type=int, default=200, help="the first world (%(default)s)")
    parser.add_argument("--worlds", type=int, default=20, help="how many (%(default)s)")
    parser.add_argument("--threshold", type=int, default=THRESHOLD, help="an alarm from here (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    seeds = range(arguments.seed, arguments.seed + arguments.worlds)
    report = measure(seeds, threshold=arguments.threshold)
    sys.stdout.write((json.dumps(report.to_json()) if arguments.json else as_text(report)) + "\n")


if __name__ == "__main__":
    main()
