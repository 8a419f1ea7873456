"""A witness that answers nobody is missed, also while nothing is to be signed, wherever somebody looks."""

from pathlib import Path
from typing import Any

from prometheus_client import generate_latest

from cli.doctor.standing import down, examine_losses, examine_standing
from custody.indicators.reading import read, show
from custody.replication import IDLE_S, PROBE_EVERY
from tests.unit.custody_house import House, Running
from tests.waiting import until

NOTICED_S = 3 * IDLE_S * PROBE_EVERY


async def found(running: Running) -> dict[str, str]:
    """What the doctor finds in the coordinator's status, by code and whom it is about."""
    status: Any = await running.service.status()
    state = running.parts.sequencer.state
    standing = examine_standing(status, state.roster, policy=state.policy, now_ms=running.parts.now_ms())
    gone = down(status, state.roster)
    lost = examine_losses(state.roster, state.policy.keys, gone=gone, unsigning=())
    return {one.code: one.about for one in (*standing, *lost)}


async def up(running: Running, name: str) -> float:
    show(running.parts, await read(running.parts))
    return (
        running.parts.metrics.registry.get_sample_value("quorumkeep_cosigner_up", {"cosigner": name}) or 0.0
    )


async def test_a_witness_that_hangs_is_missed_without_a_payment_and_counts_again_when_it_is_back(
    tmp_path: Path,
) -> None:
    house = House(tmp_path)
    async with house.with_key() as running:
        witness, follower = house.nodes["witness"], running.parts.replication.followers["witness"]
        await until(lambda: follower.live)
        assert "cosigner-down" not in await found(running) and await up(running, "witness") == 1.0

        witness.down = True
        await until(lambda: not follower.live, NOTICED_S)
        findings, card = await found(running), await read(running.parts)
        assert findings["cosigner-down"] == "witness" and findings["none-to-spare"] == "log"
        assert {one.indicator.name: one.reading for one in card.lines}["cosigners_down"] == 1
        assert await up(running, "witness") == 0.0
        assert b'cosigner_up{cosigner="witness"} 0.0' in generate_latest(running.parts.metrics.registry)

        witness.down = False
        await until(lambda: follower.live, NOTICED_S)
        assert "cosigner-down" not in await found(running) and await up(running, "witness") == 1.0
