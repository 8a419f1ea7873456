"""How a sweeper's assignment is read against the policy, and what its commands say."""

import re
from pathlib import Path
from typing import Any

import pytest

from cli.connection import Connection
from cli.main import invoke
from cli.policies.reading import read_policy
from cli.sweeps.assignment import FILE, load_assignment
from cli.sweeps.service import plan_result
from custody.rebalancing.moves import Stage
from custody.rebalancing.records import Direction, Move
from custody.sweeping.deciding import Decision, TankLevel, Wish
from custody.sweeping.main import open_records
from custody.sweeping.tasks import Asset, Sweep, Tank
from policy.document import parse_policy
from policy.encoding import Json, canonical
from policy.errors import OperationalError
from policy.settings import ConfigError

ROOT = Path(__file__).parents[2]
PAGE, EXAMPLE = ROOT / "docs/sweeping.md", ROOT / "docs/examples/sweeping.yaml"
MILLI = 10**15
ETH, USDC = Asset("eth", "evm:1", 18, "eth", 18), Asset("usdc", "evm:1", 6, "eth", 18)
SWEEP = '[sweeps.usdc]\nwallet = "deposits"\nto = "hot"\nminimum = "20 usdc"\nfee = "0.001 eth"\n'
BACK = SWEEP.replace("usdc]", 'back]\nasset = "usdc"').replace('"hot"', '"."').replace("deposits", "hot")
BACK = BACK.replace('"."', '"deposits"')
NATIVE = '[sweeps.eth]\nwallet = "deposits"\nto = "hot"\nminimum = "0.05 eth"\nfee = "0.001 eth"\n'
GAS = '[gas.eth]\nwallet = "gas"\naccounts = ["deposits"]\nfee = "0.001 eth"\n'


def connection() -> Connection:
    return Connection("o", "127.0.0.1:1", b"", read_policy(EXAMPLE).policy, b"")


def assigned(folder: Path, text: str) -> str:
    """What is wrong with a file; nothing if it is right."""
    (folder / FILE).write_text(text)
    try:
        load_assignment(folder, connection())
    except OperationalError as error:
        return str(error)
    return ""


def test_the_pages_assignment_is_read_to_what_it_says(tmp_path: Path) -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (tmp_path / FILE).write_text(block)

    assignment = load_assignment(tmp_path, connection())

    assert assignment.every_s == 30
    assert assignment.tasks.sweeps == (
        Sweep(ETH, "deposits", "hot", minimum_base=50 * MILLI, fee_base=MILLI),
        Sweep(USDC, "deposits", "hot", minimum_base=20_000_000, fee_base=MILLI),
    )
    assert assignment.tasks.tanks == (
        Tank(ETH, "gas", ("deposits", "hot"), fee_base=MILLI, low_base=50 * MILLI),
    )


def test_every_line_of_the_pages_policy_stands_in_the_whole_one() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    whole = EXAMPLE.read_text()

    assert [line for line in block.splitlines() if line not in whole.splitlines()] == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "nothing to do"),
        ("every_s = 0\n" + SWEEP, "every_s"),
        ("evry_s = 5\n" + SWEEP, "evry_s"),
        (SWEEP.replace("usdc]", "doge]"), "no such asset"),
        (SWEEP.replace('"hot"', '"deposits"'), "both deposits"),
        (SWEEP.replace('"hot"', '"cold"'), "to is cold"),
        (SWEEP.replace("20 usdc", "20 eth"), "is in eth"),
        (SWEEP.replace("0.001 eth", "1 eth"), "ceiling"),
        (SWEEP.replace("0.001 eth", "0 eth"), "ceiling"),
        (SWEEP + "minimal = 5\n", "minimal"),
        (SWEEP.replace('minimum = "20 usdc"\n', ""), "minimum is missing"),
        (SWEEP.replace("0.001 eth", "0.002 eth") + GAS, "top-ups would not do"),
        (NATIVE.replace("0.05 eth", "0.002 eth") + GAS, "minimum is within"),
        (GAS.replace("gas.eth", "gas.usdc"), "not paid in usdc"),
        (GAS.replace('["deposits"]', '["gas"]'), "top itself up"),
        (GAS.replace('["deposits"]', "[]"), "accounts"),
        (NATIVE.replace('"deposits"', '"gas"') + GAS, "is not swept"),
        (SWEEP + SWEEP.replace("usdc]", 'more]\nasset = "usdc"'), "one wallet of one asset"),
        (SWEEP + BACK, "swept into itself"),
        (GAS + GAS.replace("eth]", 'more]\nasset = "eth"'), "two gas tanks"),
        ("[sweeps.usdc", "not TOML"),
    ],
)
def test_an_assignment_that_makes_no_sense_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    assert assigned(tmp_path, SWEEP + NATIVE + GAS) == ""
    assert says in assigned(tmp_path, text)


