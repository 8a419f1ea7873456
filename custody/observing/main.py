"""The process of an observer of chains: its door to the coordinator, and one look after the other."""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custody.adapters.risk_store import RiskStore
from custody.chains.bitcoin.rpc import BitcoinRpc
from custody.chains.bitcoin.watching import BitcoinWatching
from custody.chains.config import ChainConfig
from custody.chains.evm.rpc import BLOCK_TIMEOUT_S, BLOCKS, EvmRpc
from custody.chains.evm.watching import EvmWatching
from custody.chains.solana.rpc import SolanaRpc
from custody.chains.solana.watching import SolanaWatching
from custody.chains.watching import AgreeingWatching, Watching
from custody.client import Caller, CustodyClient, Endpoint
from custody.lease import take_lease
from custody.observing.blocks import Memory, Watched, memory_document, read_memory
from custody.observing.desk import ObserverDesk
from custody.observing.metrics import ObserveMetrics
from custody.observing.settling import Sent, Settling, read_sent, sent_document
from custody.observing.stating import Door, Stated, Stater
from custody.risk.following import BadLog, Follower
from custody.risk.keeping import Keeper, Kept
from custody.risk.ports import LogSource
from custody.risk.stating import Observer
from policy.audit import Trust
from policy.errors import OperationalError
from policy.stored.pages import DamagedState

MEMORY, LOG = "observe.json", "observe.db"
Told: TypeAlias = Callable[[Sequence[Stated]], None]
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What an observer is to watch; ``starts`` are the first blocks to look at, by chain."""

    chains: Mapping[str, ChainConfig]
    starts: Mapping[str, int]
    every_s: float
    metrics_port: int = 0
    metrics_address: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Seat:
    """Who it is: an observer of the roster, in a folder of its own, at a coordinator whose log is pinned."""

    folder: Path
    name: str
    endpoint: Endpoint
    trust: Trust
    key: Ed25519PrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class Remembered:
    """Chains by name, and our transactions that are not observed yet."""

    chains: dict[str, Memory]
    sent: list[Sent]


class Desk(LogSource, Door, Protocol):
    """The coordinator: where the log is read, and where statements are handed in."""


def run(seat: Seat, assignment: Assignment, *, once: bool, told: Told) -> None:
    """Look once, or every ``every_s`` until interrupted; ``told`` hears of what was stated."""
    with (
        take_lease(seat.folder, "observe"),
        CustodyClient(seat.endpoint, Caller(seat.name, seat.key)) as client,
        contextlib.suppress(KeyboardInterrupt),  # SIGTERM, too: that is how it ends
    ):
        asyncio.run(_run(seat, assignment, ObserverDesk(client), once=once, told=told))


async def _run(seat: Seat, assignment: Assignment, desk: Desk, *, once: bool, told: Told) -> None:
    chains = {name: watching(name, config) for name, config in assignment.chains.items()}
    with contextlib.closing(RiskStore(seat.folder / LOG)) as store:
        watch = Watch(seat, assignment, desk=desk, store=store, chains=chains)
        watch.metrics.serve(assignment.metrics_port, assignment.metrics_address)
        try:
            if once:
                await watch.look(told)
            else:
                await _keep_looking(watch, every_s=assignment.every_s, told=told)
        finally:
            await asyncio.gather(*(one.close() for one in chains.values()))


class Watch:
    """One observer at work, with what it remembers: of chains in a file, of the log in a database."""

    def __init__(
        self,
        seat: Seat,
        assignment: Assignment,
        *,
        desk: Desk,
        store: RiskStore,
        chains: Mapping[str, Watching],
    ) -> None:
        self._path, self.metrics = seat.folder / MEMORY, ObserveMetrics()
        self._keeper = Keeper(store, seat.trust.genesis)
        kept = load(self._path, assignment.chains)
        begun = self._keeper.start() if kept is not None else self._keeper.clear()
        self._reader, self._memories = begun.reader, kept.chains if kept else fresh(assignment.chains)
        self._settling = Settling(kept.sent if kept else (), observer=seat.name, chains=assignment.chains)
        self._follower = Follower(desk, seat.trust, hear=self._settling.hear, start=begun.progress)
        watched = [
            Watched(
                chain,
                self._memories[name],
                confirmations=assignment.chains[name].confirmations,
                start=assignment.starts.get(name),
            )
            for name, chain in chains.items()
        ]
        self._stater = Stater(
            self._follower,
            self._settling,
            observer=Observer(seat.name, seat.key.sign),
            door=desk,
            chains=watched,
        )

    async def look(self, told: Told) -> None:
        """One look, and what it came to; ``told`` hears of what was stated, also when part of it failed."""
        try:
            try:
                await self._stater.look()
                self.metrics.looked_seconds.set(time.time())
            finally:
                told(self.metrics.count(self._stater.stated))
                self.metrics.heights(self._memories)
                self.metrics.settling.set(len(self._settling.sent))
                self.metrics.contradicted.set(len(self._stater.contradicted))
                self.metrics.given_up.set(self._settling.given_up)
                self._keep()
        except DamagedState as error:
            self._keeper.clear()
            raise BadLog(f"{error}: start it again, and it reads the log anew") from error

    def _keep(self) -> None:
        """What settles is kept before the entries that it follows from: those may be heard again."""
        keep(self._path, self._memories, sent=self._settling.sent)
        if self._follower.holds:
            self._follower.rebase(self._keeper.keep(Kept(self._follower.progress, self._reader)))


async def _keep_looking(watch: Watch, *, every_s: float, told: Told) -> None:
    """Raises ``BadLog``: whoever supervises it starts it anew, and people look at what it says."""
    while True:
        try:
            await watch.look(told)
        except BadLog:
            raise
        except OperationalError as error:
            watch.metrics.failures.inc()
            _LOG.warning("not now: %s", error)
        await asyncio.sleep(every_s)


def watching(name: str, config: ChainConfig) -> Watching:
    """The reader of a chain, over the observer's own endpoints."""
    found: list[Watching]
    if config.bitcoin is not None:
        known = zip(config.urls, config.bitcoin.credentials, strict=True)
        found = [BitcoinWatching(BitcoinRpc(name, url, credentials=who)) for url, who in known]
    elif config.solana is not None:
        sure = config.solana.commitment
        found = [SolanaWatching(SolanaRpc(name, url, commitment=sure)) for url in config.urls]
    else:
        found = [_evm_watching(name, url, head=config.head) for url in config.urls]
    if len(found) == 1:
        return found[0]
    named = dict(zip(config.hosts, found, strict=True))
    return AgreeingWatching(name, named, agree=config.agree, confirmations=config.confirmations)


