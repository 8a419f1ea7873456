"""A deployment's log made longer, for ``bench service --entries``.

While the coordinator is down, requests of its backend are written into the log as the coordinator writes
them: signed, judged, folded, under a signed checkpoint. Started again, it folds all of it and brings the
cosigners up to it, who fold and store it like any other. Nothing is owed for these requests: the tables do
not know them, and they expire at once.
"""

import time

from cli.demo import policy as names
from cli.demo import scenario
from cli.demo.chain import CHAIN
from cli.identities import Identity
from cli.results import progress
from custody.adapters.store import Store
from custody.candidates import BATCH_ENTRIES_MAX, EMPTY, Candidate, Tip, extend, write_batch
from custody.lease import holder_of
from custody.log_key import LogKey
from policy.collecting import uncollected
from policy.encoding import Json
from policy.errors import InvariantError, QuorumkeepError
from policy.intent import Intent, Request, request_message

WEI = 10**9
LIFE_MS = 1000
ENTRIES_A_SECOND = 20
START_S = 90


def restart_longer(deployment: scenario.Deployment, entries: int) -> None:
    """Write requests until the log has so many entries, and have everybody fold them."""
    supervisor, name = deployment.supervisor, scenario.COORDINATOR_NAME
    supervisor.stop(name)
    began = time.monotonic()
    _lengthen(deployment, entries)
    progress(f"{entries} entries are written after {time.monotonic() - began:.0f} s; starting on them")
    supervisor.revive(name)
    supervisor.wait_for(
        name, lambda _: _caught_up(deployment), timeout_s=START_S + entries / ENTRIES_A_SECOND
    )
    progress(f"all cosigners have them after {time.monotonic() - began:.0f} s")


def _lengthen(deployment: scenario.Deployment, entries: int) -> None:
    folder = deployment.folder / scenario.COORDINATOR_NAME
    store = Store(f"sqlite:///{folder / 'data' / 'custody.db'}", holder=holder_of(folder / "data"))
    log_key, backend = LogKey.load(folder / "log.key"), deployment.identity(names.PAYMENTS)
    store.take_lease(_now_ms(), 0)
    try:
        with uncollected():
            tip = _folded(store)
            while tip.frontier.size < entries:
                tip = _write(store, tip, log_key, backend)
    finally:
        store.close()


def _folded(store: Store) -> Tip:
    size, _ = store.head()
    tip = EMPTY
    while tip.frontier.size < size:
        for entry in store.entries(tip.frontier.size, size):
            tip, _ = extend(tip, entry)
    return tip


def _write(store: Store, tip: Tip, log_key: LogKey, backend: Identity) -> Tip:
    now_ms, start = _now_ms(), tip.frontier.size
    candidates = [_request(tip, start + i, backend, now_ms=now_ms) for i in range(BATCH_ENTRIES_MAX)]
    batch = write_batch(tip, candidates, now_ms=now_ms)
    if not all(outcome.accepted for outcome in batch.outcomes):
        raise InvariantError(f"a request is not taken in: {batch.outcomes[0].reason}")
    note = log_key.note(batch.tip.checkpoint()).to_bytes()
    written = [folded.entry for folded in batch.written]
    store.append(start, written, note=note, changes=(), now_ms=now_ms)
    return batch.tip


def _request(tip: Tip, number: int, backend: Identity, *, now_ms: int) -> Candidate:
    intent = Intent(CHAIN, names.WALLET, names.ETH, WEI + number, names.CUSTOMER)
    origin, until, key = tip.state.origin, now_ms + LIFE_MS, f"old-{number}"
    request = Request(origin, names.PAYMENTS, intent, names.FEE_CEILING, key, now_ms, until)
    body: Json = request.body()
    return Candidate("request", body, {"signature": backend.key.sign(request_message(body)).hex()})


def _caught_up(deployment: scenario.Deployment) -> bool:
    try:
        status = deployment.status()
    except QuorumkeepError:
        return False
    return all(node["live"] and node["size"] == status["size"] for node in status["nodes"])


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
