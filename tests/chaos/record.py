"""Reading what became of a run: from the chain, from the published log, and from the requests' own pages."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rlp

from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.published import published_size, wait_published
from cli.programs import ITSELF, program
from custody.api.errors import CallRefused
from custody.client import FINAL, RequestView
from policy.entries import ReserveEntry, SignatureEntry, job_id, parse_entry
from policy.errors import MalformedError
from policy.intent import Request
from policy.log.tiles import read_entries
from tests.chaos.checks import Accepted, Limit, Payment, Record, Reserved, Signed
from tests.chaos.load import Asked, Doors, payment_of

PAGE, PAUSE_S, PUBLISH_S, AUDIT_S = 500, 0.5, 30.0, 1800.0
LATE_S = 1.0
"""An answer that was on its way."""
UNKNOWN = "unknown"


def wait_ended(doors: Doors, asked: Sequence[Asked], timeout_s: float) -> dict[str, str]:
    """The state of every request, once all are over or the time is."""
    deadline = time.monotonic() + timeout_s
    while True:
        states = _states(doors)
        waiting = [one for one in asked if states.get(one.request, UNKNOWN) not in FINAL]
        if (states and not waiting) or time.monotonic() > deadline:
            return {one.request: states.get(one.request, UNKNOWN) for one in asked}
        time.sleep(PAUSE_S)


def ask_again(doors: Doors, asked: Sequence[Asked], lossy: Sequence[tuple[float, float]]) -> int:
    """Ask again for what a promotion of a standby that was behind may have lost; how much was.

    By the same key, as backends are told to. What was acknowledged at another time has to be there.
    """
    known = _wait_states(doors) if lossy else {}
    lost = [
        one
        for one in asked
        if one.request not in known and any(begin <= one.taken_s <= end + LATE_S for begin, end in lossy)
    ]
    for one in lost:
        _ask(doors, one.body)
    return len(lost)


def _ask(doors: Doors, body: Request) -> None:
    deadline = time.monotonic() + PUBLISH_S
    while True:
        try:
            with doors.open() as client:
                client.submit(body)
            return
        except CallRefused:
            if time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_S)


def _wait_states(doors: Doors) -> dict[str, str]:
    deadline = time.monotonic() + PUBLISH_S
    while not (states := _states(doors)) and time.monotonic() < deadline:
        time.sleep(PAUSE_S)
    return states


def read_record(
    deployment: scenario.Deployment, accepted: Sequence[Accepted], limits: Sequence[Limit] = ()
) -> Record:
    """Everything that is to be checked, given what was accepted and how that ended."""
    reserved, signed = _log(deployment)
    return Record(accepted, _payments(deployment), reserved, signed, limits, _verifies(deployment))


def published_entries(deployment: scenario.Deployment) -> list[bytes]:
    """Everything that is logged so far, once it is published."""
    folder = _published(deployment)
    return list(read_entries(lambda path: _read(folder / path), published_size(folder)))


def _states(doors: Doors) -> dict[str, str]:
    """Every request that the coordinator knows; nothing when it does not answer."""
    found: dict[str, str] = {}
    before = b""
    try:
        with doors.open() as client:
            while page := client.requests(limit=PAGE, before=before):
                found |= {one.request.hex(): _state(one) for one in page}
                before = page[-1].request
    except CallRefused:
        return {}
    return found


def _state(view: RequestView) -> str:
    return view.state if view.over else f"{view.state} ({view.substate}: {view.error})"


def _published(deployment: scenario.Deployment) -> Path:
    """The newest folder of the published log, with everything that is logged so far."""
    newest = max(deployment.folder.glob("log*/"), key=published_size)
    wait_published(newest, int(deployment.status()["size"]), timeout_s=PUBLISH_S)
    return newest


def _log(deployment: scenario.Deployment) -> tuple[list[Reserved], list[Signed]]:
    origin = deployment.connection().origin
    reserved: list[Reserved] = []
    signed: list[Signed] = []
    for index, data in enumerate(published_entries(deployment)):
        try:
            timed = parse_entry(data)
        except MalformedError:
            continue  # inert
        entry = timed.entry
        if isinstance(entry, ReserveEntry):
            slot = (entry.paths[0], int.from_bytes(rlp.decode(entry.tx[1:])[1], "big"))
            job = job_id(origin, index, data=data)
            used = tuple(entry.presignatures)
            reserved.append(Reserved(job, entry.request.hex(), slot, used, timed.time_ms))
        if isinstance(entry, SignatureEntry):
            signed.append(Signed(entry.job, entry.signature, timed.time_ms))
    return reserved, signed


def _payments(deployment: scenario.Deployment) -> list[Payment]:
    """Every transaction of the wallet's accounts in any block of the chain."""
    chain = deployment.chain
    accounts = {scenario.account(deployment, path) for path in (names.PATH_PLAIN, *names.PATHS_APPROVED)}
    token = (deployment.connection().policy.assets[names.TOKEN].contract or "").lower()
    newest = int(chain.call("eth_blockNumber"), 16)
    blocks = (chain.call("eth_getBlockByNumber", hex(number), True) for number in range(newest + 1))
    return [
        _payment(tx, token, chain.call("eth_getTransactionReceipt", tx["hash"]))
        for block in blocks
        for tx in block["transactions"]
        if str(tx["from"]).lower() in accounts
    ]


def _payment(tx: Mapping[str, Any], token: str, receipt: Mapping[str, Any]) -> Payment:
    asset, amount = payment_of(tx, token) or ("none", int(tx["nonce"], 16))
    worked = int(receipt["status"], 16) == 1
    return Payment(str(tx["from"]).lower(), int(tx["nonce"], 16), asset, amount, worked)


def _verifies(deployment: scenario.Deployment) -> bool:
    """What an auditor's own process says of the published log."""
    trust = str(deployment.folder / "trust.json")
    command = program(ITSELF, "audit", "verify", str(_published(deployment)), "--trust", trust, "--json")
    return subprocess.run(command, capture_output=True, timeout=AUDIT_S, check=False).returncode == 0


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None
