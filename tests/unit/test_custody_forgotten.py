"""A network that forgets a transaction is given it again soon: later ones of the account wait behind it."""

from pathlib import Path

from custody.ports import Receipt
from tests.unit.custody_house import FakeChain, House
from tests.unit.test_custody_enacting import pay
from tests.waiting import until

LOOKS_MAX = 4


class ForgetfulChain(FakeChain):
    """Counts how often it is asked for what it does not know."""

    looks = 0

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        found = await super().receipt(tx_hash)
        self.looks += found is None
        return found


async def test_a_forgotten_transaction_is_sent_again_within_a_few_looks(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.chain = chain = ForgetfulChain()
    chain.held = True
    async with house.with_key() as running:
        request = await pay(running, "one")
        await running.until(request, "broadcast")
        for _ in range(3):
            chain.waiting.clear()
            chain.looks = 0
            await until(lambda: bool(chain.waiting))

            assert chain.looks <= LOOKS_MAX
        chain.held = False

        await running.until(request, "settled")
