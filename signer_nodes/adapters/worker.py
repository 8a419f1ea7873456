"""Runs that need a share happen in short-lived worker processes; this is the node's side of them.

``start_template`` before the PKCS#11 module is loaded: the template is then a program without it, and
every worker is a fork of the template, not of the node. The node hands a worker its job, carries messages
between it and the peers, and takes its outcome; the process is gone afterwards, whatever happened.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

from policy.errors import CallerError, FaultyParticipant, MalformedError, OperationalError, UnknownFault
from signer_nodes import worker_frames as frames
from signer_nodes import worker_wire as wire
from signer_nodes.adapters.worker_pipe import WorkerPipe
from signer_nodes.worker_wire import Job, Outcome

RANDOMNESS_BYTES: Final = 32
START_TIMEOUT_S: Final = 60.0
FORK_TIMEOUT_S: Final = 30.0
COMPUTING_ENVIRONMENT: Final = {
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}
"""One thread; and the C library keeps what is freed: a worker that gives memory back only to fetch it anew
takes about a twentieth more time, and it ends soon anyway."""
GONE: Final = "the worker template is gone: restart the node"
_PROGRAM: Final = "signer_nodes.adapters.worker_child"
_ROOT: Final = Path(__file__).resolve().parents[2]
_Message = tuple[int, bytes]


class WorkerSession:
    """One run in one worker. Iterate ``outgoing`` while delivering what peers send, then ``result``.

    Ends by itself; ``cancel`` kills it. Peers are indices, as in the job.
    """

    def __init__(
        self,
        job: Job,
        *,
        pidfd: int,
        pipe: WorkerPipe,
        timeout_s: float,
    ) -> None:
        self._job = job
        self._pidfd = pidfd
        self._pipe = pipe
        self._outgoing: asyncio.Queue[_Message | None] = asyncio.Queue()
        self._fault: FaultyParticipant | None = None
        self._on_fault: Callable[[FaultyParticipant], None] | None = None
        self._task = asyncio.create_task(self._run(timeout_s), name="worker session")
        self._task.add_done_callback(_seen)

    async def outgoing(self) -> AsyncIterator[_Message]:
        """What to send, as (peer, payload), in order; ends when the run does. For one consumer."""
        while (message := await self._outgoing.get()) is not None:
            yield message
        self._outgoing.put_nowait(None)

    async def deliver(self, sender: int, payload: bytes) -> None:
        """Hand over what the authenticated peer ``sender`` sent; after the end it is dropped.

        Raises ``FaultyParticipant`` for a sender that is no peer of this run; the run goes on.
        """
        if sender not in self._job.peers:
            raise FaultyParticipant(sender, f"is not one of the peers {self._job.peers} of this run")
        if self._task.done():
            return
        try:
            await self._pipe.send(frames.DELIVER, bytes([sender]), payload)
        except OSError:
            return  # it ended meanwhile; `result` says how
        except asyncio.CancelledError:
            self.cancel()  # half a frame may be in the pipe
            raise

    async def result(self) -> Outcome:
        """Wait for the outcome.

        Raises ``FaultyParticipant`` (with its ban) or ``UnknownFault`` as the protocol found it, and
        ``OperationalError`` when the worker crashed, was cancelled, or took longer than it may.
        """
        return await asyncio.shield(self._task)

    def on_fault(self, call: Callable[[FaultyParticipant], None]) -> None:
        """Have ``call`` told of a participant's fault when it is read: at once if that was before."""
        self._on_fault = call
        if self._fault is not None:
            call(self._fault)

    def cancel(self) -> None:
        """Kill the worker; ``result`` raises ``OperationalError``."""
        with contextlib.suppress(ProcessLookupError, OSError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    async def _run(self, timeout_s: float) -> Outcome:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._read()
        except TimeoutError as error:
            raise OperationalError(f"the worker took more than {timeout_s} s: a peer is silent") from error
        finally:
            self.cancel()
            os.close(self._pidfd)
            self._pidfd = -1
            self._outgoing.put_nowait(None)
            await self._pipe.close()

    async def _read(self) -> Outcome:
        while True:
            word, parts = await self._frame()
            match word, parts:
                case frames.SEND, [peer, payload] if len(peer) == 1 and peer[0] in self._job.peers:
                    self._outgoing.put_nowait((peer[0], payload))
                case frames.RESULT, _:
                    return self._outcome(parts)
                case _:
                    raise self._noted(_failure(word, parts))

    def _noted(self, failure: Exception) -> Exception:
        """Tell of a fault before this task ends and anything else can run."""
        if isinstance(failure, FaultyParticipant):
            self._fault = failure
            if self._on_fault is not None:
                self._on_fault(failure)
        return failure

    def _outcome(self, parts: Sequence[bytes]) -> Outcome:
        try:
            return wire.parse_outcome(self._job, parts)
        except MalformedError as error:
            raise OperationalError("the worker's outcome does not parse: stop the node and look") from error

    async def _frame(self) -> tuple[bytes, list[bytes]]:
        try:
            return await self._pipe.receive()
        except (EOFError, OSError) as error:
            raise OperationalError("the worker ended without a result: run it again") from error
        except MalformedError as error:
            raise OperationalError("the worker sent what is no frame: stop the node and look") from error


class WorkerTemplate:
    """The running template. Made by ``start_template``; ``close`` ends it and its workers."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        control: socket.socket,
        *,
        timeout_s: float = FORK_TIMEOUT_S,
    ) -> None:
        self._process = process
        self._control = control
        self._timeout_s = timeout_s
        self._lock = threading.Lock()

    async def start(self, job: Job, *, randomness: bytes, timeout_s: float) -> WorkerSession:
        """Start a run. ``randomness``: 32 fresh bytes of the HSM; the worker adds its own."""
        if len(randomness) != RANDOMNESS_BYTES:
            raise CallerError(f"a worker takes {RANDOMNESS_BYTES} random bytes, got {len(randomness)}")
        mine, its = socket.socketpair()
        pipe = WorkerPipe(mine)
        try:
            pidfd = await asyncio.to_thread(self._fork, its)
        except BaseException:
            await pipe.close()
            raise
        finally:
            its.close()
        session = WorkerSession(job, pidfd=pidfd, pipe=pipe, timeout_s=timeout_s)
        with contextlib.suppress(OSError):  # it ended already; `result` says how
            await pipe.send(frames.RUN, randomness, *job.to_parts())
        return session

    @property
    def process_id(self) -> int:
        """The template's own process."""
        return self._process.pid

    async def gone(self) -> OperationalError:
        """Wait until the template has ended, by whatever; what the node then stops with."""
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        handle = os.pidfd_open(self._process.pid)
        loop.add_reader(handle, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)
        return OperationalError(GONE)

    def close(self) -> None:
        """End the template and whatever runs under it."""
        self._control.close()  # the template ends, and the kernel kills its workers
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        self._process.kill()
        self._process.wait()

    def _asked(self, pipe: socket.socket) -> tuple[bytes, list[int]]:
        """The template's answer. When it is late all is over: it could be taken for the next one's."""
        try:
            self._control.settimeout(self._timeout_s)
            socket.send_fds(self._control, [b"f"], [pipe.fileno()])
            answer, handles, _flags, _address = socket.recv_fds(self._control, 1, 1)
        except TimeoutError:
            self._control.close()
            raise
        return answer, handles

    def _fork(self, pipe: socket.socket) -> int:
        try:
            with self._lock:
                answer, handles = self._asked(pipe)
        except OSError as error:
            raise OperationalError(GONE) from error
        if answer == frames.BUSY:
            raise OperationalError("the machine has no process or memory for a worker now: try again later")
        if not answer or len(handles) != 1:
            raise OperationalError(GONE)
        return handles[0]


def start_template() -> WorkerTemplate:
    """Start the template program and wait until it is ready. Call it before PKCS#11 is loaded.

    Raises ``OperationalError`` when it does not come up; its own standard error says why.
    """
    mine, its = socket.socketpair()
    environment = {"PYTHONPATH": str(_ROOT), "PATH": os.defpath, **COMPUTING_ENVIRONMENT}
    with its:
        process = subprocess.Popen(
            [sys.executable, "-m", _PROGRAM, str(its.fileno())],
            pass_fds=(its.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env=environment,
        )
    template = WorkerTemplate(process, mine)
    try:
        mine.settimeout(START_TIMEOUT_S)
        if mine.recv(len(frames.READY), socket.MSG_WAITALL) != frames.READY:
            raise OperationalError("the worker template did not start: look at its standard error")
        mine.settimeout(None)
    except OSError as error:
        template.close()
        raise OperationalError(f"the worker template is not ready after {START_TIMEOUT_S} s") from error
    except OperationalError:
        template.close()
        raise
    return template


def _seen(task: "asyncio.Task[Outcome]") -> None:
    """``result`` tells whoever asks how a run ended; where nobody does, that is no defect to be logged."""
    if not task.cancelled():
        task.exception()


def _failure(word: bytes, parts: Sequence[bytes]) -> Exception:
    match word, list(parts):
        case frames.FAULTY, [document]:
            fault = wire.parse_fault(document)
            return FaultyParticipant(fault.participant, fault.reason, ban=fault.ban)
        case frames.UNKNOWN, [investigation]:
            return UnknownFault(investigation.decode(errors="replace"))
        case frames.TROUBLE, [reason]:
            return OperationalError(reason.decode(errors="replace"))
        case frames.FAILED, [kind]:
            return OperationalError(f"the worker failed by {kind.decode(errors='replace')[:64]}: report it")
        case _:
            return OperationalError("the worker sent what is no answer: stop the node and look")
