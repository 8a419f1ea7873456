"""Sessions between nodes: keygen and presigning, each run in a worker, fed by the peer links.

The worker alone sees a share. This part gives it sealed blobs and file keys, carries its messages,
keeps what it returns, and enforces what must outlive it: a batch id and an attempt are used once a boot, a
failed secret check bans the pair before anything is answered, and every keygen's blobs are kept until the
log says which one counts.

The ban is made in the moment in which the worker's word is read: between that and the durable ban the node
does nothing else, and what other sessions with that peer had to say is not said. So the peer learns that
its guess was wrong, and nothing that was found out later. It cannot put that off by not taking a message.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from policy.encoding import Json, canonical, statement, tagged_hash
from policy.errors import FaultyParticipant, InvariantError, OperationalError
from policy.state import KeyRecord, State
from signer_nodes.api.errors import Refused
from signer_nodes.hsm.context import SealContext
from signer_nodes.mpc.presign import presign_session
from signer_nodes.mpc.presignature import Presignature
from signer_nodes.ports import Ban, Peers, SealedSecret, SealingHsm, SecretStore, WorkerRun, Workers
from signer_nodes.presignatures import Held, PresignaturePool
from signer_nodes.worker_wire import FileSealed, Job, KeygenJob, KeygenOutcome, PresignJob, PresignOutcome

SUITE: Final = "dkls23-secp256k1"
PROTOCOL_VERSION: Final = 1
KEYGENS_MAX: Final = 64
KEYGEN_TIMEOUT_S: Final = 60.0
PRESIGN_TIMEOUT_S: Final = 30.0
EARLY_BYTES_MAX: Final = 64 << 20
EARLY_SESSIONS_MAX: Final = 64
RANDOMNESS_BYTES: Final = 32
_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class _Session:
    """One run under way: its worker, and the names of its parties by index."""

    run: WorkerRun
    names: dict[int, str]
    stopped: bool = False

    def stop(self) -> None:
        """End it, and send nothing more of it: what its worker has said already included."""
        self.stopped = True
        self.run.cancel()

    def index_of(self, name: str) -> int | None:
        """The party number of a peer in this session."""
        return next((index for index, party in self.names.items() if party == name), None)


@dataclass(slots=True)
class _Early:
    """One peer's messages of sessions that this node has not been told to start yet, bounded."""

    messages: dict[bytes, list[bytes]] = field(default_factory=dict)
    size: int = 0

    def put(self, session: bytes, payload: bytes) -> None:
        while self.messages and (
            self.size + len(payload) > EARLY_BYTES_MAX or len(self.messages) >= EARLY_SESSIONS_MAX
        ):
            if session in self.messages and len(self.messages) == 1:
                break
            self.take(next(key for key in self.messages if key != session))
        self.messages.setdefault(session, []).append(payload)
        self.size += len(payload)

    def take(self, session: bytes) -> list[bytes]:
        messages = self.messages.pop(session, [])
        self.size -= sum(len(payload) for payload in messages)
        return messages


