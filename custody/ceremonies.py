"""The ceremony under way, if there is one, and what cold nodes have shown. In memory only.

A coordinator that stops loses its ceremony, not the request: the job keeps its limits, and the request
waits for the next ceremony. The machines have to be started anew then, as after any ceremony.
"""

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum

from policy.encoding import Json
from policy.errors import ProtocolError
from policy.roster import Roster
from signer_nodes.api.desk import Desk
from signer_nodes.api.hello import Hello, unverified_name, verify_hello
from signer_nodes.api.letters import Sign


class Stage(StrEnum):
    """Where a ceremony stands."""

    CATCHING_UP = "catching-up"
    PRESIGNING = "presigning"
    SIGNING = "signing"
    MAKING_KEY = "making-key"
    DONE = "done"
    FAILED = "failed"


OVER = frozenset({Stage.DONE, Stage.FAILED})


@dataclass(slots=True)
class Ceremony:
    """One ceremony: for a request with its job, or to generate a key."""

    desk: Desk
    key: str
    stage: Stage
    began_ms: int
    request: bytes = b""
    job: bytes = b""
    outcome: str = ""
    ended_ms: int = 0
    burning: dict[tuple[str, int], bytes] = field(default_factory=dict)

    def end(self, stage: Stage, outcome: str) -> None:
        """It is over."""
        self.stage, self.outcome = stage, outcome

    def report(self) -> dict[str, Json]:
        """How it stands, for people."""
        waits_for: list[Json] = [*self.desk.waits_for]
        return {
            "ceremony": self.desk.id.hex(),
            "began_ms": self.began_ms,
            "ended_ms": self.ended_ms,
            "stage": self.stage.value,
            "outcome": self.outcome,
            "passes": self.desk.passes,
            "request": self.request.hex(),
            "key": self.key,
            "job": self.job.hex(),
            "nodes": list(self.desk.names),
            "waits_for": waits_for,
        }


@dataclass(slots=True)
class Ceremonies:
    """What this coordinator knows of cold nodes. ``sign`` is its identity's, ``burned`` has burns."""

    sign: Sign
    hellos: dict[str, tuple[Hello, bytes]] = field(default_factory=dict)
    current: Ceremony | None = None
    burned: dict[tuple[bytes, str], bytes] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def serves(self, request: bytes) -> bool:
        """Whether a ceremony for this request is under way."""
        return self.current is not None and self.current.request == request and self.current.stage not in OVER

    def greet(self, data: bytes, *, origin: str, roster: Roster) -> str:
        """Take in a cold node's hello; whose it is. Raises ``ProtocolError``."""
        name = unverified_name(data)
        if name not in roster.cold:
            raise ProtocolError(f"{name} is no cold node of the roster")
        hello = verify_hello(data, origin=origin, key=roster.cold[name])
        known = self.hellos.get(name)
        if known is not None and hello.boot.boot_counter < known[0].boot.boot_counter:
            raise ProtocolError(f"{name} was started again since it showed this hello: bring the newest")
        self.hellos[name] = (hello, data)
        self._end_without(name, hello)
        return name

    def _end_without(self, name: str, hello: Hello) -> None:
        """A node that was started anew has forgotten the ceremony it was in."""
        current = self.current
        if current is None or current.stage in OVER or name not in current.desk.names:
            return
        if current.desk.boots[name] != hello.boot.boot_id:
            current.end(Stage.FAILED, f"{name} was started anew and has forgotten it")

    def spend(self, names: tuple[str, ...]) -> dict[str, tuple[Hello, bytes]]:
        """The hellos of these nodes, for a ceremony: one start takes part in one."""
        return {name: self.hellos.pop(name) for name in names}
