"""What a node keeps of its keys: sealed blobs by epoch, and how an epoch that is over is destroyed.

A key's epoch may be tried several times; each run's blobs stand under its transcript until the log says
which run counts. Rules: (1) everything of a new epoch is stored and opened again before the node signs for
it; (2) nothing of an epoch is destroyed before the entry that ends it has w cosignatures, since a branch
below that can still be left; (3) the intent to destroy is durable before the sealing key goes.
"""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from policy.encoding import Json
from policy.errors import OperationalError
from policy.state import KeyRecord
from signer_nodes.hsm.context import SealContext
from signer_nodes.ports import SealedSecret, SealingHsm, SecretStore
from signer_nodes.worker_frames import FileSealed, Holding
from signer_nodes.worker_wire import KeyOutcome


@dataclass(frozen=True, slots=True)
class SealedKeys:
    """The sealed shares and pair states of one node."""

    name: str
    hsm: SealingHsm
    store: SecretStore

    def runs_kept(self, key_id: str, epoch: int) -> int:
        """How many runs of an epoch have left blobs here."""
        return len({name.split("/")[2] for name in self.store.sealed_names(f"{key_id}/{epoch}/")})

    def keep(self, outcome: KeyOutcome) -> None:
        """Wrap every file key with the token, store the blobs together, and open what was wrapped again.

        A dealer that is left out keeps nothing.
        """
        context = outcome.context
        if outcome.share is None:
            return
        self.hsm.create_sealing_key(context.key_id, context.epoch)
        prefix = _prefix(context.key_id, context.epoch, outcome.transcript)
        sealed = {f"{prefix}share": outcome.share}
        sealed |= {f"{prefix}pair-{peer}": pair for peer, pair in outcome.pairs.items()}
        self.store.put_all_sealed(
            {
                name: SealedSecret(item.blob, self.hsm.seal_file_key(context, item.file_key))
                for name, item in sealed.items()
            }
        )
        for name, item in sealed.items():
            found = self._file_sealed(name, context)
            if not hmac.compare_digest(found.file_key, item.file_key) or found.blob != item.blob:
                raise OperationalError(f"{name} does not open as it was sealed: examine the token")

    def holding(self, key: KeyRecord) -> Holding:
        """This node's share of the epoch in force. Raises ``OperationalError`` when it has none."""
        context = self._context(key)
        return Holding(context, self._file_sealed(f"{_prefix_of(key)}share", context))

    def pairs(self, key: KeyRecord, peers: Sequence[int]) -> dict[int, FileSealed]:
        """This node's state toward each of ``peers``. Raises ``OperationalError`` when one is gone."""
        context = self._context(key)
        return {peer: self._file_sealed(f"{_prefix_of(key)}pair-{peer}", context) for peer in peers}

    def drop_pair(self, key: KeyRecord, peer: int) -> None:
        """Destroy the state toward a peer for good."""
        self.store.drop_sealed([f"{_prefix_of(key)}pair-{peer}"])

    def end_epochs_before(self, key: KeyRecord) -> None:
        """Destroy what is left of earlier epochs and of other runs of this one.

        Call it only once the entry of ``key`` has w cosignatures. Repeating it after a crash is safe.
        """
        kept = _prefix_of(key)
        names = {name: int(name.split("/")[1]) for name in self.store.sealed_names(f"{key.key}/")}
        gone = [name for name, epoch in names.items() if epoch <= key.epoch and not name.startswith(kept)]
        if gone:
            self.store.drop_sealed(gone)
        over = [epoch for epoch in self.hsm.sealing_epochs(key.key) if epoch < key.epoch]
        if over:
            self._note_ended(key.key, over)
        for epoch in over:
            self.hsm.destroy_sealing_key(key.key, epoch)

    def shred_bodies(self, key: KeyRecord, *, origin: str) -> list[dict[str, Json]]:
        """The receipts for epochs whose sealing key this node has destroyed."""
        left = self.hsm.sealing_epochs(key.key)
        return [
            {"origin": origin, "key": key.key, "epoch": epoch, "by": self.name}
            for epoch in self._ended(key.key)
            if epoch not in left and epoch < key.epoch
        ]

    def _note_ended(self, key_id: str, epochs: Sequence[int]) -> None:
        known = sorted({*self._ended(key_id), *epochs})
        self.store.put_meta(f"ended/{key_id}", ",".join(map(str, known)).encode())

    def _ended(self, key_id: str) -> list[int]:
        stored = self.store.meta(f"ended/{key_id}") or b""
        return [int(epoch) for epoch in stored.decode().split(",") if epoch]

    def _context(self, key: KeyRecord) -> SealContext:
        return SealContext(
            suite=key.suite,
            key_id=key.key,
            group_key=key.group_key,
            node=self.name,
            min_signers=key.min_signers,
            participants=len(key.participants),
            epoch=key.epoch,
        )

    def _file_sealed(self, name: str, context: SealContext) -> FileSealed:
        sealed = self.store.get_sealed(name)
        if sealed is None:
            raise OperationalError(f"this node has no {name}: it lost its share, or is banned from this peer")
        return FileSealed(self.hsm.unseal_file_key(context, sealed.wrapped_key), sealed.blob)


def _prefix(key_id: str, epoch: int, transcript: bytes) -> str:
    return f"{key_id}/{epoch}/{transcript.hex()}/"


def _prefix_of(key: KeyRecord) -> str:
    return _prefix(key.key, key.epoch, key.transcript)
