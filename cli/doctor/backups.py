"""Backups of shares, by what their files say in the clear: whether they rebuild a key, and how old."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.doctor.findings import Finding
from cli.files import read_document
from policy.errors import OperationalError

FORMAT = "quorumkeep-backup"
OLD_MS = 100 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Backup:
    """Which share a file has; ``made_ms`` is when the file was written."""

    path: Path
    key: str
    epoch: int
    node: str
    min_signers: int
    made_ms: int


def read_backups(paths: Sequence[Path]) -> tuple[list[Backup], list[Finding]]:
    """What the files say of themselves; nothing in one is opened."""
    backups, findings = [], []
    for path in paths:
        try:
            backups.append(_backup(path))
        except OperationalError as error:
            findings.append(Finding("file-broken", path.name, str(error)))
    return backups, findings


def examine_backups(
    backups: Sequence[Backup], epochs: Mapping[str, int], *, now_ms: int
) -> Iterator[Finding]:
    """``epochs`` are the keys of the log, as far as they are known; else those of the newest backups."""
    for key in sorted({*epochs, *(one.key for one in backups)}):
        mine = [one for one in backups if one.key == key]
        epoch = epochs.get(key, max((one.epoch for one in mine), default=0))
        good = [one for one in mine if one.epoch == epoch]
        yield from _enough(key, epoch, good)
        for old in (one for one in mine if one.epoch != epoch):
            said = f"{old.path} is of epoch {old.epoch} of key {key}, which is in epoch {epoch}"
            yield Finding("backup-of-old-epoch", old.path.name, said)
        for one in good:
            if now_ms - one.made_ms > OLD_MS:
                days = (now_ms - one.made_ms) // (24 * 3600 * 1000)
                yield Finding("backup-old", one.path.name, f"{one.path} was made {days} days ago")


def _enough(key: str, epoch: int, good: Sequence[Backup]) -> Iterator[Finding]:
    nodes, needed = {one.node for one in good}, max((one.min_signers for one in good), default=0)
    if not good or len(nodes) < needed:
        have = ", ".join(sorted(nodes)) or "no node"
        need = f", of {needed} that it takes" if needed else ""
        yield Finding("backup-missing", key, f"key {key}, epoch {epoch}: there are backups of {have}{need}")


def _backup(path: Path) -> Backup:
    document: dict[str, Any] = read_document(path, "the backup")
    try:
        public = document["public"]
        if public["format"] != FORMAT:
            raise ValueError(public["format"])
        participants, index = public["participants"], int(public["index"])
        return Backup(
            path=path,
            key=str(public["key"]),
            epoch=int(public["epoch"]),
            node=str(participants[index - 1]),
            min_signers=int(public["min_signers"]),
            made_ms=path.stat().st_mtime_ns // 1_000_000,
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise OperationalError(f"{path} is no backup of a share: bring the file of key backup") from error
