"""Signatures of a long log, looked at by the machine's other cores while one core folds."""

import functools
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor
from contextlib import ExitStack
from typing import Self

from policy.encoding import canonical
from policy.errors import MalformedError
from policy.prechecking import Found, Task, precheck
from policy.roster import Roster, parse_roster


class Pool:
    """Processes that start when the first task comes."""

    def __init__(self, processes: int) -> None:
        self.processes = processes
        self._executor: Executor | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()

    def submit(self, task: Task) -> Callable[[], Found]:
        """Begin; a pool that breaks has found nothing, and then the fold checks by itself."""
        if self._executor is None:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.processes, mp_context=context)
            self._stack.callback(self._executor.shutdown, cancel_futures=True)
        try:
            future = self._executor.submit(_look, task._replace(roster=canonical(task.roster).decode()))
        except BrokenExecutor:
            return dict
        return functools.partial(_result, future.result)


def spare_cores() -> int:
    """How many cores this program may use besides its own."""
    return len(os.sched_getaffinity(0)) - 1


def _result(wait: Callable[[], Found]) -> Found:
    try:
        return wait()
    except BrokenExecutor:
        return {}


def _look(task: Task) -> Found:
    try:
        return precheck(_roster(str(task.roster)), task)
    except MalformedError:
        return {}


@functools.lru_cache(maxsize=4)
def _roster(text: str) -> Roster:
    return parse_roster(json.loads(text))
