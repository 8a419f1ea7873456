"""A running cosigner: answers calls by the log, the signer and the key sessions it owns.

Dull on purpose: it orders calls one after another where they touch the log, brings bytes from one
part to the other, and decides nothing. A witness is the same process without key sessions.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, TypeVar

from policy.encoding import INTEGER_MAX, Json, canonical, parse_canonical, statement
from policy.entries import ENTRY_BYTES_MAX
from policy.errors import MalformedError, OperationalError, ProtocolError, QuorumkeepError
from policy.fields import Fields
from policy.ledger import UnknownVersion
from policy.program import about
from policy.reading import TAG as READING
from policy.reading import reading
from policy.roster import Roster
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.boot_statement import BootCheck, BootStatement, check_boot
from signer_nodes.api.errors import Refused
from signer_nodes.api.handler import Caller, Role
from signer_nodes.api.health import READY, STARTING, UNWRITABLE
from signer_nodes.gate import Admitted, Declined
from signer_nodes.idle import IdleWork
from signer_nodes.key_changes import Order
from signer_nodes.key_sessions import KeySessions
from signer_nodes.node_log import NodeLog, stored_checkpoint
from signer_nodes.ports import Mark, Peers, RuntimeStore
from signer_nodes.signing import Opening, Openings, PartialBytes, Signer
from signer_nodes.witness import Extension, Refusal, check_witnessed

T = TypeVar("T")
CLONE: Final = "clone"
ENTRIES_MAX: Final = 512
ENTRIES_BYTES_MAX: Final = 1 << 20
STATEMENTS_MAX: Final = 64
HEADS_PAUSE_S: Final = 0.2
TIDY_S: Final = 0.01
DISK_LOOK_S: Final = 2.0
NUMBERS_AHEAD_MS: Final = 60 * 60 * 1000
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a runtime is made of; ``keys`` is None at a witness.

    ``idle_after_s`` is how long nobody asks for anything before it tidies.
    """

    log: NodeLog
    signer: Signer
    store: RuntimeStore
    peers: Peers
    keys: KeySessions | None
    boot: BootStatement
    roster: Roster
    clock_ms: Callable[[], int]
    role: str = "node"
    witnesses: Mapping[str, bytes] = field(default_factory=dict)
    idle_after_s: float = TIDY_S


