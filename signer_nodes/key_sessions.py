"""What the nodes of a key do together: begin its epochs, and make presignatures.

This part gives the runs sealed blobs and file keys, keeps what they return, and enforces what must outlive
them: a batch id and an attempt are used once a boot, a failed secret check bans the pair before anything is
answered, and what every run made is kept until the log says which one counts.

Between the moment in which the worker's word of a fault is read and the durable ban the node does nothing
else, and what other sessions with that peer had to say is not said. So the peer learns that its guess was
wrong, and nothing that was found out later.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from policy.encoding import Json, canonical, statement, tagged_hash
from policy.errors import FaultyParticipant, InvariantError, OperationalError
from policy.ids import IMPORT, RESHARE
from policy.state import KeyRecord, State
from policy.suites import suite_named
from signer_nodes.api.errors import Refused
from signer_nodes.api.presignature_ids import PROTOCOL_VERSION
from signer_nodes.imports import OneTimeKeys, encode_offer, offer_of
from signer_nodes.key_changes import Order, Plan, plan
from signer_nodes.mpc.nonces import NoncePair, nonce_session
from signer_nodes.mpc.presign import presign_session
from signer_nodes.mpc.presignature import Presignature
from signer_nodes.ports import Ban, Peers, SealingHsm, SecretStore, Workers
from signer_nodes.presignatures import Held, PresignaturePool, nonce_point
from signer_nodes.protocol_runs import Guard, ProtocolRuns
from signer_nodes.schnorr_wire import (
    FinishItem,
    FinishJob,
    FinishOutcome,
    NonceJob,
    NonceOutcome,
    Unsigned,
)
from signer_nodes.sealed_keys import SealedKeys
from signer_nodes.worker_wire import DealtEnvelope, KeyJob, KeyOutcome, OldKey, PresignJob, PresignOutcome

RUNS_KEPT_MAX: Final = 1024  # none may be forgotten: whoever has its signatures can log it any time
CHANGE_TIMEOUT_S: Final = 60.0
PRESIGN_TIMEOUT_S: Final = 30.0
FINISH_TIMEOUT_S: Final = 10.0
COSIGNED_PAUSE_S: Final = 0.05
_LOG: Final = logging.getLogger(__name__)


@dataclass(slots=True)
class KeySessions:
    """The key sessions of one node. ``state`` gives the latest fold of the log.

    ``quorum_size`` gives how many of its entries w cosigners have, as far as this node knows.
    """

    name: str
    boot_id: bytes
    state: Callable[[], State]
    hsm: SealingHsm
    store: SecretStore
    peers: Peers
    workers: Workers
    pool: PresignaturePool
    quorum_size: Callable[[], int]
    cosigned_timeout_s: float = 10.0
    change_timeout_s: float = CHANGE_TIMEOUT_S
    presign_timeout_s: float = PRESIGN_TIMEOUT_S
    _runs: ProtocolRuns = field(init=False)
    _sealed: SealedKeys = field(init=False)
    _banned: set[tuple[str, str, int]] = field(default_factory=set)
    _unwritten: dict[Ban, KeyRecord] = field(default_factory=dict)
    _documents: dict[bytes, Json] = field(default_factory=dict)
    _settled: dict[str, int] = field(default_factory=dict)
    _batches: dict[tuple[str, tuple[str, ...]], int] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)
    _one_time_keys: OneTimeKeys = field(default_factory=OneTimeKeys)
    _branches_left: int = 0

    def __post_init__(self) -> None:
        self._runs = ProtocolRuns(self.hsm, self.peers, self.workers)
        self._sealed = SealedKeys(self.name, self.hsm, self.store)

    async def change_key(self, order: Order) -> tuple[bytes, bytes]:
        """Begin a key's next epoch with the nodes that the policy names; its entry's body and our signature.

        The epoch counts once the log holds the signatures of all parties over the same body; until then, and
        if that never comes, the key is as it was.
        """
        state = self.state()
        planned = plan(state, order, name=self.name)
        if planned.change == RESHARE:
            await self._wait_cosigned(state.size)
        if self._sealed.runs_kept(planned.key_id, planned.epoch) >= RUNS_KEPT_MAX:
            raise Refused("runs", f"{RUNS_KEPT_MAX} runs of {planned.key_id} wait for their entry already")
        self._take_attempt(order)
        session = await self._change_session(planned, order.attempt)
        dealt = self._dealt(session, order.envelope) if planned.change == IMPORT else None
        job = await asyncio.to_thread(self._key_job, planned, session, dealt)
        names = dict(enumerate(planned.parties, start=1))

        guard = Guard(
            lambda: self._check_banned(planned.key_id, planned.epoch, planned.parties),
            lambda error: None,  # a key's run has no secret check, whose failure would ban
        )
        outcome = await self._runs.run(job, names, timeout_s=self.change_timeout_s, guard=guard)
        if not isinstance(outcome, KeyOutcome):
            raise InvariantError("a key's run ended in something else than a key")
        self._check_not_begun(planned)
        await asyncio.to_thread(self._sealed.keep, outcome)
        self._check_not_begun(planned)
        body = _key_body(self.state().origin, planned, outcome)
        signature = await asyncio.to_thread(self.hsm.sign_statement, statement("keygen", body))
        return canonical(body), signature

    async def import_offer(self, key_id: str, attempt: int) -> bytes:
        """A signed offer of a one-time key, for whoever has the private key that is to be imported."""
        planned = plan(self.state(), Order(key_id, IMPORT, attempt), name=self.name)
        session = await self._change_session(planned, attempt)
        public_key = self._one_time_keys.make(session)
        origin = self.state().origin
        offer = offer_of(planned, origin=origin, name=self.name, session=session, public_key=public_key)
        message = statement("import-offer", offer.body())
        signature = await asyncio.to_thread(self.hsm.sign_statement, message)
        return encode_offer(offer, signature)

    async def presign(
        self, key_id: str, signers: Sequence[str], *, epoch: int, batch_id: int, batch: int
    ) -> tuple[tuple[bytes, bytes], ...]:
        """Make a batch of presignatures with ``signers``: (id, nonce point) of each; they go to the pool.

        A node in another epoch refuses at once, where the others would wait for it in vain.
        For threshold Schnorr these are this node's nonce pairs, and the nonce points are empty.
        """
        key, names = self._check_presign(key_id, tuple(signers), epoch=epoch, batch_id=batch_id)
        boots = await self._boot_ids(names)
        made: Sequence[Presignature | NoncePair]
        if suite_named(key.suite).pairwise:
            made = await self._presign_together(key, boots, batch_id=batch_id, batch=batch)
        else:
            made = await self._make_nonces(key, boots, batch_id=batch_id, batch=batch)
        self._check_banned(key_id, key.epoch, names)
        now = self.state().keys.get(key_id)
        if now is None or (now.epoch, now.transcript) != (key.epoch, key.transcript):
            raise Refused("epoch", f"key {key_id} is in another epoch by now: make new ones")
        self.pool.add(Held(item, key_id, key.epoch, names) for item in made)
        return tuple((item.presign_id, nonce_point(item)) for item in made)

    async def schnorr_partials(
        self, key: KeyRecord, items: Sequence[FinishItem]
    ) -> tuple[bytes | Unsigned, ...]:
        """Partial signatures under a key, in a worker that holds the share for just that."""
        holding = await asyncio.to_thread(self._sealed.holding, key)
        job = FinishJob(items[0].task.job_id, holding, tuple(items))
        outcome = await self._runs.alone(job, timeout_s=FINISH_TIMEOUT_S)
        if not isinstance(outcome, FinishOutcome) or len(outcome.answers) != len(items):
            raise InvariantError("a worker gave other answers than it was asked for")
        return outcome.answers

    async def deliver(self, sender: str, session: bytes, *, payload: bytes) -> None:
        """Take in a peer's protocol message."""
        await self._runs.deliver(sender, session, payload=payload)

    def peer_restarted(self, name: str) -> None:
        """A peer's memory is gone, and with it the other half of everything made together."""
        dropped = self.pool.drop_peer(name)
        self._runs.cancel_with(name)
        if dropped:
            _LOG.info("%s restarted: %d presignatures made with it are dropped", name, dropped)

    def ban_documents(self) -> list[Json]:
        """The signed bans of this node, for the log."""
        self._write_bans()
        return [self._signed("ban", self._ban_body(ban)) for ban in self.store.bans()]

    def shred_documents(self) -> list[Json]:
        """The signed receipts for epochs this node can open nothing of any more, that the log lacks."""
        state = self.state()
        return [
            self._signed("shred", body)
            for key in state.keys.values()
            if key.epoch
            for body in self._sealed.shred_bodies(key, origin=state.origin)
            if (key.key, body["epoch"], self.name) not in state.shreds
        ]

    def settle(self, quorum_size: int) -> None:
        """Forget what is over, for each key whose entry stands below ``quorum_size`` cosigned entries."""
        for key in self.unsettled(quorum_size):
            self.pool.drop_epochs_before(key.key, key.epoch)
            self._sealed.end_epochs_before(key)
            self._settled[key.key] = key.epoch

    def unsettled(self, quorum_size: int) -> list[KeyRecord]:
        """The keys of which something is to be forgotten once ``quorum_size`` entries are cosigned."""
        return [
            key
            for key in self.state().keys.values()
            if key.index < quorum_size and self._settled.get(key.key) != key.epoch
        ]

    def went_back(self) -> None:
        """Forget what was made of epochs that the log does not have after all: its branch was left."""
        self._branches_left += 1
        self.pool.keep_epochs({key.key: key.epoch for key in self.state().keys.values()})

    async def _wait_cosigned(self, size: int) -> None:
        """Wait until w cosigners have the log up to ``size``, from which a resharing was planned.

        Shares that were dealt cannot be taken back. So the policy that names the new committee must be the
        one of the log, not of a branch that a coordinator shows to the dealers alone, without its veto.
        """
        branch, pauses = self._branches_left, round(self.cosigned_timeout_s / COSIGNED_PAUSE_S)
        for _ in range(pauses):
            if self.quorum_size() >= size and self._branches_left == branch:
                return
            await asyncio.sleep(COSIGNED_PAUSE_S)
        raise Refused("cosigned", f"no quorum for the {size} entries that this follows from: try again")

    def _check_not_begun(self, planned: Plan) -> None:
        """Refuse a run that took so long that another one began its epoch: nothing of it is to be left."""
        key = self.state().keys.get(planned.key_id)
        if key is not None and key.epoch >= planned.epoch:
            self._settled.pop(planned.key_id, None)  # then what it stored goes too
            raise Refused("epoch", f"key {planned.key_id} is in epoch {key.epoch} already by another run")

    def _check_presign(
        self, key_id: str, signers: tuple[str, ...], *, epoch: int, batch_id: int
    ) -> tuple[KeyRecord, tuple[str, ...]]:
        state = self.state()
        key = state.keys.get(key_id)
        if key is None:
            raise Refused("key-unknown", f"the log has no key {key_id}: create it first")
        if key.epoch != epoch:
            raise Refused("epoch", f"key {key_id} is in epoch {key.epoch} by this node's log, not in {epoch}")
        names = tuple(sorted(set(signers)))
        if len(names) != key.min_signers or not set(names) <= set(key.participants) or self.name not in names:
            raise Refused("signers", f"need {key.min_signers} participants of {key_id}, this node among them")
        self._check_banned(key_id, key.epoch, names)
        if state.mutual_ban(key_id, key.epoch, signers=names):
            raise Refused("banned", "two of these signers run no sessions together in this epoch")
        last = self._batches.get((key_id, names), -1)
        if batch_id <= last:
            raise Refused("batch", f"batch ids only rise: {batch_id} after {last}")
        self._batches[key_id, names] = batch_id
        return key, names

    def _check_banned(self, key_id: str, epoch: int, names: Sequence[str]) -> None:
        """Refuse a session with a banned peer, also when the ban came after the session began."""
        self._write_bans()
        banned = self._banned | {(ban.peer, ban.key_id, ban.epoch) for ban in self.store.bans()}
        if any((name, key_id, epoch) in banned for name in names):
            raise Refused("banned", "this node runs no session with one of these peers until a refresh")

    def _take_attempt(self, order: Order) -> None:
        last = self._attempts.get(order.key_id, -1)
        if order.attempt <= last:
            raise Refused("attempt", f"attempts only rise: {order.attempt} after {last}")
        self._attempts[order.key_id] = order.attempt

    async def _change_session(self, planned: Plan, attempt: int) -> bytes:
        boots = await self._boot_ids(planned.parties)
        parts = [part for name in planned.parties for part in (name.encode(), boots[name])]
        numbers = planned.epoch.to_bytes(8, "big") + attempt.to_bytes(8, "big")
        what = (self.state().origin, planned.change, planned.suite, planned.key_id)
        return tagged_hash("key-session", *(text.encode() for text in what), numbers, *parts)

    def _dealt(self, session: bytes, envelope: bytes) -> DealtEnvelope:
        key = self._one_time_keys.take(session)
        if key is None:
            raise Refused("offer", "this node made no offer for this import, or has restarted: ask anew")
        return DealtEnvelope(key, envelope)

    def _key_job(self, planned: Plan, session: bytes, dealt: DealtEnvelope | None) -> KeyJob:
        before, deals = planned.before, self.name in planned.dealers
        return KeyJob(
            session=session,
            change=planned.change,
            suite=planned.suite,
            key_id=planned.key_id,
            epoch=planned.epoch,
            min_signers=planned.min_signers,
            participants=planned.participants,
            parties=planned.parties,
            party=planned.parties.index(self.name) + 1,
            dealers=planned.dealers,
            old=_old(before) if before is not None else None,
            holding=self._sealed.holding(before) if before is not None and deals else None,
            dealt=dealt,
        )

    async def _presign_together(
        self, key: KeyRecord, boots: Mapping[str, bytes], *, batch_id: int, batch: int
    ) -> list[Presignature]:
        names = tuple(sorted(boots))
        session = presign_session(
            version=PROTOCOL_VERSION,
            key_id=key.key,
            epoch=key.epoch,
            signers=names,
            batch_id=batch_id,
            boot_ids=boots,
        )
        job = await asyncio.to_thread(self._presign_job, key, names, session, batch)
        parties = {key.index_of(name): name for name in names}

        guard = Guard(
            lambda: self._check_banned(key.key, key.epoch, names),
            lambda error: self._fault(key, parties, error),
        )
        outcome = await self._runs.run(job, parties, timeout_s=self.presign_timeout_s, guard=guard)
        if not isinstance(outcome, PresignOutcome):
            raise InvariantError("presigning ended in something else than presignatures")
        return [Presignature.from_bytes(data) for data in outcome.presignatures]

    def _presign_job(self, key: KeyRecord, names: tuple[str, ...], session: bytes, batch: int) -> PresignJob:
        me, signers = key.index_of(self.name), _indices(key, names)
        return PresignJob(
            session=session,
            batch=batch,
            index=me,
            signers=signers,
            holding=self._sealed.holding(key),
            pairs=self._sealed.pairs(key, [peer for peer in signers if peer != me]),
        )

    async def _make_nonces(
        self, key: KeyRecord, boots: Mapping[str, bytes], *, batch_id: int, batch: int
    ) -> list[NoncePair]:
        """This node's nonce pairs. The others make theirs alone; the ids are the same."""
        session = nonce_session(
            key.suite,
            version=PROTOCOL_VERSION,
            key_id=key.key,
            epoch=key.epoch,
            batch_id=batch_id,
            boot_ids=boots,
        )
        holding = await asyncio.to_thread(self._sealed.holding, key)
        job = NonceJob(session, batch, key.index_of(self.name), _indices(key, boots), holding)
        outcome = await self._runs.alone(job, timeout_s=PRESIGN_TIMEOUT_S)
        if not isinstance(outcome, NonceOutcome):
            raise InvariantError("making nonces ended in something else")
        return [NoncePair.from_bytes(data) for data in outcome.nonces]

    async def _boot_ids(self, names: Sequence[str]) -> dict[str, bytes]:
        others = [name for name in names if name != self.name]
        found = await asyncio.gather(*(self.peers.boot_id(name) for name in others))
        return {self.name: self.boot_id, **dict(zip(others, found, strict=True))}

    def _fault(self, key: KeyRecord, parties: Mapping[int, str], error: FaultyParticipant) -> None:
        """Ban a peer whose secret check failed. Called as soon as the worker's word is read."""
        name = parties.get(int(error.participant))
        if not error.ban or name is None:
            return
        self._banned.add((name, key.key, key.epoch))
        self._runs.cancel_with(name)
        self.pool.drop_peer(name)
        self._unwritten[Ban(name, key.key, key.epoch, error.reason[:200])] = key
        self._write_bans()
        _LOG.error("banned %s on key %s until a refresh: %s", name, key.key, error.reason)

    def _write_bans(self) -> None:
        """Make every ban durable and destroy the OT state; what the disk refuses is tried again later.

        Until then this process keeps to the ban by itself; a node that stopped instead would forget it.
        """
        for ban, key in tuple(self._unwritten.items()):
            try:
                self.store.add_ban(ban)
                self._sealed.drop_pair(key, key.index_of(ban.peer))
                self._unwritten.pop(ban, None)  # two threads may write the same ban
            except OperationalError as error:
                _LOG.critical("the ban of %s is not on the disk, do not restart: %s", ban.peer, error)

    def _signed(self, tag: str, body: Mapping[str, Json]) -> Json:
        """A signed statement for the log; the token signs each once a boot."""
        message = statement(tag, dict(body))
        if message not in self._documents:
            signature = self.hsm.sign_statement(message)
            self._documents[message] = {"body": dict(body), "signature": signature.hex()}
        return self._documents[message]

    def _ban_body(self, ban: Ban) -> dict[str, Json]:
        return {
            "origin": self.state().origin,
            "key": ban.key_id,
            "epoch": ban.epoch,
            "by": self.name,
            "against": ban.peer,
            "reason": ban.reason or "a secret check failed",
        }


