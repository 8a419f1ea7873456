"""The page on setting up says what works: its blocks are run as they stand, but for the ports."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.demo.supervisor import free_ports
from tests.e2e.processes import running_with, secrets_shown

pytestmark = pytest.mark.timeout(300)  # the fixture runs the whole page; a busy machine is slower
REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "setup.md"
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+|(?<=--port )\d+")
PAGE_S = 240


@dataclass(frozen=True, slots=True)
class Played:
    """What the page's commands left behind and printed."""

    folder: Path
    output: str
    environment: dict[str, str]
    port_of: dict[str, int]

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )


def page_script(page: str) -> tuple[str, dict[str, int]]:
    """All blocks of the page in one script, with ports that are free here; and which port became which."""
    blocks = BLOCK.findall(page)
    script = "\n".join(blocks).replace("port=7700", "port=$BASE")
    written = sorted(set(PORT.findall(script)))
    ports = dict(zip(written, free_ports(len(written)), strict=True))
    nodes = [str(number) for number in range(7701, 7705)]
    script = PORT.sub(lambda match: str(ports[match[0]]), script)
    # The page counts the nodes' ports up; here each has its own.
    listed = " ".join(str(ports[node]) for node in nodes)
    script = script.replace("port=$BASE", f"free=({listed}); at_port=-1")
    script = script.replace("port=$((port + 1))", "at_port=$((at_port + 1)); port=${free[$at_port]}")
    show = 'printf "%s\\n" "${pin[@]}" >pins'  # for the test that nobody else can see them
    return f"set -euo pipefail\n{script}\n{show}", ports


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("setup")
    script, ports = page_script(PAGE.read_text())
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
            code = process.wait(PAGE_S)
            assert code == 0, log.read_text()[-3000:]
            yield Played(folder, log.read_text(), environment, ports)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_the_page_ends_with_two_payments_settled_and_one_denied(played: Played) -> None:
    listed = played.run("quorumkeep", "request", "list", "--as", "people/bob", "--json")

    states = [request["state"] for request in json.loads(listed.stdout)["requests"]]
    assert states == ["denied", "settled", "settled"], listed


def test_the_page_says_what_the_cosigner_numbers_give(played: Played) -> None:
    assert "3 of 4 cosigners: limits are exact while at most 1 of them are corrupt" in played.output


def test_no_pin_stands_in_a_command_line_or_an_environment(played: Played) -> None:
    pins = (played.folder / "pins").read_text().split()

    assert len(pins) == 4
    assert len(running_with("signer_nodes") | running_with("quorumkeep-node")) >= 4
    assert secrets_shown(pins) == []


def test_a_wrong_fingerprint_is_refused_and_nothing_is_enrolled(played: Played) -> None:
    before = (played.folder / "treasury" / "deployment.json").read_bytes()
    card = "people/shop/card.json"
    refused = played.run(
        "quorumkeep", "enroll", "backend", card, "--fingerprint", "0" * 64, "--dir", "treasury"
    )

    assert refused.returncode == 1
    assert "do not enrol it" in refused.stderr
    assert (played.folder / "treasury" / "deployment.json").read_bytes() == before


def test_the_test_sees_a_page_that_does_not_work() -> None:
    script, _ = page_script("```sh\nquorumkeep enrol everybody\n```\n" + PAGE.read_text())
    ran = subprocess.run(
        ["bash", "-c", script], capture_output=True, env={"PATH": "/usr/bin:/bin"}, timeout=30, check=False
    )

    assert ran.returncode != 0
