"""Telling operators by mail that a request waits for them: at least once each, for as long as it does.

What is owed stands in the database beside what webhooks are owed. A mail has no link and nothing of the
payment: it goes through other people's machines, and who learns to follow its links will follow a forged one.
"""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias

from custody.approvals import draft
from custody.feeds import Delivery, Event
from custody.parts import Parts
from custody.records import RequestRecord
from custody.requests import State
from custody.webhooks import back_off_ms
from policy.errors import OperationalError

Security: TypeAlias = Literal["tls", "starttls", "insecure-plain"]
AT_ONCE_MAX: Final = 16
LOOK_AGAIN_S: Final = 2.0
SUBJECT: Final = "A payment waits for your approval / 有一笔付款等待您批准"
TEXT: Final = """\
{name}, a request waits for your approval until {expires} UTC:

    {request}

Open the console by your own bookmark, or run quorumkeep approve with this id on your machine.
This mail has no link, nothing is approved by answering it, and nobody of Quorumkeep asks you to
follow one. If you did not expect it, look in the console who asked.

{name}，有一个请求等待您批准，截止时间 {expires} UTC，编号见上。
请通过您自己的书签打开控制台，或在您的机器上用该编号运行 quorumkeep approve。
本邮件不含链接，回复不会批准任何内容，也不会有人要求您点击链接。
"""
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MailConfig:
    """The server that takes mail, as whom, and whom to tell; ``certificate`` is its one authority, if any."""

    host: str
    port: int
    security: Security
    user: str
    password_file: Path | None
    certificate: Path | None
    sender: str
    to: Mapping[str, str]


class Postman(Protocol):
    """Hands mails to a server."""

    async def send(self, message: EmailMessage) -> None:
        """Have one mail taken. Raises ``OperationalError`` when it is not."""


class Mailer:
    """Tells each configured operator of what waits for them."""

    def __init__(self, parts: Parts, config: MailConfig, *, postman: Postman) -> None:
        self._parts = parts
        self._config = config
        self._postman = postman
        self._bell = asyncio.Event()

    @property
    def queues(self) -> list[str]:
        """What operators' queues are called."""
        return [queue_of(operator) for operator in self._config.to]

    def changed(self, record: RequestRecord) -> None:
        """A request has changed: look what is owed."""
        if record.state is State.WAITING:
            self._bell.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            self._bell.clear()
            busy = False
            for operator in sorted(self._config.to):
                try:
                    busy |= await self._serve(operator)
                except OperationalError as error:
                    _LOG.warning("mail to %s: %s", operator, error)
            if not busy:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._bell.wait(), LOOK_AGAIN_S)

    async def _serve(self, operator: str) -> bool:
        """Whether anything was due for an operator."""
        feeds, now, place = self._parts.feeds, self._parts.now_ms(), queue_of(operator)
        await feeds.queue_deliveries(place, "", state=State.WAITING, now_ms=now)
        due = await feeds.deliveries(place, now, limit=AT_ONCE_MAX)
        for delivery in due:
            await self._deliver(operator, delivery)
        return bool(due)

    async def _deliver(self, operator: str, delivery: Delivery) -> None:
        place, event, feeds = queue_of(operator), delivery.event, self._parts.feeds
        record = await self._parts.database.get(event.request)
        if record is None or not _waits_for(self._parts, record, operator):
            await feeds.delivered(place, delivery.place)
            return
        error = await self._sent(operator, event, expires_ms=record.expires_ms)
        self._parts.metrics.webhook_deliveries.labels(webhook=place, taken=str(not error).lower()).inc()
        if not error:
            await feeds.delivered(place, delivery.place)
            return
        _LOG.info("no mail to %s of %s: %s", operator, event.id, error)
        due_ms = self._parts.now_ms() + back_off_ms(delivery.attempts)
        await feeds.postpone_delivery(place, delivery.place, due_ms=due_ms, error=error)

    async def _sent(self, operator: str, event: Event, *, expires_ms: int) -> str:
        """Why a mail was not taken; empty if it was."""
        try:
            await self._postman.send(compose(self._config, operator, event=event, expires_ms=expires_ms))
        except OperationalError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - no mail has the authority to end the coordinator
            _LOG.error("sending mail failed in an unforeseen way: %s", type(error).__name__)
            return type(error).__name__
        return ""


def queue_of(operator: str) -> str:
    """What an operator's queue is called among the webhooks'; no webhook's name has a slash."""
    return f"mail/{operator}"


def compose(config: MailConfig, operator: str, *, event: Event, expires_ms: int) -> EmailMessage:
    """The mail on an event; the same one, sent again, has the same id."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = config.sender, config.to[operator], SUBJECT
    message["Date"] = datetime.fromtimestamp(event.time_ms / 1000, UTC)
    message["Message-ID"] = f"<{event.id}.{operator}@{config.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    expires = _minute(expires_ms)
    message.set_content(TEXT.format(name=operator, request=event.request.hex(), expires=expires))
    return message


def _minute(time_ms: int) -> str:
    """A time to the minute; a number of milliseconds beyond what calendars know."""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return f"{time_ms} ms"


def _waits_for(parts: Parts, record: RequestRecord, operator: str) -> bool:
    known = operator in parts.sequencer.state.roster.operators
    return known and draft(parts, record, operator=operator) is not None
