"""Which jobs of a request keep each other off the chain, and so what all of them can take out of a wallet.

The anchor does it for all of a request, where nodes can see that it does. On Solana they cannot: a value that
is no durable nonce lets each *different* message in once, and only jobs of one message are one transaction.
"""

from collections.abc import Callable, Iterable
from typing import TypeAlias

from policy.ids import SOLANA, family
from policy.state import CANCEL, Job

Place: TypeAlias = tuple[str, str]


def apart(job: Job, tx: bytes) -> bool:
    """Whether ``tx``, of the same request, could be on chain beside the job's own transaction."""
    return job.tx != tx and family(job.anchor.chain) == SOLANA


def cancellations_beside(jobs: Iterable[Job], tx: bytes) -> dict[bytes, int]:
    """The fees of the cancellations among live jobs that could be on chain beside ``tx``, by their bytes."""
    return {job.tx: job.fee_max for job in jobs if job.purpose == CANCEL and apart(job, tx)}


def conflicting(jobs: Iterable[Job]) -> list[list[Job]]:
    """Jobs of one request in groups, of each of which at most one is ever on chain."""
    groups: list[list[Job]] = []
    for job in jobs:
        for group in groups:
            if not apart(job, group[0].tx):
                group.append(job)
                break
        else:
            groups.append([job])
    return groups


def most_of(jobs: Iterable[Job], adds: Callable[[Job], Iterable[tuple[Place, int]]]) -> dict[Place, int]:
    """What jobs of one request come to at most in each place: the largest of each group, added up."""
    total: dict[Place, int] = {}
    for group in conflicting(jobs):
        largest: dict[Place, int] = {}
        for job in group:
            for place, amount in adds(job):
                largest[place] = max(largest.get(place, 0), amount)
        for place, amount in largest.items():
            total[place] = total.get(place, 0) + amount
    return total
