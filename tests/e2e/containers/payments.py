"""A backend that pays all the time, by the command line and whichever coordinator answers."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.e2e.containers.whole import COORDINATORS, CUSTOMER, Whole, until

AMOUNT = 10**15
PAUSE_S = 0.5
WATCHED_S = 15.0
"""As long as one call waits: what is not over then is asked for again, of the other coordinator."""


@dataclass
class Payments:
    """One payment after the other, each until it has settled. Only no answer, and a wait, are tried again."""

    whole: Whole
    settled: list[str] = field(default_factory=list)
    asked: int = 0
    longest_s: float = 0.0
    _ending: threading.Event = field(default_factory=threading.Event)
    _failed: list[BaseException] = field(default_factory=list)

    @contextlib.contextmanager
    def flowing(self) -> Iterator["Payments"]:
        """They go on for as long as the context lasts, and the last one settles."""
        for name in COORDINATORS:
            self._hand_out(name)
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield self
        finally:
            self._ending.set()
            thread.join()
        self._raise()

    def _hand_out(self, name: str) -> None:
        folder = self.whole.folder / "treasury"
        client = json.loads((folder / "client.json").read_text())
        here = f"127.0.0.1:{self.whole.ports[name]}"
        (folder / f"client-{name}.json").write_text(json.dumps({**client, "address": here}))

    def one_more(self) -> None:
        """Once a payment has settled that nobody had asked for yet."""
        wanted = self.asked + 1
        until(lambda: self._enough(wanted))

    def _enough(self, wanted: int) -> bool:
        self._raise()
        return len(self.settled) >= wanted

    def _raise(self) -> None:
        if self._failed:
            raise self._failed[0]

    def _run(self) -> None:
        try:
            while not self._ending.wait(PAUSE_S):
                started = time.monotonic()
                self.asked += 1
                self.settled.append(self._settled(f"stream-{self.asked}"))
                self.longest_s = max(self.longest_s, time.monotonic() - started)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            self._failed.append(error)

    def _settled(self, order: str) -> str:
        paid = ("--wallet", "hot", "--asset", "eth", "--amount", str(AMOUNT), "--to", CUSTOMER)
        named = ("--idempotency-key", order, "--wait", str(WATCHED_S), "--as", "people/shop")
        deadline, number = time.monotonic() + 600, 0
        while True:
            client = f"treasury/client-{COORDINATORS[number % 2]}.json"
            done = self.whole.asked("request", "send", *paid, *named, "--client", client)
            answer: dict[str, Any] = json.loads(done.stdout)
            if done.returncode == 0:
                assert answer["state"] == "settled", answer
                return str(answer["request"])
            waits = f"after {WATCHED_S} s" in answer["error"]
            assert answer["code"] == "unavailable" or waits, f"{order}: {answer}"
            assert time.monotonic() < deadline, f"{order}: {answer}"
            number += 1
