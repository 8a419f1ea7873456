"""Break a deployment, and look: ``python -m tests.chaos --seconds N --seed S [--faults kill,...] [--json]``.

``--brief`` is what a change has to pass: about a minute with one fault of each class, by the day's seed.

It enters mount, network and process namespaces of its own first: whatever it starts ends with it. Exit 0 when
everything held, 1 when something did not, 2 when it cannot run here.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from cli.results import progress
from tests.chaos.faults import FAULTS
from tests.chaos.privileges import ENTERED, enter, idle, missing
from tests.chaos.run import Plan, run
from tests.chaos.schedule import brief_schedule, overlapping, schedule

SECONDS_MAX, RATE_MAX = 7 * 24 * 3600, 100
BRIEF_S = 45.0
"""No fault of a brief run begins later; its order is the seed's, so that each class has its turn."""
JUDGED = "QUORUMKEEP_CHAOS_SPEED_JUDGED"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="faults under load")
    parser.add_argument("--seconds", type=int, default=120, help="how long faults go on")
    parser.add_argument("--seed", type=int, help="which faults, in which order (1; with --brief the day's)")
    parser.add_argument("--faults", default=",".join(FAULTS), help="kinds, by commas")
    parser.add_argument("--brief", action="store_true", help="one fault of each class, and that is all")
    parser.add_argument(
        "--or-skip", action="store_true", help="end well where it cannot run, with the reason"
    )
    parser.add_argument(
        "--overlap", action="store_true", help="during each fault another one of another class"
    )
    parser.add_argument("--rate", type=float, default=4.0, help="payments a second: half of what it can do")
    parser.add_argument("--logs", type=Path, help="a folder to keep the logs of all processes in")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    asked = parser.parse_args(arguments)
    if wrong := _wrong(asked):
        parser.error(wrong)
    if reason := missing():
        if asked.or_skip:
            progress(f"skipped: {reason}")
            return 0
        parser.error(reason)
    if ENTERED not in os.environ:
        os.environ[JUDGED] = "yes" if not asked.brief or idle() else ""
        enter()
    report = run(_plan(asked))
    sys.stdout.write(json.dumps(report, indent=None if asked.json else 2) + "\n")
    return 0 if report["ok"] else 1


def _wrong(asked: argparse.Namespace) -> str:
    """What of the arguments cannot be; nothing when all can."""
    if unknown := sorted(set(asked.faults.split(",")) - set(FAULTS)):
        return f"no such faults: {', '.join(unknown)}; there are {', '.join(FAULTS)}"
    if not 1 <= asked.seconds <= SECONDS_MAX:
        return f"--seconds {asked.seconds}: from 1 to {SECONDS_MAX}"
    if not 0.1 <= asked.rate <= RATE_MAX:
        return f"--rate {asked.rate}: from 0.1 to {RATE_MAX}"
    return ""


def _plan(asked: argparse.Namespace) -> Plan:
    judged = bool(os.environ.get(JUDGED))
    if asked.brief:
        seed = asked.seed if asked.seed is not None else date.today().toordinal()  # noqa: DTZ011 - any day
        alone = (
            "" if judged else "; other programs are at work here, so how soon payments go on is not judged"
        )
        progress(f"chaos of the seed {seed} (--seed {seed} plays it again){alone}")
        return Plan(BRIEF_S, seed, brief_schedule(seed), asked.rate, asked.logs, judge_speed=judged)
    seed = asked.seed if asked.seed is not None else 1
    kinds = asked.faults.split(",")
    faults = schedule(seed, kinds)
    if asked.overlap:
        faults = overlapping(faults, seed, kinds)
    return Plan(asked.seconds, seed, faults, asked.rate, asked.logs)


if __name__ == "__main__":
    sys.exit(main())
