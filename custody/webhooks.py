"""Telling backends of events: each at least once, those of one request in order, for as long as it takes.

What is owed stands in the database until the receiver has taken it. An event that is not taken holds up those
of its own request alone. Only configured URLs are called, and no redirect is followed.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from custody.api.webhook_signing import sign_webhook
from custody.feeds import Delivery, Event, FeedStorage
from custody.metrics import Metrics
from custody.records import RequestRecord
from policy.encoding import Json, canonical
from policy.errors import OperationalError
from policy.ids import transaction_name

PARALLEL_MAX = 16
BACK_OFF_FIRST_MS, BACK_OFF_MAX_MS = 500, 300_000
LOOK_AGAIN_S = 1.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where to tell one initiator of its requests; ``certificate`` is its one authority, if any."""

    name: str
    initiator: str
    url: str
    certificate: Path | None = None


@dataclass(frozen=True, slots=True)
class Hooks:
    """The configured webhooks, and the key that signs what they are told."""

    webhooks: Mapping[str, Webhook] = field(default_factory=dict)
    key: Ed25519PrivateKey | None = field(default=None, repr=False)

    def of(self, initiator: str) -> tuple[Webhook, ...]:
        """An initiator's own."""
        return tuple(one for one in self.webhooks.values() if one.initiator == initiator)


class Poster(Protocol):
    """Calls URLs."""

    async def post(self, webhook: Webhook, body: bytes, *, headers: Mapping[str, str]) -> int:
        """Send a body; the status of the answer. Raises ``OperationalError`` when there is none."""


class Deliverer:
    """Tells the webhooks what they are owed."""

    def __init__(
        self,
        feeds: FeedStorage,
        hooks: Hooks,
        *,
        poster: Poster,
        now_ms: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        self._feeds = feeds
        self._hooks = hooks
        self._poster = poster
        self._now_ms = now_ms
        self._metrics = metrics
        self._bells = {name: asyncio.Event() for name in hooks.webhooks}

    def changed(self, record: RequestRecord) -> None:
        """A request has changed: look what is owed."""
        for webhook in self._hooks.of(record.initiator):
            self._bells[webhook.name].set()

    async def run(self, origin: str) -> None:
        """Deliver until cancelled."""
        async with asyncio.TaskGroup() as group:
            for webhook in self._hooks.webhooks.values():
                group.create_task(self._serve(webhook, origin), name=f"webhook {webhook.name}")

    async def _serve(self, webhook: Webhook, origin: str) -> None:
        bell = self._bells[webhook.name]
        while True:
            bell.clear()
            try:
                await self._feeds.queue_deliveries(webhook.name, webhook.initiator, now_ms=self._now_ms())
                due = await self._feeds.deliveries(webhook.name, self._now_ms(), limit=PARALLEL_MAX)
                await asyncio.gather(*(self._deliver(webhook, one, origin) for one in due))
            except OperationalError as error:
                _LOG.warning("webhook %s: %s", webhook.name, error)
                due = ()
            if not due:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(bell.wait(), LOOK_AGAIN_S)

    async def _deliver(self, webhook: Webhook, delivery: Delivery, origin: str) -> None:
        body, key = canonical(event_document(delivery.event)), self._hooks.key
        if key is None:
            raise OperationalError("there is no webhook key: name its file in the configuration")
        signed = sign_webhook(body, origin=origin, webhook=webhook.name, time_ms=self._now_ms(), key=key)
        try:
            status = await self._poster.post(webhook, body, headers=signed)
            error = "" if 200 <= status < 300 else f"it answered {status}"
        except OperationalError as failure:
            error = str(failure)
        except Exception as failure:  # noqa: BLE001 - no receiver has the authority to end the coordinator
            _LOG.exception("webhook %s: calling it failed in an unforeseen way", webhook.name)
            error = f"{type(failure).__name__}: {failure}"
        self._metrics.webhook_deliveries.labels(webhook=webhook.name, taken=str(not error).lower()).inc()
        if not error:
            await self._feeds.delivered(webhook.name, delivery.place)
            return
        _LOG.info("webhook %s has not taken %s: %s", webhook.name, delivery.event.id, error)
        due_ms = self._now_ms() + back_off_ms(delivery.attempts)
        await self._feeds.postpone_delivery(webhook.name, delivery.place, due_ms=due_ms, error=error)


def back_off_ms(attempts: int) -> int:
    """How long to wait after so many attempts that failed, and one more."""
    return min(BACK_OFF_FIRST_MS << min(attempts, 20), BACK_OFF_MAX_MS)


def event_document(event: Event) -> dict[str, Json]:
    """An event as it is told, everywhere; what there is not yet is left out."""
    if event.deposit:
        return _deposit_document(event)
    document: dict[str, Json] = {
        "id": event.id,
        "sequence": event.sequence,
        "request": event.request.hex(),
        "state": str(event.state),
        "substate": str(event.substate),
        "approvals": event.approvals,
        "time_ms": event.time_ms,
    }
    document |= {"rule": event.rule} if event.rule else {}
    document |= {"tx_hash": transaction_name(event.chain, event.tx_hash)} if event.tx_hash else {}
    document |= {"block": event.block} if event.block else {}
    document |= {"error": event.error} if event.error else {}
    return document


def _deposit_document(event: Event) -> dict[str, Json]:
    deposit: Json = json.loads(event.deposit)
    gone = isinstance(deposit, dict) and deposit["gone"]
    return {
        "id": event.id,
        "sequence": event.sequence,
        "event": "deposit.gone" if gone else "deposit.confirmed",
        "deposit": deposit,
        "time_ms": event.time_ms,
    }
