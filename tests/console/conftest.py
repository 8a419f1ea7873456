"""One coordinator and one browser for every test of the console."""

from collections.abc import AsyncIterator

import pytest

from tests.console import console_house
from tests.console.console_house import Console


@pytest.fixture(scope="session")
async def console() -> AsyncIterator[Console]:
    if console_house.CHROMIUM is None:
        pytest.skip("there is no Chromium: deploy/setup.sh installs Debian's")
    async with console_house.opened() as made:
        yield made
