"""What backends and operators can ask of the coordinator. It refuses early what the log would refuse."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

from custody import approvals, cold, deposits, drafts, enacting
from custody.address_lists import lists_shown, pending_text
from custody.api.calls import SKEW_MS
from custody.api.errors import CallRefused, Code
from custody.cold import ColdStep
from custody.enacting import Signed, enact
from custody.feeds import Backlog, Deposit, DepositAddress, Event
from custody.forking import draft_fork
from custody.keys import Import, change_key, import_offers, key_report
from custody.listening import FeedReader
from custody.parts import Parts
from custody.planning import key_of
from custody.ports import Gathered
from custody.records import REQUEST_BYTES_MAX, IdempotencyConflict, RequestRecord, new_request
from custody.replication import UNCONFIGURED
from custody.requests import FINAL
from custody.requests import State as RequestState
from custody.vitals import Vital
from custody.webhooks import Webhook
from policy.accounts import Account, account_at
from policy.encoding import Json, canonical, parse_canonical
from policy.errors import InvalidSignatureError, MalformedError, OperationalError, ProtocolError
from policy.intent import Request, parse_request, verify_request
from policy.program import about
from policy.state import State
from policy.words.sentences import sections

WATCHERS_QUEUE_MAX = 1000
OFFER_BYTES_MAX = 4096
READS_MAX = 10
IN_EVENTS = ("state", "rule", "tx_hash", "block", "approvals")


@dataclass(frozen=True, slots=True)
class Shown:
    """A request and its newest event, which is not older than the record."""

    record: RequestRecord
    event: Event


class Service:
    """One coordinator's answers. Every method raises ``CallRefused`` with a stable code."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.feed = FeedReader(parts)
        self._watchers: set[asyncio.Queue[RequestRecord]] = set()
        parts.duties.on_changed.append(self._changed)

    async def submit(self, body: bytes, signature: bytes, *, psbt: bytes = b"") -> RequestRecord:
        """Take in a signed request, once for each idempotency key; durable when this returns.

        With a PSBT it is paid by just that one's coins and outputs, or not at all.
        """
        try:
            document = parse_canonical(body, bytes_max=REQUEST_BYTES_MAX)
            request = parse_request(document)
        except MalformedError as error:
            raise CallRefused(Code.MALFORMED, str(error)) from error
        new = new_request(document, signature)
        self._check_author(document, request, signature)
        refused = self._mistake(request)
        if refused is not None or psbt:  # what was taken in before is not looked at again
            known = await self._parts.database.get(new.request)
            if known is not None:
                return known
        if refused is not None:
            raise refused
        if psbt:
            new = replace(
                new, psbt=await drafts.adopt(self._parts, request, identifier=new.request, psbt=psbt)
            )
        try:
            record, is_new = await self._parts.database.submit(new, self._parts.now_ms())
        except IdempotencyConflict as error:
            raise CallRefused(
                Code.IDEMPOTENCY_CONFLICT,
                f"key {request.idempotency_key!r} names another request: use a new key",
            ) from error
        except (OperationalError, asyncio.CancelledError):  # who hangs up does not undo the write
            self._parts.duties.look_again()
            raise
        if is_new:
            self._parts.duties.submitted(record)
        return record

    async def get(self, request: bytes, initiator: str = "") -> RequestRecord:
        """One request; with ``initiator``, only one of its own."""
        record = await self._parts.database.get(request)
        if record is None or initiator not in ("", record.initiator):
            raise CallRefused(Code.UNKNOWN_REQUEST, f"there is no request {request.hex()}: look at its id")
        return record

    async def psbt(self, request: bytes, initiator: str = "", *, version: int = 0) -> tuple[bytes, bool]:
        """A request's newest transaction as a PSBT, and whether it is signed."""
        return drafts.psbt_of(self._parts, await self.get(request, initiator), version=version)

    async def gather(self, wallet: str, *, to_wallet: str, coins_max: int) -> tuple[str, Gathered]:
        """Coins of a wallet as one, at the first address of a wallet, as a PSBT to ask with."""
        return await drafts.gather(self._parts, wallet, to_wallet=to_wallet, coins_max=coins_max)

    async def requests(
        self, *, state: str, initiator: str, limit: int, before: bytes
    ) -> tuple[RequestRecord, ...]:
        """Requests, newest first. Raises ``CallRefused`` for an unknown state, or one to go on after."""
        if state and state not in [*RequestState]:
            known = ", ".join(RequestState)
            raise CallRefused(Code.MALFORMED, f"there is no state {state[:32]!r}: the states are {known}")
        if before:
            await self.get(before, initiator)
        return await self._parts.database.requests(
            state=state, initiator=initiator, limit=limit or 100, before=before
        )

    async def shown(self, *records: RequestRecord, own: bool) -> tuple[Shown, ...]:
        """The records with their newest events: of the initiator's ``own`` feed, or of everybody's."""
        newest = await self._parts.feeds.newest_events([record.request for record in records], own=own)
        return tuple([await self._matched(record, newest[record.request], own=own) for record in records])

    async def _matched(self, record: RequestRecord, event: Event, *, own: bool) -> Shown:
        """Both of one moment: whoever waits for what comes after the event must not miss a change."""
        for _ in range(READS_MAX):
            if all(getattr(record, name) == getattr(event, name) for name in IN_EVENTS):
                break
            event = (await self._parts.feeds.newest_events([record.request], own=own))[record.request]
            record = await self.get(record.request)
        return Shown(record, event)

    async def watch(self, request: bytes, initiator: str = "") -> AsyncIterator[RequestRecord]:
        """A request (or, for empty bytes, every one) as it is and whenever it changes, to its end."""
        queue: asyncio.Queue[RequestRecord] = asyncio.Queue(WATCHERS_QUEUE_MAX)
        self._watchers.add(queue)
        try:
            record = await self.get(request, initiator) if request else None
            if record is not None:
                yield record
            while record is None or record.state not in FINAL:
                changed = await queue.get()
                if request not in (b"", changed.request) or initiator not in ("", changed.initiator):
                    continue
                record = changed if request else None
                yield changed
        finally:
            self._watchers.discard(queue)

    async def approve(self, body: bytes, assertion: bytes) -> RequestRecord:
        """Take in an operator's approval; in the log when this returns."""
        return await approvals.take_approval(self._parts, body, assertion=assertion)

    async def pending(self, operator: str) -> list[bytes]:
        """Drafts of the approvals ``operator`` could give."""
        if operator not in self._parts.sequencer.state.roster.operators:
            raise CallRefused(Code.FORBIDDEN, f"{operator[:64]!r} is no operator: they approve")
        return await approvals.drafts(self._parts, operator)

    def address(self, wallet: str, path: str) -> tuple[Account, str, bytes]:
        """The account of a wallet at one of its paths, its chain, and its public key's group key."""
        state = self._parts.sequencer.state
        known = state.policy.wallets.get(wallet)
        if known is None:
            raise CallRefused(Code.UNKNOWN_WALLET, f"the policy has no wallet {wallet[:64]!r}")
        if path and path not in known.paths:
            raise CallRefused(Code.UNKNOWN_WALLET, f"wallet {wallet} has no path {path[:64]!r} in the policy")
        try:
            key = key_of(state, wallet)
        except OperationalError as error:
            raise CallRefused(Code.UNKNOWN_KEY, str(error)) from error
        return account_at(key, path or known.paths[0], chain=known.chain), known.chain, key.group_key

    async def give_address(self, caller: str, wallet: str, *, label: str, path: str = "") -> DepositAddress:
        """The caller's address with this label, a fresh one if there is none."""
        return await deposits.give(self._parts, caller, wallet=wallet, label=label, path=path)

    async def addresses(
        self, caller: str, wallet: str, *, after: str = "", limit: int = 100
    ) -> tuple[DepositAddress, ...]:
        """The addresses that the caller was given, oldest first; people see all."""
        return await deposits.listed(self._parts, caller, wallet=wallet, after=after, limit=limit)

    async def deposits(
        self, caller: str, wallet: str, *, after: bytes = b"", limit: int = 100
    ) -> tuple[Deposit, ...]:
        """What was paid at the addresses that the caller was given, in order; people see all."""
        return await deposits.received(self._parts, caller, wallet=wallet, after=after, limit=limit)

    async def label_address(self, caller: str, wallet: str, *, address: str, label: str) -> DepositAddress:
        """Give an address of the caller another label."""
        return await deposits.relabel(self._parts, caller, wallet=wallet, address=address, label=label)

    async def webhooks(self, caller: str) -> tuple[tuple[Webhook, Backlog], ...]:
        """The caller's webhooks, and what each is still to be told."""
        mine = self._parts.hooks.of(caller)
        return tuple([(one, await self._parts.feeds.backlog(one.name)) for one in mine])

    async def resend(self, caller: str, webhook: str, *, first: str, last: str) -> int:
        """Have one of the caller's webhooks told these events once more; how many they are."""
        if webhook not in {one.name for one in self._parts.hooks.of(caller)}:
            raise CallRefused(Code.UNKNOWN_WEBHOOK, f"{caller} has no webhook {webhook[:64]!r}")
        bounds = [await self.feed.position(one, caller) for one in (first, last)]
        low, high = (int(one.partition("-")[2]) for one in bounds)
        return await self._parts.feeds.queue_again(
            webhook, caller, first=low, last=high, now_ms=self._parts.now_ms()
        )

    async def change_key(self, caller: str, key: str, *, change: str, dealt: Import | None = None) -> bytes:
        """Have the nodes begin a key's next epoch; for administrators."""
        self._administrator(caller)
        try:
            return canonical(await change_key(self._parts, key, change=change, dealt=dealt))
        except OperationalError as error:
            raise CallRefused(Code.UNAVAILABLE, str(error)) from error

    async def import_offers(self, caller: str, key: str) -> tuple[int, bytes]:
        """Have the nodes offer one-time keys for an import; for administrators."""
        self._administrator(caller)
        try:
            attempt, offers = await import_offers(self._parts, key)
            listed = [parse_canonical(offer, bytes_max=OFFER_BYTES_MAX) for offer in offers]
        except (OperationalError, MalformedError) as error:
            raise CallRefused(Code.UNAVAILABLE, str(error)) from error
        return attempt, canonical(listed)

    async def cold(self, caller: str, wanted: ColdStep) -> tuple[bytes, list[tuple[str, int, bytes]]]:
        """A step of a cold ceremony: how it stands, and the letters to carry now; for people."""
        roster = self._parts.sequencer.state.roster
        if caller not in roster.operators and caller not in roster.administrators:
            raise CallRefused(Code.FORBIDDEN, f"{caller} is no operator or administrator: this is theirs")
        try:
            return await cold.step(self._parts, wanted)
        except ProtocolError as error:
            raise CallRefused(Code.LETTER_REFUSED, str(error)) from error
        except OperationalError as error:
            raise CallRefused(Code.UNAVAILABLE, str(error)) from error

    async def enact(self, caller: str, signed: Signed) -> bytes:
        """Put into the log what administrators signed, for administrators; and statements, for everybody."""
        if signed.kind not in enacting.STATEMENTS:
            self._administrator(caller)
        return canonical(await enact(self._parts, signed))

    async def draft_fork(self, caller: str, cosigner: str) -> bytes:
        """What a fork entry for ``cosigner`` needs; for administrators."""
        self._administrator(caller)
        return canonical(await draft_fork(self._parts, cosigner))

    def document(self, caller: str, wanted: bytes) -> tuple[str, bytes]:
        """Kind and bytes of the policy or roster with this hash; for administrators."""
        self._administrator(caller)
        kind, document = enacting.document(self._parts.sequencer.state, wanted)
        return kind, canonical(document)

    async def shadow(self, *, flips: bool, limit: int) -> Json:
        """What the shadow policy would have said of the newest requests and reservations."""
        if self._parts.shadow is None:
            return {"policy": "", "name": "", "errors": 0, "verdicts": []}
        return await self._parts.shadow.report(flips=flips, limit=limit)

    def policy(self) -> Json:
        """The policy in force as administrators signed it, its hash, and what it says in sentences."""
        state = self._parts.sequencer.state
        said: list[Json] = [
            {"title": section.heading, "sentences": [one.text for one in section.sentences]}
            for section in sections(state.policy)
        ]
        return {
            "name": state.policy.name,
            "hash": state.policy_hash.hex(),
            "book": state.book_hash.hex(),
            "document": state.policy_document,
            "sentences": said,
        }

    def log_note(self) -> bytes:
        """The newest checkpoint with w cosignatures."""
        return self._parts.replication.quorum.note

    async def status(self, initiator: str = "") -> Json:
        """What is in force, and requests in numbers; with ``initiator``, nothing but that and its own."""
        parts, state = self._parts, self._parts.sequencer.state
        counts = await parts.database.counts(initiator)
        shown: dict[str, Json] = {
            "origin": state.origin,
            "time_ms": parts.now_ms(),
            "rules": state.rules,
            "policy": state.policy_hash.hex(),
            "book": state.book_hash.hex(),
            "frozen": state.frozen,
            "requests": {**counts},
        }
        return shown if initiator else {**shown, **self._deployment()}

    def _deployment(self) -> dict[str, Json]:
        """What backends are not shown: how much others ask for can be read from it."""
        parts, state = self._parts, self._parts.sequencer.state
        pools: list[Json] = [
            {"key": group.key, "signers": list(group.signers), "stock": stock}
            for group, stock in parts.pools.report()
        ]
        scorecard = parts.indicators.to_json()
        return {
            "size": state.size,
            "quorum_size": parts.replication.quorum.size,
            **about(),
            **_governance(state),
            "keys": [key_report(state, key) for _, key in sorted(state.keys.items())],
            "nodes": self._nodes(),
            "pools": pools,
            **({"indicators": scorecard} if scorecard else {}),
        }

    def _nodes(self) -> list[Json]:
        """Every cosigner of the configuration, and those that it lacks."""
        parts, left = self._parts, self._parts.quarantine.reasons
        nodes: list[Json] = [
            {
                "name": name,
                "live": follower.live,
                "size": follower.size or 0,
                "boot": parts.nodes[name].boot,
                "problem": follower.problem,
                **({"quarantine": left[name]} if name in left else {}),
                **_vital(parts.vitals.known.get(name), parts.now_ms()),
            }
            for name, follower in sorted(parts.replication.followers.items())
        ]
        return nodes + [
            {"name": name, "live": False, "size": 0, "boot": "", "problem": UNCONFIGURED}
            for name in parts.replication.unconfigured()
        ]

    def _administrator(self, caller: str) -> None:
        if caller not in self._parts.sequencer.state.roster.administrators:
            raise CallRefused(Code.FORBIDDEN, f"{caller} is no administrator: this is theirs to ask")

    def _check_author(self, document: Json, request: Request, signature: bytes) -> None:
        state = self._parts.sequencer.state
        if request.origin != state.origin:
            raise CallRefused(
                Code.FOREIGN_ORIGIN, f"the request is for {request.origin}, this is {state.origin}"
            )
        initiator = state.roster.initiators.get(request.initiator)
        if initiator is None:
            raise CallRefused(Code.UNKNOWN_INITIATOR, f"the roster has no initiator {request.initiator}")
        try:
            verify_request(document, signature, key=initiator.key)
        except InvalidSignatureError as error:
            raise CallRefused(Code.BAD_SIGNATURE, f"{error}: sign statement('request', body)") from error

    def _mistake(self, request: Request) -> CallRefused | None:
        try:
            self._check_request(request)
        except CallRefused as refused:
            return refused
        return None

    def _check_request(self, request: Request) -> None:
        """Courtesies: mistakes that a backend should hear of at once."""
        policy, now = self._parts.sequencer.state.policy, self._parts.now_ms()
        wallet, asset = policy.wallets.get(request.intent.wallet), policy.assets.get(request.intent.asset)
        if request.created_ms > now + SKEW_MS:
            raise CallRefused(
                Code.CLOCK_SKEW, f"it was created at {request.created_ms}, here it is {now}: set the clock"
            )
        if request.intent.chain not in policy.chains:
            raise CallRefused(
                Code.UNKNOWN_WALLET, f"the policy has no chain {request.intent.chain}: correct the name"
            )
        if wallet is None or wallet.chain != request.intent.chain:
            raise CallRefused(
                Code.UNKNOWN_WALLET,
                f"the policy has no wallet {request.intent.wallet} on {request.intent.chain}: correct it",
            )
        if (source := request.intent.source) is not None and source not in wallet.paths:
            raise CallRefused(Code.UNKNOWN_WALLET, f"wallet {wallet.name} has no path {source}: correct it")
        if asset is None or asset.chain != request.intent.chain:
            raise CallRefused(
                Code.UNKNOWN_ASSET,
                f"the policy has no asset {request.intent.asset} on {request.intent.chain}: correct the name",
            )
        if request.expires_ms <= now:
            raise CallRefused(Code.REQUEST_EXPIRED, f"it expired at {request.expires_ms}, here it is {now}")

    def _changed(self, record: RequestRecord) -> None:
        for queue in list(self._watchers):
            if queue.full():  # a reader this slow gets the newest states, not all of them
                queue.get_nowait()
            queue.put_nowait(record)


def _vital(known: Vital | None, now_ms: int) -> dict[str, Json]:
    """Clock and disk of a cosigner's machine, as far as it has said them; the clock of now alone."""
    if known is None:
        return {}
    seen: dict[str, Json] = {
        "seen_ms": known.seen_ms,
        "disk_free_bytes": known.disk_free_bytes,
    }
    if known.program:
        seen |= {"program": known.program, "rules_supported": known.rules_supported}
    off_ms = known.clock_off_at(now_ms)
    return seen if off_ms is None else {**seen, "clock_off_ms": off_ms}


def _governance(state: State) -> dict[str, Json]:
    """What is in force, and what waits: an unfreeze names ``freeze``, a veto a change's ``hash``."""
    pending: list[Json] = [
        {
            "kind": change.kind,
            "hash": change.document_hash.hex(),
            "effective_ms": change.effective_ms,
            "what": pending_text(change),
        }
        for change in state.pending
    ]
    return {
        "roster": state.roster_hash.hex(),
        "freeze": state.freeze.hex() if state.frozen else "",
        "pending": pending,
        "lists": lists_shown(state),
    }
