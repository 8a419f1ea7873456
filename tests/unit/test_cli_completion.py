"""Completion in the shells themselves: commands, options, choices and files, as the parser has them."""

import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import main

BASH = r"""
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
compopt() { :; }
_shtab_quorumkeep
printf '%s\n' "${COMPREPLY[@]}"
"""
CASES = [
    (("reque",), {"request"}),
    (
        ("request", ""),
        {"send", "call", "sign-typed-data", "show", "list", "wait", "reject", "sweep", "psbt", "consolidate"},
    ),
    (("request", "list", "--sta"), {"--state"}),
    (("approve", "--with", ""), {"fido2", "pkcs11", "software"}),
    (("admin", "draft", "remove-"), {"remove-operator"}),
    (("completion", ""), {"bash", "zsh"}),
    (("status", "--client", "cli"), {"client.json"}),
    (("status", "--as", "peo"), {"people"}),
]
TYPED = [
    ("completion z", "completion zsh"),
    ("request sign-ty", "request sign-typed-data"),
    ("status --client cli", "status --client client.json"),
]


def script(shell: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    path = folder / f"quorumkeep.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "client.json").touch()
    (tmp_path / "people").mkdir()
    before = Path.cwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def test_bash_completes_what_the_parser_takes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("bash", place, capsys)
    found = {}
    for words, _ in CASES:
        command = ["bash", "-c", BASH, "bash", str(path), "quorumkeep", *words]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, cwd=place)
        assert not ran.stderr
        found[words] = set(ran.stdout.split())

    assert found == dict(CASES)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh: deploy/setup.sh installs Debian's")
def test_zsh_completes_what_the_parser_takes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "functions").mkdir()
    script("zsh", place, capsys).rename(place / "functions" / "_quorumkeep")
    with Zsh(place) as shell:
        shell.say("fpath=(functions $fpath); autoload -Uz compinit; compinit -u -d dump; PS1='rea''dy> '\n")
        shell.hear("ready> ")
        for typed, completed in TYPED:
            shell.say(f"quorumkeep {typed}\t")
            shell.hear(f"quorumkeep {completed} ")
            shell.say("\x15")


class Zsh:
    """An interactive shell on a terminal of its own, without anybody's configuration."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> "Zsh":
        self._ours, theirs = pty.openpty()
        environment = {"PATH": os.environ["PATH"], "TERM": "dumb", "HOME": str(self._folder)}
        self._process = subprocess.Popen(
            ["zsh", "-f", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=self._folder,
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def say(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def hear(self, wanted: str, timeout_s: float = 20.0) -> str:
        """What the shell shows until it has shown ``wanted``, which nobody typed."""
        heard, until = "", time.monotonic() + timeout_s
        while wanted not in heard:
            assert time.monotonic() < until, heard
            if select.select([self._ours], [], [], 0.1)[0]:
                heard += os.read(self._ours, 4096).decode(errors="replace")
        return heard
