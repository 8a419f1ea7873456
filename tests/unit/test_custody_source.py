"""A request that names the account that is to pay: that one pays, and no other."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.custody_cluster import ETHER, WALLET, make_request
from tests.unit.custody_house import House


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def test_the_account_that_a_request_names_pays_it(house: House) -> None:
    async with house.with_key() as running:
        _, body, signature = make_request("one", amount=ETHER, now_ms=house.now_ms(), source="m/0/2")

        settled = await running.until((await running.service.submit(body, signature)).request, "settled")

        account, _, _ = running.service.address(WALLET, "m/0/2")
        assert (settled.path, settled.account) == ("m/0/2", account.address)


async def test_a_request_that_names_an_account_of_no_path_waits_and_says_so(house: House) -> None:
    async with house.with_key() as running:
        _, body, signature = make_request("one", amount=ETHER, now_ms=house.now_ms(), source="m/7")
        request = (await running.service.submit(body, signature)).request

        record = await running.until(request, "logged")
        async with asyncio.timeout(5):
            while "has no path m/7" not in record.error:
                await asyncio.sleep(0.01)
                record = await running.service.get(request)
