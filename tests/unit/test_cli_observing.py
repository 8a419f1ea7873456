"""``observe.toml``: every mistake at once, and nothing that is not known."""

import json
from pathlib import Path

import pytest

from cli.observing.assignment import FILE, load_assignment
from cli.results import show_error
from custody.observing.main import Assignment
from policy.errors import OperationalError
from policy.settings import ConfigError, Problem

GOOD = """
every_s = 7
[chains."evm:1"]
urls = ["https://a.example.com/key", "https://b.example.com", "https://c.example.com"]
agree = 2
head = "finalized"
confirmations = 3
start = 9
[chains."bitcoin:mainnet"]
url = "http://127.0.0.1:8332"
credentials = "cookie"
"""


def load(folder: Path, text: str) -> Assignment:
    (folder / FILE).write_text(text)
    return load_assignment(folder)


def test_chains_are_read_as_the_coordinators_are(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(GOOD)
    found = load_assignment(tmp_path)

    evm, bitcoin = found.chains["evm:1"], found.chains["bitcoin:mainnet"]
    assert (found.every_s, found.starts) == (7, {"evm:1": 9})
    assert (len(evm.urls), evm.agree, evm.head, evm.confirmations) == (3, 2, "finalized", 3)
    assert bitcoin.confirmations == 6
    assert bitcoin.bitcoin is not None and bitcoin.bitcoin.credentials == (tmp_path / "cookie",)


def test_solana_is_watched_by_how_sure_a_slot_is(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('[chains."solana:localnet"]\nurl = "http://x"')
    found = load_assignment(tmp_path).chains["solana:localnet"]

    assert found.solana is not None
    assert (found.solana.commitment, found.confirmations) == ("finalized", 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("every_s = 1", "has no chain"),
        ('[chains."evm:1"]', "url"),
        ('[chains."doge:1"]\nurl = "http://x"', "is not a chain"),
        ('[chains."solana:localnet"]\nurl = "http://x"\nconfirmations = 3', "confirmations"),
        (GOOD.replace("start = 9", "start = -1"), "start"),
        (GOOD.replace("start = 9", "sart = 9"), "sart"),
        (GOOD.replace("every_s = 7", "every_s = 0"), "every_s"),
        (GOOD.replace("agree = 2", "agree = 1"), "agree"),
        ("[chains", "TOML"),
    ],
)
def test_a_mistake_is_named_with_its_key(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(OperationalError, match=words):
        load(tmp_path, text)


def test_several_mistakes_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(OperationalError) as error:
        load(tmp_path, GOOD.replace("start = 9", "sart = 9").replace("every_s = 7", "every_s = 0"))
    assert "2 problems" in str(error.value)


def test_a_file_that_cannot_be_used_ends_a_command_with_2_and_a_line_for_each_problem(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = ConfigError("observe.toml", [Problem(1, "a", "is wrong"), Problem(2, "b", "is wrong")])

    assert show_error(error, as_json=True) == 2
    said = capsys.readouterr()
    assert "line 1" in json.loads(said.out)["error"]
    assert said.err.count("\n") == 3


def test_a_file_that_is_not_there_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match=r"observe\.toml"):
        load_assignment(tmp_path)
