"""The process of an observer of chains: its door to the coordinator, and one look after the other."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custody.chains.bitcoin.rpc import BitcoinRpc
from custody.chains.bitcoin.watching import BitcoinWatching
from custody.chains.config import ChainConfig
from custody.chains.evm.rpc import EvmRpc
from custody.chains.evm.watching import EvmWatching
from custody.chains.solana.rpc import SolanaRpc
from custody.chains.solana.watching import SolanaWatching
from custody.chains.watching import AgreeingWatching, Watching
from custody.client import Caller, CustodyClient, Endpoint
from custody.lease import take_lease
from custody.observing.blocks import Memory, Watched, memory_document, read_memory
from custody.observing.desk import ObserverDesk
from custody.observing.metrics import ObserveMetrics
from custody.observing.settling import Settling
from custody.observing.stating import Stated, Stater
from custody.risk.following import BadLog, Follower
from custody.risk.stating import Observer
from policy.audit import Trust
from policy.errors import OperationalError

MEMORY = "observe.json"
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


def run(seat: Seat, assignment: Assignment, *, once: bool, told: Told) -> None:
    """Look once, or every ``every_s`` until interrupted; ``told`` hears of what was stated."""
    with (
        take_lease(seat.folder, "observe"),
        CustodyClient(seat.endpoint, Caller(seat.name, seat.key)) as client,
        contextlib.suppress(KeyboardInterrupt),  # SIGTERM, too: that is how it ends
    ):
        asyncio.run(_run(seat, assignment, ObserverDesk(client), once=once, told=told))


async def _run(seat: Seat, assignment: Assignment, desk: ObserverDesk, *, once: bool, told: Told) -> None:
    metrics, path = ObserveMetrics(), seat.folder / MEMORY
    metrics.serve(assignment.metrics_port, assignment.metrics_address)
    memories, settling = load_memories(path, assignment.chains), Settling()
    chains = [
        Watched(
            watching(name, config),
            memories[name],
            confirmations=config.confirmations,
            start=assignment.starts.get(name),
        )
        for name, config in assignment.chains.items()
    ]
    follower = Follower(desk, seat.trust, hear=settling.hear)
    stater = Stater(follower, settling, observer=Observer(seat.name, seat.key.sign), door=desk, chains=chains)

    async def look() -> None:
        try:
            await stater.look()
            metrics.looked_seconds.set(time.time())
        finally:
            told(metrics.count(stater.stated))
            keep_memories(path, memories)
            metrics.heights(memories)

    try:
        await look() if once else await _keep_looking(look, metrics, every_s=assignment.every_s)
    finally:
        await asyncio.gather(*(one.chain.close() for one in chains))


async def _keep_looking(
    look: Callable[[], Awaitable[None]], metrics: ObserveMetrics, *, every_s: float
) -> None:
    """Raises ``BadLog``: whoever supervises it starts it anew, and people look at what it says."""
    while True:
        try:
            await look()
        except BadLog:
            raise
        except OperationalError as error:
            metrics.failures.inc()
            _LOG.warning("not now: %s", error)
        await asyncio.sleep(every_s)


def watching(name: str, config: ChainConfig) -> Watching:
    """The reader of a chain, over the observer's own endpoints."""
    if config.bitcoin is not None:
        return BitcoinWatching(BitcoinRpc(name, config.urls[0], credentials=config.bitcoin.credentials))
    if config.solana is not None:
        return SolanaWatching(SolanaRpc(name, config.urls[0], commitment=config.solana.commitment))
    urls = {urlsplit(url).netloc.rpartition("@")[2]: url for url in config.urls}
    found = [EvmWatching(EvmRpc(name, url, head=config.head)) for url in urls.values()]
    return found[0] if len(found) == 1 else AgreeingWatching(found, agree=config.agree)


def load_memories(path: Path, chains: Mapping[str, ChainConfig]) -> dict[str, Memory]:
    """What was looked through before, by chain. Raises ``OperationalError``."""
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        found = {}
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        return {name: read_memory(found[name], name) if name in found else Memory() for name in chains}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _unreadable(path, error) from error


def keep_memories(path: Path, memories: Mapping[str, Memory]) -> None:
    """Keep them for the next start. Raises ``OperationalError``."""
    partial = path.with_name(f".{path.name}.new")
    try:
        partial.write_text(json.dumps({name: memory_document(one) for name, one in memories.items()}))
        partial.replace(path)
    except OSError as error:
        raise OperationalError(f"cannot write {path}: {error.strerror}; mend the folder") from error


def _unreadable(path: Path, error: Exception) -> OperationalError:
    return OperationalError(
        f"cannot read {path}: {error}; move it away, and give 'start' in observe.toml to look at blocks again"
    )
