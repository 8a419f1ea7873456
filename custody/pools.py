"""Stocks of presignatures, one a signing set of a small family, and one on demand for nodes beyond it.

Rules: (1) a presignature is used by one reservation, which the log enforces too; (2) a member that
started anew has forgotten its half: the stock of its sets is dropped; (3) batch ids rise strictly, from
the clock, so that none repeats within a boot of a node whatever this process forgot; (4) a stock that falls
below its low mark is refilled up to its high mark, the poorest first, several sets at once, since nodes have
several cores; a set has one batch under way at most.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from custody.metrics import Metrics
from custody.ports import FreshPresignature, Node
from custody.quarantine import Quarantine
from custody.records import PooledPresignature
from custody.rising import Rising
from custody.signing_sets import SigningSet, family, set_without, usable
from custody.storage import Database
from policy.errors import OperationalError, ProtocolError
from policy.state import KeyRecord, State

IDLE_S = 0.2
RETRY_MS = 1000
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PoolSizes:
    """A set with fewer than ``low`` gets batches of ``batch`` (a multiple of 4) until it has ``high``.

    At most ``parallel`` batches are under way at once.
    """

    low: int
    high: int
    batch: int
    parallel: int


class Pools:
    """The stock of every signing set, and the orders that keep it up."""

    def __init__(
        self,
        database: Database,
        nodes: Mapping[str, Node],
        *,
        sizes: PoolSizes,
        now_ms: Callable[[], int],
        metrics: Metrics,
        quarantine: Quarantine,
    ) -> None:
        self._quarantine = quarantine
        self._database = database
        self._nodes = nodes
        self._sizes = sizes
        self._now_ms = now_ms
        self._metrics = metrics
        self._stock: dict[SigningSet, deque[PooledPresignature]] = {}
        self._suspect_until_ms: dict[str, int] = {}
        self._not_before_ms: dict[SigningSet, int] = {}
        self._families: dict[tuple[object, ...], tuple[SigningSet, ...]] = {}
        self._demanded: dict[str, SigningSet] = {}
        self._batch_ids = Rising(now_ms)
        self._filling: set[SigningSet] = set()
        self._orders: dict[SigningSet, asyncio.Task[None]] = {}
        self._wanted = asyncio.Event()
        self.refilled = asyncio.Event()

    async def load(self, state: State) -> None:
        """Take up the stock of the process before; what the log has named is used."""
        for item in await self._database.free_presignatures():
            if item.presignature not in state.presignatures:
                self._of(_set_of(item)).append(item)

    def suspect(self, names: frozenset[str], for_ms: int) -> None:
        """Prefer sets without these nodes for a while: they did not answer in time."""
        for name in names:
            self._suspect_until_ms[name] = self._now_ms() + for_ms

    def take(
        self, state: State, key: KeyRecord, *, count: int = 1
    ) -> tuple[SigningSet, tuple[PooledPresignature, ...]]:
        """``count`` presignatures of the fullest stock among live, unsuspected signers.

        Raises ``OperationalError`` when it has fewer; then a batch is ordered for nodes that are up.
        """
        self._wanted.set()
        stocked = [group for group in self._stock if group.key == key.key and usable(state, key, group=group)]
        sets = [group for group in stocked if self._fresh(group, count=count)]
        trusted = [group for group in sets if self._trusted(group)]
        if not trusted:
            self._demand(state, key)
        for candidates in (trusted, sets):
            if candidates:
                best = max(candidates, key=lambda group: len(self._stock[group]))
                items = tuple(self._stock[best].popleft() for _ in range(count))
                self._show(best)
                return best, items
        kept_out = sorted(set(key.participants) & self._quarantine.reasons.keys())
        raise OperationalError(
            f"no {count} presignatures of key {key.key} among its live nodes: they make some as soon as "
            f"{key.min_signers} of them are up"
            + (f"; in quarantine: {', '.join(kept_out)}" if kept_out else "")
        )

    def give_back(self, group: SigningSet, items: Iterable[PooledPresignature]) -> None:
        """Presignatures that were not reserved after all."""
        self._of(group).extendleft(items)

    def report(self) -> list[tuple[SigningSet, int]]:
        """What is in stock."""
        return [(group, len(stock)) for group, stock in sorted(self._stock.items(), key=lambda i: str(i[0]))]

    async def run(self, state: Callable[[], State], cosigned: Callable[[], int]) -> None:
        """Keep every stock above its low mark until cancelled. An error of ours is fatal.

        ``cosigned`` is how many entries w cosigners have. A key's new epoch waits for that: before, its nodes
        do not know of it.
        """
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wanted.clear()
                for group in self._poorest(state(), cosigned())[: self._sizes.parallel - len(self._orders)]:
                    self._orders[group] = tasks.create_task(self._try_order(group))
                await _wait(self._wanted, IDLE_S)

    async def _try_order(self, group: SigningSet) -> None:
        try:
            await self._order(group)
        except (OperationalError, ProtocolError) as error:
            _LOG.warning("no presignatures of %s: %s", group, error)
            self._not_before_ms[group] = self._now_ms() + RETRY_MS
        finally:
            del self._orders[group]
            self._wanted.set()

    def _poorest(self, state: State, cosigned: int) -> list[SigningSet]:
        """The sets to fill whose nodes are all up and that have no batch under way, the poorest first."""
        self._drop_epochs_over(state)
        now = self._now_ms()
        needy = [
            (len(self._of(group)), group.signers, group)
            for group in self._wanted_sets(state)
            if state.keys[group.key].index < cosigned
            if group not in self._orders and self._not_before_ms.get(group, 0) <= now
            if self._boots(group) and self._is_to_fill(group)
        ]
        return [group for _, _, group in sorted(needy, key=lambda need: need[:2])]

    def _drop_epochs_over(self, state: State) -> None:
        for group in [group for group in self._stock if group.epoch != state.keys[group.key].epoch]:
            del self._stock[group]

    def _is_to_fill(self, group: SigningSet) -> bool:
        stock = self._drop_stale(group)
        if stock < self._sizes.low:
            self._filling.add(group)
        elif stock >= self._sizes.high:
            self._filling.discard(group)
        return group in self._filling

    def _wanted_sets(self, state: State) -> Iterable[SigningSet]:
        """The families of all keys, and what was demanded beyond them until a family can sign again."""
        for key in state.keys.values():
            kept = self._family(state, key)
            yield from kept
            demanded = self._demanded.get(key.key)
            if demanded in kept or any(self._trusted(group) and self._fresh(group) for group in kept):
                self._demanded.pop(key.key, None)
            elif demanded is not None and usable(state, key, group=demanded):
                yield demanded

    def _family(self, state: State, key: KeyRecord) -> tuple[SigningSet, ...]:
        kept = (key.key, key.epoch, state.bans, state.roster_hash)
        if kept not in self._families:
            self._families = {old: sets for old, sets in self._families.items() if old[0] != key.key}
            self._families[kept] = family(state, key)
        return self._families[kept]

    def _demand(self, state: State, key: KeyRecord) -> None:
        """Want a set of nodes that are up and answer; of any that are up when those are too few."""
        down = {name for name in key.participants if not self._boot(name)}
        slow = {name for name in key.participants if self._suspected(name)}
        group = set_without(state, key, absent=down | slow) or set_without(state, key, absent=down)
        if group is not None:
            self._demanded[key.key] = group

    async def _order(self, group: SigningSet) -> None:
        boots = self._boots(group)
        batch_id = self._batch_ids()
        orders = (
            self._nodes[name].presign(
                group.key,
                group.signers,
                epoch=group.epoch,
                batch_id=batch_id,
                batch=self._sizes.batch,
            )
            for name in group.signers
        )
        answers = await asyncio.gather(*orders)
        if any(answer != answers[0] for answer in answers) or self._boots(group) != boots:
            raise ProtocolError("the nodes name different presignatures for one batch: it is dropped")
        await self._stock_up(group, answers[0], boots)

    async def _stock_up(self, group: SigningSet, fresh: tuple[FreshPresignature, ...], boots: str) -> None:
        signers = ",".join(group.signers)
        items = [
            PooledPresignature(one.presignature, one.nonce_point, group.key, group.epoch, signers, boots)
            for one in fresh
        ]
        await self._database.add_presignatures(items)
        self._of(group).extend(items)
        self._show(group)
        refilled, self.refilled = self.refilled, asyncio.Event()
        refilled.set()

    def _fresh(self, group: SigningSet, *, count: int = 1) -> bool:
        """Whether the set can sign now: all its nodes are up and enough of their present boots is left."""
        return bool(self._boots(group)) and self._drop_stale(group) >= count

    def _drop_stale(self, group: SigningSet) -> int:
        stock, boots = self._of(group), self._boots(group)
        while stock and stock[0].boots != boots:
            stock.popleft()
        return len(stock)

    def _boots(self, group: SigningSet) -> str:
        """The boot ids of the set's nodes; empty unless all are up."""
        boots = [self._boot(name) for name in group.signers]
        return ",".join(boots) if all(boots) else ""

    def _boot(self, name: str) -> str:
        """Its boot id; empty while it is down or in quarantine: nobody can sign with it then."""
        if name not in self._nodes or name in self._quarantine.reasons:
            return ""
        return self._nodes[name].boot

    def _trusted(self, group: SigningSet) -> bool:
        return not any(self._suspected(name) for name in group.signers)

    def _suspected(self, name: str) -> bool:
        return self._suspect_until_ms.get(name, 0) > self._now_ms()

    def _of(self, group: SigningSet) -> deque[PooledPresignature]:
        return self._stock.setdefault(group, deque())

    def _show(self, group: SigningSet) -> None:
        labels = {"key": group.key, "signers": ",".join(group.signers)}
        self._metrics.presignatures.labels(**labels).set(len(self._of(group)))


def _set_of(item: PooledPresignature) -> SigningSet:
    return SigningSet(item.key, item.epoch, tuple(item.signers.split(",")))


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
