"""The coordinator's half of a ceremony: what goes to each cold node next, and what has come back.

Nothing here has authority; a lost desk costs a ceremony. A letter stays the next one of its node until that
node's answer is taken in, so it may be carried again, or written anew when it has expired, with the same
content. Whoever keeps a desk keeps what is public in it: ``seats``, ``passes`` and what the inbox has taken.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from policy.encoding import statement
from policy.errors import MalformedError
from policy.roster import COORDINATOR
from signer_nodes.api import node_pb2 as pb
from signer_nodes.api.envelope import What, envelope, parse_reply
from signer_nodes.api.hello import Hello
from signer_nodes.api.hpke import KEY_BYTES
from signer_nodes.api.letters import (
    CALL,
    HELLO,
    LETTER,
    LIFE_MS,
    REPLY,
    Frame,
    Header,
    Inbox,
    LetterRefused,
    Sign,
    read_header,
    write_letter,
)

FRESH_MS = LIFE_MS // 2  # a letter that is carried again has at least as long to arrive
KEY_TAG = "cold-letters-key"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A letter that waits for its answer, and what is in it, to be written anew."""

    made_ms: int
    frames: list[Frame] = field(repr=False)
    data: bytes = field(repr=False)


@dataclass(slots=True)
class Seat:
    """One cold node at the desk: its hello, as it came, and where it stands."""

    hello: Hello
    raw: bytes
    size: int
    number: int = 0
    frames: list[Frame] = field(default_factory=list, repr=False)
    out: Outgoing | None = None
    replies: list[pb.Reply] = field(default_factory=list, repr=False)
    asked: int = 0
    optional: set[int] = field(default_factory=set)


class Desk:
    """The desk of one ceremony of the nodes whose verified ``hellos`` are given, each with its bytes."""

    def __init__(
        self, origin: str, ceremony: bytes, *, sign: Sign, hellos: Mapping[str, tuple[Hello, bytes]]
    ) -> None:
        self.id = ceremony
        self._sign = sign
        key = letters_key(sign, origin, ceremony=ceremony)
        self.inbox = Inbox(COORDINATOR, origin, ceremony, key, COORDINATOR, ceremony=ceremony)
        self.seats = {
            name: Seat(hello, raw, hello.boot.head_size) for name, (hello, raw) in sorted(hellos.items())
        }
        for name, seat in self.seats.items():
            seat.frames += [(HELLO, other.raw) for its, other in self.seats.items() if its != name]
        self.passes = 0

    @property
    def names(self) -> tuple[str, ...]:
        """Who takes part."""
        return tuple(self.seats)

    @property
    def boots(self) -> dict[str, bytes]:
        """The boot ids of who takes part."""
        return {name: seat.hello.boot.boot_id for name, seat in self.seats.items()}

    @property
    def waits_for(self) -> list[str]:
        """Whose answers have not come."""
        return [name for name, seat in self.seats.items() if seat.out is not None]

    @property
    def has_mail(self) -> bool:
        """Whether another pass has anything to carry."""
        return any(seat.frames for seat in self.seats.values())

    def ask(self, call: What, *names: str, is_optional: bool = False) -> dict[str, int]:
        """Have a call go out in the next pass, to all if no names are given; its number at each.

        The ceremony goes on when an optional one is refused.
        """
        for name in names or self.names:
            seat = self.seats[name]
            seat.asked += 1
            if is_optional:
                seat.optional.add(seat.asked)
            numbered = envelope(call)
            numbered.call = seat.asked
            seat.frames.append((CALL, numbered.SerializeToString()))
        return {name: self.seats[name].asked for name in names or self.names}

    def letters(self, now_ms: int) -> dict[str, bytes]:
        """What is to be carried now: the same again until the answers are there."""
        if not self.waits_for:
            for seat in self.seats.values():
                self._seal_next(seat, now_ms)
            self.passes += 1
        for seat in self.seats.values():
            if seat.out is not None and seat.out.made_ms + FRESH_MS < now_ms:
                self._seal(seat, seat.out.frames, number=seat.number, now_ms=now_ms)
        return {name: seat.out.data for name, seat in self.seats.items() if seat.out is not None}

    def take(self, data: bytes, *, keys: Mapping[str, bytes], now_ms: int) -> str:
        """Take an answer in; whose it is. ``keys`` are the cold nodes'. Raises ``LetterRefused``."""
        name = read_header(data).sender
        if name not in self.seats:
            raise LetterRefused("foreign", f"{name} takes no part in this ceremony")
        if name not in keys:
            raise LetterRefused(
                "foreign",
                f"{name} left the roster during this ceremony: end it (quorumkeep cold end), begin another",
            )
        opened = self.inbox.open(data, {name: keys[name]}, now_ms=now_ms)
        seat = self.seats[name]
        seat.out = None
        try:
            seat.replies += [parse_reply(reply) for reply in opened.of(REPLY)]
        except MalformedError as error:
            raise LetterRefused("malformed", f"{name}: {error}") from error
        for letter in opened.of(LETTER):
            recipient = read_header(letter).recipient
            if recipient not in self.seats:
                raise LetterRefused("foreign", f"{name} writes to {recipient}, who takes no part")
            self.seats[recipient].frames.append((LETTER, letter))
        return name

    def refusals(self) -> list[str]:
        """What nodes have refused that the ceremony cannot do without, in their words."""
        return [
            f"{name}: {reply.refusal.code}: {reply.refusal.reason}"
            for name, seat in self.seats.items()
            for reply in seat.replies
            if reply.WhichOneof("what") == "refusal" and reply.call not in seat.optional
        ]

    def replies(self, kind: str) -> dict[str, list[pb.Reply]]:
        """The answers of each node to calls of one kind, in their order."""
        return {
            name: [reply for reply in seat.replies if reply.WhichOneof("what") == kind]
            for name, seat in self.seats.items()
        }

    def _seal_next(self, seat: Seat, now_ms: int) -> None:
        frames, seat.frames = seat.frames, []
        self._seal(seat, frames, number=seat.number + 1, now_ms=now_ms)

    def _seal(self, seat: Seat, frames: list[Frame], *, number: int, now_ms: int) -> None:
        boot = seat.hello.boot
        header = Header(
            origin=boot.origin,
            ceremony=self.id,
            sender=COORDINATOR,
            recipient=boot.name,
            boot=boot.boot_id,
            number=number,
            made_ms=now_ms,
            expires_ms=now_ms + LIFE_MS,
            reply_key=self.inbox.public_key,
        )
        seat.number = number
        letter = write_letter(header, frames, key=seat.hello.key, sign=self._sign)
        seat.out = Outgoing(now_ms, frames, letter)


def letters_key(sign: Sign, origin: str, *, ceremony: bytes) -> X25519PrivateKey:
    """The coordinator's key for the letters of one ceremony: the same after a restart, and stored nowhere.

    ``sign`` is its identity's. Ed25519 signs the same bytes alike, and this signature is shown to nobody.
    """
    signature = sign(statement(KEY_TAG, {"origin": origin, "ceremony": ceremony.hex()}))
    derived = HKDF(SHA256(), KEY_BYTES, None, KEY_TAG.encode()).derive(signature)
    return X25519PrivateKey.from_private_bytes(derived)
