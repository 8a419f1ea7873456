"""What the protocols cost, measured as a stranger would: medians of repeated runs, in processor time.

All parties run in this process, one after the other, so that a figure is the sum of all of them divided by
their number; nothing waits. A *unit* is the time of one ``coincurve.PrivateKey(x).public_key``, taken again
between any two steps of what is measured, so that a slow moment of the machine slows both: compare units, not
milliseconds, between machines. Transport, token and disk are not in it.

``MEASURES`` names every figure and the function that takes it; adding one is adding a line.
"""

import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from statistics import median
from typing import Final, TypeAlias, TypeVar, cast

from coincurve import PrivateKey

from policy.encoding import Json
from policy.errors import CallerError
from policy.suites import DKLS23_SECP256K1
from signer_nodes.frost_bench import frost_ed25519_cpu_ms, frost_secp256k1_cpu_ms
from signer_nodes.mpc.curve import Q, add, base_mul
from signer_nodes.mpc.dkg import KeygenParameters, KeygenResult
from signer_nodes.mpc.ecdsa import SigningTask, partial_signature
from signer_nodes.mpc.keygen import start_keygen
from signer_nodes.mpc.ot.extension import check_batch
from signer_nodes.mpc.presign import PresignParameters, PresignResult, start_presign
from signer_nodes.mpc.presignature import Presignature
from signer_nodes.mpc.refresh import start_refresh
from signer_nodes.mpc.rounds import Progress, Rounds

THREADS_VARIABLE: Final = "OPENBLAS_NUM_THREADS"
_UNIT_CALLS: Final = 50
_FINISHES: Final = 8

