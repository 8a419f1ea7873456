"""Who is upgraded next: one at a time, never while that stops something, and nobody backwards."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from cli.demo.policy import demo_policy
from cli.upgrades import next_rules, next_turn, programs
from custody.vitals import Vitals
from policy.document import parse_policy
from policy.encoding import Json, canonical
from policy.errors import MalformedError
from policy.program import PROGRAM, about
from policy.roster import parse_roster
from tests.architecture.planting import REPOSITORY
from tests.unit.custody_cluster import NODES
from tests.unit.custody_house import Clock, House
from tests.waiting import until

POLICY = parse_policy(demo_policy("0x" + "11" * 20))
COSIGNERS = {"node-a": "node", "node-b": "node", "node-c": "node", "witness": "witness"}
ROSTER = parse_roster(
    {
        "cosigners": [
            {"name": name, "key": f"{number:02x}" * 32, "role": role}
            for number, (name, role) in enumerate(COSIGNERS.items(), start=1)
        ],
        "w": 3,
        "f": 1,
        "log_key": "aa" * 32,
        "administrators": {"quorum": 1, "members": [{"name": "anna", "key": "bb" * 32}]},
        "initiators": [],
        "operators": [],
        "observers": [],
        "policy_delay_ms": 0,
    }
)


def status(*, coordinator: str = PROGRAM, rules: int = 1, **older: str | None) -> dict[str, Any]:
    """All is well; ``older`` has the programs of some, by name with ``_`` for ``-``; None is down."""
    nodes = []
    for name in COSIGNERS:
        program = older.get(name.replace("-", "_"), PROGRAM)
        said = {} if program == "unsaid" else {"program": program, "rules_supported": rules}
        nodes.append({"name": name, "live": program is not None, "size": 100, "problem": "", **said})
    return {
        "size": 100,
        "quorum_size": 100,
        "rules": 1,
        "program": coordinator,
        "rules_supported": rules,
        "nodes": nodes,
    }


def test_the_program_has_the_packages_version() -> None:
    assert tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"] == PROGRAM


@pytest.mark.parametrize(
    ("seen", "who", "safe", "said"),
    [
        (status(), "", True, "everybody runs"),
        (status(node_b="0.0.9", coordinator="0.0.9"), "node-b", True, "next: node-b"),
        (status(node_b="unsaid", witness="0.0.9"), "node-b", True, "of node-b, witness"),
        (status(witness="0.0.9"), "witness", True, "next: witness"),
        (status(coordinator="0.0.9"), "coordinator", True, "the last one"),
        (status(node_b="0.0.9", witness=None), "", False, "witness does not follow"),
        (status(node_b="0.10.0"), "", False, "node-b run a later program"),
        (status(coordinator="1.0.0", node_b="0.0.9"), "", False, "install that first"),
        (status(node_b="0.0.9") | {"size": 200}, "", False, "is 100 entries behind"),
    ],
)
def test_it_is_ones_turn_at_a_time_and_only_while_all_are_well(
    seen: dict[str, Any], who: str, safe: bool, said: str
) -> None:
    turn = next_turn(seen, ROSTER, policy=POLICY)

    assert (turn.who, turn.safe) == (who, safe)
    assert said in turn.said


def test_nobody_is_restarted_whose_absence_stops_signing() -> None:
    seen = status(node_b="0.0.9")
    seen["nodes"][0]["quarantine"] = "its disk"

    turn = next_turn(seen, ROSTER, policy=POLICY)

    assert (turn.who, turn.safe) == ("node-b", False)
    assert "none to spare: without it nothing can be signed with key" in turn.said


def test_the_rules_rise_once_everybody_has_them() -> None:
    assert "nobody says to have rules 2" in next_rules(status(), ROSTER)
    assert "all have rules 2" in next_rules(status(rules=2), ROSTER)
    one_lacks = status(rules=2)
    one_lacks["nodes"][1]["rules_supported"] = 1
    assert next_rules(one_lacks, ROSTER).startswith("node-b lack rules 2")


def test_a_program_that_does_not_say_what_it_is_is_known_as_that() -> None:
    assert programs(status(node_c="unsaid"), ROSTER)["node-c"] == ("?", "?")


def test_what_a_cosigner_says_of_its_program_is_bounded() -> None:
    vitals = Vitals()
    machine: dict[str, Json] = {"clock_ms": 1, "disk_free_bytes": 1}
    wrong: list[dict[str, Json]] = [
        {"program": "x" * 33, "rules_supported": 1},
        {"program": "1", "rules_supported": 0},
    ]
    for said in wrong:
        with pytest.raises(MalformedError, match="must be"):
            vitals.take_in("node-a", canonical(machine | said), asked_ms=1, answered_ms=2)
    vitals.take_in("node-a", canonical(machine | about()), asked_ms=1, answered_ms=2)

    assert vitals.known["node-a"].program == PROGRAM


async def test_the_status_says_who_runs_what(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.nodes[NODES[0]].clock = Clock()
    async with house.running() as running:
        await until(lambda: NODES[0] in running.parts.vitals.known)
        seen: Any = await running.service.status()

    said = {node["name"]: node.get("program") for node in seen["nodes"]}
    assert (said[NODES[0]], said[NODES[1]], seen["program"]) == (PROGRAM, None, PROGRAM)
