"""A process that is to end ends within a bound, also when its database answers nothing any more."""

import subprocess
import sys
import threading

from custody.ending import ends_within

HUNG = """
import asyncio, contextlib, logging, threading
from concurrent.futures import ThreadPoolExecutor
from custody.adapters.together import CallsTogether
from custody.ending import ends_within

async def main():
    begun = threading.Event()
    def hang():
        begun.set()
        threading.Event().wait()
    calls = CallsTogether(ThreadPoolExecutor(1), contextlib.nullcontext)
    asking = asyncio.create_task(calls.ask(hang))
    while not begun.is_set():
        await asyncio.sleep(0.01)
    with ends_within(0.1):
        calls.finish()

logging.basicConfig()
asyncio.run(main())
"""


def test_a_process_whose_database_thread_hangs_ends_and_says_so() -> None:
    done = subprocess.run([sys.executable, "-c", HUNG], capture_output=True, timeout=60, check=False)

    assert done.returncode == 1
    assert b"the database most likely does not answer" in done.stderr


def test_what_ends_in_time_is_left_alone() -> None:
    before = set(threading.enumerate())
    with ends_within(60):
        (timer,) = set(threading.enumerate()) - before

    timer.join(30)
    assert not timer.is_alive()
