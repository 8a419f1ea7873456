"""Forgets what is older than the configuration keeps: events of the feed. The log itself is never trimmed."""

import asyncio
import logging
from collections.abc import Collection

from custody.config import RetentionConfig
from custody.parts import Parts
from policy.errors import OperationalError

SWEEP_S = 60.0
DAY_MS = 86_400_000
_LOG = logging.getLogger(__name__)


async def run(parts: Parts, kept: RetentionConfig, *, queues: Collection[str] = ()) -> None:
    """Drop events that are older than is kept, some at a time, until cancelled; none of a held request.

    What webhooks, and the other ``queues``, are still owed stays.
    """
    owed = [*parts.hooks.webhooks, *queues]
    while True:
        try:
            more = True
            while more:
                before_ms = parts.now_ms() - kept.events_days * DAY_MS
                more = bool(await parts.feeds.trim_events(before_ms, owed, held=kept.hold))
        except OperationalError as error:
            _LOG.warning("old events stay for now: %s", error)
        await asyncio.sleep(SWEEP_S)
