"""Entries of a log with proofs that they are in it, for somebody who has not got the log."""

from collections.abc import Iterable, Iterator

from policy.encoding import Json, parse_canonical
from policy.entries import ENTRY_BYTES_MAX
from policy.log.merkle import prove_inclusion
from policy.log.tiles import Read, read_entry, tile_hash_reader
from policy.replay import Step

ROSTER, POLICY = "roster", "policy"


class Origins:
    """Which entries the roster and the policy in force came from, while a log is heard."""

    def __init__(self) -> None:
        self.at = {ROSTER: 0, POLICY: 0}

    def follow(self, step: Step) -> None:
        """Hear of one entry."""
        before, after = step.before, step.after
        for kind, old, new in (
            (ROSTER, before.roster_hash, after.roster_hash),
            (POLICY, before.policy_hash, after.policy_hash),
        ):
            if before.size and old != new:
                changes = (one for one in before.pending if one.kind == kind and one.document_hash == new)
                self.at[kind] = min((one.index for one in changes), default=step.index)


def proven_entries(read: Read, indexes: Iterable[int], *, size: int) -> Iterator[dict[str, Json]]:
    """Each entry in the log's order, with its ``proof`` to the head of ``size`` (RFC 6962, leaf first)."""
    nodes = tile_hash_reader(read, size)
    for index in sorted(set(indexes)):
        entry = parse_canonical(read_entry(read, index, size=size), bytes_max=ENTRY_BYTES_MAX)
        proof: list[Json] = [digest.hex() for digest in prove_inclusion(nodes, index, size=size)]
        yield {"index": index, "entry": entry, "proof": proof}
