"""A worker's job for a backup: it opens the share, seals it to the recovery officers, and is gone."""

from collections.abc import Sequence
from dataclasses import dataclass

from policy.encoding import Json, canonical
from policy.errors import MalformedError
from policy.fields import Fields
from signer_nodes.officers import OFFICERS_MAX, Officer, read_officer
from signer_nodes.worker_frames import Holding, parse_document, parse_holding


@dataclass(frozen=True, slots=True)
class BackupJob:
    """A backup of the share in ``holding``, which any ``quorum`` of ``officers`` open.

    ``session`` only names the run.
    """

    session: bytes
    holding: Holding
    officers: tuple[Officer, ...]
    quorum: int

    @property
    def peers(self) -> tuple[int, ...]:
        """Nobody: a node backs its share up alone."""
        return ()

    def to_parts(self) -> list[bytes]:
        """The parts of the frame that starts the run. SECRET."""
        officers: Json = [officer.body() for officer in self.officers]
        document: Json = {"officers": officers, "quorum": self.quorum}
        return [b"backup", self.session, canonical(document), *self.holding.to_parts()]


@dataclass(frozen=True, slots=True)
class BackupOutcome:
    """The backup's file."""

    backup: bytes

    def to_parts(self) -> list[bytes]:
        """The parts of the frame that ends the run."""
        return [self.backup]


def parse_backup_job(parts: Sequence[bytes]) -> BackupJob:
    """Read what ``BackupJob.to_parts`` wrote after its word."""
    if len(parts) != 5:
        raise MalformedError(f"a job for a backup has 5 parts, got {len(parts)}")
    fields = Fields(parse_document(parts[1]), "backup job")
    job = BackupJob(
        session=parts[0],
        holding=parse_holding(parts[2:]),
        officers=fields.objects("officers", read_officer, count_max=OFFICERS_MAX),
        quorum=fields.integer("quorum", low=1, high=OFFICERS_MAX),
    )
    fields.done()
    return job


def parse_backup_outcome(parts: Sequence[bytes]) -> BackupOutcome:
    """Read what ``BackupOutcome.to_parts`` wrote."""
    if len(parts) != 1:
        raise MalformedError(f"a backup is one file, got {len(parts)}")
    return BackupOutcome(parts[0])
