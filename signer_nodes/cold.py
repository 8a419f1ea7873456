"""A cold node at work: a letter in, a letter out, and a person who looks before it signs.

The calls of a letter are those of the wire, done one after the other, each when the one before is done; a
run that waits for peers holds back what follows it until their letters come. So a reservation may come with
the order for its presignature, and is decided on by the gate once that is made. Nothing here decides what
is signed: the gate does, on this node's own fold of what w cosigners have cosigned. Everything here is gone
with the process.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import Message

from policy.errors import InvariantError, OperationalError, ProtocolError
from policy.ledger import UnknownVersion
from policy.log.checkpoint import parse_note
from policy.roster import COORDINATOR, Roster
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.envelope import parse_call, refusal, reply_envelope
from signer_nodes.api.errors import Refused
from signer_nodes.api.handler import Caller, Handler, Role
from signer_nodes.api.hello import Hello, unverified_name, verify_hello
from signer_nodes.api.letters import (
    CALL,
    HELLO,
    LETTER,
    LIFE_MS,
    PROTOCOL,
    REPLY,
    Frame,
    Header,
    Inbox,
    LetterRefused,
    write_letter,
)
from signer_nodes.cold_peers import SESSION_BYTES, ColdPeers
from signer_nodes.node_log import NodeLog
from signer_nodes.ports import Hsm
from signer_nodes.witness import NOTE_BYTES_MAX, quorum_time_ms

SITTING_MS_MAX: Final = 4 * 60 * 60 * 1000
HEAD_AGE_MS_MAX: Final = 60 * 60 * 1000
CALLS: Final = frozenset({"append", "burn", "change_key", "finish", "presign", "quorum", "status"})
SETTLE_TIMEOUT_S: Final = 120.0
PAUSE_S: Final = 0.01
Confirm = Callable[[bytes], Awaitable[bool]]
"""Shows the job of this id to a person and asks; whether they want it signed."""
_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ColdParts:
    """What a cold node is made of; ``coordinator`` is the coordinator's identity key."""

    handler: Handler
    log: NodeLog
    hsm: Hsm
    inbox: Inbox
    peers: ColdPeers
    hello: Hello
    coordinator: bytes
    first_roster: Roster
    clock_ms: Callable[[], int]
    confirm: Confirm


