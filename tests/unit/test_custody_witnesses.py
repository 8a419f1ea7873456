"""Where a witness of others is asked, no payment is finished under a checkpoint that it has not cosigned."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cli.witness.keeper import Keeper, make
from cli.witness.server import WitnessServer
from custody.adapters.witness_poster import WitnessPoster
from custody.config_reading import load_config
from custody.witnesses import Witness, Witnesses
from policy.errors import OperationalError
from policy.log.checkpoint import encode_vkey, parse_note, verify_cosignatures
from policy.log.merkle import Frontier
from policy.log.tiles import increment
from signer_nodes.api.errors import Refused
from signer_nodes.config import parse_config
from signer_nodes.runtime import NodeRuntime, Parts
from signer_nodes.witness import Refusal, check_witnessed
from tests.simulation.world import public_key
from tests.unit.custody_cluster import ORIGIN, public
from tests.unit.custody_house import House
from tests.unit.test_custody_config import example
from tests.unit.test_custody_flow import submit
from tests.unit.test_node_config import FOLDER, MINIMAL, problems_of
from tests.unit.test_witness import NAME, entries, note, running
from tests.unit.test_witness import call as submission
from tests.waiting import until


def files(size: int, *, branch: str = "") -> dict[str, bytes]:
    return dict(increment(lambda path: None, Frontier(), entries=entries(size, branch=branch)))


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


# The coordinator.


async def test_a_published_checkpoint_has_the_cosignature_of_the_witness(tmp_path: Path) -> None:
    poster = WitnessPoster()
    with running(tmp_path / "watch") as (url, keeper):
        asked = Witnesses({NAME: Witness(NAME, keeper.public_key, url)}, poster)
        for size in (3, 10, 10, 300):
            data, missing = await asked.cosigned(files(size).get, note(size).to_bytes())
            assert missing == ()
            assert verify_cosignatures(parse_note(data, 9999), {NAME: keeper.public_key})
        restarted = Witnesses({NAME: Witness(NAME, keeper.public_key, url)}, poster)
        assert (await restarted.cosigned(files(301).get, note(301).to_bytes()))[1] == ()
    await poster.close()


async def test_a_witness_that_is_away_or_lies_is_named_and_adds_nothing(tmp_path: Path) -> None:
    poster = WitnessPoster()
    with running(tmp_path / "watch") as (url, keeper):
        strange = Witness(NAME, public_key("eve"), url)
        away = Witness("away.example.com", keeper.public_key, "http://127.0.0.1:1")
        both = Witnesses({NAME: strange, "away.example.com": away}, poster)
        data, missing = await both.cosigned(files(3).get, note(3).to_bytes())

        assert (data, missing) == (note(3).to_bytes(), (NAME, "away.example.com"))
    await poster.close()


@pytest.mark.parametrize("answer", [(409, b"99\n"), (409, b"x"), (409, b"9" * 99), (200, b""), (500, b"")])
async def test_whatever_a_witness_answers_ends_in_no_cosignature(answer: tuple[int, bytes]) -> None:
    class Liar:
        async def post(self, url: str, body: bytes) -> tuple[int, bytes]:
            return answer

    asked = Witnesses({NAME: Witness(NAME, public_key("eve"), "http://127.0.0.1:1")}, Liar())

    assert await asked.cosigned(files(3).get, note(3).to_bytes()) == (note(3).to_bytes(), (NAME,))


async def test_a_size_that_a_witness_made_up_is_not_held_against_it_later(tmp_path: Path) -> None:
    class LyingAtFirst(WitnessPoster):
        lied = False

        async def post(self, url: str, body: bytes) -> tuple[int, bytes]:
            if self.lied:
                return await super().post(url, body)
            self.lied = True
            return 409, b"99\n"

    poster = LyingAtFirst()
    with running(tmp_path / "watch") as (url, keeper):
        asked = Witnesses({NAME: Witness(NAME, keeper.public_key, url)}, poster)

        assert (await asked.cosigned(files(3).get, note(3).to_bytes()))[1] == (NAME,)
        assert (await asked.cosigned(files(4).get, note(4).to_bytes()))[1] == ()
    await poster.close()


async def test_payments_wait_for_the_witness_and_the_log_does_not(house: House, tmp_path: Path) -> None:
    make(tmp_path / "watch", NAME)
    keeper = Keeper(tmp_path / "watch", {ORIGIN: public("log")})
    poster, server = WitnessPoster(), WitnessServer(("127.0.0.1", 0), keeper)
    url = f"http://127.0.0.1:{server.server_port}"
    house.ask = Witnesses({NAME: Witness(NAME, keeper.public_key, url)}, poster).cosigned
    async with house.running(publish=True) as one:
        await one.service.change_key("admin", "hot", change="generate")
        request = await submit(one, house, "one")
        with pytest.raises(TimeoutError):  # nobody serves yet
            await one.until(request, "settled", wait_s=2)
        assert one.parts.replication.quorum.size > one.parts.replication.binding.size == 0

        serving = asyncio.create_task(asyncio.to_thread(server.serve_forever, 0.01))
        await one.until(request, "settled")
        await until(lambda: NAME in _cosigned(house.folder / "log" / "checkpoint", keeper))
        server.shutdown()
        await serving
    server.server_close()
    await poster.close()
    keeper.close()


def _cosigned(path: Path, keeper: Keeper) -> set[str]:
    return set(verify_cosignatures(parse_note(path.read_bytes(), 10_000), {NAME: keeper.public_key}))


VKEY = encode_vkey(NAME, 4, public_key=public_key("watch"))
SECTION = '\n[witnesses."{name}"]\nurl = "{url}"\nvkey = "{vkey}"\n'


def test_witnesses_are_configured_by_name_key_and_url(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(example() + SECTION.format(name=NAME, url="https://watch.example.com", vkey=VKEY))

    assert load_config(path).witnesses == {
        NAME: Witness(NAME, public_key("watch"), "https://watch.example.com")
    }
    for name, url, vkey in (
        ("other", "https://watch.example.com", VKEY),
        (NAME, "http://watch.example.com", VKEY),
        (NAME, "https://watch.example.com", encode_vkey(NAME, 1, public_key=public_key("watch"))),
        (NAME, "https://watch.example.com", "nonsense"),
        (NAME, "https://[watch.example.com", VKEY),
    ):
        path.write_text(example() + SECTION.format(name=name, url=url, vkey=vkey))
        with pytest.raises(OperationalError):
            load_config(path)


def test_two_witnesses_with_one_key_are_one_witness_and_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    first = SECTION.format(name=NAME, url="https://watch.example.com", vkey=VKEY)
    path.write_text(
        example() + first + SECTION.format(name="other", url="https://other.example.com", vkey=SAME_KEY)
    )

    with pytest.raises(OperationalError, match=r"witnesses\.other\.vkey has the key of"):
        load_config(path)


def test_a_witness_without_a_published_log_has_nothing_to_look_at(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    lines = [line for line in example().splitlines() if not line.startswith("publish_dir")]
    section = SECTION.format(name=NAME, url="https://watch.example.com", vkey=VKEY)
    path.write_text("\n".join(lines) + section)

    with pytest.raises(OperationalError, match="publish_dir"):
        load_config(path)


# Nodes.


def test_a_node_is_told_whose_cosignature_it_requires() -> None:
    assert parse_config(f'witnesses = ["{VKEY}"]\n' + MINIMAL, FOLDER).witnesses == {
        NAME: public_key("watch")
    }
    assert parse_config(MINIMAL, FOLDER).witnesses == {}


SAME_KEY = encode_vkey("other", 4, public_key=public_key("watch"))
UNREADABLE = (
    '"nonsense"',
    '["nonsense"]',
    "[1]",
    f'["{VKEY}", "{VKEY}"]',
    f'["{VKEY}", "{SAME_KEY}"]',
    f'["{VKEY}x"]',
)


@pytest.mark.parametrize("value", UNREADABLE)
def test_a_witness_that_cannot_be_read_is_a_problem_and_not_none(value: str) -> None:
    assert [one for one in problems_of(f"witnesses = {value}\n" + MINIMAL) if one.key == "witnesses"]


def test_a_head_without_a_required_cosignature_is_refused(tmp_path: Path) -> None:
    with running(tmp_path / "watch") as (_, keeper):
        line = keeper.cosign(submission(3, 0), time_s=1)
        signed = note(3).to_bytes() + line
        check_witnessed(signed, {NAME: keeper.public_key})
        check_witnessed(note(3).to_bytes(), {})

        for required in ({NAME: public_key("eve")}, {NAME: keeper.public_key, "other": public_key("eve")}):
            with pytest.raises(Refusal, match="has not cosigned this head"):
                check_witnessed(signed, required)
        with pytest.raises(Refusal):
            check_witnessed(note(4).to_bytes() + line, {NAME: keeper.public_key})


def test_a_node_that_requires_a_witness_computes_no_partial_without_it() -> None:
    finished: list[int] = []
    log = SimpleNamespace(learn_quorum=lambda data, **_: SimpleNamespace(size=3))
    signer = SimpleNamespace(finish=lambda jobs, quorum_size, now_ms: finished.append(quorum_size))
    store = SimpleNamespace(flush=lambda: None)
    made = [cast("Any", one) for one in (log, signer, store, None, None, None, None, lambda: 1, "node")]
    required = {NAME: public_key("watch")}

    async def finish(witnesses: dict[str, bytes]) -> None:
        NodeRuntime(cast("Any", Parts)(*made, witnesses))._finish(note(3).to_bytes(), {})

    asyncio.run(finish({}))
    with pytest.raises(Refused, match="has not cosigned"):
        asyncio.run(finish(required))
    assert finished == [3]
