"""The other cold nodes of a ceremony, as ``Peers``: who they are by their hellos, and what to bring them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.errors import Unreachable
from signer_nodes.api.hello import Hello

SESSION_BYTES = 32


@dataclass(slots=True)
class ColdPeers:
    """Whom this node has met in this ceremony; ``written`` waits to be carried to them."""

    met: dict[str, Hello] = field(default_factory=dict)
    written: dict[str, list[bytes]] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Who they are."""
        return tuple(sorted(self.met))

    @property
    def all_written_to(self) -> bool:
        """Whether something waits for each of them: then this node waits for their answers."""
        return bool(self.met) and self.met.keys() <= self.written.keys()

    async def head(self, peer: str) -> pb.HeadReply:
        """Nobody is asked: a cold node takes only what a quorum has cosigned."""
        raise Unreachable(f"{peer} has no network")

    async def entries(self, peer: str, start: int, *, stop: int) -> list[bytes]:
        """As ``head``."""
        raise Unreachable(f"{peer} has no network")

    async def send_protocol(self, peer: str, session: bytes, *, payload: bytes) -> None:
        """Put a protocol message to what is carried to a peer next."""
        self._known(peer)
        self.written.setdefault(peer, []).append(session + payload)

    async def boot_id(self, peer: str) -> bytes:
        """The boot id of a peer's program, by its hello."""
        return self._known(peer).boot.boot_id

    def take_written(self) -> Mapping[str, list[bytes]]:
        """What is to be carried now; nothing of it waits any more."""
        written, self.written = self.written, {}
        return written

    def _known(self, peer: str) -> Hello:
        if peer not in self.met:
            raise Unreachable(f"{peer} is not in this ceremony: bring its hello to the coordinator first")
        return self.met[peer]
