"""What a supervisor is told of a process, over the socket file in its data folder."""

import asyncio
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from custody.main import STALLED_S, Standing
from policy.errors import OperationalError
from signer_nodes.api.health import (
    READY,
    SOCKET,
    STALLED,
    STANDBY,
    STARTING,
    NotServing,
    answering,
    ask,
    main,
)
from signer_nodes.config import parse_config
from signer_nodes.hsm.errors import HsmError, PinRejectedError
from signer_nodes.refused_pin import opened_or_held, until_another_pin
from tests.unit.test_node_config import MINIMAL
from tests.waiting import WAIT_S


async def told(folder: Path) -> dict[str, str]:
    return await asyncio.to_thread(ask, folder)


async def test_a_process_says_its_name_and_what_it_does_now(tmp_path: Path) -> None:
    states = [READY, STARTING]
    async with answering(tmp_path, "node-a", state=states.pop):
        said = [await told(tmp_path), await told(tmp_path)]

    assert said == [{"name": "node-a", "state": STARTING}, {"name": "node-a", "state": READY}]


def test_a_coordinator_whose_lease_was_not_renewed_in_time_is_stalled_until_it_is() -> None:
    clock = [100.0]
    standing = Standing(clock=lambda: clock[0])
    said = [standing.told()]
    standing.renewed()
    standing.state = READY
    for ahead_s in (STALLED_S, 0.5):
        clock[0] += ahead_s
        said.append(standing.told())
    standing.renewed()
    said.append(standing.told())

    assert said == [STARTING, READY, STALLED, READY]


@pytest.mark.parametrize(
    ("state", "codes"), [(STALLED, (1, 0)), (STARTING, (1, 0)), (STANDBY, (0, 0)), (READY, (0, 0))]
)
async def test_one_that_starts_is_alive_and_serves_nobody_yet(
    tmp_path: Path, state: str, codes: tuple[int, int]
) -> None:
    async with answering(tmp_path, "coordinator", state=lambda: state):
        serving = await asyncio.to_thread(main, [str(tmp_path)])
        alive = await asyncio.to_thread(main, [str(tmp_path), "--alive"])

    assert (serving, alive) == codes


async def test_a_loop_that_hangs_answers_nothing(tmp_path: Path) -> None:
    async with answering(tmp_path, "node-a", state=lambda: READY):
        with pytest.raises(NotServing, match=r"does not answer within 0\.2 s"):
            ask(tmp_path, timeout_s=0.2)  # called by the very loop that would have to answer


async def test_what_a_killed_process_left_is_no_answer_and_does_not_stop_the_next(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(tmp_path / SOCKET))

    with pytest.raises(NotServing, match="start it, or see its log"):
        ask(tmp_path)
    async with answering(tmp_path, "node-a", state=lambda: READY):
        assert (await told(tmp_path))["state"] == READY
    assert not (tmp_path / SOCKET).exists()


async def test_a_folder_deeper_than_a_sockets_address_will_do(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)

    async with answering(deep, "node-a", state=lambda: READY):
        assert (await told(deep))["name"] == "node-a"


async def test_a_file_of_somebody_else_in_its_place_stays(tmp_path: Path) -> None:
    (tmp_path / SOCKET).write_text("mine")

    with pytest.raises(OperationalError, match=r"in use.*remove what is there"):
        async with answering(tmp_path, "node-a", state=lambda: READY):
            pass
    assert (tmp_path / SOCKET).read_text() == "mine"


def test_no_process_is_said_plainly_and_nothing_heavy_is_loaded_for_it(tmp_path: Path) -> None:
    asking = [sys.executable, "-X", "importtime", "-m", "signer_nodes.api.health", str(tmp_path)]
    done = subprocess.run(asking, capture_output=True, text=True, check=False)
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}

    assert done.returncode == 1 and "no process answers in" in done.stderr
    assert not {name for name in loaded if name.partition(".")[0] in ("grpc", "cryptography", "policy")}


@pytest.mark.parametrize("line", ["", "x\n", json.dumps({"name": "a"}) + "\n", "[]\n", "1" * 5000])
async def test_an_answer_that_makes_no_sense_is_no_health(tmp_path: Path, line: str) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(line.encode())
        writer.close()

    server = await asyncio.start_unix_server(answer, tmp_path / SOCKET)
    with pytest.raises(NotServing):
        await told(tmp_path)
    server.close()


async def test_a_held_process_is_alive_and_not_ready_and_ends_with_another_pin(tmp_path: Path) -> None:
    pins = ["wrong"]

    def pin() -> str:
        if not pins:
            raise HsmError("it is just being replaced")
        return pins[0]

    held = asyncio.create_task(until_another_pin(tmp_path, "node-a", pin=pin, look_s=0.01))
    await asyncio.sleep(0.05)
    codes = [await asyncio.to_thread(main, [str(tmp_path), *more]) for more in ([], ["--alive"])]
    pins.clear()
    await asyncio.sleep(0.05)
    still = not held.done()
    pins.append("another")
    await asyncio.wait_for(held, WAIT_S)

    assert codes == [1, 0] and still


def test_a_refused_pin_is_raised_at_once_where_nobody_holds_it(tmp_path: Path) -> None:
    def opening() -> str:
        raise PinRejectedError("the token refused it")

    with pytest.raises(PinRejectedError):
        opened_or_held(parse_config(MINIMAL, tmp_path), opening, pin=lambda: "wrong", hold=False)
