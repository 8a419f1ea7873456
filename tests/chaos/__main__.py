"""Break a deployment, and look: ``python -m tests.chaos --seconds N --seed S [--faults kill,...] [--json]``.

It enters mount, network and process namespaces of its own first: whatever it starts ends with it. Exit 0 when
everything held, 1 when something did not, 2 when it cannot run here.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.faults import FAULTS
from tests.chaos.privileges import ENTERED, enter, missing
from tests.chaos.run import Plan, run

SECONDS_MAX, RATE_MAX = 7 * 24 * 3600, 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="faults under load")
    parser.add_argument("--seconds", type=int, default=120, help="how long faults go on")
    parser.add_argument("--seed", type=int, default=1, help="which faults, in which order")
    parser.add_argument("--faults", default=",".join(FAULTS), help="kinds, by commas")
    parser.add_argument("--rate", type=float, default=4.0, help="payments a second: half of what it can do")
    parser.add_argument("--logs", type=Path, help="a folder to keep the logs of all processes in")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    asked = parser.parse_args(arguments)
    kinds = asked.faults.split(",")
    if unknown := sorted(set(kinds) - set(FAULTS)):
        parser.error(f"no such faults: {', '.join(unknown)}; there are {', '.join(FAULTS)}")
    if not 1 <= asked.seconds <= SECONDS_MAX:
        parser.error(f"--seconds {asked.seconds}: from 1 to {SECONDS_MAX}")
    if not 0.1 <= asked.rate <= RATE_MAX:
        parser.error(f"--rate {asked.rate}: from 0.1 to {RATE_MAX}")
    if reason := missing():
        parser.error(reason)
    if ENTERED not in os.environ:
        enter()
    report = run(Plan(asked.seconds, asked.seed, kinds, asked.rate, asked.logs))
    sys.stdout.write(json.dumps(report, indent=None if asked.json else 2) + "\n")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
