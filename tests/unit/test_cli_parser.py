"""What scripts rely on: exit codes, one JSON object, help with an example; and a light start."""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.main import main
from cli.parser import build_parser

HEAVY = ("grpc", "cryptography", "rich", "web3", "numpy", "custody", "signer_nodes", "policy.ledger")


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that runs something."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield words
    for group in groups:
        for name, command in group.choices.items():
            yield from commands(command, (*words, name))


ALL = tuple(commands(build_parser()))
PASSED_ON = {("key", "backup"), ("key", "recover"), ("cold", "sign")}
OWN = tuple(words for words in ALL if words[0] != "node" and words not in PASSED_ON)


@pytest.mark.parametrize("words", OWN, ids=" ".join)
def test_every_command_explains_itself_with_an_example(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args([*words, "--help"])

    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert f"example: quorumkeep {' '.join(words)}" in shown
    assert "--json" in shown


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_names_a_function_that_exists(words: tuple[str, ...]) -> None:
    parser = build_parser()
    for word in words:
        group = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = group.choices[word]
    module, name = str(parser.get_default("function")).split(":")

    assert callable(getattr(__import__(module, fromlist=[name]), name))


def test_misuse_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["enroll", "everybody"])

    assert ended.value.code == 2
    assert "invalid choice" in capsys.readouterr().err


def test_a_refusal_is_one_line_that_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["genesis", "fingerprint", "--dir", str(tmp_path)])

    said = capsys.readouterr()
    assert (code, said.out) == (1, "")
    assert said.err.count("\n") == 1 and "quorum has to sign" in said.err


def test_a_refusal_with_json_prints_exactly_one_object(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["genesis", "fingerprint", "--dir", str(tmp_path), "--json"])

    document = json.loads(capsys.readouterr().out)
    assert code == 1
    assert document["ok"] is False and document["error"]


def test_asking_for_help_loads_nothing_heavy() -> None:
    code = "import sys; from cli.main import build_parser; build_parser(); print(' '.join(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = set(ran.stdout.split())
    assert not loaded & set(HEAVY)
    assert "argparse" in loaded  # the test sees what is loaded


def test_the_arguments_of_a_node_go_to_its_program_untouched() -> None:
    given = ["--config", "node-a/config.toml", "--pin-fd", "3", "--json"]

    assert build_parser().parse_args(["node", "doctor", *given]).rest == given
    assert build_parser().parse_args(["key", "recover", "a.backup", *given]).rest == ["a.backup", *given]
