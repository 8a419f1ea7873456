"""What came of earlier moves: which accounts are busy, and how long what keeps failing is left alone. Pure.

A move's ``route`` in the records is ``asset@account``: the address that is emptied or topped up, or the
wallet where many addresses are spent together.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from custody.rebalancing.moves import IN_FLIGHT, Stage
from custody.rebalancing.records import DAY_MS, Direction, Move

FAILED = frozenset({Stage.REFUSED, Stage.LAPSED, Stage.WITHDRAWN})
REMEMBERED_MS = 2 * DAY_MS
"""Nothing is left alone for longer than a day, so older moves decide nothing."""
DOUBLINGS_MAX, TROUBLED, TROUBLED_PAUSE_MS = 16, 3, 3_600_000


def route_of(asset: str, account: str) -> str:
    """Under which route the moves of an account are put down."""
    return f"{asset}@{account}"


def account_of(move: Move) -> str:
    """The account of a move."""
    return move.route.partition("@")[2]


@dataclass(frozen=True, slots=True)
class Past:
    """The moves that count, oldest first."""

    moves: tuple[Move, ...]

    def busy(self) -> frozenset[str]:
        """Accounts with a move under way: whatever it is, nothing else is asked of them."""
        return frozenset(account_of(move) for move in self.moves if move.stage in IN_FLIGHT)

    def resting(self, seen_ms: int, *, settle_ms: int) -> frozenset[str]:
        """Accounts that something reached or left so lately that a balance of ``seen_ms`` may be older."""
        arrived = (move for move in self.moves if move.stage is Stage.ARRIVED)
        return frozenset(account_of(move) for move in arrived if seen_ms < move.updated_ms + settle_ms)

    def of(self, direction: Direction, asset: str) -> tuple[Move, ...]:
        """The moves of one sweep or tank."""
        return tuple(
            move
            for move in self.moves
            if move.direction is direction and move.route.partition("@")[0] == asset
        )


def failures(moves: Sequence[Move], *, held_base: int | None = None) -> int:
    """How many of the newest moves of one account came to nothing, one after the other.

    A sweep that arrived and left ``held_base`` where it was came to nothing, too: a token may say that it was
    moved and keep it. Of those before it only what swept the very same counts: more may have been paid in.
    """
    count, fruitless = 0, held_base
    for move in reversed([one for one in moves if one.stage not in IN_FLIGHT]):
        kept = move.stage is Stage.ARRIVED and fruitless is not None and move.amount_base <= fruitless
        if kept and count and move.amount_base != fruitless:
            return count
        if not kept and move.stage not in FAILED:
            return count
        fruitless = move.amount_base if kept else fruitless
        count += 1
    return count


def paused_until_ms(moves: Sequence[Move], count: int, *, pause_ms: int, pause_max_ms: int = DAY_MS) -> int:
    """Until when nothing is asked after ``count`` failures, the newest of them at its last change."""
    if not count:
        return 0
    newest = max(move.updated_ms for move in moves if move.stage not in IN_FLIGHT)
    return newest + min(pause_max_ms, pause_ms << min(count - 1, DOUBLINGS_MAX))


def room(moves: Sequence[Move], *, at_once: int, pause_ms: int, now_ms: int) -> int:
    """How many moves of one sweep or tank may begin now.

    Where the newest ones of several accounts failed, the reason is likely not the account: one at a time
    tries it again, after a pause.
    """
    under_way = sum(move.stage in IN_FLIGHT for move in moves)
    over = sorted((one for one in moves if one.stage not in IN_FLIGHT), key=lambda one: one.updated_ms)
    count = failures(over)
    if count < TROUBLED:
        return max(0, at_once - under_way)
    pause_max_ms = max(pause_ms, TROUBLED_PAUSE_MS)
    if now_ms < paused_until_ms(over, count - TROUBLED + 1, pause_ms=pause_ms, pause_max_ms=pause_max_ms):
        return 0
    return max(0, 1 - under_way)


def topped_up(moves: Iterable[Move], *, now_ms: int) -> int:
    """How often an account was topped up in 24 hours, or is about to be."""
    return sum(move.stage not in FAILED and move.created_ms > now_ms - DAY_MS for move in moves)