def test_all_that_is_wrong_with_an_assignment_is_said_at_once_with_its_line(tmp_path: Path) -> None:
    text = "every_s = 0\n" + SWEEP.replace("20 usdc", "20 eth") + "coins = 1\n" + GAS.replace("0.001", "1")
    (tmp_path / FILE).write_text(text + NATIVE.replace('to = "hot"', "to = 5").replace("eth]", "doge]"))

    with pytest.raises(ConfigError) as caught:
        load_assignment(tmp_path, connection())

    assert [f"{one.line} {one.key}" for one in caught.value.problems] == [
        "1 every_s",
        "5 sweeps.usdc.minimum",
        "7 sweeps.usdc.coins",
        "11 gas.eth.fee",
        "12 sweeps.doge.asset",
    ]


@pytest.mark.parametrize(("fee", "keep"), [("5000", 0), ("5001", 890_880), ("105000", 890_880)])
def test_an_account_on_solana_keeps_what_the_cluster_demands_unless_it_is_emptied(
    tmp_path: Path, fee: str, keep: int
) -> None:
    document: Any = read_policy(ROOT / "docs/examples/payouts.yaml").body
    (chain,) = (name for name in document["chains"] if name.startswith("solana:"))
    document["keys"]["box"] = document["keys"]["solana"]
    document["wallets"]["box"] = {"tier": "box", "key": "box", "chain": chain, "paths": ["m"]}
    known = Connection("o", "127.0.0.1:1", b"", parse_policy(document), b"")
    text = f'[sweeps.sol]\nwallet = "box"\nto = "hot-solana"\nminimum = "1 sol"\nfee = "{fee}"\n'
    (tmp_path / FILE).write_text(text)

    (sweep,) = load_assignment(tmp_path, known).tasks.sweeps

    assert (sweep.keep_base, sweep.asset.reserve_base) == (keep, 890_880)


def test_what_was_asked_for_is_listed_with_what_came_of_it(tmp_path: Path) -> None:
    policy: Json = read_policy(EXAMPLE).body
    client: Json = {"origin": "o", "address": "127.0.0.1:1", "certificate": "none", "policy": policy}
    (tmp_path / "client.json").write_bytes(canonical(client))
    with open_records(tmp_path) as book:
        account = "0x" + "11" * 20
        for number, (direction, asset, stage) in enumerate(
            [(Direction.TOP_UP, "eth", Stage.ARRIVED), (Direction.SWEEP, "usdc", Stage.REFUSED)]
        ):
            route, at_ms = f"{asset}@{account}", 1_800_000_000_000 + number
            book.put_move(
                Move(f"move-{number}", route, direction, stage, 1_500_000, at_ms, at_ms, at_ms, error="why")
            )

    where = ("--client", str(tmp_path / "client.json"), "--as", str(tmp_path))
    moves = invoke("sweep", "list", *where).document["moves"]

    assert [(one["kind"], one["stage"], one["asset"], one["amount"]) for one in moves] == [
        ("sweep", "refused", "usdc", "1500000"),
        ("top-up", "arrived", "eth", "1500000"),
    ]
    assert {one["account"] for one in moves} == {account}


def test_a_plan_says_what_would_be_asked_for_and_what_people_have_to_do() -> None:
    account = "0x" + "11" * 20
    wishes = (
        Wish(
            Direction.SWEEP, USDC, account, "deposits", "m/0/1", 25_000_000, MILLI, "0x" + "22" * 20, "rich"
        ),
        Wish(Direction.TOP_UP, ETH, account, "gas", "m/0/0", 2 * MILLI, MILLI, account, "thirsty"),
    )
    tanks = (
        TankLevel("gas", "eth", 3 * MILLI, low=True, thirsty=7),
        TankLevel("pit", "eth", None, low=False, thirsty=0),
    )
    decision = Decision(wishes, tanks, paused=("usdc@0x33",), unknown=2)

    result = plan_result(decision, connection())

    assert result.text == (
        f"sweep {account}: 25 usdc, because rich",
        f"gas for {account}: 0.002 eth, because thirsty",
        "tank gas holds 0.003 eth: FILL IT; 7 accounts lack gas",
        "tank pit holds nobody knows what",
        "left alone for now: usdc@0x33",
        "2 balances are not known: no chain says",
    )
    assert [(one["source"], one["amount"], one["fee"]) for one in result.document["moves"]] == [
        ("m/0/1", "25000000", str(MILLI)),
        ("m/0/0", str(2 * MILLI), str(MILLI)),
    ]
    assert plan_result(Decision((), (), (), 0), connection()).text == ("Nothing is to be moved.",)


def test_a_folder_without_records_says_what_makes_them(tmp_path: Path) -> None:
    client: Json = {"origin": "o", "address": "a", "certificate": "c", "policy": read_policy(EXAMPLE).body}
    (tmp_path / "client.json").write_bytes(canonical(client))

    with pytest.raises(OperationalError, match="sweep run makes them"):
        invoke("sweep", "list", "--client", str(tmp_path / "client.json"), "--as", str(tmp_path))