Figure: TypeAlias = "Json | float | dict[str, float]"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Effort:
    """Presignatures a batch (a multiple of 4), and how often everything is repeated."""

    batch: int
    repeat: int

    def __post_init__(self) -> None:
        check_batch(self.batch)
        if self.repeat < 1:
            raise CallerError(f"repeat is {self.repeat}, must be at least 1")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of all parties: processor and wall time of all together, the unit meanwhile, bytes sent."""

    results: Mapping[int, object]
    cpu_s: float
    wall_s: float
    unit_s: float
    sent_bytes: int


class Stopwatch:
    """Processor time and wall time of the calls made through it, and a unit after each of them."""

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0
        self.units_s = [unit_s()]

    def call(self, action: Callable[[], T]) -> T:
        """Make one call and count its time."""
        cpu, wall = time.process_time(), time.perf_counter()
        result = action()
        self.cpu_s += time.process_time() - cpu
        self.wall_s += time.perf_counter() - wall
        self.units_s.append(unit_s())
        return result


def unit_s() -> float:
    """The processor time of one base-point product in coincurve, over some calls."""
    secret = secrets.token_bytes(31).rjust(32, b"\0")
    start = time.process_time()
    for _ in range(_UNIT_CALLS):
        _ = PrivateKey(secret).public_key
    return (time.process_time() - start) / _UNIT_CALLS


def run_parties(parties: Mapping[int, Rounds]) -> Run:
    """Run one protocol to its end, every message delivered at once. Raises what a party raises."""
    watch, results, sent = Stopwatch(), dict[int, object](), 0
    queue: list[tuple[int, int, bytes]] = []

    def take(party: int, progress: Progress) -> None:
        queue.extend((party, peer, payload) for peer, payload in progress.outgoing)
        if progress.result is not None:
            results[party] = progress.result

    for party, run in parties.items():
        take(party, watch.call(run.start))
    while queue:
        sender, receiver, payload = queue.pop(0)
        sent += len(payload)
        take(receiver, watch.call(partial(parties[receiver].receive, sender, payload)))
    if set(results) != set(parties):
        raise CallerError(f"parties {sorted(set(parties) - set(results))} ended without a result")
    return Run(results, watch.cpu_s, watch.wall_s, median(watch.units_s), sent)


class Bench:
    """The runs that several figures are taken from; each kind is run once, when it is first asked for."""

    def __init__(self, effort: Effort, say: Callable[[str], None]) -> None:
        self.effort = effort
        self.units_s: list[float] = []
        self.keygens = cache(self._keygens)
        self.presigns = cache(self._presigns)
        self._say = say

    def repeated(self, what: str, action: Callable[[], Run]) -> list[Run]:
        """Run something as often as the effort asks for."""
        runs = []
        for count in range(1, self.effort.repeat + 1):
            self._say(f"{what} {count}/{self.effort.repeat}")
            runs.append(action())
            self.units_s.append(runs[-1].unit_s)
        return runs

    def _keygens(self, min_signers: int, n: int) -> list[Run]:
        return self.repeated(
            f"key generation {min_signers} of {n}", lambda: run_parties(_keygen(min_signers, n))
        )

    def _presigns(self, min_signers: int, n: int) -> list[Run]:
        results = cast("Mapping[int, KeygenResult]", self.keygens(min_signers, n)[0].results)
        dealt = {party: results[party] for party in range(1, min_signers + 1)}
        return self.repeated(
            f"presigning {min_signers} of {n}", lambda: run_parties(_presign(dealt, self.effort.batch))
        )


def _keygen(min_signers: int, n: int) -> dict[int, Rounds]:
    session = secrets.token_bytes(32)
    return {
        party: start_keygen(_parameters(session, min_signers, n=n, party=party), secrets.token_bytes(32))
        for party in range(1, n + 1)
    }


def _refresh(results: Mapping[int, KeygenResult]) -> dict[int, Rounds]:
    session, shares = secrets.token_bytes(32), {party: result.share for party, result in results.items()}
    return {
        party: start_refresh(
            _parameters(session, share.min_signers, n=len(shares), party=party, epoch=share.epoch + 1),
            share,
            randomness=secrets.token_bytes(32),
        )
        for party, share in shares.items()
    }


def _parameters(session: bytes, min_signers: int, *, n: int, party: int, epoch: int = 0) -> KeygenParameters:
    return KeygenParameters(
        session=session,
        suite=DKLS23_SECP256K1,
        key_id="bench",
        min_signers=min_signers,
        participants=tuple(f"node-{number}" for number in range(1, n + 1)),
        index=party,
        epoch=epoch,
    )


def _presign(dealt: Mapping[int, KeygenResult], batch: int) -> dict[int, Rounds]:
    parameters = PresignParameters(secrets.token_bytes(32), batch)
    return {
        party: start_presign(
            parameters,
            result.share,
            pairs={pair.peer: pair for pair in result.pairs},
            signers=tuple(dealt),
            randomness=secrets.token_bytes(32),
        )
        for party, result in dealt.items()
    }


def _dkg_s(min_signers: int, n: int) -> Callable[[Bench], Figure]:
    def measure(bench: Bench) -> Figure:
        return _rounded(median(run.wall_s for run in bench.keygens(min_signers, n)))

    return measure


def _refresh_s(bench: Bench) -> Figure:
    results = cast("Mapping[int, KeygenResult]", bench.keygens(2, 3)[0].results)
    runs = bench.repeated("refresh 2 of 3", lambda: run_parties(_refresh(results)))
    return _rounded(median(run.wall_s for run in runs))


def _presign_cost(min_signers: int, n: int) -> Callable[[Bench], Figure]:
    def measure(bench: Bench) -> Figure:
        runs, made = bench.presigns(min_signers, n), min_signers * bench.effort.batch
        return {
            "batch": bench.effort.batch,
            "cpu_ms": _rounded(median(1000 * run.cpu_s / made for run in runs)),
            "units": _rounded(median(run.cpu_s / run.unit_s / made for run in runs)),
        }

    return measure


def _presign_bytes(bench: Bench) -> Figure:
    return round(bench.presigns(2, 3)[0].sent_bytes / (2 * bench.effort.batch))


def _finish_cpu_ms(bench: Bench) -> Figure:
    results = cast("Mapping[int, PresignResult]", bench.presigns(2, 3)[0].results)
    runs = bench.repeated("finish 2 of 3", lambda: _finish(results))
    return _rounded(median(1000 * run.cpu_s / (2 * _finishes(bench.effort.batch)) for run in runs))


def _finishes(batch: int) -> int:
    return min(batch, _FINISHES)


def _finish(results: Mapping[int, PresignResult]) -> Run:
    """One partial signature of every party from each of some presignatures, under a derived key."""
    watch, batch = Stopwatch(), len(results[1].presignatures)
    for b in range(_finishes(batch)):
        shares = [result.presignatures[b] for result in results.values()]
        task, rhos = _task(shares[0]), {share.me: share.rho for share in shares}
        for share in shares:
            watch.call(partial(partial_signature, share, rhos=rhos, task=task))
    return Run({}, watch.cpu_s, watch.wall_s, median(watch.units_s), 0)


def _task(presignature: Presignature) -> SigningTask:
    tweak = secrets.randbelow(Q - 1) + 1
    return SigningTask(
        message_hash=secrets.token_bytes(32),
        tweak=tweak,
        derived_key=add([presignature.group_key, base_mul(tweak)]),
        job_id=secrets.token_bytes(32),
        index=0,
    )


def _rounded(value: float) -> float:
    """Three significant digits: more is noise."""
    return float(f"{value:.3g}")


MEASURES: Final[Mapping[str, Callable[[Bench], Figure]]] = {
    "dkg_2of3_s": _dkg_s(2, 3),
    "dkg_3of5_s": _dkg_s(3, 5),
    "presign_2of3": _presign_cost(2, 3),
    "presign_3of5": _presign_cost(3, 5),
    "finish_2of3_cpu_ms": _finish_cpu_ms,
    "frost_secp256k1_cpu_ms": lambda _bench: _rounded(frost_secp256k1_cpu_ms()),
    "frost_ed25519_cpu_ms": lambda _bench: _rounded(frost_ed25519_cpu_ms()),
    "refresh_2of3_s": _refresh_s,
    "bytes_per_presign_2of3": _presign_bytes,
}
"""Every figure by name: times in seconds of wall time for all parties, or milliseconds of a node's CPU."""


def measure(effort: Effort, say: Callable[[str], None]) -> dict[str, Figure]:
    """Take every figure; ``say`` is told what is running.

    Raises ``CallerError`` where BLAS may use more than one thread: their time would count as ours.
    """
    if os.environ.get(THREADS_VARIABLE) != "1":
        raise CallerError(f"start the process with {THREADS_VARIABLE}=1: it counts from the start only")
    bench = Bench(effort, say)
    figures = {name: take(bench) for name, take in MEASURES.items()}
    return {"unit_us": _rounded(1e6 * median(bench.units_s)), **figures}
