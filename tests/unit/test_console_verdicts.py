"""What the log's page says of a verdict: what decided, and honestly where the policy was another one."""

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from custody.console.log_index import KINDS, Entry, read_entry
from custody.console.texts import LANGUAGES, catalogue
from custody.console.verdicts import BUILT_IN, Explained, explained
from custody.enacting import enact
from policy.encoding import canonical
from policy.entries import _READERS as READERS
from policy.state import State
from policy.words.language import CHINESE
from tests.unit.test_console_pages import reading
from tests.unit.test_custody_enacting import BOTH, change, house_with, pay, stricter


def judged(rule: str, outcome: str = "deny", time_ms: int = 5_000) -> Entry:
    document: Any = {
        "kind": "request",
        "time_ms": time_ms,
        "body": {},
        "verdict": {"outcome": outcome, "rule": rule},
    }
    return read_entry(7, canonical(document))


@pytest.fixture(scope="module")
async def state(tmp_path_factory: pytest.TempPathFactory) -> State:
    async with house_with(tmp_path_factory.mktemp("house")).running() as running:
        return running.parts.sequencer.state


def test_every_kind_of_entry_can_be_chosen_and_has_a_name() -> None:
    assert set(KINDS) == set(READERS)
    assert all({f"kind.{kind}" for kind in KINDS} <= set(catalogue(language)) for language in LANGUAGES)


def test_every_bound_that_each_policy_has_is_explained_in_every_language() -> None:
    for language in LANGUAGES:
        assert {f"why.{rule}" for rule in BUILT_IN} <= set(catalogue(language))


def test_whatever_the_log_itself_refuses_by_has_a_text() -> None:
    policy = Path(__file__).parents[2] / "policy"
    calls = (node for path in policy.glob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    names = {
        str(rule.value)
        for call in calls
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        for place in [{"Denied": 0, "denied": 0, "Verdict": 1}.get(call.func.id, len(call.args))]
        for rule in call.args[place : place + 1]
        if isinstance(rule, ast.Constant)
    }

    assert {"frozen", "error", "request-rejected"} <= names <= BUILT_IN


async def test_what_decided_is_said_in_the_readers_language(state: State) -> None:
    found = [explained(judged(rule), state, history=(), language=CHINESE) for rule in ("small", "daily")]

    assert [one.sentence.isascii() for one in found if one] == [False, False]


@pytest.mark.parametrize(
    ("rule", "text", "said"),
    [
        ("small", "why.rule", "eth"),
        ("daily", "why.limit", "20 eth"),
        ("no-rule-matches", "why.no-rule-matches", ""),
        ("signers-banned", "why.signers-banned", ""),
        ("<b>gone</b>", "why.other", ""),
    ],
)
async def test_what_decided_is_named_and_said(state: State, rule: str, text: str, said: str) -> None:
    found = explained(judged(rule), state, history=())

    assert isinstance(found, Explained)
    assert (found.text, found.rule, found.changed) == (text, rule, False)
    assert said in found.sentence and bool(said) == bool(found.sentence)


async def test_an_entry_without_a_verdict_is_explained_by_nothing(state: State) -> None:
    entry = read_entry(0, canonical({"kind": "freeze", "time_ms": 1, "body": {}}))

    assert explained(entry, state, history=()) is None


@pytest.mark.parametrize(("at_ms", "changed"), [(6_000, True), (5_000, True), (4_999, False)])
async def test_a_change_that_may_have_come_later_is_said(state: State, at_ms: int, changed: bool) -> None:
    made: Callable[[int], Entry] = lambda index: read_entry(  # noqa: E731 - an entry at a place
        index, canonical({"kind": "policy", "time_ms": at_ms - state.roster.policy_delay_ms, "body": {}})
    )
    found = explained(judged("small"), state, history=(made(3),))

    assert found is not None and found.changed == changed


async def test_the_page_of_an_entry_explains_its_verdict(tmp_path: Path) -> None:
    async with house_with(tmp_path).with_key() as running:
        await running.until(await pay(running, "one"), "settled")
        entries = await running.parts.database.entries(0, 100)
        place = next(i for i, one in enumerate(entries) if json.loads(one)["kind"] == "request")
        async with reading(running, "otto") as client:
            before = (await client.get(f"/log/{place}")).text
            await enact(running.parts, change(running, "policy", stricter(), *BOTH))
            after = (await client.get(f"/log/{place}")).text

    assert "is the first that fits, and decides" in before
    assert "The policy was changed since" not in before
    assert "The policy was changed since" in after


async def test_the_log_is_saved_whole_or_of_one_kind(tmp_path: Path) -> None:
    async with house_with(tmp_path).with_key() as running:
        await running.until(await pay(running, "one"), "settled")
        async with reading(running, "otto") as client:
            whole = await client.get("/log/entries.ndjson")
            requests = await client.get("/log/entries.ndjson?kind=request")
        entries = await running.parts.database.entries(0, running.parts.sequencer.state.size)

    assert tuple(whole.content.split(b"\n")[:-1]) == tuple(entries)[: len(whole.content.split(b"\n")) - 1]
    assert whole.headers["Content-Disposition"] == 'attachment; filename="log.ndjson"'
    assert {json.loads(one)["kind"] for one in requests.content.splitlines()} == {"request"}