def schnorr_in_loop(
    keys: KeySessions | None,
) -> Callable[[KeyRecord, Sequence[FinishItem]], Sequence[bytes | Unsigned]]:
    """The sessions' partial signatures for a signer whose calls run in threads beside the running loop."""
    loop = asyncio.get_running_loop()

    def partials(key: KeyRecord, items: Sequence[FinishItem]) -> Sequence[bytes | Unsigned]:
        if keys is None:
            raise OperationalError("a witness holds no share")
        return asyncio.run_coroutine_threadsafe(keys.schnorr_partials(key, items), loop).result()

    return partials


def _indices(key: KeyRecord, names: Iterable[str]) -> tuple[int, ...]:
    return tuple(sorted(key.index_of(name) for name in names))


def _old(key: KeyRecord) -> OldKey:
    return OldKey(
        epoch=key.epoch,
        min_signers=key.min_signers,
        participants=key.participants,
        group_key=key.group_key,
        chain_code=key.chain_code,
        public_shares=key.public_shares,
    )


def _key_body(origin: str, planned: Plan, outcome: KeyOutcome) -> Json:
    return {
        "origin": origin,
        "key": planned.key_id,
        "epoch": planned.epoch,
        "suite": planned.suite,
        "change": planned.change,
        "dealers": list(planned.dealers),
        "min_signers": planned.min_signers,
        "participants": list(planned.participants),
        "group_key": outcome.group_key.hex(),
        "chain_code": outcome.chain_code.hex(),
        "public_shares": [share.hex() for share in outcome.public_shares],
        "transcript": outcome.transcript.hex(),
    }
