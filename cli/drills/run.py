"""``drill NAME``: a deployment of its own, the trouble, an audit of what is left, and a note of it."""

import shutil
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.connection import caller, load_connection
from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.run import audit_log
from cli.demo.scenes import Stage
from cli.demo.supervisor import Supervisor
from cli.drills import attacks, losses, rotation
from cli.drills.own import look_at_own
from cli.drills.steps import Say, Steps, Unlike
from cli.indicators import send_note
from cli.results import DONE, REFUSED, Document, Misuse, Result
from custody.indicators.notes import DrillNote
from policy.errors import OperationalError, QuorumkeepError

FUNDED: Final = 10**18


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill, and the page whose words it is held against."""

    play: Callable[[Stage, Steps], None]
    what: str
    page: str
    policy_delay_ms: int = names.DAY_MS


DRILLS: Final[dict[str, Drill]] = {
    "lost-node": Drill(
        losses.lost_node, "a node's machine is gone, then a second one", "runbook-lost-node.md"
    ),
    "lost-hsm": Drill(losses.lost_hsm, "a node's token is gone, its disk is not", "runbook-lost-cosigner.md"),
    "lost-coordinator": Drill(
        losses.lost_coordinator, "the coordinator dies, and its database with it", "alerts.md"
    ),
    "stolen-backup": Drill(attacks.stolen_backup, "a thief has a backup of a share", "runbook-recovery.md"),
    "bad-policy": Drill(attacks.bad_policy, "a quorum signs a policy that needs nobody", "administration.md"),
    "chain-halt": Drill(losses.chain_halt, "the chain answers nobody for a while", "alerts.md"),
    "rotate-key": Drill(
        rotation.rotate_key,
        "a key is suspect, and all it has moves to a new one",
        "runbook-rotate-key.md",
        rotation.DELAY_MS,
    ),
}


def drill(arguments: Namespace) -> Result:
    """Play one; refused when anything was not as its page says."""
    one = DRILLS[arguments.name]
    if arguments.identity and caller(arguments).card.kind != "backend":
        raise Misuse("a note is a backend's: give the folder of one to --as, or leave it out")
    started = time.monotonic()
    steps = Steps(_say_since(started))
    steps.say(f"{arguments.name}: {one.what} (docs/{one.page})")
    folder = Path(tempfile.mkdtemp(prefix="quorumkeep-drill-"))
    try:
        error = _at_home(arguments, steps) or play(one, steps, folder=folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    note = DrillNote(arguments.name, steps.ok and not error, int(time.monotonic() - started))
    return _result(one, steps, note=note, error=error, noted=tell(arguments, note))


def tell(arguments: Namespace, note: DrillNote) -> bool:
    """Have the real deployment's log say how it went, if somebody was named who can; whether it does."""
    if arguments.identity:
        send_note(load_connection(arguments), caller(arguments), note=note)
    return bool(arguments.identity)


def listing(arguments: Namespace) -> Result:
    """``drills``: which there are."""
    found = {name: {"what": one.what, "page": f"docs/{one.page}"} for name, one in DRILLS.items()}
    return Result(
        {"drills": found}, tuple(f"{name:17} {one.what} (docs/{one.page})" for name, one in DRILLS.items())
    )


def _at_home(arguments: Namespace, steps: Steps) -> str:
    """The steps on copies of the real deployment's public parts, if any were given; what was wrong."""
    try:
        look_at_own(arguments.name, arguments, steps=steps)
    except (Unlike, OperationalError) as error:
        steps.say(f"  WRONG {error}")
        return str(error)
    return ""


def play(one: Drill, steps: Steps, *, folder: Path) -> str:
    """Play it to its end or to the first thing that is wrong; what that was."""
    try:
        with Supervisor() as supervisor:
            deployment = scenario.prepare(folder, supervisor, say=steps.say)
            scenario.set_up(deployment, policy_delay_ms=one.policy_delay_ms)
            steps.say("making a key, and giving its wallet something to pay")
            scenario.make_key(deployment, names.KEY)
            deployment.chain.pay(scenario.account(deployment, names.PATH_PLAIN), FUNDED)
            one.play(Stage(deployment), steps)
            audit = audit_log(deployment)
            steps.must("the log verifies, and every verdict again", audit["verified"] is True, seen=audit)
    except Unlike as unlike:
        return str(unlike)
    except QuorumkeepError as error:
        steps.say(f"  WRONG it could not be played to its end: {error}")
        return str(error)
    return ""


def _say_since(started: float) -> Say:
    return lambda text: print(f"{time.monotonic() - started:6.1f} s  {text}", file=sys.stderr, flush=True)


def _result(one: Drill, steps: Steps, *, note: DrillNote, error: str, noted: bool) -> Result:
    document: Document = {
        "drill": note.drill,
        "ok": note.ok,
        "seconds": note.seconds,
        "page": f"docs/{one.page}",
        "steps": steps.rows,
        "noted": noted,
        **({"error": error} if error else {}),
    }
    went = "went as its page says" if note.ok else f"did NOT go as its page says: {error}"
    told = "It is in the log." if noted else "Nobody was told: give --as and --client to have the log say so."
    return Result(
        document,
        (f"drill {note.drill} {went}, {len(steps.rows)} steps in {note.seconds} s.", told),
        DONE if note.ok else REFUSED,
    )