def _evm_watching(name: str, url: str, *, head: str) -> EvmWatching:
    rpc = EvmRpc(name, url, head=head, timeout_s=BLOCK_TIMEOUT_S, large=BLOCKS)
    return EvmWatching(rpc)


def fresh(chains: Iterable[str]) -> dict[str, Memory]:
    """Nothing was looked through yet."""
    return {name: Memory() for name in chains}


def load(path: Path, chains: Iterable[str]) -> Remembered | None:
    """What is remembered, or None for nothing. Raises ``OperationalError``."""
    try:
        found = json.loads(path.read_bytes())
        kept = {name: read_memory(one, name) for name, one in found["chains"].items()}
        return Remembered(fresh(chains) | {n: kept[n] for n in chains if n in kept}, read_sent(found["sent"]))
    except FileNotFoundError:
        return None
    except (OSError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise OperationalError(
            f"cannot read {path}: {error}; move it away, and give 'start' in observe.toml to look at blocks "
            "once more"
        ) from error


def keep(path: Path, memories: Mapping[str, Memory], *, sent: Iterable[Sent]) -> None:
    """Keep it for the next start. Raises ``OperationalError``."""
    chains = {name: memory_document(one) for name, one in memories.items()}
    partial = path.with_name(f".{path.name}.new")
    try:
        with partial.open("w") as file:  # a file that a power cut leaves empty would keep it from starting
            file.write(json.dumps({"chains": chains, "sent": sent_document(sent)}))
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise OperationalError(f"cannot write {path}: {error.strerror}; mend the folder") from error
