"""What the audit of a log of any length costs on this machine."""

import json
import resource
import tempfile
import time
from argparse import Namespace
from pathlib import Path

from cli.audit import files_of
from cli.audit_pool import Pool, spare_cores
from cli.policies.sample_files import sample_trust, write_sample
from cli.results import Document, Misuse, Result
from policy.audit import Work, audit, parse_trust
from policy.errors import InvariantError

ENTRIES_MAX = 10_000_000


def run(arguments: Namespace) -> Result:
    """``bench audit``: a sample log is written, unless the folder has one, and audited."""
    if not 1 <= arguments.entries <= ENTRIES_MAX:
        raise Misuse(f"--entries is {arguments.entries}: audit from 1 to {ENTRIES_MAX}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(arguments.folder or temporary) / str(arguments.entries)
        if not (folder / "checkpoint").exists():
            write_sample(folder, arguments.entries)
            (folder / "trust.json").write_text(json.dumps(sample_trust()))
        document = _measured(
            folder, spare_cores() if arguments.processes is None else arguments.processes - 1
        )
    return Result(
        {"entries": arguments.entries, **document},
        (
            f"{arguments.entries} entries: {document['wall_s']} s, by {document['processes']} processes",
            f"processor time {document['cpu_s']} s, at most {document['memory_mb']} MB in one of them",
        ),
    )


def _measured(folder: Path, spare: int) -> Document:
    start = time.monotonic()
    with Pool(spare) as pool:
        report = audit(
            files_of(folder),
            trust=parse_trust(sample_trust()),
            progress=lambda done, total: None,
            work=Work(pool if spare > 0 else None),
        )
    if not report.ok:
        raise InvariantError(f"the sample log does not hold: {report.first_bad}")
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "processes": 1 + max(0, spare),
        "wall_s": round(time.monotonic() - start, 1),
        "cpu_s": round(sum(one.ru_utime + one.ru_stime for one in used), 1),
        "memory_mb": max(one.ru_maxrss for one in used) // 1024,
    }
