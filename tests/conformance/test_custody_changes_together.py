"""Changes that come with entries are carried out together: the tables are as if each had come by itself."""

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from custody.adapters.store import Store
from custody.adapters.tables import METADATA
from custody.records import Change, NewRequest, Payment, SignedTransaction
from custody.requests import Event
from policy.approval import Slot

pytest_plugins = ("tests.fixtures_postgres",)

REQUESTS = [
    NewRequest(bytes([n]) * 32, ("shop", "desk")[n % 2], f"key-{n}", b"{}", b"s" * 64, 1_000)
    for n in range(1, 8)
]
OF_THE_DATABASE = {"lease", "feed", "deployment", "alembic_version"}


def some_changes(source: random.Random) -> list[Change]:
    """Events of a few requests in a random order, some too late, with what comes with them."""
    changes = []
    for number in range(source.randrange(1, 30)):
        new = source.choice(REQUESTS)
        event = source.choice([*Event])
        fields: dict[str, object] = {"rule": f"rule-{number}", "nonce": number}
        change = Change(new.request, event, fields, presignatures=(bytes([number]) * 32,))
        if source.random() < 0.3:
            paid = SignedTransaction(bytes([number]) * 31 + b"t", new.request, "payment", b"h" * 32, b"raw")
            payment = Payment("evm:1", "0x" + "22" * 20, "eth", new.initiator, 5, number)
            slot = Slot("evm:1", "0x" + "11" * 20, number)
            change = dataclasses.replace(change, transaction=paid, payment=payment, slot=slot)
        changes.append(change)
    return changes


def opened(url: str) -> Store:
    store = Store(url)
    store.take_lease(0, 1_000)
    for new in REQUESTS[:-1]:
        store.submit(new, 1)
    return store


def tables(store: Store) -> dict[str, list[Any]]:
    """All rows of all tables but those that say which database it is."""
    with store._reading() as db:
        return {
            table.name: sorted(map(repr, db.execute(select(table)).all()))
            for table in METADATA.sorted_tables
            if table.name not in OF_THE_DATABASE
        }


def agree_on(changes: list[list[Change]], urls: tuple[str, str]) -> None:
    one_by_one, together = map(opened, urls)
    for now_ms, part in enumerate(changes, start=2):
        done = [one_by_one.apply(change, now_ms) for change in part]

        assert together.append(0, [], note=b"", changes=part, now_ms=now_ms) == tuple(filter(None, done))
    assert tables(together) == tables(one_by_one)
    one_by_one.close()
    together.close()


@pytest.mark.parametrize("seed", range(12))
def test_changes_together_are_what_they_are_one_by_one(seed: int, tmp_path: Path) -> None:
    source = random.Random(seed)
    agree_on(
        [some_changes(source) for _ in range(6)],
        (f"sqlite:///{tmp_path / 'one.db'}", f"sqlite:///{tmp_path / 'together.db'}"),
    )


def test_so_are_they_on_postgresql(new_postgres_url: Callable[[], str]) -> None:
    source = random.Random("postgresql")
    agree_on([some_changes(source) for _ in range(6)], (new_postgres_url(), new_postgres_url()))


def test_a_row_that_is_missing_is_made_among_others(tmp_path: Path) -> None:
    missing = REQUESTS[-1]
    changes = [
        Change(REQUESTS[0].request, Event.ENTRY_ACCEPTED),
        Change(missing.request, Event.ENTRY_ACCEPTED, {"rule": "small"}, new=missing),
        Change(missing.request, None, {"approvals": 1}),
        Change(b"\xff" * 32, Event.ENTRY_ACCEPTED),
    ]

    agree_on([changes], (f"sqlite:///{tmp_path / 'one.db'}", f"sqlite:///{tmp_path / 'together.db'}"))
