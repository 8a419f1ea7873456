"""Starts the processes of a deployment, restarts what dies, and stops all of it whatever happens.

Rules: (1) each process leads a process group of its own, so Ctrl-C reaches the supervisor alone, and what a
process leaves behind is swept up with it; (2) only processes started here are ever signalled, by their
id; (3) PINs live in this process's memory and go to a node through a pipe at each of its starts.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from policy.errors import OperationalError

PIN_PLACE = "{pin}"
POLL_S = 0.05
GRACE_S = 4.0
STOPPING = (signal.SIGINT, signal.SIGTERM)
RESTART_PAUSE_S = 0.3
LOG_LINES_SHOWN = 3
PORTS, PORT_TRIES = range(20_000, 32_000), 200


@dataclass(frozen=True, slots=True)
class Program:
    """What to run: the argument ``{pin}`` becomes the descriptor that ``pin`` can be read from."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    pin: str = field(default="", repr=False)


@dataclass(slots=True)
class _Managed:
    program: Program
    process: "subprocess.Popen[bytes]"
    log_start: int
    wanted: bool = True
    log_before: int = 0


class Supervisor:
    """Use as a context manager: leaving it stops everything that was started in it."""

    def __init__(self) -> None:
        self._managed: dict[str, _Managed] = {}
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def __enter__(self) -> "Supervisor":
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        with _undisturbed():
            self.stop_all()

    def start(self, program: Program) -> None:
        """Start a program and keep it running."""
        _uninterrupted(lambda: self._start(program))

    def _start(self, program: Program) -> None:
        with self._lock:
            if self._ending.is_set():
                raise OperationalError("the deployment is being stopped: nothing is started any more")
            log_start = program.log.stat().st_size if program.log.exists() else 0
            self._managed[program.name] = _Managed(program, _spawn(program), log_start)

    def wait_for(self, name: str, happened: Callable[[str], bool], *, timeout_s: float) -> None:
        """Wait until ``happened`` holds of what the program has written since its last start."""
        deadline = time.monotonic() + timeout_s
        while not happened(self.output(name)):
            if time.monotonic() > deadline:
                raise OperationalError(
                    f"{name} is not ready after {timeout_s:.0f} s; it says: {self.last(name)}"
                )
            time.sleep(POLL_S)

    def output(self, name: str) -> str:
        """What the program has written since its last start."""
        managed = self._managed[name]
        return _read(managed.program.log, managed.log_start)

    def last(self, name: str) -> str:
        """The last lines a program wrote, for an error message; one that ends at once wrote them before."""
        managed = self._managed[name]
        said = self.output(name).strip() or _read(managed.program.log, managed.log_before).strip()
        return " | ".join(said.splitlines()[-LOG_LINES_SHOWN:]) or "nothing"

    def kill(self, name: str) -> None:
        """kill -9, and do not restart it until ``revive``."""
        with self._lock:
            managed = self._managed[name]
            managed.wanted = False
            _sweep(managed.process)

    def stop(self, name: str) -> None:
        """Ask it to end, and do not restart it until ``revive``."""
        with self._lock:
            managed = self._managed[name]
            managed.wanted = False
            _end([managed.process])

    def revive(self, name: str) -> None:
        """Start again what ``kill`` or ``stop`` took down."""
        _uninterrupted(lambda: self._revive(name))

    def _revive(self, name: str) -> None:
        with self._lock:
            self._restart(self._managed[name])

    def stop_all(self) -> None:
        """Stop everything, in parallel, by force where asking does not help. Safe to call twice."""
        self._ending.set()
        with self._lock:
            _end([managed.process for managed in self._managed.values()])
        if self._watcher.is_alive() and threading.current_thread() is not self._watcher:
            self._watcher.join(timeout=GRACE_S)

    def process_ids(self) -> dict[str, int]:
        """The process of each program."""
        return {name: managed.process.pid for name, managed in self._managed.items()}

    def _watch(self) -> None:
        while not self._ending.wait(RESTART_PAUSE_S):
            with self._lock:
                for managed in self._managed.values():
                    if managed.wanted and managed.process.poll() is not None and not self._ending.is_set():
                        _sweep(managed.process)
                        self._restart(managed)

    def _restart(self, managed: _Managed) -> None:
        managed.log_before, managed.log_start = managed.log_start, managed.program.log.stat().st_size
        managed.process = _spawn(managed.program)
        managed.wanted = True


def _read(log: Path, start: int) -> str:
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(start)
        return file.read().decode(errors="replace")
    return ""


def _uninterrupted(call: Callable[[], None]) -> None:
    """Run ``call`` so that no Ctrl-C comes between making a process and knowing of it, but after that."""
    if threading.current_thread() is not threading.main_thread():
        call()
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda one, _: came.append(one)) for number in STOPPING}
    try:
        call()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for late in came:
        signal.raise_signal(late)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep a second Ctrl-C from interrupting the stopping of what the first one stops."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now: taken together, so that they differ.

    They are below those that the system gives to outgoing connections, one of which could otherwise hold the
    port by the time a server wants it.
    """
    with contextlib.ExitStack() as stack:
        return [_bound_port(stack.enter_context(socket.socket())) for _ in range(count)]


def _bound_port(one: socket.socket) -> int:
    for port in random.sample(PORTS, k=PORT_TRIES):
        with contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise OperationalError(
        f"found no free port from {PORTS.start} to {PORTS.stop - 1}: end what listens there"
    )


def run_to_end(program: Program, *, timeout_s: float = 60.0) -> bytes:
    """Run a program that ends by itself; its standard output. Raises ``OperationalError``."""
    process = _spawn(program, output=subprocess.PIPE)
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise OperationalError(f"{program.name} did not end within {timeout_s:.0f} s") from error
    finally:
        _sweep(process)
    if process.returncode != 0:
        said = program.log.read_text(errors="replace").strip().splitlines()[-LOG_LINES_SHOWN:]
        raise OperationalError(f"{program.name} failed ({process.returncode}): {' | '.join(said)}")
    return output


def _spawn(program: Program, *, output: int | None = None) -> "subprocess.Popen[bytes]":
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        log: IO[bytes] = stack.enter_context(program.log.open("ab"))
        command, descriptors = list(program.command), []
        if program.pin:
            reader = _pipe_with(program.pin)
            stack.callback(os.close, reader)
            command = [str(reader) if part == PIN_PLACE else part for part in command]
            descriptors = [reader]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log if output is None else output,
                stderr=log,
                env={**os.environ, **program.environment},
                pass_fds=descriptors,
                start_new_session=True,
            )
        except OSError as error:
            raise OperationalError(f"cannot start {program.name}: {error}; run make setup") from error


def _pipe_with(pin: str) -> int:
    """The reading end of a pipe that holds a PIN; a PIN is far shorter than a pipe's buffer."""
    reader, writer = os.pipe()
    os.write(writer, pin.encode() + b"\n")
    os.close(writer)
    return reader


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    """Ask processes to end, wait a while for all of them, then force their whole groups."""
    for process in processes:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while time.monotonic() < deadline and any(process.poll() is None for process in processes):
        time.sleep(POLL_S)
    for process in processes:
        _sweep(process)


def _sweep(process: "subprocess.Popen[bytes]") -> None:
    """Force the process and what it started, which share its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
