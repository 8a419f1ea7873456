"""What a drill looks at of the real deployment: copies of its public parts, nothing that signs or opens.

The trouble itself is played elsewhere. These steps say whether the same would hold at home: the published log
from a copy, the backups by what stands in them in the clear, the policy by its invariants.
"""

import json
import shutil
import subprocess
import tempfile
import tomllib
from argparse import Namespace
from pathlib import Path
from typing import Any

from cli.doctor.backups import examine_backups, read_backups
from cli.drills.steps import Steps
from cli.files import read_bytes, read_document
from cli.genesis import CLIENT, TRUST
from cli.policies.invariants import read_invariants
from cli.programs import ITSELF, program
from cli.results import Misuse
from policy.document import parse_policy
from policy.errors import MalformedError, OperationalError
from policy.prove.mutants import score
from policy.prove.proofs import Answer, prove
from policy.roster import COORDINATOR

AUDIT_S = 600.0
NEEDED = (
    "genesis.json",
    f"{COORDINATOR}/config.toml",
    f"{COORDINATOR}/log.key",
    f"{COORDINATOR}/identity.key",
)


def look_at_own(name: str, arguments: Namespace, *, steps: Steps) -> None:
    """The steps for the real deployment, of the drill that they belong to. Raises ``Unlike``."""
    folder = Path(arguments.dir) if arguments.dir else None
    if folder is not None and not folder.is_dir():
        raise Misuse(f"there is no folder {folder}: give the deployment's")
    if name == "lost-coordinator" and folder is not None:
        _coordinator(folder, steps)
    if name == "stolen-backup" and arguments.backup:
        _backups([Path(one) for one in arguments.backup], steps)
    if name == "bad-policy" and folder is not None and arguments.invariants:
        _policy(folder, Path(arguments.invariants), steps)


def _coordinator(folder: Path, steps: Steps) -> None:
    """Whether another machine could go on from this folder, and the log from its published copy."""
    missing = [name for name in NEEDED if not (folder / name).exists()]
    steps.must("your own folder has what another coordinator starts from", not missing, seen=missing)
    try:
        config = tomllib.loads(read_bytes(folder / COORDINATOR / "config.toml", "the configuration").decode())
    except (ValueError, UnicodeDecodeError) as error:
        raise OperationalError(f"{folder / COORDINATOR / 'config.toml'}: {error}; correct it") from error
    published = config.get("publish_dir")
    if not isinstance(published, str):
        raise OperationalError("the coordinator publishes no log (publish_dir): there is no copy to look at")
    with tempfile.TemporaryDirectory(prefix="quorumkeep-drill-") as copy:
        shutil.copytree(folder / COORDINATOR / published, Path(copy) / "log")
        shutil.copy(folder / TRUST, copy)
        where = (str(Path(copy) / "log"), "--trust", str(Path(copy) / TRUST), "--json")
        ran = subprocess.run(
            program(ITSELF, "audit", "verify", *where), capture_output=True, timeout=AUDIT_S, check=False
        )
    said = ran.stdout.decode(errors="replace") or ran.stderr.decode(errors="replace")
    steps.must("a copy of your own published log verifies", ran.returncode == 0, seen=said)


def _backups(paths: list[Path], steps: Steps) -> None:
    backups, broken = read_backups(paths)
    steps.must("each of your own backups is a whole file", not broken, seen=[one.said for one in broken])
    found = examine_backups(backups, {}, now_ms=max(one.made_ms for one in backups))
    bad = [one.said for one in found if one.code in ("backup-missing", "backup-of-old-epoch")]
    steps.must("your own backups are of one epoch, and enough to rebuild", not bad, seen=bad)


def _policy(folder: Path, path: Path, steps: Steps) -> None:
    document: Any = read_document(folder / CLIENT, "the clients' file").get("policy")
    try:
        policy = parse_policy(document)
    except MalformedError as error:
        raise OperationalError(f"{folder / CLIENT} has no policy: {error}; hand it out anew") from error
    invariants, _ = read_invariants(path, policy)
    broken = [str(one.invariant) for one in prove(policy, invariants) if one.answer is not Answer.PROVED]
    steps.must("your own policy keeps its invariants", not broken, seen=broken)
    found = score(policy, invariants)
    says = f"your own invariants catch {found.caught} of {found.counted} slips of the pen that allow more"
    steps.must(says, found.caught > 0, seen=json.dumps(list(found.survivors)[:5]))
