"""The sample log of any length as the files that an auditor reads."""

from itertools import islice
from pathlib import Path

from cli.audit import files_below
from cli.policies.sample_log import NODES, ORIGIN, sample_entries, sample_key
from policy.collecting import uncollected
from policy.encoding import Json
from policy.ledger import fold, initial_unverified
from policy.log.checkpoint import (
    Checkpoint,
    Note,
    cosignature,
    cosignature_message,
    log_signature,
    log_signature_message,
)
from policy.log.merkle import Frontier, leaf_hash
from policy.log.tiles import TILE_WIDTH, increment
from policy.roster import COORDINATOR
from policy.state import State

BLOCK = 16 * TILE_WIDTH
TIME_S = 1_900_000_000


def write_sample(folder: Path, entries: int) -> None:
    """Write a sound log of so many entries with its checkpoint, cosigned by all."""
    frontier, state, log = Frontier(), initial_unverified(), sample_entries()
    with uncollected():
        while frontier.size < entries:
            block = list(islice(log, min(BLOCK, entries - frontier.size)))
            for path, data in increment(files_below(folder), frontier, entries=block):
                _write(folder / path, data)
            for entry in block:
                frontier = frontier.append(leaf_hash(entry))
                state, _ = fold(state, entry)
    _write(folder / "checkpoint", _note(frontier, state).to_bytes())


def sample_trust() -> Json:
    """What an auditor of the sample log pins."""
    return {
        "origin": ORIGIN,
        "log_key": _public(COORDINATOR).hex(),
        "genesis": leaf_hash(next(sample_entries())).hex(),
        "cosigners": [{"name": name, "key": _public(name).hex()} for name in NODES],
        "w": len(NODES),
    }


def _note(frontier: Frontier, state: State) -> Note:
    body = Checkpoint(ORIGIN, frontier.size, frontier.root(), state.digest).body()
    signature = sample_key(COORDINATOR).sign(log_signature_message(body))
    note = Note(body, (log_signature(ORIGIN, _public(COORDINATOR), signature=signature),))
    for name in NODES:
        signature = sample_key(name).sign(cosignature_message(body, time_s=TIME_S))
        note = note.with_signatures(cosignature(name, _public(name), time_s=TIME_S, signature=signature))
    return note


def _public(name: str) -> bytes:
    return sample_key(name).public_key().public_bytes_raw()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
