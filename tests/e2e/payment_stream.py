"""A stream of small payments on a whole deployment, and what the outside can say about it afterwards.

Every payment has an amount of its own, so that the chain's blocks alone tell how often it was made.
"""

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.supervisor import Supervisor
from custody.api.errors import CallRefused, Code
from policy.errors import QuorumkeepError
from tests.chaos.checks import Accepted, failures
from tests.chaos.record import read_record
from tests.e2e.cluster import scratch_folder

SMALLEST = 10**13
SETTLED = "settled"
PAUSE_S = 0.1


@contextlib.contextmanager
def running_deployment() -> Iterator[scenario.Deployment]:
    """The demo's deployment with a funded key; everything it started is stopped at the end."""
    folder = scratch_folder()
    try:
        with Supervisor() as supervisor:
            deployment = scenario.prepare(folder, supervisor, say=lambda _: None)
            scenario.set_up(deployment)
            scenario.make_keys(deployment)
            scenario.fund(deployment)
            yield deployment
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Stream:
    """A backend that asks for a payment every ``every_s`` seconds, each until it is taken in.

    ``accepted`` has the amount of every request that the coordinator has acknowledged.
    """

    deployment: scenario.Deployment
    label: str
    first: int
    every_s: float
    accepted: dict[str, int] = field(default_factory=dict)
    _ending: threading.Event = field(default_factory=threading.Event)
    _failed: list[BaseException] = field(default_factory=list)

    @contextlib.contextmanager
    def flowing(self) -> Iterator["Stream"]:
        """The stream, for as long as the context lasts."""
        thread = threading.Thread(target=self._run, name=self.label)
        thread.start()
        try:
            yield self
        finally:
            self._ending.set()
            thread.join()
        if self._failed:
            raise self._failed[0]

    def ask_again(self) -> None:
        """Send every request once more, as a backend does that is not sure of the answers."""
        again = {self._send(number) for number in range(len(self.accepted))}
        assert again == set(self.accepted)

    def settle(self, timeout_s: float) -> None:
        """Wait until every accepted request has settled."""
        deadline = time.monotonic() + timeout_s
        waiting = dict(self.accepted)
        shown: dict[str, Any] = {}
        while waiting:
            assert time.monotonic() < deadline, f"{len(waiting)} of {len(self.accepted)} wait: {shown}"
            for request in list(waiting):
                with contextlib.suppress(QuorumkeepError, CallRefused):
                    shown = self.deployment.ask(names.PAYMENTS, "request", "show", request)
                    if shown["state"] != SETTLED:
                        break
                    del waiting[request]
            time.sleep(PAUSE_S)

    def _run(self) -> None:
        try:
            while not self._ending.is_set():
                number = len(self.accepted)
                self.accepted[self._send(number)] = self.first + number
                self._ending.wait(self.every_s)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            self._failed.append(error)

    def _send(self, number: int) -> str:
        """Ask until there is an answer: only a coordinator that is down may refuse."""
        amount = f"{Decimal(self.first + number) / 10**18:f} eth"
        options = ("--wallet", names.WALLET, "--asset", names.ETH, "--to", names.CUSTOMER)
        key = ("--idempotency-key", f"{self.label}-{number}", "--amount", amount)
        while True:
            try:
                return str(self.deployment.ask(names.PAYMENTS, "request", "send", *options, *key)["request"])
            except CallRefused as refusal:
                if refusal.code != Code.UNAVAILABLE:
                    raise
            time.sleep(PAUSE_S)


def check_everything(deployment: scenario.Deployment, accepted: Mapping[str, int]) -> None:
    """Each accepted request is paid exactly once, by one transaction, and the log shows nothing twice."""
    ended = [Accepted(request, names.ETH, amount, SETTLED) for request, amount in accepted.items()]
    found = failures(read_record(deployment, ended))
    assert not any(found.values()), found
