"""A demo as a user runs it, that has played and is kept running for a test's questions."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.demo.chain import DemoChain
from policy.log.tiles import read_entries
from tests.e2e.processes import none_left, started_by

PROGRAM = Path(sys.executable).parent / "quorumkeep"
ROW_KEYS = {"name", "expected", "status", "tx_hash", "block", "rule", "seconds"}
STOPPED_S = 15


@dataclass(frozen=True, slots=True)
class Demo:
    """A demo that has played and is kept running."""

    folder: Path
    document: dict[str, Any]
    process: "subprocess.Popen[str]"

    @property
    def chain(self) -> DemoChain:
        return DemoChain(self.port("evm:31337"))

    def seen(self) -> dict[str, str]:
        """What came of each scene, every one as it was expected."""
        rows = self.document["scenes"]
        assert all(row.keys() >= ROW_KEYS and row["expected"] == row["status"] for row in rows), rows
        return {row["name"]: row["status"] for row in rows}

    def port(self, chain: str) -> int:
        """Where a chain of it listens."""
        (found,) = (one["url"] for one in self.document["chains"] if one["chain"] == chain)
        return int(found.rpartition(":")[2])

    def scene(self, name: str) -> dict[str, Any]:
        return next(row for row in self.document["scenes"] if row["name"] == name)

    def raw(self, name: str) -> bytes:
        """The raw transaction of a scene, as the chain has it."""
        found = self.chain.call("eth_getRawTransactionByHash", self.scene(name)["tx_hash"])
        return bytes.fromhex(found[2:])

    def entries(self) -> list[dict[str, Any]]:
        """The published log's entries."""
        log = self.folder / "log"
        size = int((log / "checkpoint").read_text().splitlines()[1])

        def read(path: str) -> bytes | None:
            with contextlib.suppress(FileNotFoundError):
                return (log / path).read_bytes()
            return None

        return [json.loads(entry) for entry in read_entries(read, size)]

    def ask(self, who: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command as somebody of the deployment."""
        command = [str(PROGRAM), *arguments, "--as", str(self.folder / "people" / who)]
        environment = {**os.environ, "QUORUMKEEP_CLIENT": str(self.folder / "client.json")}
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=60, check=False
        )


@contextlib.contextmanager
def played(folder: Path, *options: str, stop: signal.Signals = signal.SIGTERM) -> Iterator[Demo]:
    """``demo --serve`` once its scenes are over; it leaves no process behind."""
    errors = folder.with_name("stderr")
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [str(PROGRAM), "demo", "--json", "--serve", "--dir", str(folder), *options],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            preexec_fn=heeding_ctrl_c,  # noqa: PLW1509 - no thread of ours runs here
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, errors.read_text()[-3000:]
        yield Demo(folder, json.loads(line), process)
    finally:
        started = started_by(process.pid)
        process.send_signal(stop)
        process.wait(STOPPED_S)
        assert not none_left(str(folder)), "the demo left processes behind"
        assert not [one for one in started if Path(f"/proc/{one}").exists()], "the demo left processes behind"


def heeding_ctrl_c() -> None:
    """In a shell's background job Ctrl-C is ignored, and so by all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
