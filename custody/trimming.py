"""Forgets what is older than the configuration keeps: events of the feed. The log itself is never trimmed."""

import asyncio
import logging

from custody.parts import Parts
from policy.errors import OperationalError

SWEEP_S = 60.0
_LOG = logging.getLogger(__name__)


async def run(parts: Parts, events_ms: int) -> None:
    """Drop events older than ``events_ms``, some at a time, until cancelled."""
    while True:
        try:
            more = True
            while more:
                more = bool(await parts.feeds.trim_events(parts.now_ms() - events_ms, parts.hooks.webhooks))
        except OperationalError as error:
            _LOG.warning("old events stay for now: %s", error)
        await asyncio.sleep(SWEEP_S)
