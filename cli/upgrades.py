"""``upgrade check``: who runs which program, and whose turn is next; see docs/upgrades.md.

One process at a time, and only while its absence stops nothing: cosigners first, then coordinators, then the
rules by an entry of the log, once everybody has them.
"""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from cli.connection import caller, load_connection, whole_status
from cli.doctor.standing import down, in_quarantine
from cli.results import DONE, REFUSED, Result, Table
from policy.document import parse_policy
from policy.losses import losses
from policy.model import Policy
from policy.program import PROGRAM
from policy.roster import COORDINATOR, Roster, parse_roster

UNSAID: Final = "?"  # programs from before it was said
BEHIND_ENTRIES: Final = 64
Status = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """Whose turn it is, or why nobody's; ``who`` is empty when all is done or nothing may be stopped."""

    who: str
    said: str
    safe: bool


def check(arguments: Namespace) -> Result:
    """``upgrade check``: 1 when the next step would stop something, or cannot be."""
    connection = load_connection(arguments)
    with connection.open(caller(arguments)) as client:
        status: Status = whole_status(client)
        roster = parse_roster(client.document(bytes.fromhex(status["roster"]))[1])
        policy = parse_policy(client.document(bytes.fromhex(status["policy"]))[1])
    turn, rules = next_turn(status, roster, policy=policy), next_rules(status, roster)
    rows = tuple((name, *said) for name, said in programs(status, roster).items())
    return Result(
        {
            "program": PROGRAM,
            "rules": status["rules"],
            "runs": {name: {"program": program, "rules_supported": has} for name, program, has in rows},
            "next": turn.who,
            "safe": turn.safe,
            "said": [turn.said, rules],
        },
        (
            f"this command is of program {PROGRAM}; rules {status['rules']} are in force",
            Table(("who", "program", "has rules up to"), rows),
            turn.said,
            rules,
        ),
        DONE if turn.safe else REFUSED,
    )


def programs(status: Status, roster: Roster) -> dict[str, tuple[str, str]]:
    """Program and newest rules of every cosigner and of the coordinator that answered."""
    said: dict[str, Mapping[str, Any]] = {str(node["name"]): node for node in status["nodes"]}
    said = {name: said.get(name, {}) for name in sorted(roster.cosigners)} | {COORDINATOR: status}
    return {
        name: (str(one.get("program", UNSAID)), str(one.get("rules_supported", UNSAID)))
        for name, one in said.items()
    }


def next_turn(status: Status, roster: Roster, *, policy: Policy) -> Turn:
    """Who is restarted next with this command's program, while nothing stops."""
    found = programs(status, roster)
    later = [name for name, (program, _) in found.items() if _order(program) > _order(PROGRAM)]
    if later:
        said = f"{', '.join(later)} run a later program than this command's {PROGRAM}: install that first"
        return Turn("", f"{said}; nobody goes back to an older one", safe=False)
    older = [name for name, (program, _) in found.items() if program != PROGRAM]
    if not older:
        return Turn("", f"everybody runs {PROGRAM}", safe=True)
    unwell = _unwell(status, roster)
    if unwell:
        return Turn("", f"not now: {'; '.join(unwell)}", safe=False)
    who = older[0]
    if who == COORDINATOR:
        return Turn(
            who, f"next: {who}, the last one; what is asked meanwhile waits, or is another's", safe=True
        )
    stops = [
        loss.stops
        for loss in losses(roster, dict(policy.keys), gone={who}, unsigning=in_quarantine(status))
        if not loss.count
    ]
    if stops:
        return Turn(who, f"{who} is next, and there is none to spare: without it {stops[0]}", safe=False)
    return Turn(who, f"next: {who}, of {', '.join(older)}; without it everything goes on", safe=True)


def next_rules(status: Status, roster: Roster) -> str:
    """Whether the version of the rules can rise."""
    wanted = int(status["rules"]) + 1
    found = programs(status, roster)
    lacking = [name for name, (_, has) in found.items() if has == UNSAID or int(has) < wanted]
    if not lacking:
        return f"all have rules {wanted}: admin draft version puts them in force (docs/upgrades.md)"
    if len(lacking) == len(found):
        return f"nobody says to have rules {wanted}: there is nothing to put in force"
    return f"{', '.join(lacking)} lack rules {wanted}: upgrade them before anybody drafts that version"


def _unwell(status: Status, roster: Roster) -> list[str]:
    gone = sorted(down(status, roster))
    found = [f"{name} does not follow the log" for name in gone]
    found += [
        f"{node['name']} is {status['size'] - node['size']} entries behind"
        for node in status["nodes"]
        if node["name"] not in gone and status["size"] - node["size"] > BEHIND_ENTRIES
    ]
    if status["size"] - status["quorum_size"] > BEHIND_ENTRIES:
        found.append("the newest entries have too few cosignatures")
    return found


def _order(program: str) -> tuple[int, ...]:
    parts = program.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()