@dataclass(slots=True)
class KeySessions:
    """The key sessions of one node. ``state`` gives the latest fold of the log."""

    name: str
    boot_id: bytes
    state: Callable[[], State]
    hsm: SealingHsm
    store: SecretStore
    peers: Peers
    workers: Workers
    pool: PresignaturePool
    _running: dict[bytes, _Session] = field(default_factory=dict)
    _early: dict[str, _Early] = field(default_factory=dict)
    _banned: set[tuple[str, str, int]] = field(default_factory=set)
    _unwritten: dict[Ban, str] = field(default_factory=dict)
    _ban_documents: dict[Ban, Json] = field(default_factory=dict)
    _settled: set[str] = field(default_factory=set)
    _batches: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)

    async def keygen(self, key_id: str, attempt: int) -> tuple[bytes, bytes]:
        """Make a key with the participants that the policy names; its entry's body and our signature.

        The key counts once the log holds all participants' signatures over the same body.
        """
        names, min_signers = self._check_keygen(key_id, attempt)
        boots = await self._boot_ids(names)
        parts = [part for name in names for part in (name.encode(), boots[name])]
        origin = self.state().origin
        number = attempt.to_bytes(8, "big")
        session = tagged_hash("keygen-session", origin.encode(), key_id.encode(), number, *parts)
        job = KeygenJob(
            session=session,
            suite=SUITE,
            key_id=key_id,
            min_signers=min_signers,
            participants=names,
            index=names.index(self.name) + 1,
        )
        parties = dict(enumerate(names, start=1))
        outcome = await self._run(session, job, parties, timeout_s=KEYGEN_TIMEOUT_S)
        if not isinstance(outcome, KeygenOutcome):
            raise InvariantError("a keygen ended in something else than a key")
        await asyncio.to_thread(self._keep_key, outcome)
        body = _key_body(origin, job, outcome)
        signature = await asyncio.to_thread(self.hsm.sign_statement, statement("keygen", body))
        return canonical(body), signature

    async def presign(
        self, key_id: str, signers: Sequence[str], *, batch_id: int, batch: int
    ) -> tuple[tuple[bytes, bytes], ...]:
        """Make a batch of presignatures with ``signers``; (id, nonce point) of each. They go to the pool."""
        key, names = self._check_presign(key_id, tuple(signers), batch_id)
        boots = await self._boot_ids(names)
        session = presign_session(
            version=PROTOCOL_VERSION,
            key_id=key_id,
            epoch=key.epoch,
            signers=names,
            batch_id=batch_id,
            boot_ids=boots,
        )
        job = await asyncio.to_thread(self._presign_job, key, names, session, batch)
        parties = {key.index_of(name): name for name in names}
        outcome = await self._run(session, job, parties, timeout_s=PRESIGN_TIMEOUT_S)
        if not isinstance(outcome, PresignOutcome):
            raise InvariantError("presigning ended in something else than presignatures")
        made = [Presignature.from_bytes(data) for data in outcome.presignatures]
        self._check_banned(key_id, parties)
        self.pool.add(Held(item, key_id, key.epoch, names) for item in made)
        return tuple((item.presign_id, item.R) for item in made)

    async def deliver(self, sender: str, session: bytes, *, payload: bytes) -> None:
        """Take in a peer's protocol message; one that comes before its session starts is kept a while."""
        running = self._running.get(session)
        if running is None:
            self._early.setdefault(sender, _Early()).put(session, payload)
            return
        index = running.index_of(sender)
        if index is None:
            raise Refused("session", f"{sender} takes no part in this session")
        await running.run.deliver(index, payload)

    def peer_restarted(self, name: str) -> None:
        """A peer's memory is gone, and with it the other half of everything made together."""
        dropped = self.pool.drop_peer(name)
        self._cancel_with(name)
        if dropped:
            _LOG.info("%s restarted: %d presignatures made with it are dropped", name, dropped)

    def ban_documents(self) -> list[Json]:
        """The signed bans of this node, for the log."""
        self._write_bans()
        for ban in self.store.bans():
            if ban not in self._ban_documents:
                body = self._ban_body(ban)
                signature = self.hsm.sign_statement(statement("ban", body))
                self._ban_documents[ban] = {"body": body, "signature": signature.hex()}
        return list(self._ban_documents.values())

    def settle(self) -> None:
        """For each key that the log now has, drop the blobs of keygens that did not count."""
        for key in self.state().keys.values():
            if key.key not in self._settled:
                self._settled.add(key.key)
                kept = _prefix(key.key, key.epoch, key.group_key)
                for name in self.store.sealed_names(f"{key.key}/{key.epoch}/"):
                    if not name.startswith(kept):
                        self.store.drop_sealed(name)

    def _check_keygen(self, key_id: str, attempt: int) -> tuple[tuple[str, ...], int]:
        state = self.state()
        if state.policy_or_none is None:
            raise Refused("empty-log", "the log has no genesis entry yet: start the coordinator first")
        wanted = state.policy.keys.get(key_id)
        if wanted is None or self.name not in wanted.participants:
            raise Refused("key", f"the policy in force names no key {key_id} with this node in it")
        if key_id in state.keys:
            raise Refused("key-exists", f"key {key_id} exists: a node holds one share of a key, not two")
        made = {name.split("/")[2] for name in self.store.sealed_names(f"{key_id}/0/")}
        if len(made) >= KEYGENS_MAX:
            raise Refused("keygens", f"{len(made)} keygens of {key_id} wait for their entry already")
        last = self._attempts.get(key_id, -1)
        if attempt <= last:
            raise Refused("attempt", f"attempts only rise: {attempt} after {last}")
        self._attempts[key_id] = attempt
        return wanted.participants, wanted.min_signers

    def _check_presign(
        self, key_id: str, signers: tuple[str, ...], batch_id: int
    ) -> tuple[KeyRecord, tuple[str, ...]]:
        state = self.state()
        key = state.keys.get(key_id)
        if key is None:
            raise Refused("key-unknown", f"the log has no key {key_id}: create it first")
        names = tuple(sorted(set(signers)))
        if len(names) != key.min_signers or not set(names) <= set(key.participants) or self.name not in names:
            raise Refused("signers", f"need {key.min_signers} participants of {key_id}, this node among them")
        self._check_banned(key_id, dict(enumerate(names)))
        if state.mutual_ban(key_id, key.epoch, signers=names):
            raise Refused("banned", "two of these signers run no sessions together in this epoch")
        last = self._batches.get((key_id, names), -1)
        if batch_id <= last:
            raise Refused("batch", f"batch ids only rise: {batch_id} after {last}")
        self._batches[key_id, names] = batch_id
        return key, names

    def _check_banned(self, key_id: str, parties: dict[int, str]) -> None:
        """Refuse a session with a banned peer, also when the ban came after the session began."""
        self._write_bans()
        key = self.state().keys.get(key_id)
        epoch = key.epoch if key else 0
        banned = self._banned | {(ban.peer, ban.key_id, ban.epoch) for ban in self.store.bans()}
        if any((name, key_id, epoch) in banned for name in parties.values()):
            raise Refused("banned", "this node runs no session with one of these peers until a refresh")

    def _presign_job(self, key: KeyRecord, names: tuple[str, ...], session: bytes, batch: int) -> PresignJob:
        me = key.index_of(self.name)
        context = self._context(key.key, key.group_key, key.min_signers, len(key.participants), key.epoch)
        prefix = _prefix(key.key, key.epoch, key.group_key)
        signers = tuple(sorted(key.index_of(name) for name in names))
        pairs = {peer: self._unsealed(f"{prefix}pair-{peer}", context) for peer in signers if peer != me}
        return PresignJob(
            session=session,
            batch=batch,
            index=me,
            signers=signers,
            context=context,
            share=self._unsealed(f"{prefix}share", context),
            pairs=pairs,
        )

    def _context(self, key_id: str, group_key: bytes, t: int, n: int, epoch: int) -> SealContext:
        return SealContext(SUITE, key_id, group_key, self.name, t, n, epoch)

    def _unsealed(self, name: str, context: SealContext) -> FileSealed:
        sealed = self.store.get_sealed(name)
        if sealed is None:
            raise OperationalError(f"this node has no {name}: it lost its share, or is banned from this peer")
        return FileSealed(self.hsm.unseal_file_key(context, sealed.wrapped_key), sealed.blob)

    def _keep_key(self, outcome: KeygenOutcome) -> None:
        """Wrap every file key with the token and store the blobs, before anything is signed."""
        context = outcome.context
        self.hsm.create_sealing_key(context.key_id, context.epoch)
        prefix = _prefix(context.key_id, context.epoch, context.group_key)
        sealed = {f"{prefix}share": outcome.share}
        sealed |= {f"{prefix}pair-{peer}": pair for peer, pair in outcome.pairs.items()}
        self.store.put_all_sealed(
            {
                name: SealedSecret(item.blob, self.hsm.seal_file_key(context, item.file_key))
                for name, item in sealed.items()
            }
        )

    async def _run(
        self, session: bytes, job: Job, parties: dict[int, str], *, timeout_s: float
    ) -> KeygenOutcome | PresignOutcome:
        """Run a worker to its end, its messages carried both ways."""
        if session in self._running:
            raise Refused("session", "this session runs already")
        run = await self._start(job, timeout_s)
        running = self._running[session] = _Session(run, parties)
        run.on_fault(lambda error: self._fault(job, parties, error))
        try:
            self._check_banned(job.key_id if isinstance(job, KeygenJob) else job.context.key_id, parties)
            return await self._carry(session, running)
        finally:
            del self._running[session]
            run.cancel()

    async def _carry(self, session: bytes, running: _Session) -> KeygenOutcome | PresignOutcome:
        """Carry a run's messages both ways until it ends."""
        sending = asyncio.create_task(self._send_all(session, running))
        try:
            for sender, early in self._early.items():
                index = running.index_of(sender)
                for payload in early.take(session):
                    if index is not None:
                        await running.run.deliver(index, payload)
            return await running.run.result()
        finally:
            running.run.cancel()
            if running.stopped:
                sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _start(self, job: Job, timeout_s: float) -> WorkerRun:
        randomness = await asyncio.to_thread(self._randomness, job.session)
        match job:
            case KeygenJob():
                return await self.workers.keygen(job, randomness=randomness, timeout_s=timeout_s)
            case PresignJob():
                return await self.workers.presign(job, randomness=randomness, timeout_s=timeout_s)
            case _:
                assert_never(job)

    def _randomness(self, session: bytes) -> bytes:
        """Fresh and hedged: a weak generator alone, or a repeated session alone, repeats nothing."""
        return self.hsm.prf("worker", session + self.hsm.random(RANDOMNESS_BYTES))

    async def _send_all(self, session: bytes, running: _Session) -> None:
        async for index, payload in running.run.outgoing():
            name = running.names[index]
            if running.stopped:
                return
            try:
                await self.peers.send_protocol(name, session, payload=payload)
            except (OperationalError, Refused) as error:
                _LOG.warning("a protocol message to %s was not taken: %s", name, error)
                return

    async def _boot_ids(self, names: Sequence[str]) -> dict[str, bytes]:
        others = [name for name in names if name != self.name]
        found = await asyncio.gather(*(self.peers.boot_id(name) for name in others))
        return {self.name: self.boot_id, **dict(zip(others, found, strict=True))}

    def _fault(self, job: Job, parties: dict[int, str], error: FaultyParticipant) -> None:
        """Ban a peer whose secret check failed. Called as soon as the worker's word is read."""
        name = parties.get(int(error.participant))
        if not error.ban or name is None or isinstance(job, KeygenJob):
            return
        context, index = job.context, int(error.participant)
        self._banned.add((name, context.key_id, context.epoch))
        self._cancel_with(name)
        self.pool.drop_peer(name)
        ban = Ban(name, context.key_id, context.epoch, error.reason[:200])
        self._unwritten[ban] = f"{_prefix(context.key_id, context.epoch, context.group_key)}pair-{index}"
        self._write_bans()
        _LOG.error("banned %s on key %s until a refresh: %s", name, context.key_id, error.reason)

    def _write_bans(self) -> None:
        """Make every ban durable and destroy the OT state; what the disk refuses is tried again later.

        Until then this process keeps to the ban by itself; a node that stopped instead would forget it.
        """
        for ban, pair in tuple(self._unwritten.items()):
            try:
                self.store.add_ban(ban)
                self.store.drop_sealed(pair)
                del self._unwritten[ban]
            except OperationalError as error:
                _LOG.critical("the ban of %s is not on the disk, do not restart: %s", ban.peer, error)

    def _cancel_with(self, name: str) -> None:
        for running in self._running.values():
            if running.index_of(name) is not None:
                running.stop()

    def _ban_body(self, ban: Ban) -> Json:
        return {
            "origin": self.state().origin,
            "key": ban.key_id,
            "epoch": ban.epoch,
            "by": self.name,
            "against": ban.peer,
            "reason": ban.reason or "a secret check failed",
        }


def _prefix(key_id: str, epoch: int, group_key: bytes) -> str:
    return f"{key_id}/{epoch}/{group_key.hex()}/"


def _key_body(origin: str, job: KeygenJob, outcome: KeygenOutcome) -> Json:
    return {
        "origin": origin,
        "key": job.key_id,
        "epoch": job.epoch,
        "curve": "secp256k1",
        "min_signers": job.min_signers,
        "participants": list(job.participants),
        "group_key": outcome.group_key.hex(),
        "chain_code": outcome.chain_code.hex(),
        "public_shares": [share.hex() for share in outcome.public_shares],
        "transcript": outcome.transcript.hex(),
    }
