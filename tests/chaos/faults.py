"""What is done to a running deployment, and taken back: one context for each kind of fault.

A context begins the fault when it is entered; when it is left, nothing is wrong any more that somebody would
have to put right. Only processes of the run are touched, by their ids.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from cli.demo.supervisor import run_to_end
from policy.errors import OperationalError
from tests.chaos.house import DISK_BYTES, House
from tests.chaos.network import Link
from tests.chaos.schedule import HOUR_S, LEADER, STANDBY

SLOW, LOSSY = Link(delay_ms=150), Link(loss_percent=10)
REFUSED_S, ASKED_S, LOOK_S = 30.0, 15.0, 0.2
PAGE_BYTES, HOLE_BYTES = 4096, 64
Fault = Callable[[House, str], contextlib.AbstractContextManager[str]]
"""Takes the target; gives a remark for the report."""


def named(house: House, target: str) -> str:
    """The process that a target stands for now."""
    return {LEADER: house.leader, STANDBY: house.standby}.get(target, lambda: target)()


@contextlib.contextmanager
def kill(house: House, target: str) -> Iterator[str]:
    """kill -9; the supervisor starts it again once the fault is over."""
    name = named(house, target)
    house.supervisor.kill(name)
    yield name
    house.supervisor.revive(name)


@contextlib.contextmanager
def worker(house: House, target: str) -> Iterator[str]:
    """kill -9 of every process that a node has started."""
    killed = house.workers(target)
    for one in killed:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    yield f"{len(killed)} killed"


@contextlib.contextmanager
def pause(house: House, target: str) -> Iterator[str]:
    """SIGSTOP, and SIGCONT in the end."""
    name = named(house, target)
    process = house.supervisor.process_ids()[name]
    os.kill(process, signal.SIGSTOP)
    yield name
    os.kill(process, signal.SIGCONT)


def linked(link: Link) -> Fault:
    """The link of a process is like this meanwhile."""

    @contextlib.contextmanager
    def fault(house: House, target: str) -> Iterator[str]:
        name = named(house, target)
        house.network.set(name, link)
        yield name
        house.network.set(name, Link())

    return fault


def clock(ahead_s: int) -> Fault:
    """The wall clock of a process is off meanwhile."""

    @contextlib.contextmanager
    def fault(house: House, target: str) -> Iterator[str]:
        name = named(house, target)
        house.set_clock(name, ahead_s)
        yield name
        house.set_clock(name, 0)

    return fault


@contextlib.contextmanager
def disk(house: House, target: str) -> Iterator[str]:
    """A node's disk has no room left."""
    status = os.statvfs(house.deployment.node_folder(target))
    house.resize_disk((status.f_blocks - status.f_bfree) * status.f_frsize)
    yield ""
    house.resize_disk(DISK_BYTES)


@contextlib.contextmanager
def corrupt(house: House, target: str) -> Iterator[str]:
    """A node's store is damaged while it is down: it says so and does not start, until it is whole again."""
    house.supervisor.kill(target)
    folder = house.deployment.node_folder(target)
    whole = {path: path.read_bytes() for path in folder.glob("node.db*")}
    for path, data in whole.items():
        path.write_bytes(_damaged(data))
    said = _refusal(house, target)
    for (
        path,
        data,
    ) in whole.items():  # as from the other half of a mirror: this is the disk that the token knows
        path.write_bytes(data)
    yield said
    house.supervisor.revive(target)


def _damaged(data: bytes) -> bytes:
    """With holes of zeros in every third page but the first one."""
    holed = bytearray(data)
    for place in range(PAGE_BYTES, len(data) - HOLE_BYTES, 3 * PAGE_BYTES):
        holed[place : place + HOLE_BYTES] = bytes(HOLE_BYTES)
    return bytes(holed)


@contextlib.contextmanager
def token(house: House, target: str) -> Iterator[str]:
    """A node's token is pulled out under it, and put back."""
    place = house.deployment.node_folder(target) / "tokens"
    away = place.with_name("tokens-away")
    place.rename(away)
    yield ""
    away.rename(place)


@contextlib.contextmanager
def database(house: House, target: str) -> Iterator[str]:
    """The database's server ends as in a crash, and is started again."""
    house.database.stop_hard()
    yield target
    house.database.start()


@contextlib.contextmanager
def rpc(house: House, target: str) -> Iterator[str]:
    """The endpoint of the chain lies; a coordinator that starts believes it from its first look on."""
    before = house.endpoint.told
    house.endpoint.lie(target)
    os.kill(house.supervisor.process_ids()[house.leader()], signal.SIGKILL)
    deadline = time.monotonic() + ASKED_S
    while house.endpoint.told == before and time.monotonic() < deadline:
        time.sleep(LOOK_S)
    yield "" if house.endpoint.told > before else "nobody asked"
    house.endpoint.lie("")


@contextlib.contextmanager
def reorg(house: House, target: str) -> Iterator[str]:
    """The newest blocks are replaced by empty ones, and their transactions forgotten, again and again."""
    house.deployment.chain.call("anvil_reorg", int(target), [])
    yield f"{target} blocks"


def _refusal(house: House, name: str) -> str:
    """What a node says that does not start. Raises ``OperationalError`` for one that does."""
    config = str(house.deployment.node_folder(name) / "config.toml")
    program = house.deployment.node_program(name, "run", "--config", config)
    try:
        run_to_end(program, timeout_s=REFUSED_S)
    except OperationalError as error:
        if "did not end" in str(error):
            raise OperationalError(f"{name} runs with a damaged store: nothing was refused") from error
        return str(error).rpartition(" | ")[2]
    raise OperationalError(f"{name} ended well with a damaged store")


FAULTS: Final[Mapping[str, Fault]] = {
    "kill": kill,
    "worker": worker,
    "pause": pause,
    "partition": linked(Link(cut=True)),
    "slow": linked(SLOW),
    "lossy": linked(LOSSY),
    "clock-ahead": clock(HOUR_S),
    "clock-behind": clock(-HOUR_S),
    "disk": disk,
    "corrupt": corrupt,
    "token": token,
    "database": database,
    "rpc": rpc,
    "reorg": reorg,
}
"""By kind."""
