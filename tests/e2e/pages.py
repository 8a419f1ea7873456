"""A page's blocks as one script, run as it stands; other are the ports, and the delays of changes.

A change is delayed by a day in earnest, and a new address cools down for an hour. Here it is as long as some
commands take on this machine as busy as it is: a veto is given by commands, and must not come too late.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.demo.supervisor import free_ports

REPOSITORY = Path(__file__).resolve().parents[2]
DELAY_COMMANDS, DELAY_MS_MIN, DELAY_MS_MAX = 8, 3000, 20_000
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=--port )\d+")


@dataclass(frozen=True, slots=True)
class Played:
    """What pages' commands left behind and printed."""

    folder: Path
    output: str
    environment: dict[str, str]

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def text_of(names: Sequence[str]) -> str:
    """Pages of the documentation, one after the other."""
    return "\n".join((REPOSITORY / "docs" / f"{name}.md").read_text() for name in names)


def delay_ms() -> int:
    """How long changes wait: as long as some commands take."""
    began_s = time.monotonic()
    subprocess.run([sys.executable, "-c", "import custody.client, policy.ledger"], check=True)
    took_ms = int((time.monotonic() - began_s) * 1000)
    return min(max(DELAY_MS_MIN, took_ms * DELAY_COMMANDS), DELAY_MS_MAX)


def page_script(page: str) -> str:
    """All blocks of a text in one script, with ports that are free here."""
    blocks = BLOCK.findall(page)
    script = (
        "\n".join(blocks).replace("port=7700", "port=$BASE").replace("/path/to/checkout", str(REPOSITORY))
    )
    written = sorted(set(PORT.findall(script)))
    ports = dict(zip(written, free_ports(len(written)), strict=True))
    nodes = [str(number) for number in range(7701, 7705)]
    script = PORT.sub(lambda match: str(ports[match[0]]), script)
    # The page counts the nodes' ports up; here each has its own.
    listed = " ".join(str(ports[node]) for node in nodes)
    script = script.replace("port=$BASE", f"free=({listed}); at_port=-1")
    script = script.replace("port=$((port + 1))", "at_port=$((at_port + 1)); port=${free[$at_port]}")
    delay = delay_ms()
    script = script.replace("--quorum 2\n", f"--quorum 2 --policy-delay-ms {delay}\n")
    script = script.replace('"cool_down_ms": 3600000', f'"cool_down_ms": {delay // 2}')
    show = 'printf "%s\\n" "${pin[@]}" >pins'  # for the test that nobody else can see them
    return f"set -euo pipefail\n{script}\n{show}"


@contextlib.contextmanager
def playing(script: str, folder: Path, within_s: float) -> Iterator[Played]:
    """What a script came to that ends well; what it started ends with the context."""
    programs = (Path(sys.executable).parent, REPOSITORY / "node_modules" / ".bin")
    path = ":".join([*map(str, programs), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "QUORUMKEEP_CLIENT": "treasury/client.json"}
    log = folder / "page.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["bash", "-c", script],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(within_s)
            assert code == 0, log.read_text()[-3000:]
            yield Played(folder, log.read_text(), environment)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
