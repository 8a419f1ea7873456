"""A document of ceremonies that cannot be read costs the ceremony, and not the coordinator."""

import json
import zlib
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select

from custody.adapters.store import Store
from custody.adapters.tables import CEREMONIES
from custody.ceremony_document import restored
from custody.cold import ColdStep, step
from policy.encoding import Json
from policy.errors import MalformedError
from tests.unit.custody_house import House

WHOLE: dict[str, Json] = {"hellos": [], "spent": [], "burned": [], "current": []}
UNREADABLE = [
    b"no zlib",
    zlib.compress(b"no JSON"),
    zlib.compress(json.dumps({**WHOLE, "later": 1}).encode()),
    zlib.compress(json.dumps({**WHOLE, "hellos": ["zz"]}).encode()),
    zlib.compress(json.dumps(WHOLE).encode())[:-9],
]


@pytest.mark.parametrize("data", UNREADABLE)
def test_what_cannot_be_read_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        restored(data, lambda message: bytes(64))


@pytest.mark.parametrize("data", UNREADABLE[:3])
async def test_a_coordinator_starts_without_it_and_never_writes_over_it(tmp_path: Path, data: bytes) -> None:
    house = House(tmp_path)
    async with house.with_key():
        pass
    store = Store(house.database)
    store.take_lease(house.now_ms(), 1)
    store.keep_ceremonies(data)
    store.renew_lease(house.now_ms(), 0)
    store.close()

    async with house.running() as running:
        assert running.parts.ceremonies.current is None
        await step(running.parts, ColdStep())
    with create_engine(house.database).connect() as connection:
        kept = {one.place: one.document for one in connection.execute(select(CEREMONIES))}

    assert kept.keys() == {0, 1} and kept[1] == data
