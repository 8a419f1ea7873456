"""A peer of which two processes ran is barred for good: by every later boot of it, after our restarts too."""

from dataclasses import replace
from pathlib import Path

import pytest

from signer_nodes.api.boot_statement import BootStatement
from signer_nodes.api.errors import Refused
from signer_nodes.api.handler import Caller, Role
from tests.simulation.node_faults import PARTNER, WORLD, Machine, boot_of
from tests.simulation.world import Book, seed


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "node", Book(WORLD))


async def greeted_as(machine: Machine, boot: BootStatement) -> str:
    """The code of what a peer's connection is refused with; empty when it is taken."""
    runtime = await machine.up()
    try:
        await runtime.greeted(Caller(boot.name, Role.PEER, boot))
    except Refused as refused:
        return refused.code
    return ""


def twin_of(boot: BootStatement) -> BootStatement:
    """Another process that counted the same boot: a copy of its token."""
    return replace(boot, boot_id=seed("the other one"))


async def test_a_clone_is_barred_and_stays_so_after_a_restart_and_after_its_own(machine: Machine) -> None:
    first = boot_of(PARTNER, 3)
    assert await greeted_as(machine, first) == ""

    codes = [await greeted_as(machine, twin_of(first)), await greeted_as(machine, first)]
    machine.down()
    codes.append(await greeted_as(machine, first))
    codes.append(await greeted_as(machine, boot_of(PARTNER, 4)))

    assert codes == ["clone"] * 4


async def test_an_older_boot_is_refused_and_bars_nobody(machine: Machine) -> None:
    assert await greeted_as(machine, boot_of(PARTNER, 3)) == ""

    assert await greeted_as(machine, boot_of(PARTNER, 2)) == "old-boot"
    assert await greeted_as(machine, boot_of(PARTNER, 3)) == ""
    assert await greeted_as(machine, boot_of(PARTNER, 4)) == ""


async def test_a_clone_bars_itself_alone(machine: Machine) -> None:
    first = boot_of(PARTNER, 3)
    await greeted_as(machine, first)
    await greeted_as(machine, twin_of(first))

    assert await greeted_as(machine, boot_of("node-3", 3)) == ""
