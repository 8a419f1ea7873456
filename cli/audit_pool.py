"""Signatures of a long log, looked at by the machine's other cores while one core folds."""

import functools
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from typing import Self

from policy.encoding import canonical
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
        """Begin; work that fails has found nothing, and then the fold checks by itself."""
        try:
            future = self._started().submit(_look, task._replace(roster=canonical(task.roster).decode()))
        except (RuntimeError, OSError):  # a pool that broke or is closed, and no process to be had
            return dict
        return functools.partial(_result, future.result)

    def _started(self) -> Executor:
        if self._executor is None:
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self.processes, mp_context=context)
            self._stack.callback(self._executor.shutdown, cancel_futures=True)
        return self._executor


def spare_cores() -> int:
    """How many cores this program may use besides its own."""
    return len(os.sched_getaffinity(0)) - 1


def _result(wait: Callable[[], Found]) -> Found:
    try:
        return wait()
    except Exception:  # noqa: BLE001 - whatever went wrong elsewhere, here it is looked at once more
        return {}


def _look(task: Task) -> Found:
    return precheck(_roster(str(task.roster)), task)


@functools.lru_cache(maxsize=4)
def _roster(text: str) -> Roster:
    return parse_roster(json.loads(text))
