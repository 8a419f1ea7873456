"""``coordinator check``: everything that keeps it from starting, said before it is started."""

from argparse import Namespace
from pathlib import Path

from cli.results import DONE, REFUSED, Result
from custody.check.findings import Findings
from custody.check.main import check

STANDS = {
    "none": "there is no database yet: the first start makes it, and fetches what there is of the log",
    "empty": "the database is empty: the first start makes its tables, and fetches what there is of the log",
    "older": "the database, with {size} entries, is of an earlier program: a start brings it up to date",
    "ready": "the database is this deployment's, of this program, with {size} entries",
}


def check_coordinator(arguments: Namespace) -> Result:
    """``coordinator check``."""
    found = check(Path(arguments.config))
    code = REFUSED if found.problems else DONE
    return Result(found.to_json(), tuple(_lines(arguments.config, found)), code)


def _lines(path: str, found: Findings) -> list[str]:
    lines = [f"{path}: {len(found.problems) or 'no'} problem{'s' * (len(found.problems) != 1)}"]
    lines += [f"  {one}" for one in found.problems]
    lines += [f"  warning: {one}" for one in found.warnings]
    if found.database:
        lines.append(STANDS[found.database].format(size=found.size))
    if found.runs:
        lines.append("a coordinator runs on it, so its ports were not looked at")
    return lines
