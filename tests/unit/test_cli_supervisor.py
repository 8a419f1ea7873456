"""The supervisor restarts what dies, keeps down what was taken down, and leaves nothing behind."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.demo.supervisor import PIN_PLACE, Program, Supervisor, free_ports, run_to_end
from policy.errors import OperationalError
from tests.waiting import WAIT_S, seen

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
PARENT = (
    "import subprocess, sys, time;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
    "print('child', child.pid, flush=True); time.sleep(60)"
)
TELL_PIN = "import os, sys; print(os.read(int(sys.argv[1]), 100).decode().strip(), flush=True)"


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with Supervisor() as started:
        yield started


def program(folder: Path, code: str, name: str = "one") -> Program:
    return Program(name, [sys.executable, "-c", code], folder / f"{name}.log")


def up(text: str) -> bool:
    return "up" in text


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_what_a_program_that_ends_at_once_said_is_told(supervisor: Supervisor, tmp_path: Path) -> None:
    """Also right after it was started once more and has said nothing yet."""
    wrong = "import os, time; d = os.path.exists('d'); open('d', 'w'); d and time.sleep(60); print('no port')"
    supervisor.start(program(tmp_path, f"import os; os.chdir({str(tmp_path)!r}); {wrong}"))
    first = supervisor.process_ids()["one"]
    seen(lambda: supervisor.process_ids()["one"] != first)

    with pytest.raises(OperationalError, match="it says: no port"):
        supervisor.wait_for("one", up, timeout_s=0.2)


def test_a_process_that_dies_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(program(tmp_path, SLEEP))
    supervisor.wait_for("one", up, timeout_s=WAIT_S)
    first = supervisor.process_ids()["one"]
    os.kill(first, signal.SIGKILL)

    assert seen(lambda: supervisor.process_ids()["one"] != first)
    supervisor.wait_for("one", up, timeout_s=WAIT_S)


def test_a_killed_one_stays_down_until_it_is_revived(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(program(tmp_path, SLEEP))
    supervisor.wait_for("one", up, timeout_s=WAIT_S)
    first = supervisor.process_ids()["one"]
    supervisor.kill("one")
    time.sleep(0.8)

    assert supervisor.process_ids()["one"] == first and not alive(first)
    supervisor.revive("one")
    supervisor.wait_for("one", up, timeout_s=WAIT_S)
    assert alive(supervisor.process_ids()["one"])


def test_leaving_stops_even_what_ignores_being_asked(tmp_path: Path) -> None:
    with Supervisor() as supervisor:
        supervisor.start(program(tmp_path, STUBBORN))
        supervisor.wait_for("one", up, timeout_s=WAIT_S)
        process = supervisor.process_ids()["one"]

    assert not alive(process)


def test_leaving_by_an_error_stops_everything_too(tmp_path: Path) -> None:
    processes: dict[str, int] = {}
    with pytest.raises(KeyboardInterrupt), Supervisor() as supervisor:
        supervisor.start(program(tmp_path, SLEEP, "one"))
        supervisor.start(program(tmp_path, SLEEP, "two"))
        processes = supervisor.process_ids()
        raise KeyboardInterrupt

    assert len(processes) == 2
    assert not any(map(alive, processes.values()))


def test_what_a_process_started_is_stopped_with_it(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(program(tmp_path, PARENT))
    supervisor.wait_for("one", lambda text: "child" in text, timeout_s=WAIT_S)
    child = int(supervisor.output("one").split()[1])
    supervisor.kill("one")

    assert seen(lambda: not alive(child))


def test_a_pin_is_read_from_the_descriptor_and_stands_nowhere_else(tmp_path: Path) -> None:
    pin = "secret-of-the-test"
    command = [sys.executable, "-c", TELL_PIN, PIN_PLACE]
    one = Program("one", command, tmp_path / "one.log", pin=pin)

    assert run_to_end(one).decode().strip() == pin
    assert pin not in repr(one)


def test_a_program_that_fails_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    failing = program(tmp_path, "import sys; print('the disk is full', file=sys.stderr); sys.exit(3)")

    with pytest.raises(OperationalError, match=r"failed \(3\).*the disk is full"):
        run_to_end(failing)


def test_waiting_for_what_does_not_come_says_what_the_process_said(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    supervisor.start(program(tmp_path, "import time; print('no token', flush=True); time.sleep(60)"))

    with pytest.raises(OperationalError, match="no token"):
        supervisor.wait_for("one", up, timeout_s=0.7)


def test_ports_that_are_given_out_together_differ() -> None:
    assert len(set(free_ports(20))) == 20
