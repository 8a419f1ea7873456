"""Observers of chains as processes, on a real deployment and chain: deposits, and a deep reorganisation.

Both observers have to agree; one dies and starts again, and the chain leaves blocks that were settled.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.demo import policy as names
from cli.demo.chain import CHAIN, ETHER
from cli.demo.scenario import Deployment
from custody.client import Caller, CustodyClient, Endpoint
from tests.e2e.payment_stream import check_everything, running_deployment
from tests.waiting import seen

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]
PROGRAM = Path(sys.executable).parent / "quorumkeep"
ASSIGNMENT = """
every_s = 1

[chains."{chain}"]
url = "{url}"
confirmations = 2
start = {start}
"""


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    with running_deployment() as made:
        yield made


@contextlib.contextmanager
def watching(deployment: Deployment, name: str, *, start: int) -> Iterator[Path]:
    """An observer at work, until it is killed; its output."""
    folder = deployment.person_folder(name)
    url = deployment.chain.url
    (folder / "observe.toml").write_text(ASSIGNMENT.format(chain=CHAIN, url=url, start=start))
    given = ("--trust", deployment.folder / "trust.json", "--client", deployment.folder / "client.json")
    output = folder / "observe.log"
    with output.open("ab") as file:
        process = subprocess.Popen(
            [str(PROGRAM), "observe", "run", "--as", str(folder), *map(str, given)], stdout=file, stderr=file
        )
    try:
        yield output
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def backend(deployment: Deployment) -> Iterator[CustodyClient]:
    connection = deployment.connection()
    endpoint = Endpoint(connection.address, connection.certificate, connection.origin)
    me = deployment.identity(names.PAYMENTS)
    with CustodyClient(endpoint, Caller(names.PAYMENTS, me.key)) as client:
        yield client


def until(look: Callable[[], Any], what: str, output: Path) -> Any:
    return seen(look, otherwise=lambda: f"{what}\n{output.read_text()[-3000:]}", every_s=0.3)


def test_a_deposit_is_logged_taken_back_and_a_settled_payment_survives_a_deep_reorganisation(
    deployment: Deployment,
) -> None:
    chain = deployment.chain
    start = int(chain.call("eth_blockNumber"), 16) + 1
    first, second = names.OBSERVERS
    with backend(deployment) as client, watching(deployment, first, start=start) as output:
        given = client.give_address(names.WALLET, "ann")
        chain.pay(given.address, ETHER)
        chain.call("anvil_mine", hex(3))
        time.sleep(3)
        alone = client.deposits(names.WALLET)

        with watching(deployment, second, start=start):
            (paid,) = until(lambda: client.deposits(names.WALLET), "no deposit", output)
        assert alone == []
        assert (paid["label"], paid["amount"], paid["gone"]) == ("ann", str(ETHER), False)

    with (
        backend(deployment) as client,
        watching(deployment, first, start=start) as output,
        watching(deployment, second, start=start),
    ):
        sent = deployment.ask(
            names.PAYMENTS,
            *("request", "send", "--wallet", names.WALLET, "--asset", "eth", "--to", names.CUSTOMER),
            *("--amount", "0.001 eth", "--idempotency-key", "undone", "--wait", "60"),
        )
        assert sent["state"] == "settled"
        request = bytes.fromhex(str(sent["request"]))
        chain.call("anvil_mine", hex(2))
        head = int(chain.call("eth_blockNumber"), 16)

        chain.call("anvil_reorg", head - paid_block(client) + 1, [])
        chain.call("anvil_mine", hex(4))
        until(lambda: client.deposits(names.WALLET)[0]["gone"], "the deposit is not gone", output)
        until(lambda: reopened(client, request), "the payment was not sent again", output)
        chain.call("anvil_mine", hex(2))
        until(lambda: client.get(request).state == "settled", "the payment did not settle again", output)

        told = [event.get("event") for event in events(client) if "deposit" in event]
        assert told == ["deposit.confirmed", "deposit.gone"]
    check_everything(deployment, {request.hex(): 10**15})


def paid_block(client: CustodyClient) -> int:
    (deposit,) = client.deposits(names.WALLET)
    return int(str(deposit["block"]))


def events(client: CustodyClient) -> list[dict[str, Any]]:
    return list(client.events(open_ms=500))


def reopened(client: CustodyClient, request: bytes) -> bool:
    """Whether the feed says that it was settled, and then was sent once more."""
    states = [event["state"] for event in events(client) if event.get("request") == request.hex()]
    return "settled" in states and "broadcast" in states[states.index("settled") :]
