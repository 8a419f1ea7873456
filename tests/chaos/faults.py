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
from tests.chaos.databases import DATABASES
from tests.chaos.house import DISK_BYTES, EVERYBODY, House
from tests.chaos.network import Link
from tests.chaos.schedule import BEHIND, DATABASE, HOUR_S, LEADER, STANDBY

SLOW, LOSSY = Link(delay_ms=150), Link(loss_percent=10)
REFUSED_S, ASKED_S, LOOK_S = 30.0, 15.0, 0.2
PAGE_BYTES, HOLE_BYTES = 4096, 64
BEHIND_S, NOTICED_S = 1.5, 1.0
Fault = Callable[[House, str], contextlib.AbstractContextManager[str]]
"""Takes the target; gives a remark for the report."""


def named(house: House, target: str) -> str:
    """The process that a target stands for now."""
    if target == DATABASE:
        return house.database.primary.name
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
    house.signal(name, signal.SIGSTOP)
    yield name
    house.signal(name, signal.SIGCONT)


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
    server = house.database.primary
    server.stop_hard()
    yield server.name
    server.start()


@contextlib.contextmanager
def failover(house: House, target: str) -> Iterator[str]:
    """The database's primary is lost and its standby promoted; the old one becomes its standby, in a while.

    It is killed, or nothing comes from its machine any more, and the standby is promoted when the fault
    ends. Or it is ``split`` off: it lives, the leader alone still reaches it, and the standby is promoted
    meanwhile; whoever should have fenced it before does so when the fault ends.
    """
    pair, way, begun_s = house.database, target.removesuffix(BEHIND), time.monotonic()
    lost, leader = pair.primary, house.leader()
    if target.endswith(BEHIND):
        pair.synchronous(False)
        house.network.part(lost.name, [pair.standby.name])
        time.sleep(BEHIND_S)
    if way == "killed":
        lost.kill()
    elif way == "silent":
        house.network.set(lost.name, Link(cut=True))
    else:
        cut = [name for name in (*EVERYBODY, *DATABASES) if name not in (leader, lost.name)]
        house.network.part(lost.name, cut)
        time.sleep(NOTICED_S)
        pair.promote()
    yield f"{lost.name}, {leader} led"
    if way != "killed":
        lost.kill()
    if way != "split":
        pair.promote()
    if target.endswith(BEHIND):
        pair.lossy.append((begun_s, time.monotonic()))
    house.network.set(lost.name, Link())
    house.network.part(lost.name, [])
    pair.join_meanwhile()


@contextlib.contextmanager
def rpc(house: House, target: str) -> Iterator[str]:
    """The endpoint of the chain lies; a coordinator that starts believes it from its first look on."""
    before = house.endpoint.told
    house.endpoint.lie(target)
    house.signal(house.leader(), signal.SIGKILL)
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
    "failover": failover,
    "rpc": rpc,
    "reorg": reorg,
}
"""By kind."""
