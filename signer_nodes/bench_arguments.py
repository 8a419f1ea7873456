"""The arguments of ``quorumkeep-node bench``."""

import argparse
from pathlib import Path


def add_bench(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> argparse.ArgumentParser:
    """``bench``, whose function is the caller's."""
    bench = commands.add_parser("bench", help="measure what the protocols cost on this machine")
    bench.add_argument("--batch", type=int, default=32, help="presignatures a batch (%(default)s)")
    bench.add_argument("--repeat", type=int, default=7, help="runs that a median is of (%(default)s)")
    bench.add_argument(
        "--quick", action="store_true", help="one run of the smallest batch: shape, not figures"
    )
    bench.add_argument("--start", type=Path, metavar="LOG", help="only what a start on this log costs")
    return bench
