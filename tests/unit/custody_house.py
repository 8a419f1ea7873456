"""A whole coordinator in one event loop, over cosigners and a chain in memory."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import rlp
from eth_account import Account

from custody import coordinator
from custody.adapters.database import StoreThread
from custody.adapters.state_pages import StatePages
from custody.adapters.store import Store
from custody.adapters.webhook_sender import WebhookSender
from custody.auditors import Auditor
from custody.ceremonies import Ceremonies
from custody.chains.evm.chain import EvmChain
from custody.chains.evm.endpoint import EvmEndpoint, Fees
from custody.chains.evm.transaction import call_of, transaction_hash
from custody.duties import Duties
from custody.following import Followed
from custody.metrics import Metrics
from custody.parts import Parts, Patience
from custody.pools import Pools, PoolSizes
from custody.ports import BalanceChange, Chain, Landed, Node, Receipt, Simulated
from custody.publish import Publisher
from custody.quarantine import Quarantine
from custody.records import RequestRecord
from custody.replication import TELL_EACH, Replication
from custody.requests import State
from custody.rising import Rising
from custody.sequencer import TOGETHER_S, Sequencer
from custody.service import Service
from custody.signing import Signing
from custody.storage import Database
from custody.stored_tip import STATE_FILE, StoredTip
from custody.webhooks import Deliverer, Hooks
from custody.witnesses import Asking, nobody
from policy.encoding import Json
from policy.errors import OperationalError
from policy.intent import Intent
from policy.log.merkle import leaf_hash
from tests.unit.custody_cluster import (
    ANVIL_CHAIN,
    COSIGNERS,
    ETHER,
    KEY,
    FakeNode,
    genesis_entry,
    identity,
    log_key,
    policy_document,
)
from tests.unit.custody_dealer import Dealer
from tests.waiting import WAIT_S, found, until, working

LIFE_MS = 300_000
STORE_EVERY = 16
LOST = frozenset({State.DENIED, State.DELIVERED})
"""A request does not leave these, whatever a chain does."""


@dataclass
class Clock:
    """The real time, or later."""

    ahead_ms: int = 0

    def __call__(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


def later(house: "House") -> None:
    """Let a request of ``LIFE_MS`` expire, and no other."""
    assert isinstance(house.now_ms, Clock)
    house.now_ms.ahead_ms += LIFE_MS + 1


class FakeChain:
    """Mines what it is sent, in order of nonce; recovers the sender with a library of others."""

    def __init__(self, name: str = ANVIL_CHAIN) -> None:
        self.name = name
        self.mined: dict[bytes, Receipt] = {}
        self.sent: list[bytes] = []
        self.balances: dict[str, int] = {}
        self.waiting: dict[tuple[str, int], bytes] = {}
        self.nonces: dict[str, int] = {}
        self.down = False
        self.held = False
        self.refuses = False
        self.price = 10**9
        self.fails = ""
        self.keeps = 0

    async def check(self) -> None:
        self._check_up()

    async def account_nonce(self, account: str) -> int:
        self._check_up()
        return self.nonces.get(account, 0)

    async def balance(self, account: str, contract: str | None = None) -> int:
        return self.balances.get(account, 0)

    async def fees(self, intent: Intent, *, account: str, contract: str | None, ceiling: int) -> Fees:
        self._check_up()
        return Fees(fee_per_gas=min(self.price, ceiling // 21_000), priority_per_gas=1, gas=21_000)

    async def simulate(
        self, tx: bytes, *, account: str, watched: Sequence[tuple[str, str | None]]
    ) -> Simulated:
        """Everybody has a hundred ether; ``fails`` is why it would fail, ``keeps`` what gets lost."""
        self._check_up()
        to, value, _ = call_of(tx)
        moves = dict.fromkeys((holder for holder, _ in watched), 0)
        moves |= {account: -value, to: value - self.keeps} if not self.fails else {}
        have = 100 * ETHER
        changes = (BalanceChange(*one, have, have + moves[one[0]]) for one in watched)
        return Simulated(7, not self.fails, self.fails, tuple(changes))

    async def cancel_fees(self, ceiling: int) -> Fees:
        return Fees(fee_per_gas=self.price, priority_per_gas=1, gas=21_000)

    async def broadcast(self, raw: bytes) -> None:
        self._check_up()
        if self.refuses:
            raise OperationalError("the chain takes no transactions")
        if transaction_hash(raw) in self.mined:
            return
        sender = Account.recover_transaction(raw).lower()
        nonce = int.from_bytes(rlp.decode(raw[1:])[1], "big")
        if nonce < self.nonces.get(sender, 0):
            raise OperationalError("nonce too low")
        self.waiting[sender, nonce] = raw
        if not self.held:
            self.mine(sender)

    def mine(self, sender: str) -> None:
        """Put what is in line into blocks."""
        while (sender, self.nonces.get(sender, 0)) in self.waiting:
            nonce = self.nonces.get(sender, 0)
            raw = self.waiting.pop((sender, nonce))
            self.sent.append(raw)
            mined = transaction_hash(raw)
            self.nonces[sender] = nonce + 1
            self.mined[mined] = Receipt(mined, len(self.mined) + 1, True, 1)

    async def sent_at(self, account: str, nonce: int) -> Landed | None:
        self._check_up()
        for raw in self.sent:
            fields = rlp.decode(raw[1:])
            mine = Account.recover_transaction(raw).lower() == account
            if mine and int.from_bytes(fields[1], "big") == nonce and transaction_hash(raw) in self.mined:
                r, s = (field.rjust(32, b"\0") for field in fields[-2:])
                signature = r + s + bytes([int.from_bytes(fields[-3], "big")])
                unsigned = b"\x02" + rlp.encode(fields[:-3])
                return Landed(self.mined[transaction_hash(raw)], unsigned, (signature,))
        return None

    async def receipt(self, tx_hash: bytes) -> Receipt | None:
        self._check_up()
        return self.mined.get(tx_hash)

    async def is_gone(self, tx_hash: bytes, *, block: int) -> bool:
        return await self.receipt(tx_hash) is None

    def _check_up(self) -> None:
        if self.down:
            raise OperationalError("the chain is down")


class House:
    """The nodes, the chain and the folder that outlive a coordinator, and the one that runs now."""

    def __init__(self, folder: Path, *, policy: "Json | None" = None, roster: "Json | None" = None) -> None:
        self.folder = folder
        self.dealer = Dealer()
        self.nodes = {name: FakeNode(name, self.dealer) for name in COSIGNERS}
        self.log_key = log_key()
        self.sign = identity("coordinator").sign
        self.chain: EvmEndpoint = FakeChain()
        self.genesis = genesis_entry(policy if policy is not None else policy_document(), roster=roster)
        self.patience = Patience(0, 0)
        self.confirmations = 1
        self.signing_s = 0.5
        self.now_ms: Callable[[], int] = Clock()
        self.wall_ms: Callable[[], int] = Clock()
        self.hear_clocks: Callable[[Sequence[int]], None] = lambda _: None
        self.hooks = Hooks()
        self.auditors: tuple[Auditor, ...] = ()
        self.database = f"sqlite:///{folder / 'custody.db'}"
        self.ask: Asking = nobody
        self.together_s, self.tell_each = TOGETHER_S, TELL_EACH
        self.around_database: Callable[[Database], Database] = lambda database: database

    def chains(self) -> Mapping[str, Chain]:
        """What a coordinator pays on, as its process begins."""
        return {ANVIL_CHAIN: EvmChain(self.chain)}

    def build(self) -> Parts:
        """A coordinator's parts over the present database."""
        nodes: Mapping[str, Node] = self.nodes
        metrics, key, chains = Metrics(), self.log_key, self.chains()
        quarantine = Quarantine(self.folder / "quarantine.json")
        thread = StoreThread(Store(self.database))
        database = self.around_database(thread)
        signing = Signing(nodes, timeout_s=self.signing_s)
        replication = Replication(
            database, nodes, on_answer=signing.answered, metrics=metrics, tell_each=self.tell_each
        )
        return Parts(
            database=database,
            feeds=thread,
            sequencer=Sequencer(
                database,
                replication,
                log_key=key,
                now_ms=self.now_ms,
                metrics=metrics,
                together_s=self.together_s,
            ),
            replication=replication,
            duties=Duties(database, now_ms=self.now_ms, metrics=metrics),
            pools=Pools(
                database,
                nodes,
                sizes=PoolSizes(4, 8, 8, 2),
                now_ms=self.now_ms,
                metrics=metrics,
                quarantine=quarantine,
            ),
            signing=signing,
            nodes=nodes,
            chains=chains,
            log_key=key,
            metrics=metrics,
            now_ms=self.now_ms,
            wall_ms=self.wall_ms,
            attempts=Rising(self.now_ms),
            ceremonies=Ceremonies(self.sign),
            confirmations=dict.fromkeys(chains, self.confirmations),
            poll_ms=dict.fromkeys(chains, 20),
            patience=dict.fromkeys(chains, self.patience),
            hooks=self.hooks,
            quarantine=quarantine,
            auditors={one.name: one for one in self.auditors},
            hear_clocks=self.hear_clocks,
        )

    def stored(self) -> StoredTip:
        """What is stored of the log's state, as after years: so soon that most tests have it on the disk."""
        return StoredTip(leaf_hash(self.genesis), StatePages(self.folder / STATE_FILE), every=STORE_EVERY)

    @contextlib.asynccontextmanager
    async def running(self, *, publish: bool = False) -> AsyncIterator["Running"]:
        """One coordinator from start to a stop as sudden as cancelling can make it."""
        parts, opened = self.build(), contextlib.AsyncExitStack()
        task = None
        try:
            stored = opened.enter_context(contextlib.closing(self.stored()))
            await coordinator.start(parts, self.genesis, followed=Followed(parts.database, stored))
            publisher = Publisher(self.folder / "log", ask=self.ask) if publish else None
            if self.ask is not nobody:
                parts.replication.expect_witnesses()
            running = Running(parts, Service(parts))
            deliverer = await self._deliverer(parts, opened)
            running.task = task = asyncio.create_task(coordinator.run(parts, publisher, deliverer=deliverer))
            with working(task):
                yield running
            if task.done():
                task.result()
        finally:
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await opened.aclose()
            parts.database.close()

    async def _deliverer(self, parts: Parts, opened: contextlib.AsyncExitStack) -> Deliverer | None:
        """What tells the webhooks, over real HTTP."""
        if not self.hooks.webhooks:
            return None
        sender = WebhookSender(self.hooks.webhooks)
        opened.push_async_callback(sender.close)
        return Deliverer(parts.feeds, self.hooks, poster=sender, now_ms=self.now_ms, metrics=parts.metrics)

    @contextlib.asynccontextmanager
    async def with_key(self) -> AsyncIterator["Running"]:
        """A running coordinator whose nodes have made the key."""
        async with self.running() as running:
            if KEY not in running.parts.sequencer.state.keys:
                await running.service.change_key("admin", KEY, change="generate")
            yield running


class Running:
    """A coordinator at work."""

    def __init__(self, parts: Parts, service: Service) -> None:
        self.parts = parts
        self.service = service
        self.task: asyncio.Task[None]

    async def cosigned(self) -> None:
        """Until a quorum has cosigned all that is in the log; requests go to it with what comes next."""
        log, replication = self.parts.sequencer, self.parts.replication
        await until(lambda: replication.quorum.size == log.state.size)

    async def until(self, request: bytes, *states: str, wait_s: float = WAIT_S) -> RequestRecord:
        """The request once it is in one of the states; fails at once when it is over otherwise."""

        def reached(record: RequestRecord) -> bool:
            closing = State.CANCELLED in states  # comes after it is over, where others wait behind it
            if record.state in LOST and record.state not in states and not closing:
                raise AssertionError(f"not {states}: {record}")
            return record.state in states

        return await found(lambda: self.service.get(request), reached, wait_s=wait_s)