@dataclass(slots=True)
class ColdNode:
    """One boot of a cold node: it takes part in one ceremony."""

    parts: ColdParts
    settle_timeout_s: float = SETTLE_TIMEOUT_S
    _calls: "asyncio.Queue[pb.Call]" = field(default_factory=asyncio.Queue)
    _replies: list[Frame] = field(default_factory=list)
    _sent: dict[str, int] = field(default_factory=dict)
    _reply_key: bytes = b""
    _working: "asyncio.Task[None] | None" = None
    _is_looked_at: bool = False

    def hello(self) -> bytes:
        """What is carried out first."""
        hello = self.parts.hello
        return hello.to_bytes(self.parts.hsm.sign_statement(hello.message()))

    async def read(self, data: bytes) -> bytes:
        """Act on a letter of the coordinator; the letter that is to be brought back.

        Raises ``LetterRefused``, and nothing has changed; whatever else goes wrong is told in the answer.
        """
        opened = self.parts.inbox.open(
            data, {COORDINATOR: self.parts.coordinator}, now_ms=self.parts.clock_ms()
        )
        self._reply_key = opened.header.reply_key
        for hello in opened.of(HELLO):
            await self._telling(self._meet(hello))
        for letter in opened.of(LETTER):
            await self._telling(self._take_from_peer(letter))
        for call in opened.of(CALL):
            await self._telling(self._queue(call))
        await self._settle()
        return self._answer()

    async def close(self) -> None:
        """Forget everything."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)

    async def _telling(self, taking: Awaitable[None]) -> None:
        """Take in one part of a letter; what is wrong with it goes into the answer, and the rest is done."""
        try:
            await taking
        except (LetterRefused, Refused) as error:
            self._refuse(0, error.code, reason=error.reason)
        except ProtocolError as error:
            self._refuse(0, "malformed", reason=str(error))

    def _refuse(self, call: int, code: str, *, reason: str) -> None:
        _LOG.warning("refused: %s: %s", code, reason)
        self._replies.append((REPLY, refusal(call, code, reason=reason).SerializeToString()))

    async def _queue(self, data: bytes) -> None:
        self._calls.put_nowait(parse_call(data))

    async def _meet(self, data: bytes) -> None:
        """Know a peer by its hello, once: another boot of it is for another ceremony."""
        name, mine = unverified_name(data), self.parts.hello
        keys = self._roster.cold
        if name not in keys or name == mine.name:
            raise LetterRefused("foreign", f"{name} is no other cold node of the roster")
        hello = verify_hello(data, origin=mine.boot.origin, key=keys[name])
        if self.parts.peers.met.get(name, hello) != hello:
            raise LetterRefused("foreign", f"{name} was started anew: restart this program, too")
        await self.parts.handler.greeted(Caller(name, Role.PEER, hello.boot))  # a clone is refused here
        self.parts.peers.met[name] = hello

    async def _take_from_peer(self, data: bytes) -> None:
        keys = {name: key for name, key in self._roster.cold.items() if name in self.parts.peers.met}
        opened = self.parts.inbox.open(data, keys, now_ms=self.parts.clock_ms())
        caller = Caller(opened.header.sender, Role.PEER)
        for message in opened.of(PROTOCOL):
            call = pb.Protocol(session=message[:SESSION_BYTES], payload=message[SESSION_BYTES:])
            await self.parts.handler.protocol(caller, call)

    @property
    def _roster(self) -> Roster:
        log = self.parts.log.cosigner
        return log.roster_at(log.size) or self.parts.first_roster

    async def _settle(self) -> None:
        """Until all calls are done, or one waits for peers that have been written to.

        A person may take as long as they want: what they type next is about the job, and no answer leaves
        without it.
        """
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name="calls of letters")
        left_s = self.settle_timeout_s
        while left_s > 0 and not (self._working.done() or self.parts.peers.all_written_to):
            await asyncio.sleep(PAUSE_S)
            left_s -= 0 if self._is_looked_at else PAUSE_S
        if self._working.done():
            self._working.result()

    async def _work(self) -> None:
        while not self._calls.empty():
            call = self._calls.get_nowait()
            reply = await self._reply(call)  # meanwhile an answer may have taken the replies along
            self._replies.append((REPLY, reply.SerializeToString()))

    async def _reply(self, call: pb.Call) -> pb.Reply:
        kind = call.WhichOneof("what")
        try:
            if kind is None or kind not in CALLS:
                raise Refused("not-allowed", f"{kind} is not a call for a cold node")
            if kind == "finish":
                await self._look(call.finish)
            handle = getattr(self.parts.handler, kind)
            answer: Message = await handle(Caller(COORDINATOR, Role.COORDINATOR), getattr(call, kind))
            return reply_envelope(call.call, kind, answer=answer)
        except Refused as error:
            return refusal(call.call, error.code, reason=error.reason)
        except (InvariantError, UnknownVersion):
            raise
        except (ProtocolError, OperationalError) as error:
            _LOG.warning("%s could not be done: %s", kind, error)
            code = "protocol" if isinstance(error, ProtocolError) else "unavailable"
            return refusal(call.call, code, reason=str(error))

    async def _look(self, finish: pb.Finish) -> None:
        """Have the newest head be a recent one, and a person want each job signed."""
        self._check_recent(finish.note)
        for job in finish.jobs:
            if job.job not in self.parts.log.cosigner.state.jobs:
                raise Refused("job", f"this node's log has no admitted job {job.job.hex()}")
            if not await self._confirmed(job.job):
                raise Refused("operator", "the person at the machine did not want it signed")
        self._check_recent(finish.note)  # they may have looked for hours

    async def _confirmed(self, job: bytes) -> bool:
        self._is_looked_at = True
        try:
            return await self.parts.confirm(job)
        finally:
            self._is_looked_at = False

    def _check_recent(self, data: bytes) -> None:
        """A freeze or a no that the log has since would not be seen on an old head."""
        log, note = self.parts.log, parse_note(data, NOTE_BYTES_MAX)
        time_ms = quorum_time_ms(log.cosigner, note, size=log.cosigner.size)
        if time_ms is None:
            raise Refused(
                "quorum", f"the note lacks the cosignatures of a quorum at {log.cosigner.size} entries"
            )
        age_ms = self.parts.clock_ms() - time_ms
        if age_ms > HEAD_AGE_MS_MAX:
            raise Refused(
                "stale",
                f"a quorum cosigned it {age_ms} ms ago by this clock: look at the clock, or export again",
            )

    def _answer(self) -> bytes:
        frames = [(LETTER, self._to_peer(name, data)) for name, data in self._peer_mail()]
        frames += self._replies
        self._replies = []
        return self._write(COORDINATOR, self.parts.inbox.ceremony, frames=frames, key=self._reply_key)

    def _peer_mail(self) -> list[tuple[str, list[bytes]]]:
        return sorted(self.parts.peers.take_written().items())

    def _to_peer(self, name: str, messages: list[bytes]) -> bytes:
        hello = self.parts.peers.met[name]
        frames = [(PROTOCOL, message) for message in messages]
        return self._write(name, hello.boot.boot_id, frames=frames, key=hello.key)

    def _write(self, recipient: str, boot: bytes, *, frames: list[Frame], key: bytes) -> bytes:
        now_ms, parts = self.parts.clock_ms(), self.parts
        number = self._sent[recipient] = self._sent.get(recipient, 0) + 1
        header = Header(
            origin=parts.inbox.origin,
            ceremony=parts.inbox.ceremony,
            sender=parts.inbox.name,
            recipient=recipient,
            boot=boot,
            number=number,
            made_ms=now_ms,
            expires_ms=now_ms + LIFE_MS,
            reply_key=parts.inbox.public_key,
        )
        return write_letter(header, frames, key=key, sign=parts.hsm.sign_statement)
