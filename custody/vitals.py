"""What cosigners say of their own machines: clock and disk. Facts to look at, never to decide by."""

from collections.abc import Mapping
from dataclasses import dataclass

from policy.encoding import parse_canonical
from policy.errors import MalformedError
from policy.fields import Fields

PROGRAM_CHARACTERS_MAX = 32
STATUS_BYTES_MAX = 1024 * 1024
OLD_MS = 30_000


@dataclass(frozen=True, slots=True)
class Vital:
    """One cosigner's machine as of ``seen_ms``.

    ``clock_off_ms`` is how far its clock is from this one at the least: half of the time that its answer took
    may be the network's. Positive when it is ahead. ``program`` is empty for one that does not say it yet.
    """

    seen_ms: int
    clock_off_ms: int
    disk_free_bytes: int
    program: str = ""
    rules_supported: int = 0

    def clock_off_at(self, now_ms: int) -> int | None:
        """How far off its clock is, unless it has not shown it for a while: it may be another one by now."""
        return self.clock_off_ms if now_ms - self.seen_ms < OLD_MS else None


class Vitals:
    """The newest of every cosigner that has said anything."""

    def __init__(self) -> None:
        self._known: dict[str, Vital] = {}

    @property
    def known(self) -> Mapping[str, Vital]:
        """By name."""
        return self._known

    def take_in(self, name: str, status: bytes, *, asked_ms: int, answered_ms: int) -> None:
        """Read a status document; one of an older program says nothing. Raises ``MalformedError``."""
        document = parse_canonical(status, bytes_max=STATUS_BYTES_MAX)
        if not isinstance(document, dict):
            raise MalformedError(f"{name} shows its status as {type(document).__name__}")
        if "clock_ms" not in document or "disk_free_bytes" not in document:
            return
        fields = Fields(document, "status")
        off_ms = clock_off_ms(fields.integer("clock_ms"), asked_ms=asked_ms, answered_ms=answered_ms)
        free = fields.integer("disk_free_bytes")
        about = fields.has("program") and fields.has("rules_supported")
        program = fields.text("program", length_max=PROGRAM_CHARACTERS_MAX) if about else ""
        rules = fields.integer("rules_supported", low=1) if about else 0
        self._known[name] = Vital(answered_ms, off_ms, free, program, rules)


def clock_off_ms(theirs_ms: int, *, asked_ms: int, answered_ms: int) -> int:
    """How far off a clock is at the least that was read between two readings of ours."""
    if theirs_ms > answered_ms:
        return theirs_ms - answered_ms
    return min(0, theirs_ms - asked_ms)
