"""Reading the feed, and waiting for what comes next in it."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from dataclasses import dataclass

from custody.api.errors import CallRefused, Code
from custody.candidates import Folded
from custody.feeds import EVENT_ID, Event, event_id
from custody.parts import Parts
from custody.records import RequestRecord

NEWEST = "newest"
EVENTS_MAX = 500
WAIT_MAX_MS, OPEN_MAX_MS, KEEP_ALIVE_MS = 60_000, 3_600_000, 10_000
LISTENERS_MAX, LISTENERS_EACH_MAX = 512, 64
LOOKS_APART_S = 0.01  # a payment's events come in bursts
LOOK_AGAIN_S = 5.0  # a change that nobody rang for, such as a duty that is owed no more


@dataclass(frozen=True, slots=True)
class Asked:
    """Events after one of this id (empty: from the beginning), of one request and one initiator or of all.

    ``newest`` is for who asks whether there is anything newer alone, and misses none of what was trimmed.
    """

    after: str = ""
    request: bytes = b""
    initiator: str = ""
    limit: int = 100
    newest: bool = False


class Bell(asyncio.Event):
    """Rings when there may be something new; ``looked_s`` is when its listener looked last."""

    looked_s = 0.0


class FeedReader:
    """The feed, for whoever asks; those who wait are woken when something of theirs has changed."""

    def __init__(self, parts: Parts) -> None:
        self._feeds = parts.feeds
        self._sequencer = parts.sequencer
        self._bells: dict[Bell, Asked] = {}
        parts.duties.on_changed.append(self._ring)
        parts.sequencer.on_written.append(self._written)

    async def position(self, after: str, initiator: str = "", *, newest_only: bool = False) -> str:
        """The id to continue after, as a number of the caller's feed. Raises ``CallRefused``."""
        feed, newest = await self._feeds.feed(initiator)
        trimmed = await self._feeds.trimmed(initiator)
        if after in ("", NEWEST):
            return event_id(feed, newest if after else trimmed)
        match = EVENT_ID.fullmatch(after)
        if match is None:
            raise CallRefused(Code.MALFORMED, f"{after[:40]!r} is no event's id: give one of this feed")
        if match[1] != feed or int(match[2]) > newest:
            raise CallRefused(
                Code.UNKNOWN_EVENT, f"the feed is {feed}, and {after} is no event of it yet: start anew"
            )
        if int(match[2]) < trimmed and not newest_only:
            raise _gone(trimmed)
        return after

    async def events(self, asked: Asked, *, wait_ms: int = 0) -> tuple[Event, ...]:
        """What came after; if there is nothing, what comes within ``wait_ms``. Raises ``CallRefused``."""
        self._check_known(asked)
        position = await self.position(asked.after, asked.initiator, newest_only=asked.newest)
        with self._listening(asked) as bell:
            return await self._next(asked, _number(position), bell=bell, wait_ms=wait_ms)

    async def stream(self, asked: Asked, *, every_ms: int) -> AsyncGenerator[tuple[Event, ...], None]:
        """All that comes after, for ever; nothing at least ``every_ms`` while nothing comes."""
        self._check_known(asked)
        after = _number(await self.position(asked.after, asked.initiator))
        with self._listening(asked) as bell:
            while True:
                found = await self._next(asked, after, bell=bell, wait_ms=every_ms)
                if found:
                    await self._check_whole(asked, after, found)
                    after = _number(found[-1].id)
                yield found

    async def until(self, asked: Asked, *, open_ms: int) -> AsyncIterator[Event]:
        """All that comes after, until ``open_ms`` are over: whoever goes on listening signs anew."""
        clock = asyncio.get_running_loop().time
        ending = clock() + open_ms / 1000
        async with contextlib.aclosing(self.stream(asked, every_ms=min(KEEP_ALIVE_MS, open_ms))) as stream:
            async for found in stream:
                for event in found:
                    yield event
                if clock() >= ending:
                    return

    async def _next(self, asked: Asked, after: int, *, bell: Bell, wait_ms: int) -> tuple[Event, ...]:
        """What came after a place: looked for when the bell has rung since the last look, or in a while."""
        clock = asyncio.get_running_loop().time
        until = clock() + min(wait_ms, WAIT_MAX_MS) / 1000
        while True:
            left_s = until - clock()
            if left_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(bell.wait(), min(left_s, LOOK_AGAIN_S))
            await asyncio.sleep(bell.looked_s + LOOKS_APART_S - clock())
            bell.clear()
            bell.looked_s = clock()
            self._check_known(asked)
            found = await self._feeds.events(
                after,
                request=asked.request,
                initiator=asked.initiator,
                limit=min(asked.limit, EVENTS_MAX),
            )
            if found and len(found) == min(asked.limit, EVENTS_MAX):
                bell.set()  # there may be more
            if found or until <= clock():
                return found

    def _check_known(self, asked: Asked) -> None:
        roster = self._sequencer.state.roster
        if asked.initiator and asked.initiator not in roster.initiators:  # it may have been, when it came
            raise CallRefused(Code.UNAUTHENTICATED, f"the roster has no initiator {asked.initiator} any more")

    async def _check_whole(self, asked: Asked, after: int, found: tuple[Event, ...]) -> None:
        """That nothing was trimmed under a listener that is slow: numbers of a whole feed leave none out."""
        if not asked.request and _number(found[0].id) == after + 1:
            return
        trimmed = await self._feeds.trimmed(asked.initiator)
        if after < trimmed:
            raise _gone(trimmed)

    @contextlib.contextmanager
    def _listening(self, asked: Asked) -> Iterator[Bell]:
        initiator = asked.initiator
        mine = sum(1 for one in self._bells.values() if one.initiator == initiator)
        if len(self._bells) >= LISTENERS_MAX or mine >= LISTENERS_EACH_MAX:
            raise CallRefused(
                Code.TOO_MANY,
                f"{mine} calls of {initiator or 'people'} wait, of at most {LISTENERS_EACH_MAX}",
            )
        bell = Bell()
        bell.set()  # what is there already has not been looked at
        self._bells[bell] = asked
        try:
            yield bell
        finally:
            del self._bells[bell]

    def _written(self, folded: Folded) -> None:
        if folded.outcome.kind == "deposit" and folded.outcome.accepted:
            for bell, asked in self._bells.items():
                if not asked.request:
                    bell.set()

    def _ring(self, record: RequestRecord) -> None:
        for bell, asked in self._bells.items():
            if asked.initiator in ("", record.initiator) and asked.request in (b"", record.request):
                bell.set()


def _number(event: str) -> int:
    """The place of an event in its feed."""
    return int(event.rpartition("-")[2])


def _gone(trimmed: int) -> CallRefused:
    return CallRefused(
        Code.UNKNOWN_EVENT, f"events up to {trimmed} are gone: read requests by their ids, then go on"
    )
