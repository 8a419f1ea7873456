"""What a node does with the calls it gets: the port behind the node's door."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import BootStatement


class Role(Enum):
    """What a caller is to this node."""

    COORDINATOR = "coordinator"
    PEER = "peer"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is authenticated at the other end; ``boot`` is a peer's verified boot statement."""

    name: str
    role: Role
    boot: BootStatement | None = None


class Handler(Protocol):
    """What a node does with calls. A method may raise ``Refused`` to refuse with a code of its own.

    Methods run concurrently. They are not cancelled when their caller's connection ends: what has
    begun is brought to its end and the answer is dropped.
    """

    async def greeted(self, caller: Caller) -> None:
        """A connection of ``caller`` was authenticated; raising refuses it."""

    async def head(self, caller: Caller, call: pb.HeadQuery) -> pb.HeadReply: ...

    async def entries(self, caller: Caller, call: pb.EntriesQuery) -> pb.EntriesReply: ...

    async def append(self, caller: Caller, call: pb.Append) -> pb.AppendReply: ...

    async def finish(self, caller: Caller, call: pb.Finish) -> pb.FinishReply: ...

    async def change_key(self, caller: Caller, call: pb.ChangeKey) -> pb.ChangeKeyReply: ...

    async def import_offer(self, caller: Caller, call: pb.ImportOffer) -> pb.ImportOfferReply: ...

    async def presign(self, caller: Caller, call: pb.Presign) -> pb.PresignReply: ...

    async def burn(self, caller: Caller, call: pb.Burn) -> pb.BurnReply: ...

    async def read(self, caller: Caller, call: pb.Read) -> pb.ReadReply: ...

    async def status(self, caller: Caller, call: pb.Status) -> pb.StatusReply: ...

    async def protocol(self, caller: Caller, call: pb.Protocol) -> pb.ProtocolReply: ...

    async def abandon(self, caller: Caller, call: pb.Abandon) -> pb.AbandonReply: ...

    async def leave(self, caller: Caller, call: pb.Leave) -> pb.LeaveReply: ...

    async def quorum(self, caller: Caller, call: pb.Quorum) -> pb.QuorumReply: ...


PEER_CALLS: Final = frozenset({"hello", "head", "entries", "protocol", "quorum"})
COORDINATOR_CALLS: Final = frozenset(
    field.name for field in pb.Call.DESCRIPTOR.oneofs_by_name["what"].fields
) - {"protocol"}
