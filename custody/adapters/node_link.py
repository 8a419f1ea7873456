"""A cosigner over the wire: ``custody.ports.Node`` on top of the nodes' own client."""

from custody.ports import (
    Appended,
    Declined,
    Finished,
    FinishJob,
    FreshPresignature,
    Head,
    KeyOrder,
    Opening,
    PartialSignature,
)
from policy.errors import MalformedError
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.client import NodeClient

APPEND_TIMEOUT_S = 10.0
FINISH_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 3.0
PRESIGN_TIMEOUT_S = 60.0
CHANGE_TIMEOUT_S = 120.0


class NodeLink:
    """One cosigner. A refusal is a ``ProtocolError``, no answer an ``OperationalError``."""

    def __init__(self, client: NodeClient) -> None:
        self._client = client

    @property
    def name(self) -> str:
        """Its name in the roster."""
        return self._client.name

    @property
    def boot(self) -> str:
        """The boot it is connected as; empty while it is not connected."""
        boot = self._client.boot
        return boot.boot_id.hex() if boot is not None and self._client.connected else ""

    async def head(self) -> Head:
        """Where it stands."""
        reply = await self._client.head()
        return Head(reply.size, reply.head, reply.quorum)

    async def entries(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Entries from ``start``, possibly fewer than asked for."""
        return await self._client.entries(start, stop)

    async def append(self, start: int, entries: tuple[bytes, ...], *, note: bytes) -> Appended:
        """Round 1."""
        message = pb.Append(start=start, entries=entries, checkpoint=note)
        reply = await self._client.append(message, timeout_s=APPEND_TIMEOUT_S)
        return Appended(
            reply.cosignature,
            tuple(Opening(one.job, one.index, one.rho) for one in reply.openings),
            tuple(Declined(one.job, one.reason, one.not_before_ms) for one in reply.declined),
        )

    async def quorum(self, note: bytes) -> None:
        """Tell it of a note with w cosignatures."""
        await self._client.quorum(note)

    async def finish(self, note: bytes, jobs: tuple[FinishJob, ...]) -> Finished:
        """Round 2."""
        message = pb.Finish(note=note, jobs=[_finish_job(job) for job in jobs])
        reply = await self._client.finish(message, timeout_s=FINISH_TIMEOUT_S)
        return Finished(
            tuple(PartialSignature(one.job, one.index, one.partial) for one in reply.partials),
            tuple(Declined(one.job, one.reason, one.not_before_ms) for one in reply.declined),
        )

    async def change_key(self, order: KeyOrder) -> tuple[bytes, bytes]:
        """Take part in beginning a key's next epoch."""
        message = pb.ChangeKey(
            key_id=order.key,
            attempt=order.attempt,
            change=order.change,
            dealers=order.dealers,
            envelope=order.envelope_for(self.name),
        )
        reply = await self._client.change_key(message, timeout_s=CHANGE_TIMEOUT_S)
        return reply.body, reply.signature

    async def import_offer(self, key: str, attempt: int) -> bytes:
        """Its signed one-time key for an import."""
        return await self._client.import_offer(key, attempt)

    async def presign(
        self, key: str, signers: tuple[str, ...], *, epoch: int, batch_id: int, batch: int
    ) -> tuple[FreshPresignature, ...]:
        """Take part in making presignatures."""
        message = pb.Presign(key_id=key, signers=signers, epoch=epoch, batch_id=batch_id, batch=batch)
        reply = await self._client.presign(message, timeout_s=PRESIGN_TIMEOUT_S)
        if len(reply.presignatures) != len(reply.nonce_points):
            raise MalformedError(f"{self.name} names {len(reply.nonce_points)} nonce points, not one each")
        pairs = zip(reply.presignatures, reply.nonce_points, strict=True)
        return tuple(FreshPresignature(presignature, point) for presignature, point in pairs)

    async def burn(self, job: bytes) -> bytes:
        """The node's signature that it never gives a partial signature for ``job``."""
        return await self._client.burn(job)

    async def abandon(self, body: bytes) -> bytes:
        """Its signature that it never cosigns the branch in ``body``."""
        return await self._client.abandon(body)

    async def leave(self, statements: tuple[bytes, ...]) -> None:
        """Have it leave its branch on signed statements of the others."""
        await self._client.leave(statements)

    async def leave_by_fork(self, entry: bytes) -> None:
        """Have it leave its branch on the administrators' fork entry."""
        await self._client.leave_by_fork(entry)

    async def read(self, reservation: bytes) -> tuple[bytes, bytes]:
        """What it finds in a transaction."""
        return await self._client.read(reservation, timeout_s=READ_TIMEOUT_S)

    async def status(self) -> bytes:
        """Its canonical status document."""
        return await self._client.status()

    async def close(self) -> None:
        """End the connection."""
        await self._client.close()


def _finish_job(job: FinishJob) -> pb.FinishJob:
    opened = [pb.Opened(index=index, signer=name, rho=rho) for index, name, rho in job.rhos]
    return pb.FinishJob(job=job.job, opened=opened)
