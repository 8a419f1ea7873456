"""A real EVM chain for tests: anvil on loopback, on a port of its own, ended by its process id.

A test module asks for it by ``pytest_plugins = ("tests.fixtures_anvil",)``.
"""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FUNDED = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
"""The first account anvil funds; it signs for this account itself (``eth_sendTransaction``)."""
CHAIN_ID = 31337
START_S = 10.0


@dataclass(frozen=True)
class Anvil:
    """A running chain."""

    url: str
    pid: int


def anvil_binary() -> Path | None:
    """The binary that ``npm ci`` brought, or the one ``QUORUMKEEP_ANVIL`` names; None without either."""
    named = os.environ.get("QUORUMKEEP_ANVIL")
    found = [Path(named)] if named else sorted((ROOT / "node_modules/@foundry-rs").glob("anvil-*/bin/anvil"))
    return next((path for path in found if path.is_file()), None)


@pytest.fixture
def anvil(tmp_path: Path) -> Iterator[Anvil]:
    """An empty chain that mines each transaction at once."""
    binary = anvil_binary()
    if binary is None:
        pytest.skip("no anvil: run npm ci --ignore-scripts")
    command = [str(binary), "--port", "0", "--host", "127.0.0.1", "--chain-id", str(CHAIN_ID)]
    output = tmp_path / "anvil.log"
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield Anvil(f"http://{_listening(process, output)}", process.pid)
    finally:
        process.kill()
        process.wait()


def _listening(process: "subprocess.Popen[bytes]", output: Path) -> str:
    """The address anvil prints once it listens."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        match = re.search(r"Listening on (127\.0\.0\.1:\d+)", output.read_text())
        if match:
            return match[1]
        time.sleep(0.02)
    raise RuntimeError(f"anvil did not start: {output.read_text()[-500:]}")
