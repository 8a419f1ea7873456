"""Where the incidents are played: a coordinator that may be anybody's, and cosigners that are honest."""

from functools import partial
from typing import Any

from policy.encoding import Json
from tests.simulation.cluster import Clock, attempt, deal, started
from tests.simulation.world import KEY, PAIR, START_MS, Book, World

PRESIGNATURES = 32
COLD_PATH = "m/1/0"
ALLOWED = {"outcome": "allow", "rule": "small"}


class Town(World):
    """A world whose first policy has some fields changed."""

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        self.fields = fields

    def policy(self, **changed: Any) -> dict[str, Json]:
        """The policy document."""
        return super().policy(**{**self.fields, **changed})


class Scene:
    """One deployment. The book is what whoever has the coordinator writes into the log."""

    def __init__(self, **policy: Any) -> None:
        self.world, self.clock = Town(**policy), Clock(START_MS)
        self.coordinator, self.nodes = started(self.world, self.clock)
        self.presignatures = deal(self.nodes, PAIR, 1, count=PRESIGNATURES)

    @property
    def book(self) -> Book:
        """The log."""
        return self.coordinator.book

    @property
    def rule(self) -> str:
        """The rule of the last verdict."""
        verdict = self.book.last.verdict
        return verdict.rule if verdict else ""

    def advance(self, milliseconds: int) -> None:
        """Let time pass for everybody."""
        self.clock.now_ms += milliseconds
        self.book.advance(milliseconds)

    def reserve(self, request: bytes, *, nonce: int, claim: Any = None, **changed: Any) -> bytes:
        """Log a reservation with the pair's next presignature; ``claim`` is the coordinator's lie."""
        presignature = self.presignatures.pop().hex()
        body = self.book.reservation(request, nonce=nonce, presignatures=[presignature], **changed)
        return self.book.log_reservation(body, claim=claim)

    def partials(self, job: bytes) -> int:
        """How many of the pair give their partial signature, once every cosigner has the log."""
        note = self.coordinator.send()
        return sum(attempt(partial(self.nodes[name].finish, note, job)) for name in PAIR)

    def signed(self, request: bytes, *, nonce: int, **changed: Any) -> bool:
        """Whether a payment gets its signature when it is reserved so."""
        return self.partials(self.reserve(request, nonce=nonce, **changed)) == len(PAIR)

    def forced(self, request: bytes, *, tx: bytes, nonce: int = 0) -> tuple[str, int]:
        """The coordinator claims that these bytes are allowed: what the verdict is, and who signs."""
        job = self.reserve(request, nonce=nonce, tx=tx, claim=ALLOWED)
        return self.rule, self.partials(job)

    def approved(self, amount: int, *operators: str, nonce: int = 0, **changed: Any) -> bytes:
        """A request with the approvals of these operators."""
        request = self.book.request(amount, **changed)
        for operator in operators:
            self.book.approve(request, operator, nonce=nonce)
            assert self.book.last.accepted, self.book.last.reason
        return request


def cold_wallet() -> dict[str, Json]:
    """The wallets of the policy, with a cold one beside the hot one."""
    hot: Json = {"tier": "hot", "key": KEY, "chain": "evm:1", "paths": ["m/0/0", "m/0/1"]}
    return {"hot": hot, "cold": {"tier": "cold", "key": KEY, "chain": "evm:1", "paths": [COLD_PATH]}}
