"""The page on risk: its policy, its files and its table of features are those that the program has."""

import re
from datetime import date
from pathlib import Path

import pytest

from cli.policies.reading import read_policy
from cli.risk.assignment import FILE, load_assignment
from custody.risk.reading import Reader, Scored
from custody.risk.sanctions import parse_list
from custody.risk.scoring import FEATURES, MODEL, THRESHOLD
from policy.replay import Step
from policy.shapes import read_entry
from tests.unit.stored_logs import LOGS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "risk.md").read_text()
BLOCKS = dict(re.findall(r"^```(yaml|toml|json)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
EXCHANGE = "/srv/observers"  # of a deployment; here it is another folder
BASE = """
version: 1
name: page
chains: {evm:1: {native: eth, fee_ceiling: 0.02 eth}}
assets: {eth: {kind: native, chain: evm:1, decimals: 18}}
keys: {main: {suite: dkls23-secp256k1, min_signers: 2, participants: [a, b, c]}}
wallets: {hot: {tier: hot, key: main, chain: evm:1, paths: [m/0/0]}}
lists: {}
limits: []
cancel: {fee_ceiling: 0.01 eth}
"""


def test_the_policy_of_the_page_is_one(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(BASE + BLOCKS["yaml"])

    found = read_policy(tmp_path / "policy.yaml")

    assert [rule.name for rule in found.policy.rules] == ["unremarkable", "worth-a-look"]


def test_the_assignment_and_the_list_of_the_page_are_read(tmp_path: Path) -> None:
    assert EXCHANGE in BLOCKS["toml"]
    (tmp_path / FILE).write_text(BLOCKS["toml"].replace(EXCHANGE, str(tmp_path)))

    assert load_assignment(tmp_path).words.hit == "sanctioned"
    assert parse_list(BLOCKS["json"].encode()).as_of == date(2026, 11, 25)


def test_the_page_names_the_model_its_features_and_the_threshold() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE)

    assert rows == list(FEATURES)
    assert f"`{MODEL}`" in PAGE
    assert f"threshold is {THRESHOLD}" in PAGE


@pytest.mark.parametrize("name", LOGS)
def test_any_log_that_folds_is_read(name: str) -> None:
    book, reader, scored = LOGS[name](), Reader(), set[bytes]()
    for index, (data, outcome) in enumerate(zip(book.entries, book.outcomes, strict=True)):
        if outcome.kind == "malformed":
            continue
        before, after = book.past[index][0], book.past[index + 1][0]
        found = reader.hear(Step(before, index, data, read_entry(data), outcome, after))
        scored |= {found.ask.request} if isinstance(found, Scored) else set()

    assert scored == set(book.state.requests)
