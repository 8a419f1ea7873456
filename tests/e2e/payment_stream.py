"""A stream of small payments on a whole deployment, and what the outside can say about it afterwards.

Every payment has an amount of its own, so that the chain's blocks alone tell how often it was made.
"""

import contextlib
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import rlp

from cli import audit
from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.published import wait_published
from cli.demo.supervisor import Supervisor
from custody.api.errors import CallRefused, Code
from policy.entries import ReserveEntry, SignatureEntry, job_id, parse_entry
from policy.errors import MalformedError, QuorumkeepError
from policy.log.tiles import read_entries
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


@dataclass(frozen=True)
class Reservation:
    """An accepted reservation of the published log."""

    job: bytes
    request: bytes
    slot: tuple[str, int]
    presignatures: tuple[bytes, ...]


@dataclass(frozen=True)
class Published:
    """The published log, read without this project's fold: its reservations and signatures."""

    reservations: tuple[Reservation, ...]
    signatures: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def read(cls, deployment: scenario.Deployment) -> "Published":
        """What is published of everything that is logged so far."""
        origin = deployment.connection().origin
        reservations, signatures = [], []
        for index, data in enumerate(published_entries(deployment)):
            try:
                entry = parse_entry(data).entry
            except MalformedError:
                continue
            if isinstance(entry, ReserveEntry):
                nonce = int.from_bytes(rlp.decode(entry.tx[1:])[1], "big")
                job = job_id(origin, index, data=data)
                reservations.append(
                    Reservation(job, entry.request, (entry.paths[0], nonce), tuple(entry.presignatures))
                )
            if isinstance(entry, SignatureEntry):
                signatures.append((entry.job, entry.signature))
        return cls(tuple(reservations), tuple(signatures))


def published_entries(deployment: scenario.Deployment) -> list[bytes]:
    """Everything that is logged so far, once it is published."""
    log = deployment.folder / "log"
    wait_published(log, size := int(deployment.status()["size"]), timeout_s=30)
    return list(read_entries(lambda path: _read(log / path), size))


def payments_on_chain(deployment: scenario.Deployment) -> list[dict[str, Any]]:
    """Every transaction of the wallet's accounts in any block of the chain."""
    chain = deployment.chain
    accounts = {scenario.account(deployment, path) for path in (names.PATH_PLAIN, *names.PATHS_APPROVED)}
    newest = int(chain.call("eth_blockNumber"), 16)
    blocks = [chain.call("eth_getBlockByNumber", hex(number), True) for number in range(newest + 1)]
    return [tx for block in blocks for tx in block["transactions"] if tx["from"].lower() in accounts]


def check_everything(deployment: scenario.Deployment, accepted: Mapping[str, int]) -> None:
    """Each accepted request is paid exactly once, by one transaction, and the log shows nothing twice."""
    sent = payments_on_chain(deployment)
    amounts = Counter(int(tx["value"], 16) for tx in sent if tx["to"].lower() == names.CUSTOMER)
    assert {amount: amounts[amount] for amount in accepted.values()} == dict.fromkeys(accepted.values(), 1)
    assert len(sent) == len({(tx["from"], tx["nonce"]) for tx in sent}) == len(amounts)
    receipts = [deployment.chain.call("eth_getTransactionReceipt", tx["hash"]) for tx in sent]
    assert all(int(receipt["status"], 16) == 1 for receipt in receipts)
    _check_log(Published.read(deployment), accepted)
    assert (
        audit.verify(deployment.folder / "log", trust=deployment.folder / "trust.json", json_output=True) == 0
    )


def _check_log(log: Published, accepted: Mapping[str, int]) -> None:
    slots = {(reservation.request, reservation.slot) for reservation in log.reservations}
    assert len(slots) == len({request for request, _ in slots}), "a request has two anchors"
    assert len(slots) == len({slot for _, slot in slots}), "an anchor serves two requests"
    assert {bytes.fromhex(request) for request in accepted} <= {request for request, _ in slots}
    used = [one for reservation in log.reservations for one in reservation.presignatures]
    assert len(used) == len(set(used)), "a presignature was reserved twice"
    jobs = [job for job, _ in log.signatures]
    assert len(jobs) == len(set(jobs)), "a job has two signatures"
    nonce_points = [signature[:32] for _, signature in log.signatures]
    assert len(nonce_points) == len(set(nonce_points)), "an R was used twice"


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return None
