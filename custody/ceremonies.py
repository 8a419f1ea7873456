"""The ceremony under way, if there is one, and what cold nodes have shown; kept by ``ceremony_document``.

A coordinator that is killed goes on with the ceremony where it had kept it: the same letters are handed out
again. What it does besides (reserve, log a signature) is kept as intended before it is done, and looked for
in the log before it is done again.
"""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum

from policy.encoding import Json
from policy.errors import ProtocolError
from policy.roster import Roster
from policy.state import PAYMENT
from signer_nodes.api.desk import Desk
from signer_nodes.api.hello import Hello, unverified_name, verify_hello
from signer_nodes.api.letters import Sign


class Stage(StrEnum):
    """Where a ceremony stands."""

    CATCHING_UP = "catching-up"
    RESERVING = "reserving"
    PRESIGNING = "presigning"
    SIGNING = "signing"
    MAKING_KEY = "making-key"
    SHREDDING = "shredding"
    DONE = "done"
    FAILED = "failed"


OVER = frozenset({Stage.DONE, Stage.FAILED})
SITTING_MS_MAX = 8 * 60 * 60 * 1000  # a machine takes no reservation older than half of this


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a ceremony is held for: a request, to pay it or to cancel it, or ``change`` of a key."""

    key: str
    request: bytes = b""
    purpose: str = PAYMENT
    change: str = ""


@dataclass(slots=True)
class Ceremony:
    """One ceremony. ``tx`` is reserved with ``presignatures``.

    A change of the key begins ``epoch``; ``holders`` are who has shares of the one before. ``is_due`` while
    what the answers ask for is not done, as when a chain or the cosigners could not be reached.
    """

    desk: Desk
    wanted: Purpose
    stage: Stage
    began_ms: int
    epoch: int = 0
    holders: tuple[str, ...] = ()
    tx: bytes = b""
    presignatures: tuple[bytes, ...] = ()
    job: bytes = b""
    outcome: str = ""
    ended_ms: int = 0
    is_due: bool = True
    burning: dict[tuple[str, int], bytes] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether nothing more is carried."""
        return self.stage in OVER

    def end(self, stage: Stage, outcome: str) -> None:
        """It is over."""
        self.stage, self.outcome = stage, outcome[:1000]

    def report(self) -> dict[str, Json]:
        """How it stands, for people."""
        waits_for: list[Json] = [] if self.is_over else [*self.desk.waits_for]
        return {
            "ceremony": self.desk.id.hex(),
            "began_ms": self.began_ms,
            "ended_ms": self.ended_ms,
            "stage": self.stage.value,
            "outcome": self.outcome,
            "passes": self.desk.passes,
            "request": self.wanted.request.hex(),
            "purpose": self.wanted.purpose if self.wanted.request else self.wanted.change,
            "key": self.wanted.key,
            "job": self.job.hex(),
            "nodes": list(self.desk.names),
            "waits_for": waits_for,
        }


@dataclass(slots=True)
class Ceremonies:
    """What this coordinator knows of cold nodes.

    ``sign`` is its identity's, ``burned`` has burns by job and node, ``spent`` the boot counter with which a
    node took part in a ceremony last. A pass brings all machines ``pass_bytes_max`` of the log together,
    which packed fits into one answer to whoever carries it.
    """

    sign: Sign = field(repr=False)
    hellos: dict[str, tuple[Hello, bytes]] = field(default_factory=dict)
    current: Ceremony | None = None
    burned: dict[tuple[bytes, str], bytes] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    pass_bytes_max: int = 24 * 1024 * 1024
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def serves(self, request: bytes, now_ms: int) -> bool:
        """Whether a ceremony for this request is under way."""
        self.end_forgotten(now_ms)
        current = self.current
        return current is not None and current.wanted.request == request and not current.is_over

    def end_forgotten(self, now_ms: int) -> None:
        """End a ceremony that nobody comes back to: what it was held for waits for another one then."""
        current = self.current
        if current is not None and not current.is_over and now_ms - current.began_ms > SITTING_MS_MAX:
            current.end(Stage.FAILED, f"it was not over {SITTING_MS_MAX // 3_600_000} hours after it began")

    def greet(self, data: bytes, *, origin: str, roster: Roster) -> None:
        """Take in a cold node's hello; one that takes part changes nothing. Raises ``ProtocolError``."""
        name = unverified_name(data)
        if name not in roster.cold:
            raise ProtocolError(f"{name} is no cold node of the roster")
        hello = verify_hello(data, origin=origin, key=roster.cold[name])
        counter, spent = hello.boot.boot_counter, self.spent.get(name, -1)
        known = self.hellos[name][0].boot.boot_counter if name in self.hellos else spent
        if counter < known:
            raise ProtocolError(f"{name} was started again since it showed this hello: bring the newest")
        current = self.current if self.current is not None and not self.current.is_over else None
        takes_part = current is not None and name in current.desk.names
        if counter == spent:
            if not takes_part:
                raise ProtocolError(f"{name} has taken part in a ceremony with this start: start it anew")
            return
        self.hellos[name] = (hello, data)
        if current is not None and takes_part:
            current.end(Stage.FAILED, f"{name} was started anew and has forgotten it")

    def spend(self, names: tuple[str, ...]) -> dict[str, tuple[Hello, bytes]]:
        """The hellos of these nodes, for a ceremony: one start takes part in one."""
        hellos = {name: self.hellos.pop(name) for name in names}
        self.spent |= {name: hello.boot.boot_counter for name, (hello, _) in hellos.items()}
        return hellos
