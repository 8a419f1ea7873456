"""Whatever happens in whatever order, on every chain at most one transaction of a request ever confirms."""

import asyncio
import os
import random

import pytest

from custody.parts import Patience
from tests.chains.scenes import Scene, chain_of
from tests.conformance.test_chain_port import scene  # noqa: F401 - a fixture
from tests.unit.custody_house import Running

SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else [1, 2, 3]
STEPS, LIVES = 12, 4
PATIENCE_MS = 60_000

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Walk:
    """Requests, and what happens to them; ``raws`` are all transactions that were ever signed."""

    def __init__(self, stage: Scene, dice: random.Random) -> None:
        self.scene, self.dice = stage, dice
        self.requests: list[bytes] = []
        self.raws: dict[bytes, dict[bytes, bytes]] = {}

    async def live(self, running: Running) -> None:
        """One coordinator, until it dies at some point."""
        for _ in range(STEPS):
            await self.dice.choice(
                (self.ask, self.blocks, self.fork, self.drop, self.again, self.later, self.expire)
            )(running)
            await asyncio.sleep(self.dice.random() / 10)
            await self.look(running)

    async def look(self, running: Running) -> None:
        """Keep all that is signed; no two transactions of a request are in blocks."""
        chain = chain_of(running)
        for request in self.requests:
            for one in await running.parts.database.transactions(request):
                self.raws.setdefault(request, {})[one.tx_hash] = one.raw
            names = list(self.raws.get(request, ()))
            found = [name for name in names if await chain.receipt(name) is not None]
            assert len(found) <= 1, (request.hex(), [name.hex() for name in found])

    async def ask(self, running: Running) -> None:
        name = f"r{len(self.requests)}"
        if len(self.requests) < 3:
            self.requests.append((await running.service.submit(*self.scene.request(name, 1))).request)

    async def blocks(self, running: Running) -> None:
        self.scene.mine(self.dice.randrange(1, 4))

    async def fork(self, running: Running) -> None:
        self.scene.mine(2)
        self.scene.reorganise(self.dice.randrange(1, 3), forget=self.dice.random() < 0.5)

    async def drop(self, running: Running) -> None:
        self.scene.forget()

    async def again(self, running: Running) -> None:
        for raws in self.raws.values():
            for raw in self.dice.sample(sorted(raws.values()), k=len(raws)):
                self.scene.resend(raw)

    async def later(self, running: Running) -> None:
        self.scene.clock.ahead_ms += self.dice.randrange(4 * PATIENCE_MS)

    async def expire(self, running: Running) -> None:
        """Long enough for a cancellation to be signed while the payment may still be on its way."""
        self.scene.forget()
        self.scene.clock.ahead_ms += 700_000
        await asyncio.sleep(0.5)
        await self.again(running)


@pytest.mark.parametrize("seed", SEEDS)
async def test_at_most_one_transaction_of_a_request_confirms(scene: Scene, seed: int) -> None:  # noqa: F811
    walk = Walk(scene, random.Random(seed))
    scene.house.patience, scene.house.confirmations = Patience(PATIENCE_MS, 2), 3
    async with scene.house.with_key() as running:
        scene.fund(running)
    for _ in range(LIVES):
        async with scene.house.running() as running:
            await walk.live(running)
    async with scene.house.running() as running:
        scene.clock.ahead_ms += 700_000
        for _ in range(30):
            await asyncio.sleep(0.2)
            scene.mine()
            await walk.look(running)
        await walk.again(running)
        scene.mine(3)
        await walk.look(running)

        assert walk.raws and len(scene.paid()) <= len(walk.requests)
