"""A shadow policy judges beside the real one, keeps what it would have said, and can do no harm."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from cli.policies.shadowing import shown
from cli.results import Table
from custody.adapters.shadow_store import ShadowStore
from custody.candidates import Folded
from custody.config_reading import load_config
from custody.main import build_shadow
from custody.metrics import Metrics
from custody.parts import Parts
from custody.shadow import Shadow, Shelf
from policy.backtest import Beside, Comparison, compare
from policy.document import parse_policy
from policy.encoding import Json, canonical
from policy.entries import parse_entry
from policy.errors import MalformedError, OperationalError
from policy.replay import Step
from tests.simulation.world import Book, World, limit
from tests.unit.custody_cluster import ETHER, make_request, policy_document
from tests.unit.custody_house import House, Running
from tests.unit.test_custody_config import example
from tests.waiting import found, until

SMALLER: dict[str, Json] = {
    **policy_document(),
    "name": "smaller",
    "rules": [
        {"name": "tiny", "when": {"assets": ["eth"], "amount_max": "100"}, "then": {"outcome": "allow"}}
    ],
}
WORLD = World()


class BrokenShelf:
    """Keeps nothing."""

    def add(self, policy: bytes, comparisons: Sequence[Comparison]) -> None:
        raise OSError("the disk is full")

    def newest(self, policy: bytes, *, flips: bool, limit: int) -> list[Json]:
        return []


class Shadowed(House):
    """A house with a shadow."""

    def __init__(self, folder: Path, shelf: Callable[[], Shelf], document: Json = SMALLER) -> None:
        super().__init__(folder)
        self.shelf, self.document = shelf, document

    def build(self) -> Parts:
        parts = super().build()
        return replace(parts, shadow=Shadow(self.document, self.shelf(), metrics=parts.metrics))


async def paid(running: Running, house: House, name: str, *, amount: int) -> bytes:
    """A request through the real path, to its end."""
    _, body, signature = make_request(name, amount=amount, now_ms=house.now_ms())
    record = await running.service.submit(body, signature)
    await running.until(record.request, "settled", "denied")
    return record.request


async def said(running: Running, *, flips: bool = False) -> Any:
    """What the door would answer."""
    return await running.service.shadow(flips=flips, limit=100)


def count(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


async def test_it_says_what_it_would_have_said_of_requests_and_reservations(tmp_path: Path) -> None:
    house = Shadowed(tmp_path, lambda: ShadowStore(tmp_path / "shadow.db"))
    async with house.with_key() as running:
        metrics = running.parts.metrics
        small = await paid(running, house, "small", amount=50)
        large = await paid(running, house, "large", amount=500)
        await until(
            lambda: (
                count(
                    metrics, "quorumkeep_shadow_verdicts_total", kind="reserve", real="allow", shadow="deny"
                )
                == 1
            )
        )
        every = await said(running)
        flips = await said(running, flips=True)

    assert [(one["kind"], one["request"], one["way"]) for one in every["verdicts"]] == [
        ("reserve", large.hex(), "stricter"),
        ("request", large.hex(), "stricter"),
        ("reserve", small.hex(), ""),
        ("request", small.hex(), ""),
    ]
    assert [one["index"] for one in flips["verdicts"]] == [one["index"] for one in every["verdicts"][:2]]
    assert every["verdicts"][0]["other"] == {"outcome": "deny", "rule": "no-rule-matches"}
    assert (every["name"], every["errors"]) == ("smaller", 0)
    text = shown(flips, parse_policy(policy_document())).text
    assert isinstance(text[-1], Table) and text[-1].rows[0][4:] == (
        "allow by small",
        "deny by no-rule-matches",
        "stricter",
    )
    assert canonical(every)


async def test_whatever_fails_in_it_payments_go_on_and_it_is_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house = Shadowed(tmp_path, BrokenShelf)
    with caplog.at_level(logging.WARNING):
        async with house.with_key() as running:
            request = await paid(running, house, "one", amount=5 * ETHER // 10)
            record = await running.service.get(request)
            await until(lambda: count(running.parts.metrics, "quorumkeep_shadow_errors_total") > 0)
            report = await said(running)

    assert record.state == "settled"
    assert report["errors"] > 0
    assert "the disk is full" in caplog.text


async def test_without_one_there_is_nothing_to_say(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.running() as running:
        answer = await said(running)

    assert answer["policy"] == ""
    assert "no shadow policy" in str(shown(answer, parse_policy(policy_document())).text[0])


def folded(book: Book, start: int) -> list[Folded]:
    """What a sequencer tells of a book's entries from ``start`` on."""
    replayed, found = Book(WORLD, start=False), []
    for index, entry in enumerate(book.entries):
        outcome = replayed.append(entry)
        if index >= start:
            found.append(Folded(entry, outcome, replayed.state))
    return found


