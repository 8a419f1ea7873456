"""What a node's start costs on a log of any length: the log is made here, a node's program starts on it."""

import json
import subprocess
import tempfile
from itertools import islice
from pathlib import Path

from cli.policies.sample_log import sample_entries
from cli.programs import NODE, program
from policy.errors import OperationalError


def start_s(entries: int) -> float:
    """Seconds of processor time from opening the disk to a cosigner at the log's end."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w") as lines:
            lines.writelines(f"{entry.hex()}\n" for entry in islice(sample_entries(), entries))
        command = program(NODE, "bench", "--start", str(log), "--json")
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise OperationalError(f"the node's program ended with {done.returncode}: {done.stderr[-300:]}")
    return float(json.loads(done.stdout)["start_s"])
