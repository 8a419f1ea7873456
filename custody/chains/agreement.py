"""Several endpoints of one chain, of which so many must say the same before it counts: more than half.

One endpoint that lies, lags or is dead changes nothing while enough others agree: while those that have
answered do not, the slower ones are waited for. What counts as the same is the family's: its module
``agreement`` says so. Whoever stands alone, or is silent, is counted and warned of.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Generic, Protocol, TypeVar

from custody.ports import Receipt
from policy.errors import OperationalError

E = TypeVar("E")
T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
SILENT, ALONE = "silent", "alone"
GRACE_S = 1.0
"""How long the slower endpoints are waited for when enough have answered."""
HASTE: Final = 0.1
"""The share of all time that a slow endpoint may cost; on top of a grace, where nothing is agreed."""
UNDECIDED_GRACES: Final = 10
"""How long they are waited for while those that have answered do not agree."""
ANSWER_S: Final = 60.0
"""A question of many calls ends by then, whoever answers each of them just in time."""
HANDED_S: Final = 30.0
WARNED_AGAIN_S: Final = 600.0
SHOWN_MAX: Final = 200
_LOG = logging.getLogger(__name__)


class Doubted(Protocol):
    """Who counts the questions of a chain in which an endpoint was ``SILENT``, or ``ALONE``."""

    def __call__(self, chain: str, endpoint: str, *, kind: str) -> None:
        """One more."""


def unheard(chain: str, endpoint: str, *, kind: str) -> None:
    """Nobody counts."""


class Impossible(OperationalError):
    """What is asked for cannot be now, by an endpoint that answers: nobody doubts it for that."""


class Agreement(Generic[E]):
    """Asks all endpoints of a chain, by what they are called, and says what enough of them answer."""

    def __init__(
        self,
        name: str,
        endpoints: Mapping[str, E],
        *,
        agree: int,
        grace_s: float = GRACE_S,
        answer_s: float = ANSWER_S,
        doubted: Doubted = unheard,
    ) -> None:
        if not len(endpoints) < 2 * agree <= 2 * len(endpoints):
            raise ValueError(f"{agree} of {len(endpoints)} endpoints: more than half, and no more than all")
        self.name = name
        self.endpoints = dict(endpoints)
        self._agree, self._liars = agree, len(endpoints) - agree
        self._grace_s, self._answer_s = grace_s, answer_s
        self._doubted = doubted
        self._warned: dict[tuple[str, str], float] = {}
        self._patient_from = dict.fromkeys(endpoints, 0.0)
        self._handing: set[asyncio.Task[None]] = set()

    def confirmed(self, values: Iterable[int]) -> int:
        """The most that enough confirm: those behind say less, one that lies upward stands alone."""
        return sorted(values, reverse=True)[self._agree - 1]

    def between(self, what: str, answers: Mapping[str, int]) -> int:
        """A number that those who may lie moved neither way. Raises ``OperationalError`` if none is sure."""
        value = self.confirmed(answers.values())
        if sum(one <= value for one in answers.values()) <= self._liars:
            raise self._contradiction(what, answers)
        return value

    def enough(self, offers: Iterable[int]) -> int:
        """The dearest offer that those who may lie cannot have raised, however few have answered."""
        ordered = sorted(offers)
        return ordered[len(ordered) - 1 - self._liars]

    def at_least(self, needs: Iterable[int]) -> int:
        """The smallest need that those who may lie cannot have lowered, however few have answered."""
        return sorted(needs)[self._liars]

    def said(self, words: Iterable[str]) -> str:
        """What more say alike than may lie; nothing where there is no such thing."""
        word, count = Counter(words).most_common(1)[0]
        return word if count > self._liars else ""

    def known(self, what: str, answers: Mapping[str, Collection[T]]) -> set[T]:
        """What stands in the answers of enough."""
        first, *others = answers.values()
        if all(one == first for one in others):
            return set(first)
        counts = Counter(one for answer in answers.values() for one in set(answer))
        found = {one for one, count in counts.items() if count >= self._agree}
        for name, answer in answers.items():
            if other := len(found.symmetric_difference(answer)):
                self._doubt(name, ALONE, f"has {other} {what} more or less than enough others say")
        return found

    def same(self, what: str, answers: Mapping[str, T]) -> T:
        """The answer that enough give. Raises ``OperationalError`` naming all answers otherwise."""
        value, count = Counter(answers.values()).most_common(1)[0]
        if count < self._agree:
            raise self._contradiction(what, answers)
        for name, answer in answers.items():
            if answer != value:
                self._doubt(name, ALONE, f"stands alone: its {what} is {str(answer)[:SHOWN_MAX]}")
        return value

    async def agreed(self, what: str, call: Callable[[E], Coroutine[Any, Any, K]]) -> K:
        """The answer that enough give. Raises ``OperationalError``."""
        return self.same(what, await self.ask(what, call, alike=_itself))

    async def agreed_by(
        self, what: str, call: Callable[[E], Coroutine[Any, Any, T]], *, key: Callable[[T], K]
    ) -> tuple[K, list[T]]:
        """What enough answers have alike by ``key``, and these answers. Raises ``OperationalError``."""
        answers = await self.ask(what, call, alike=key)
        value = self.same(what, {name: key(one) for name, one in answers.items()})
        return value, [one for one in answers.values() if key(one) == value]

    async def ask(
        self,
        what: str,
        call: Callable[[E], Coroutine[Any, Any, T]],
        *,
        alike: Callable[[T], Hashable] | None = None,
    ) -> dict[str, T]:
        """Answers by endpoint, at least as many as must agree. Raises ``OperationalError`` otherwise.

        With ``alike`` the slower ones are waited for until enough are.
        """
        tried = await self._all(call, alike=alike)
        answers = {name: one for name, one in tried.items() if not isinstance(one, OperationalError)}
        failures = {name: one for name, one in tried.items() if isinstance(one, OperationalError)}
        if len(answers) >= self._agree:
            self._doubt_silent(what, failures)
            return answers
        if len(self.endpoints) == 1:
            raise next(iter(failures.values()))
        self._doubt_silent(what, failures)
        raise OperationalError(
            f"{len(answers)} of {len(self.endpoints)} endpoints of {self.name} give a {what}, and "
            f"{self._agree} must: " + "; ".join(f"{name}: {one}" for name, one in failures.items())
        )

    async def hand(self, call: Callable[[E], Coroutine[Any, Any, None]]) -> None:
        """Hand something to all: one that takes it is enough, and the slower ones are still handed it.

        Raises what the first says when none takes it.
        """
        handed = [asyncio.create_task(_bounded(call(one), HANDED_S)) for one in self.endpoints.values()]
        self._handing.update(handed)
        for task in handed:
            task.add_done_callback(self._handed)
        for done in asyncio.as_completed(handed):
            with contextlib.suppress(OperationalError):
                await done
                return
        await handed[0]

    def _handed(self, task: "asyncio.Task[None]") -> None:
        self._handing.discard(task)
        if not task.cancelled():
            task.exception()  # whoever hands it over hears of it, unless another one took it

    async def _all(
        self,
        call: Callable[[E], Coroutine[Any, Any, T]],
        *,
        alike: Callable[[T], Hashable] | None = None,
    ) -> dict[str, T | OperationalError]:
        """What each endpoint answers; the slow are left behind once enough have and their grace is over.

        Of those left behind there is an error for who had all of the grace.
        """
        asked = {
            asyncio.create_task(_bounded(call(one), self._answer_s)): n for n, one in self.endpoints.items()
        }
        try:
            late = await self._gather(asked, alike=alike)
            return {
                name: _outcome(task) if task.done() else OperationalError("no answer in time")
                for task, name in asked.items()
                if task.done() or name in late
            }
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def _gather(
        self, asked: Mapping["asyncio.Task[T]", str], *, alike: Callable[[T], Hashable] | None
    ) -> set[str]:
        """Wait for answers; who is ``late``: had all of the grace, and is not there."""

        def is_agreed(done: Sequence[T]) -> bool:
            return alike is not None and _most(map(alike, done)) >= self._agree

        await _until(asked, lambda done: len(done) >= self._agree)
        if not is_agreed(_answers(asked)):
            await _within(asked, self._grace_s * HASTE)
        late = await self._grant_grace(asked)
        if alike is not None:
            with contextlib.suppress(TimeoutError):  # those that differ for a moment agree when asked again
                async with asyncio.timeout(self._grace_s * UNDECIDED_GRACES):
                    await _until(asked, is_agreed)
        return late

    async def _grant_grace(self, asked: Mapping["asyncio.Task[T]", str]) -> set[str]:
        """Wait for the slower ones that cost no time lately, so that no series of questions is slow."""
        begun = time.monotonic()
        waiting = [task for task in asked if not task.done() and begun >= self._patient_from[asked[task]]]
        await _within(waiting, self._grace_s)
        for task in waiting:
            self._patient_from[asked[task]] = begun + (time.monotonic() - begun) / HASTE
        return {asked[task] for task in waiting if not task.done()}

    def _contradiction(self, what: str, answers: Mapping[str, object]) -> OperationalError:
        said = "; ".join(f"{name}: {str(answer)[:SHOWN_MAX]}" for name, answer in answers.items())
        return OperationalError(
            f"endpoints of {self.name} do not agree on the {what} ({said}): asked again; look at the "
            "one that stands alone"
        )

    def _doubt_silent(self, what: str, failures: Mapping[str, OperationalError]) -> None:
        silent = {name: one for name, one in failures.items() if not isinstance(one, Impossible)}
        for name, failure in silent.items():
            self._doubt(name, SILENT, f"gives no {what}: {failure}")

    def _doubt(self, endpoint: str, kind: str, why: str) -> None:
        self._doubted(self.name, endpoint, kind=kind)
        now = time.monotonic()
        if now - self._warned.get((endpoint, kind), -WARNED_AGAIN_S) >= WARNED_AGAIN_S:
            self._warned[endpoint, kind] = now
            _LOG.warning("endpoint %s of %s %s", endpoint, self.name, why)


def where_mined(receipt: Receipt | None) -> tuple[int, bool] | None:
    """What endpoints must have alike of a receipt: its block and the outcome; None while no block has it."""
    return None if receipt is None else (receipt.block, receipt.success)


def least_deep(ends: Agreement[Any], alike: Iterable[Receipt | None]) -> Receipt | None:
    """Of receipts that are alike ``where_mined`` one, at the depth that enough endpoints confirm."""
    mined = [one for one in alike if one is not None]
    if not mined:
        return None
    return replace(mined[0], confirmations=ends.confirmed(one.confirmations for one in mined))


def check_far(head: int, block: int) -> None:
    """That an endpoint has come to a block. Raises ``OperationalError``: it tells nothing of later ones."""
    if head < block:
        raise OperationalError(f"it has come to block {head}, not to {block}: it is asked again")


def _itself(answer: K) -> K:
    return answer


def _most(keys: Iterable[Hashable]) -> int:
    """How many are alike, of those of which most are."""
    return max(Counter(keys).values(), default=0)


async def _until(asked: Collection["asyncio.Task[T]"], is_enough: Callable[[Sequence[T]], bool]) -> None:
    """Wait until there is enough in what was answered, or nothing is waited for any more."""
    while True:
        waiting = [task for task in asked if not task.done()]
        if not waiting or is_enough(_answers(asked)):
            return
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)


def _answers(asked: Iterable["asyncio.Task[T]"]) -> list[T]:
    return [task.result() for task in asked if task.done() and task.exception() is None]


async def _within(tasks: Iterable["asyncio.Task[T]"], bound_s: float) -> None:
    if waiting := [task for task in tasks if not task.done()]:
        await asyncio.wait(waiting, timeout=bound_s)


async def _bounded(asked: Coroutine[Any, Any, T], bound_s: float) -> T:
    """An answer by its time. Whatever is not one is an ``OperationalError``, of that endpoint alone."""
    try:
        async with asyncio.timeout(bound_s):
            return await asked
    except OperationalError:
        raise
    except TimeoutError as error:
        raise OperationalError(f"no answer in {bound_s:g} s: it is asked again") from error
    except Exception as error:
        raise OperationalError(f"its answer is nothing that can be read ({type(error).__name__})") from error


def _outcome(task: "asyncio.Task[T]") -> T | OperationalError:
    error = task.exception()
    return error if isinstance(error, OperationalError) else task.result()
