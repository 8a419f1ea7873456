"""The one record in which a node's token remembers what its disk must hold."""

from dataclasses import dataclass
from typing import Final

from policy.encoding import Json, canonical, parse_canonical
from policy.fields import Fields

HEAD_RECORD: Final = "head"


@dataclass(frozen=True, slots=True)
class TokenHead:
    """What the token remembers of the disk: head, marks, and the branches this node renounced.

    ``state`` is the hash that pins the stored state; empty if there is none.
    """

    size: int
    root: bytes
    marks: int
    marks_chain: bytes
    floor: int
    renounced: int
    state: bytes = b""

    def to_bytes(self) -> bytes:
        """The record's canonical encoding."""
        fields: dict[str, Json] = {
            "size": self.size,
            "root": self.root.hex(),
            "marks": self.marks,
            "marks_chain": self.marks_chain.hex(),
            "floor": self.floor,
            "renounced": self.renounced,
        }
        return canonical({**fields, "state": self.state.hex()} if self.state else fields)

    @classmethod
    def from_bytes(cls, data: bytes) -> "TokenHead":
        """Read a record. Raises ``MalformedError``."""
        fields = Fields(parse_canonical(data, bytes_max=4096), "token head")
        head = cls(
            size=fields.integer("size"),
            root=fields.hex("root", length=32),
            marks=fields.integer("marks"),
            marks_chain=fields.hex("marks_chain", length=32),
            floor=fields.integer("floor"),
            renounced=fields.integer("renounced"),
            state=fields.hex("state", length=32) if fields.has("state") else b"",
        )
        fields.done()
        return head
