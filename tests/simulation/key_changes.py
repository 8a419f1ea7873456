"""The changes of a key that tests go through, houses ready for them, and what must hold afterwards."""

from dataclasses import dataclass
from itertools import count
from pathlib import Path

from tests.simulation.key_house import House
from tests.simulation.machines import Machines
from tests.simulation.world import KEY, World


@dataclass(frozen=True)
class Change:
    """One change of a key: who holds it before and after, who deals, who is lost before it begins."""

    name: str
    nodes: int
    w: int
    before: tuple[str, ...]
    after: tuple[str, ...]
    min_signers: int = 2
    dealers: tuple[str, ...] = ()
    lost: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return self.name

    @property
    def kind(self) -> str:
        return "reshare" if self.dealers else "refresh"

    @property
    def parties(self) -> tuple[str, ...]:
        """Who is asked to take part."""
        return tuple(sorted({*self.after, *self.dealers}))


def names(*numbers: int) -> tuple[str, ...]:
    return tuple(f"node-{number}" for number in numbers)


REFRESH = Change("refresh", 3, 3, names(1, 2, 3), names(1, 2, 3))
REPLACE = Change(
    "replace", 4, 4, names(1, 2, 3), names(1, 2, 4), dealers=names(1, 2), lost=frozenset(names(3))
)
MOVE = Change("move", 4, 4, names(1, 2, 3), names(2, 3, 4), dealers=names(1, 2))
GROW = Change("grow", 4, 4, names(1, 2, 3), names(1, 2, 3, 4), min_signers=3, dealers=names(1, 3))
CHANGES = (REFRESH, REPLACE, MOVE, GROW)


class Shelf:
    """Houses in which everything is ready for a change, to be copied; made once each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.machines = folder, Machines()
        self._ready: dict[str, House] = {}
        self._numbers = count()

    async def take(self, change: Change) -> House:
        """A house of its own, in which nobody runs yet."""
        if change.name not in self._ready:
            self._ready[change.name] = await self._make(change)
        return self._ready[change.name].copy(self.folder / str(next(self._numbers)))

    async def _make(self, change: Change) -> House:
        world = World(nodes=change.nodes, witnesses=change.w - 2, w=change.w)
        house = House.founded(world, self.folder / change.name, self.machines, committee=change.before)
        await house.up()
        await house.replicate()
        await house.change("generate", *change.before)
        if change.kind == "reshare":
            house.want(change.after, change.min_signers)
        await house.replicate()
        await house.down()
        house.lost = change.lost
        return house


def check_one_epoch_is_left(house: House) -> None:
    """No disk and no token holds anything of another epoch or run than the one in the log."""
    key = house.record
    prefix = f"{KEY}/{key.epoch}/{key.transcript.hex()}/"
    indices = range(1, len(key.participants) + 1)
    for node in house.running:
        expected: list[str] = []
        if node.name in key.participants:
            peers = [index for index in indices if index != key.index_of(node.name)]
            expected = [*(f"{prefix}pair-{peer}" for peer in peers), f"{prefix}share"]
            assert node.token.sealing_epochs(KEY) == (key.epoch,)
        assert node.store.sealed_names() == expected, node.name
        assert all(epoch == key.epoch for epoch in node.token.sealing_epochs(KEY)), node.name
