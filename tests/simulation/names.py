"""What chains call the transactions of a book's jobs."""

from policy.state import Job, JobStatus
from policy.transaction_names import transaction_name


def name_of(job: Job) -> bytes:
    """The name that an observation has to have; some other one for a job that has none."""
    return transaction_name(job) if job.status is JobStatus.SIGNED and job.anchor.on_chain else b"\x99" * 32
