"""The node's own connections to its peers: one client each, dialled when first needed."""

import asyncio
from collections.abc import Callable, Iterable

from policy.errors import CallerError, MalformedError
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import BootStatement
from signer_nodes.api.certificates import Credentials
from signer_nodes.api.client import CALL_TIMEOUT_S, NodeClient, OnBoot, Service, Target
from signer_nodes.api.envelope import ReplyT, What
from signer_nodes.api.errors import Unreachable

HEAD_TIMEOUT_S = 1.0
OnPeerBoot = Callable[[str, BootStatement], None]


class PeerLinks:
    """Connections to the peers in ``targets``.

    ``on_boot`` is called with a peer's name and boot when a link comes up on a boot that is new to it;
    it may raise to refuse that boot (a lower counter, a clone).
    """

    def __init__(
        self, targets: Iterable[Target], credentials: Credentials, *, on_boot: OnPeerBoot | None = None
    ) -> None:
        self._clients = {
            target.name: NodeClient(
                target, credentials, service=Service.PEER, on_boot=_named(target.name, on_boot)
            )
            for target in targets
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The peers, sorted."""
        return tuple(sorted(self._clients))

    def client(self, peer: str) -> NodeClient:
        """The connection to ``peer``. Raises ``CallerError`` for a name that is no peer."""
        if peer not in self._clients:
            raise CallerError(f"{peer[:64]!r} is not one of the peers {self.names}")
        return self._clients[peer]

    def boot_of(self, peer: str) -> BootStatement | None:
        """The boot last seen at the other end of the link, ``None`` before it first came up."""
        return self.client(peer).boot

    async def call(
        self, peer: str, message: What, *, kind: type[ReplyT], timeout_s: float = CALL_TIMEOUT_S
    ) -> ReplyT:
        """Ask ``peer``; raises as ``NodeClient.call`` does."""
        return await self.client(peer).call(message, kind, timeout_s=timeout_s)

    async def send_protocol(
        self, peer: str, session: bytes, *, payload: bytes, timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        """Bring a protocol message to ``peer``, waiting for a link that is down.

        It is sent once: raises ``Unreachable`` when the link breaks before the answer, and the session
        then fails (a run is cheap, and its messages are not meant for another boot).
        """
        client = self.client(peer)
        if not client.connected:
            await client.wait_connected(timeout_s)
        await client.protocol(pb.Protocol(session=session, payload=payload), timeout_s=timeout_s)

    async def head(self, peer: str) -> pb.HeadReply:
        """The head of ``peer``, waiting for a link that is down. Raises as ``NodeClient.head`` does."""
        client = self.client(peer)
        await client.wait_connected(HEAD_TIMEOUT_S)
        return await client.head()

    async def entries(self, peer: str, start: int, *, stop: int) -> list[bytes]:
        """All entries of [start, stop) from ``peer``. Raises ``MalformedError`` when it has fewer."""
        found: list[bytes] = []
        while start + len(found) < stop:
            more = await self.client(peer).entries(start + len(found), stop)
            if not more:
                raise MalformedError(f"{peer} has no entry {start + len(found)} of the head it showed")
            found.extend(more)
        return found

    async def boot_id(self, peer: str) -> bytes:
        """The boot id of the process now at the other end."""
        client = self.client(peer)
        if not client.connected:
            await client.wait_connected(CALL_TIMEOUT_S)
        if client.boot is None:
            raise Unreachable(f"{peer} has not shown its boot statement")
        return client.boot.boot_id

    async def close(self) -> None:
        """End all links."""
        await asyncio.gather(*(client.close() for client in self._clients.values()))


def _named(name: str, on_boot: OnPeerBoot | None) -> OnBoot | None:
    if on_boot is None:
        return None
    return lambda boot: on_boot(name, boot)
