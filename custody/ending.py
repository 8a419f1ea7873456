"""A process that is to end ends within a bound, whatever a thread of it waits for.

A database that does not answer a commit holds the one thread that asks it, and the interpreter waits for its
threads: only a kill ended such a process. To go then is no worse than any kill, which nothing here rests on.
"""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator

END_S = 12.0  # supervisors wait 15 s before they kill
_LOG = logging.getLogger(__name__)


@contextlib.contextmanager
def ends_within(bound_s: float = END_S) -> Iterator[None]:
    """End the process with 1 unless the context is left within ``bound_s``."""
    timer = threading.Timer(bound_s, _end, (bound_s,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(bound_s: float) -> None:
    _LOG.error(
        "stopped: its parts did not end within %g s, so this process goes as if killed: the database most "
        "likely does not answer (a primary waits for its synchronous standby); the next start goes on",
        bound_s,
    )
    logging.shutdown()
    os._exit(1)
