"""The branches that a cosigner renounced, as its disk keeps them: see ``signer_nodes/witness.py``."""

from dataclasses import replace
from typing import Final

from policy.encoding import Json, canonical, parse_canonical
from policy.fields import Fields
from signer_nodes.witness import Cosigner

BRANCHES_MAX: Final = 4096
BYTES_MAX: Final = 1 << 20


def to_bytes(cosigner: Cosigner) -> bytes:
    """What its disk keeps."""

    def listed(branches: frozenset[tuple[int, bytes]]) -> list[Json]:
        return [{"index": index, "entry": entry.hex()} for index, entry in sorted(branches)]

    return canonical(
        {
            "floor": cosigner.floor,
            "refused": listed(cosigner.refused),
            "left": listed(cosigner.left),
        }
    )


def with_renounced(cosigner: Cosigner, data: bytes | None) -> Cosigner:
    """The cosigner with what its disk kept. Raises ``MalformedError``."""
    if data is None:
        return cosigner
    fields = Fields(parse_canonical(data, bytes_max=BYTES_MAX), "renounced branches")
    found = replace(
        cosigner,
        floor=fields.integer("floor"),
        refused=frozenset(fields.objects("refused", _read_first, count_max=BRANCHES_MAX)),
        left=frozenset(fields.objects("left", _read_first, count_max=BRANCHES_MAX)),
    )
    fields.done()
    return found


def count(cosigner: Cosigner) -> int:
    """How many branches were renounced; it only rises, so fewer on disk means an older disk."""
    return len(cosigner.refused) + len(cosigner.left)


def _read_first(fields: Fields) -> tuple[int, bytes]:
    return fields.integer("index"), fields.hex("entry", length=32)
