"""Reading the published log, as anybody who has its folder can: who signed what."""

import time
from pathlib import Path

from policy.entries import ReserveEntry, SignatureEntry, job_id, parse_entry
from policy.errors import MalformedError, OperationalError
from policy.log.checkpoint import parse_checkpoint, parse_note
from policy.log.tiles import read_entries

NOTE_BYTES_MAX = 64 * 1024
POLL_S = 0.05


def published_size(log: Path) -> int:
    """How many entries are published; 0 before there is a checkpoint."""
    try:
        return parse_checkpoint(parse_note((log / "checkpoint").read_bytes(), NOTE_BYTES_MAX).body).size
    except FileNotFoundError:
        return 0


def wait_published(log: Path, size: int, *, timeout_s: float) -> None:
    """Wait until ``size`` entries are published. Raises ``OperationalError``."""
    deadline = time.monotonic() + timeout_s
    while (found := published_size(log)) < size:
        if time.monotonic() > deadline:
            raise OperationalError(f"{found} entries are published after {timeout_s:.0f} s, not {size}")
        time.sleep(POLL_S)


def signers_of(log: Path, request: bytes, *, origin: str) -> tuple[str, ...]:
    """The nodes whose partial signatures made the newest signature of a request; empty before."""
    signers: dict[bytes, tuple[str, ...]] = {}
    signed: tuple[str, ...] = ()
    for index, data in enumerate(_entries(log)):
        try:
            entry = parse_entry(data).entry
        except MalformedError:
            continue  # inert, and so of no request
        if isinstance(entry, ReserveEntry) and entry.request == request:
            signers[job_id(origin, index, data=data)] = entry.signers
        if isinstance(entry, SignatureEntry):
            signed = signers.get(entry.job, signed)
    return signed


def _entries(log: Path) -> list[bytes]:
    def read(path: str) -> bytes | None:
        try:
            return (log / path).read_bytes()
        except FileNotFoundError:
            return None

    return list(read_entries(read, published_size(log)))