class NodeRuntime:
    """The handler behind a node's door."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._turn = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._last: tuple[bytes, pb.AppendReply] | None = None
        self._idle = IdleWork(self.tidy, after_s=parts.idle_after_s)
        self._comparing: list[asyncio.Task[None]] = []
        self.must_upgrade: asyncio.Future[UnknownVersion] = asyncio.get_running_loop().create_future()

    def standing(self) -> str:
        """What a supervisor is told."""
        if not self._parts.log.ready:
            return STARTING
        return UNWRITABLE if self._trouble() else READY

    def _trouble(self) -> str:
        """Why disk or token take nothing; empty as far as is known that they do."""
        return self._parts.store.trouble or self._parts.signer.hsm.trouble

    @asynccontextmanager
    async def disk_watched(self, every_s: float = DISK_LOOK_S) -> AsyncIterator[None]:
        """Have ``standing`` know of a disk that takes nothing, and of the room that there is again.

        Of a token it knows by what is written there anyway: the next call of the coordinator does.
        """
        watching = asyncio.create_task(self._watch_disk(every_s))
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)

    async def _watch_disk(self, every_s: float) -> None:
        store, said = self._parts.store, ""
        while True:
            await asyncio.to_thread(store.try_disk)
            trouble = self._trouble()
            if trouble and not said:
                _LOG.error("nothing can be stored, so nothing is cosigned or signed: %s", trouble)
            elif said and not trouble:
                _LOG.info("disk and token take what is to be stored again")
            said = trouble
            await asyncio.sleep(every_s)

    async def become_ready(self) -> None:
        """Compare heads with peers until enough have answered, then fold the highest and open.

        Enough is c - w + f others: with this node's own head, one more than a lost quorum could hide.
        A node that never had a head waits for one more.
        """
        log = self._parts.log
        roster = log.cosigner.roster_at(log.cosigner.size) or self._parts.roster
        names = self._parts.peers.names
        wanted = min(roster.leave_count - int(log.had_head), len(names))
        self._comparing = [asyncio.create_task(self._compare_until_ready(name)) for name in names]
        for comparing in islice(asyncio.as_completed(self._comparing), wanted):
            await comparing
        async with self._turn:
            await asyncio.to_thread(log.cosign_own_head, self._parts.clock_ms())
        log.ready = True
        _LOG.info("ready at %d entries, compared with %d peers", log.cosigner.size, wanted)

    async def _compare_until_ready(self, name: str) -> None:
        """Compare heads with one peer as soon as it can be reached, unless enough others could."""
        while True:
            if await self._compare(name) or self._parts.log.ready:
                return
            await asyncio.sleep(HEADS_PAUSE_S)

    async def greeted(self, caller: Caller) -> None:
        """Refuse an older boot of a peer, and for good a peer of which two processes ran."""
        if caller.role is Role.PEER and caller.boot is not None:
            self.peer_booted(caller.name, caller.boot)

    def peer_booted(self, name: str, boot: BootStatement) -> None:
        """Take note of a peer's boot: what was made with an earlier one is gone from its memory."""
        store = self._parts.store
        if any(kind == f"{CLONE}/{name}" for kind, _ in store.evidence()):
            raise Refused("clone", f"two processes ran as {name}: it must be enrolled with a new identity")
        known = store.boot_of(name)
        match check_boot(known, boot):
            case BootCheck.REFUSE:
                raise Refused("old-boot", f"{name} shows an older boot than it showed before")
            case BootCheck.FREEZE:
                store.keep_evidence(f"{CLONE}/{name}", boot.to_bytes())
                self._forget(name)
                raise Refused("clone", f"two processes run as {name}: nothing is done with it any more")
            case BootCheck.OK:
                if known != (boot.boot_counter, boot.boot_id):
                    store.put_boot(name, boot.boot_counter, boot_id=boot.boot_id)
                    self._forget(name)

    def _stop_to_upgrade(self, error: UnknownVersion) -> None:
        if not self.must_upgrade.done():
            self.must_upgrade.set_result(error)

    def _forget(self, name: str) -> None:
        """Drop what was made together with a peer whose memory is gone or not to be trusted."""
        if self._parts.keys is not None:
            self._parts.keys.peer_restarted(name)

    async def head(self, caller: Caller, call: pb.HeadQuery) -> pb.HeadReply:
        cosigned, quorum = self._parts.store.latest_cosigned(), self._parts.store.quorum()
        return pb.HeadReply(
            head=cosigned[1] if cosigned else b"",
            quorum=quorum[1] if quorum else b"",
            size=self._parts.log.cosigner.size,
        )

    async def entries(self, caller: Caller, call: pb.EntriesQuery) -> pb.EntriesReply:
        start, stop = (min(place, INTEGER_MAX) for place in (call.start, call.stop))
        found = self._parts.store.entries(start, min(stop, start + ENTRIES_MAX))
        reply, size = pb.EntriesReply(), 0
        for entry in found:
            size += len(entry)
            if size > ENTRIES_BYTES_MAX and reply.entries:
                break
            reply.entries.append(entry)
        return reply

    async def append(self, caller: Caller, call: pb.Append) -> pb.AppendReply:
        asked = call.SerializeToString(deterministic=True)
        async with self._asked():
            if self._last is not None and self._last[0] == asked:
                return self._last[1]
            try:
                reply = await asyncio.to_thread(self._append, call)
            except UnknownVersion as error:
                self._stop_to_upgrade(error)
                raise
            self._last = (asked, reply)
            await self._settle_keys()
        return reply

    async def finish(self, caller: Caller, call: pb.Finish) -> pb.FinishReply:
        jobs = {job.job: _openings(job) for job in call.jobs}
        async with self._asked():
            partials, declined = await asyncio.to_thread(self._finish, call.note, jobs)
        reply = pb.FinishReply(declined=_declined(declined))
        for partial in partials:
            reply.partials.add(job=partial.job_id, index=partial.index, partial=partial.partial)
        return reply

    @asynccontextmanager
    async def _asked(self) -> AsyncIterator[None]:
        """For a call, its turn; what waits for a quiet moment waits for its answer too."""
        self._idle.pause()
        try:
            async with self._turn:
                yield
        finally:
            self._idle.resume()

    async def tidy(self) -> bool:
        """Have the token forget replaced records, and store more of the state; whether there is more to do.

        It does so by itself while nobody asks for anything.
        """
        try:
            await asyncio.to_thread(self._parts.signer.hsm.tidy)
            async with self._turn:
                return await asyncio.to_thread(self._parts.log.store_more)
        except QuorumkeepError as error:  # whoever calls next meets it too
            _LOG.warning("what waited for a quiet moment is left for later: %s", error)
            return False

    async def stop(self) -> None:
        """Begin nothing more by itself; for after the last call."""
        await self._idle.stop()

    async def burn(self, caller: Caller, call: pb.Burn) -> pb.BurnReply:
        async with self._turn:
            signature = await self._in_thread(
                lambda: self._parts.signer.burn(call.job, self._parts.clock_ms())
            )
        return pb.BurnReply(signature=signature)

    async def quorum(self, caller: Caller, call: pb.Quorum) -> pb.QuorumReply:
        async with self._asked():
            await self._in_thread(lambda: self._parts.log.learn_quorum(call.note))
            await self._settle_keys()
        return pb.QuorumReply()

    async def abandon(self, caller: Caller, call: pb.Abandon) -> pb.AbandonReply:
        body = parse_canonical(call.body, bytes_max=4096)
        async with self._turn:
            signature = await self._in_thread(lambda: self._parts.log.state_abandoned(body))
        return pb.AbandonReply(signature=signature)

    async def leave(self, caller: Caller, call: pb.Leave) -> pb.LeaveReply:
        if len(call.statements) > STATEMENTS_MAX:
            raise MalformedError(f"at most {STATEMENTS_MAX} statements, got {len(call.statements)}")
        statements = [_read_statement(data) for data in call.statements]
        async with self._turn:
            self._last = None
            log, signer = self._parts.log, self._parts.signer
            state = log.cosigner.state

            def burns(size: int) -> tuple[Mark, ...]:
                return signer.abandon_branch(state, size)

            if call.fork:
                await self._in_thread(lambda: log.leave_by_fork(call.fork, marks=burns))
            else:
                await self._in_thread(lambda: log.leave(statements, marks=burns))
            if self._parts.keys is not None:
                self._parts.keys.went_back()
        return pb.LeaveReply()

    async def change_key(self, caller: Caller, call: pb.ChangeKey) -> pb.ChangeKeyReply:
        await self._check_open()
        self._check_number("attempt", call.attempt)
        order = Order(call.key_id, call.change, call.attempt, tuple(call.dealers), call.envelope)
        body, signature = await self._keys().change_key(order)
        return pb.ChangeKeyReply(body=body, signature=signature)

    async def import_offer(self, caller: Caller, call: pb.ImportOffer) -> pb.ImportOfferReply:
        await self._check_open()
        self._check_number("attempt", call.attempt)
        return pb.ImportOfferReply(offer=await self._keys().import_offer(call.key_id, call.attempt))

    async def presign(self, caller: Caller, call: pb.Presign) -> pb.PresignReply:
        await self._check_open()
        self._check_number("batch", call.batch_id)
        made = await self._keys().presign(
            call.key_id,
            tuple(call.signers),
            epoch=call.epoch,
            batch_id=call.batch_id,
            batch=call.batch,
        )
        return pb.PresignReply(
            presignatures=[identifier for identifier, _ in made], nonce_points=[point for _, point in made]
        )

    async def protocol(self, caller: Caller, call: pb.Protocol) -> pb.ProtocolReply:
        await self._keys().deliver(caller.name, call.session, payload=call.payload)
        return pb.ProtocolReply()

    async def read(self, caller: Caller, call: pb.Read) -> pb.ReadReply:
        body = parse_canonical(call.reservation, bytes_max=ENTRY_BYTES_MAX)
        async with self._reading:  # one after the other: people who look take no turns from signing
            async with self._turn:
                found = await self._in_thread(lambda: self._read(body))
            message = statement(READING, found)
            signature = await asyncio.to_thread(self._parts.signer.hsm.sign_statement, message)
        return pb.ReadReply(body=canonical(found), signature=signature)

    async def status(self, caller: Caller, call: pb.Status) -> pb.StatusReply:
        log, keys = self._parts.log, self._parts.keys
        pools: list[Json] = [
            {"key": key, "signers": list(signers), "count": count}
            for (key, signers), count in sorted(self._parts.signer.pool.stock().items())
        ]
        document: dict[str, Json] = {
            "name": log.name,
            "role": "witness" if keys is None else self._parts.role,
            "ready": self.standing() == READY,
            "frozen": log.frozen,
            "size": log.cosigner.size,
            "boot_counter": self._parts.boot.boot_counter,
            "boot_id": self._parts.boot.boot_id.hex(),
            "clock_ms": self._parts.clock_ms(),
            "disk_free_bytes": self._parts.store.disk_free_bytes(),
            "pools": pools,
            **about(),
            "bans": await asyncio.to_thread(keys.ban_documents) if keys else [],
            "shreds": await asyncio.to_thread(keys.shred_documents) if keys else [],
        }
        return pb.StatusReply(document=canonical(document))

    def _read(self, body: Json) -> Json:
        log = self._parts.log
        log.check_open()
        at = log.cosigner
        return reading(at.state, body, node=log.name, root=at.frontier.root(), time_ms=self._parts.clock_ms())

    async def _check_open(self) -> None:
        """In its turn, for a log whose stored state is damaged is folded anew by it."""
        async with self._turn:
            await self._in_thread(self._parts.log.check_open)

    def _check_number(self, code: str, number: int) -> None:
        """Attempts and batches are numbered by the clock: none may use up the numbers of years to come."""
        latest = self._parts.clock_ms() + NUMBERS_AHEAD_MS
        if number > latest:
            raise Refused(code, f"number {number} is beyond {latest}: number by milliseconds of the time")

    async def _settle_keys(self) -> None:
        """Once w cosigners have it that a key's epoch is over, forget that epoch."""
        keys, quorum = self._parts.keys, self._parts.log.cosigner.quorum_head
        if keys is not None and quorum is not None and keys.unsettled(quorum.size):
            await asyncio.to_thread(keys.settle, quorum.size)

    def _keys(self) -> KeySessions:
        if self._parts.keys is None:
            raise Refused("witness", "a witness holds no shares: it cosigns and nothing else")
        return self._parts.keys

    def _append(self, call: pb.Append) -> pb.AppendReply:
        log, signer, now_ms = self._parts.log, self._parts.signer, self._parts.clock_ms()
        if call.start == log.cosigner.size and not call.entries:
            return pb.AppendReply(cosignature=_refusing(lambda: log.recosign(call.checkpoint, now_ms=now_ms)))
        decided: list[Admitted | Declined] = []

        def marks(extension: Extension) -> tuple[Mark, ...]:
            decided.extend(signer.decide(extension, now_ms))
            return signer.bind(decided)

        _, line = _refusing(
            lambda: log.extend(
                call.start, list(call.entries), note=call.checkpoint, now_ms=now_ms, marks=marks
            )
        )
        declined = [decision for decision in decided if isinstance(decision, Declined)]
        return pb.AppendReply(
            cosignature=line,
            openings=[_opening(opening) for opening in signer.openings(decided)],
            declined=_declined(declined),
        )

    def _finish(
        self, note: bytes, jobs: Mapping[bytes, Openings]
    ) -> tuple[tuple[PartialBytes, ...], tuple[Declined, ...]]:
        try:
            checkpoint = _refusing(lambda: self._parts.log.learn_quorum(note, with_next=True))
            _refusing(lambda: check_witnessed(note, self._parts.witnesses))
            return self._parts.signer.finish(jobs, quorum_size=checkpoint.size, now_ms=self._parts.clock_ms())
        finally:
            self._parts.store.flush()

    async def _compare(self, name: str) -> bool:
        """Ask one peer for its head and follow it if it is higher; whether the peer answered."""
        try:
            reply = await self._parts.peers.head(name)
            async with self._turn:
                await self._follow(name, reply)
        except UnknownVersion as error:
            self._stop_to_upgrade(error)
            raise
        except OperationalError as error:
            _LOG.debug("head of %s: %s", name, error)
            return False
        except ProtocolError as error:
            _LOG.warning("head of %s is not followed: %s", name, error)
        return True

    async def _follow(self, name: str, reply: pb.HeadReply) -> None:
        log = self._parts.log
        size = stored_checkpoint(reply.head).size if reply.head else 0
        if size > log.cosigner.size:
            entries = await self._parts.peers.entries(name, log.cosigner.size, stop=size)
            now_ms = self._parts.clock_ms()
            await asyncio.to_thread(log.follow, entries, reply.head, cosigned_by=name, now_ms=now_ms)
        if reply.quorum:
            await asyncio.to_thread(log.learn_quorum, reply.quorum, starting=True)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.to_thread(_refusing, work)


def clock_ms() -> int:
    """The machine's clock."""
    return time.time_ns() // 1_000_000


def _refusing(work: Callable[[], T]) -> T:
    """Run ``work``; its refusals become answers with their own code."""
    try:
        return work()
    except Refusal as refusal:
        raise Refused(refusal.code, refusal.reason) from refusal


def _openings(job: pb.FinishJob) -> Openings:
    found: dict[int, dict[str, bytes]] = {}
    for opened in job.opened:
        found.setdefault(opened.index, {})[opened.signer] = opened.rho
    return found


def _opening(opening: Opening) -> pb.Opening:
    return pb.Opening(job=opening.job_id, index=opening.index, rho=opening.rho)


def _declined(declined: Sequence[Declined]) -> list[pb.Declined]:
    return [
        pb.Declined(job=item.job_id, reason=item.reason, not_before_ms=item.not_before_ms)
        for item in declined
    ]


def _read_statement(data: bytes) -> tuple[Json, bytes]:
    fields = Fields(parse_canonical(data, bytes_max=8192), "statement")
    body, signature = fields.raw("body"), fields.hex("signature", length=64)
    fields.done()
    return body, signature
