"""A request that names the account that is to pay: that one pays, and no other."""

from pathlib import Path

import pytest

from custody.api.errors import CallRefused
from custody.planning import wanted_of
from policy.errors import OperationalError
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


async def test_a_request_of_an_account_that_the_wallet_does_not_have_is_refused_at_the_door(
    house: House,
) -> None:
    async with house.with_key() as running:
        _, body, signature = make_request("one", amount=ETHER, now_ms=house.now_ms(), source="m/7")

        with pytest.raises(CallRefused, match="no path m/7"):
            await running.service.submit(body, signature)


async def test_a_request_whose_account_a_policy_has_taken_out_is_not_planned(house: House) -> None:
    async with house.with_key() as running:
        request, _, _ = make_request("one", amount=ETHER, now_ms=house.now_ms(), source="m/7")

        with pytest.raises(OperationalError, match="no path m/7"):
            wanted_of(running.parts.sequencer.state, request, identifier=bytes(32), ceiling=1)