async def judged(shadow: Shadow, *, last: int) -> Any:
    """What it has kept, once it has judged entry ``last``."""
    running = asyncio.create_task(shadow.run())
    report: Any = await found(
        lambda: shadow.report(flips=False, limit=100),
        lambda report: any(one["index"] == last for one in cast("Any", report)["verdicts"]),
    )
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return report["verdicts"]


async def test_what_does_not_fit_its_queue_is_dropped_and_its_windows_are_counted_anew(
    tmp_path: Path,
) -> None:
    book = Book(WORLD)
    start = book.fork().state
    for nonce in range(3):
        book.pay(100, nonce=nonce)
    store, metrics = ShadowStore(tmp_path / "shadow.db"), Metrics()
    tight = WORLD.policy(limits=[limit("tight", "eth", 460)])
    shadow = Shadow(tight, store, metrics=metrics, queue_max=1)
    shadow.start(start)
    entries = folded(book, 2)
    for one in entries:
        shadow.written(one)  # nobody takes anything out meanwhile: the first fits, the others do not
    lost = count(metrics, "quorumkeep_shadow_errors_total")
    first = await judged(shadow, last=2)
    book.request(100)
    shadow.written(folded(book, len(book.entries) - 1)[0])
    both = await judged(shadow, last=len(book.entries) - 1)
    store.close()

    assert lost == len(entries) - 1
    assert len(first) == 1
    assert both[0]["why"] == "limit 'tight': 330 used and 200 asked is above 460 eth in 86400000 ms"


def test_a_document_that_is_no_policy_keeps_no_coordinator_down(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(example())
    (tmp_path / "data").mkdir()
    metrics = Metrics()
    config = load_config(tmp_path / "config.toml")
    absent = build_shadow(config, metrics)
    (tmp_path / "new.json").write_text('{"version": 9}')
    wrong = build_shadow(config, metrics)
    (tmp_path / "new.json").write_bytes(canonical(SMALLER))
    right = build_shadow(config, metrics)

    assert (absent, wrong) == (None, None)
    assert count(metrics, "quorumkeep_shadow_errors_total") == 2
    assert right is not None
    with pytest.raises(MalformedError):
        Shadow({"version": 9}, BrokenShelf(), metrics=metrics)


async def test_what_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    store = ShadowStore(tmp_path / "shadow.db")
    (tmp_path / "shadow.db").write_bytes(b"no database" * 1000)

    with pytest.raises(OperationalError, match="cannot be read"):
        await Shadow(SMALLER, store, metrics=Metrics()).report(flips=True, limit=5)
    store.close()


def test_the_same_entry_on_another_branch_takes_the_place_of_the_first(tmp_path: Path) -> None:
    store = ShadowStore(tmp_path / "shadow.db")
    book = Book(WORLD)
    book.request(100)
    replayed = Book(WORLD)
    entry = book.entries[-1]
    state = replayed.state
    outcome = replayed.append(entry)
    step = Step(state, state.size, entry, parse_entry(entry), outcome, replayed.state)
    one = compare(Beside.of(parse_policy(WORLD.policy(rules=[])), state), step)
    assert one is not None
    store.add(bytes(32), [one])
    store.add(bytes(32), [replace(one, amount=7)])
    kept = store.newest(bytes(32), flips=True, limit=9)
    other = store.newest(b"\x01" * 32, flips=False, limit=9)
    store.close()

    assert [row["amount"] for row in kept if isinstance(row, dict)] == ["7"]
    assert other == []
