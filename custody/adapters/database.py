"""The store for asyncio: every call runs on one thread of its own, in the order it was asked for."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Concatenate, ParamSpec, TypeVar

from custody.adapters.store import Store

P = ParamSpec("P")
R = TypeVar("R")


class Database:
    """One store behind one thread; ``call(Store.get, request)`` reads like the method it calls."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")

    async def call(self, method: Callable[Concatenate[Store, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
        """The method's result; what it raises is raised here."""
        bound = partial(method, self._store, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._thread, bound)

    def close(self) -> None:
        """Finish the calls under way and close the store."""
        self._thread.shutdown(wait=True)
        self._store.close()
