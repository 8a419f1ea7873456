"""How long a withdrawal takes when the log is long: the deployment of ``bench service``, its log lengthened.

    python -m tests.bench.service_by_log [--entries N ...] [--seconds S]

While the coordinator is down, requests of its backend are written into the log as the coordinator writes
them: judged, folded, under a signed checkpoint. Started again, it folds all of it and brings the cosigners up
to it, who fold and store it like any other. Nothing is owed for these requests: the tables do not know them.
Processor time (``cpu_ms``, of all processes but this one, for a withdrawal) tells more than times do on a
machine with others on it.
"""

import argparse
import contextlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from cli.connection import Connection
from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.bench import FLIGHT, Backend, _flow, _listen, _spread
from cli.demo.chain import CHAIN
from cli.demo.supervisor import Supervisor
from cli.identities import Identity
from cli.results import progress
from custody.adapters.store import Store
from custody.candidates import BATCH_ENTRIES_MAX, EMPTY, Candidate, Tip, extend, write_batch
from custody.lease import holder_of
from custody.log_key import LogKey
from policy.collecting import uncollected
from policy.encoding import Json
from policy.errors import QuorumkeepError
from policy.intent import Intent, Request, request_message

WEI = 10**9
LIFE_MS = 1000
ENTRIES_A_SECOND = 100


def lengthen(deployment: scenario.Deployment, entries: int) -> None:
    """Write requests until the log has so many entries. The coordinator must be down."""
    folder = deployment.folder / scenario.COORDINATOR_NAME
    store = Store(f"sqlite:///{folder / 'data' / 'custody.db'}", holder=holder_of(folder / "data"))
    log_key = LogKey.load(folder / "log.key")
    store.take_lease(_now_ms(), 0)
    try:
        with uncollected():
            tip = _folded(store)
            while tip.frontier.size < entries:
                tip = _write(store, tip, log_key, deployment.identity(names.PAYMENTS))
    finally:
        store.close()


def _folded(store: Store) -> Tip:
    size, _ = store.head()
    tip = EMPTY
    while tip.frontier.size < size:
        for entry in store.entries(tip.frontier.size, size):
            tip, _ = extend(tip, entry)
    return tip


def _write(store: Store, tip: Tip, log_key: LogKey, identity: Identity) -> Tip:
    now_ms, start = _now_ms(), tip.frontier.size
    candidates = [_request(tip, start + i, identity, now_ms=now_ms) for i in range(BATCH_ENTRIES_MAX)]
    batch = write_batch(tip, candidates, now_ms=now_ms)
    if not all(outcome.accepted for outcome in batch.outcomes):
        raise RuntimeError(f"a request is not taken in: {batch.outcomes[0].reason}")
    note = log_key.note(batch.tip.checkpoint()).to_bytes()
    written = [folded.entry for folded in batch.written]
    store.append(start, written, note=note, changes=(), now_ms=now_ms)
    return batch.tip


def _request(tip: Tip, number: int, identity: Identity, *, now_ms: int) -> Candidate:
    intent = Intent(CHAIN, names.WALLET, names.ETH, WEI + number, names.CUSTOMER)
    origin, until = tip.state.origin, now_ms + LIFE_MS
    key = f"old-{number}"
    request = Request(origin, names.PAYMENTS, intent, names.FEE_CEILING, key, now_ms, until)
    body: Json = request.body()
    signature = identity.key.sign(request_message(body))
    return Candidate("request", body, {"signature": signature.hex()})


def measure(deployment: scenario.Deployment, lengths: list[int], seconds: float) -> dict[str, Any]:
    """Latencies alone and rate at ``FLIGHT``, by the log's length when they began."""
    found: dict[str, Any] = {}
    for entries in [0, *lengths]:
        if entries:
            _restart_longer(deployment, entries)
        size = int(deployment.status()["size"])
        progress(f"withdrawals at {size} entries")
        connection = deployment.connection()
        processes = frozenset(deployment.supervisor.process_ids().values())
        found[str(size)] = _at(connection, deployment.identity(names.PAYMENTS), seconds, processes=processes)
    return found


def _restart_longer(deployment: scenario.Deployment, entries: int) -> None:
    supervisor, name = deployment.supervisor, scenario.COORDINATOR_NAME
    supervisor.stop(name)
    began = time.monotonic()
    lengthen(deployment, entries)
    progress(f"{entries} entries are written after {time.monotonic() - began:.0f} s; starting on them")
    supervisor.revive(name)
    supervisor.wait_for(name, lambda _: _caught_up(deployment), timeout_s=90 + entries / ENTRIES_A_SECOND)
    progress(f"all cosigners have them after {time.monotonic() - began:.0f} s")


def _caught_up(deployment: scenario.Deployment) -> bool:
    try:
        status = deployment.status()
    except QuorumkeepError:
        return False
    return all(node["live"] and node["size"] == status["size"] for node in status["nodes"])


def _at(
    connection: Connection, identity: Identity, seconds: float, *, processes: frozenset[int]
) -> dict[str, Any]:
    with connection.open(identity) as client, connection.open(identity) as ear:
        backend = Backend(client, connection.origin, f"bench-{time.time_ns()}")
        threading.Thread(target=_listen, args=(backend, ear), daemon=True).start()
        _flow(backend, 3.0, flight=1)
        return {
            "alone": _timed(backend, seconds, flight=1, processes=processes),
            "saturated": _timed(backend, seconds, flight=FLIGHT, processes=processes),
        }


def _timed(backend: Backend, seconds: float, *, flight: int, processes: frozenset[int]) -> dict[str, Any]:
    before = _cpu_ms(processes)
    done, took_s = _flow(backend, seconds, flight=flight)
    cpu_ms = round((_cpu_ms(processes) - before) / len(done), 1)
    return {"per_s": round(len(done) / took_s, 1), "cpu_ms": cpu_ms, **_spread(done)}


def _cpu_ms(leaders: frozenset[int]) -> float:
    """Processor time of these process groups until now: a machine with others on it changes that least."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) in leaders:
                ticks += sum(int(fields[place]) for place in (11, 12, 13, 14))
    return 1000 * ticks / os.sysconf("SC_CLK_TCK")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--entries", type=int, nargs="+", default=[1_000, 20_000, 100_000])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each part (%(default)s)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="quorumkeep-bench-"))
    try:
        with Supervisor() as supervisor:
            deployment = scenario.prepare(folder, supervisor, say=progress)
            scenario.set_up(deployment)
            scenario.make_keys(deployment)
            scenario.fund(deployment)
            found = measure(deployment, sorted(options.entries), options.seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    json.dump(found, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
