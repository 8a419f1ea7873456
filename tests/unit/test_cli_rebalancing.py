"""The rebalancer's commands, over the records of a month; and how its assignment is read."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli.connection import read_connection
from cli.main import invoke
from cli.rebalance.routes import load_assignment
from cli.results import Misuse
from custody.rebalancing.main import open_records
from custody.rebalancing.moves import Stage
from custody.rebalancing.records import Direction, Edge, Move
from policy.encoding import Json, canonical
from policy.errors import OperationalError
from policy.settings import ConfigError
from tests.unit.custody_certificates import identity_certificate
from tests.unit.custody_cluster import identity, policy_document
from tests.unit.rebalancing_house import CHAIN, COLD, ETHER, HOT
from tests.unit.rebalancing_months import months

ASSIGNMENT = """
[routes.eth]
wallet = "hot"
source = "cold"
minimum = "5 eth"
target = "40 eth"
maximum = "120 eth"
price = 2500.0
"""
DAYS, RUN_DAY = 62, 60


def two_tiers(**tier: Json) -> dict[str, Json]:
    """A policy with a hot and a warm wallet, each with a key of its own; ``tier`` is said of the hot one."""
    document = policy_document()
    key: Any = document["keys"]
    wallet: dict[str, Json] = {"chain": CHAIN, "paths": ["m/0/0"]}
    found: dict[str, Json] = {
        **document,
        "keys": {HOT: key["hot"], COLD: key["hot"]},
        "wallets": {
            HOT: {"tier": HOT, "key": HOT, **wallet},
            COLD: {"tier": COLD, "key": COLD, **wallet},
        },
    }
    if not tier:
        return found
    moved: Json = {
        "name": "only",
        "when": {"kinds": ["tier_move"]},
        "then": {"outcome": "approve", "approvals": [{"group": "desk", "count": 1}]},
    }
    return {
        **found,
        "tiers": [{"name": HOT, "role": "hot", **tier}, {"name": COLD, "role": "warm"}],
        "holdings": {"max_age_ms": 1000},
        "rules": [moved],
    }


def settle_in(folder: Path, policy: Json, certificate: str = "none") -> None:
    client: Json = {"origin": "o", "address": "127.0.0.1:1", "certificate": certificate, "policy": policy}
    (folder / "client.json").write_bytes(canonical(client))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mover")
    mover = months(folder, days=DAYS, run_day=RUN_DAY, looks_a_day=3)
    at_ms, why = mover.desk.now_ms, ("a <b> & c",)
    held = Move("top-up.eth.1", "eth", Direction.TOP_UP, Stage.HELD, ETHER, at_ms, at_ms, at_ms, reasons=why)
    mover.book.put_move(held)
    mover.book.close()
    settle_in(folder, two_tiers())
    (folder / "rebalance.toml").write_text(ASSIGNMENT)
    return folder


def ask(home: Path, *words: str) -> dict[str, Any]:
    given = ("--as", str(home), "--client", str(home / "client.json"))
    found = invoke("rebalance", *words, *given).document
    json.dumps(found)
    return found


def test_status_says_what_is_held_against_what_is_wanted_and_that_an_alarm_stands(home: Path) -> None:
    (route,) = ask(home, "status")["routes"]

    assert (route["minimum"], route["target"], route["maximum"]) == tuple(
        str(n * ETHER) for n in (5, 40, 120)
    )
    assert int(route["held"]) >= 0
    assert route["mode"] == "run" and route["alarm"]["rule"]
    assert {one["flow"] for one in route["forecast"]} == {"withdrawn", "deposited"}


def test_proposals_are_listed_by_stage_and_shown_with_their_reasons(home: Path) -> None:
    listed = ask(home, "proposals", "--limit", "500")["proposals"]
    held = ask(home, "proposals", "--stage", "held")["proposals"]

    assert held[0]["proposal"] == "top-up.eth.1"
    assert {one["stage"] for one in held} == {"held"}
    assert {one["stage"] for one in listed} >= {"arrived", "held"}
    assert ask(home, "show", "top-up.eth.1")["reasons"] == ["a <b> & c"]
    with pytest.raises(Misuse, match="no proposal"):
        ask(home, "show", "top-up.eth.none")
    with pytest.raises(Misuse, match="no stage"):
        ask(home, "proposals", "--stage", "sleeping")


def test_history_sets_what_came_against_what_was_forecast(home: Path) -> None:
    withdrawn, deposited = ask(home, "history", "--days", "20")["history"]

    assert (withdrawn["flow"], deposited["flow"]) == ("withdrawn", "deposited")
    assert len(withdrawn["days"]) == 20
    assert 0.5 < withdrawn["coverage90"] <= 1
    known = [one for one in withdrawn["days"] if one["actual"] is not None]
    assert all(int(one["error"]) == int(one["actual"]) - int(one["median"]) for one in known)


def test_the_report_is_one_page_that_asks_for_nothing(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    ask(home, "report", "--days", "100000", "--out", str(out))
    page = out.read_text()

    assert page.count("<svg") == 4
    assert not re.search(r"<script|https?:|url\(|@import|src=|href=", page)
    assert "a &lt;b&gt; &amp; c" in page and "a <b> & c" not in page
    assert "The breaker tripped" in page


def test_only_what_is_held_can_be_let_go_and_only_a_standing_alarm_ended(home: Path) -> None:
    (arrived, *_) = ask(home, "proposals", "--stage", "arrived")["proposals"]
    with pytest.raises(Misuse, match="only what is held"):
        ask(home, "release", arrived["proposal"])
    ask(home, "release", "top-up.eth.1")
    ended = ask(home, "calm", "eth", "--reason", "an airdrop")
    with pytest.raises(Misuse, match="no alarm"):
        ask(home, "calm", "eth", "--reason", "again")

    with open_records(home) as book:
        released = book.move("top-up.eth.1")
    assert released is not None and released.released
    assert ended["ended_why"] == "an airdrop"


def test_without_records_a_command_says_what_makes_them(tmp_path: Path) -> None:
    settle_in(tmp_path, two_tiers())
    (tmp_path / "rebalance.toml").write_text(ASSIGNMENT)

    with pytest.raises(OperationalError, match="rebalance run"):
        ask(tmp_path, "status")


def route_of(folder: Path, policy: Json, assignment: str) -> Any:
    settle_in(folder, policy)
    (folder / "rebalance.toml").write_text(assignment)
    return load_assignment(folder, read_connection(folder / "client.json")).routes[0]


def test_the_policys_tier_bounds_a_route_and_the_file_only_makes_it_narrower(tmp_path: Path) -> None:
    given = {"minimum": 2, "target_min": 4, "target_max": 20, "maximum": 50}
    levels: dict[str, Json] = {name: {"amounts": {"eth": str(n * ETHER)}} for name, n in given.items()}
    policy = two_tiers(**levels)
    bare = '[routes.eth]\nwallet = "hot"\nsource = "cold"\n'

    by_policy = route_of(tmp_path, policy, bare).corridor
    wider = route_of(tmp_path, policy, bare + 'minimum = "1 eth"\nmaximum = "100 eth"\n').corridor
    narrower = route_of(tmp_path, policy, bare + 'minimum = "6 eth"\nmaximum = "10 eth"\n').corridor

    assert (by_policy.minimum, by_policy.maximum) == (Edge(4 * ETHER), Edge(20 * ETHER))
    assert by_policy.target == Edge(12 * ETHER)
    assert wider == by_policy
    assert (narrower.minimum, narrower.maximum) == (Edge(6 * ETHER), Edge(10 * ETHER))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("[routes.btc]", "no such asset"),
        ('[routes.eth]\nwallet = "hot"', "source is missing"),
        ('[routes.eth]\nwallet = "nope"\nsource = "cold"', "wallets of .* are cold, hot"),
        ('[routes.eth]\nsource = "cold"', "wallet is missing"),
        ('[routes.eth]\nwallet = "hot"\nsource = "hot"\nmaximum = "1 eth"', "one tier"),
        ('[routes.eth]\nwallet = "hot"\nsource = "cold"', "no maximum"),
        (
            '[routes.eth]\nwallet = "hot"\nsource = "cold"\nmaximum = "1 eth"\nlead_days = 2',
            "from 0 to 1",
        ),
        (
            '[routes.eth]\nwallet = "hot"\nsource = "cold"\nmaximum = "1 eth"\nservice = 99.9',
            "from 0.5",
        ),
        ('[routes.eth]\nwallet = "hot"\nsource = "cold"\nmaximum = "0.1234567890123456789 eth"', "decimals"),
        ('[routes.eth]\nwallet = "hot"\nsource = "cold"\nmaximum = "1 eth"\nprize = 1', "prize"),
        ("every = 5", "every is not known"),
        (
            'every_s = -1\n[routes.eth]\nwallet = "hot"\nsource = "cold"\nmaximum = "1 eth"',
            "from 0.1",
        ),
        ("", "no route"),
        ("[routes", "TOML|Expected|table"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(tmp_path: Path, wrong: str, said: str) -> None:
    with pytest.raises(OperationalError, match=said):
        route_of(tmp_path, two_tiers(), wrong)


def test_all_that_is_wrong_with_an_assignment_is_said_at_once_with_its_line(tmp_path: Path) -> None:
    wrong = (
        'every_s = "x"\n[routes.eth]\nwallet = "hot"\nsource = 5\nmaximum = "1 btc"\nprice = -1\nprize = 1\n'
    )

    with pytest.raises(ConfigError) as caught:
        route_of(tmp_path, two_tiers(), wrong + '[routes.btc]\nwallet = "hot"\n')

    assert [f"{one.line} {one.key}" for one in caught.value.problems] == [
        "1 every_s",
        "4 routes.eth.source",
        "5 routes.eth.maximum",
        "6 routes.eth.price",
        "7 routes.eth.prize",
        "8 routes.btc.asset",
    ]


def test_a_rebalancer_without_a_coordinator_keeps_trying_and_ends_well_when_it_is_told_to(
    tmp_path: Path,
) -> None:
    invoke("identity", "create", "backend", "rebalancer", "--dir", str(tmp_path))
    certificate = identity_certificate(identity("coordinator")).decode()
    client: Json = {
        "origin": "o",
        "address": "127.0.0.1:1",
        "certificate": certificate,
        "policy": two_tiers(),
    }
    (tmp_path / "client.json").write_bytes(canonical(client))
    (tmp_path / "rebalance.toml").write_text("every_s = 0.1\n" + ASSIGNMENT)
    command = [sys.executable, "-m", "cli.main", "rebalance", "run", "--json"]
    where = ["--as", str(tmp_path), "--client", str(tmp_path / "client.json")]

    running = subprocess.Popen([*command, *where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    said = next(line for line in running.stderr if "not now" in line)
    running.send_signal(signal.SIGTERM)
    out, _ = running.communicate(timeout=20)

    assert "not now" in said
    assert (running.returncode, json.loads(out)) == (0, {"moves": []})
