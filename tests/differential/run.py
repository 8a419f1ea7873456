"""Compare our decoders with independent ones: ``make differential COUNT=100000 SEED=1``.

Prints what each family's cases were, and by reason what only the library reads as a payment. A disagreement
on anything that ours would sign is printed with its bytes and ends the run with exit 1.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from tests.differential.comparing import Comparison, Tally, compare
from tests.differential.families import FAMILIES

PROGRESS_CASES = 5_000


def main(arguments: Sequence[str]) -> int:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description="two decoders for every transaction")
    parser.add_argument("--count", type=int, default=100_000, help="cases, spread evenly over the families")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    if asked.count < len(FAMILIES):
        parser.error(f"--count {asked.count} is less than one case for each of {', '.join(FAMILIES)}")
    share, rest = divmod(asked.count, len(FAMILIES))
    started = time.monotonic()
    tallies = [
        _run(comparison, asked.seed, share + (index < rest))
        for index, comparison in enumerate(FAMILIES.values())
    ]
    cases, wrong = (
        sum(one.cases for one in tallies),
        sum(one.disagreement_count for one in tallies),
    )
    seconds = time.monotonic() - started
    say(f"{cases} cases of seed {asked.seed} in {seconds:.0f} s, {wrong} disagreements on what ours signs")
    return 1 if wrong else 0


def _run(comparison: Comparison, seed: int, count: int) -> Tally:
    for tally in compare(comparison, seed=seed, count=count):
        if tally.cases % PROGRESS_CASES == 0 and tally.cases < count and sys.stderr.isatty():
            sys.stderr.write(f"\r{comparison.name}: {tally.cases} of {count}\033[K\r")
    say(
        f"{comparison.name}: {tally.cases} cases; ours signs {tally.payments} payments,"
        f" {tally.cancellations} cancellations, {tally.calls} calls; {tally.refused_by_both} refused by both;"
        f" {tally.stricter.total()} refused by ours alone:"
    )
    for reason, times in tally.stricter.most_common():
        say(f"  {times:6} {reason}")
    for text in tally.disagreements:
        say(f"  DISAGREEMENT {text}")
    return tally


def say(text: str) -> None:
    """One line of the result."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
