"""What scripts rely on: exit codes, one JSON object, help with an example; and a light start."""

import argparse
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import custody.check.main
import custody.main
from cli.main import main
from cli.parser import build_parser
from signer_nodes.main import main as node_program
from signer_nodes.main import node_parser

HEAVY = (
    "fido2",
    "grpc",
    "cryptography",
    "pkcs11",
    "rich",
    "shtab",
    "web3",
    "numpy",
    "custody",
    "policy.ledger",
)
LIGHT = {"signer_nodes", "signer_nodes.api", "signer_nodes.api.arguments"}


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that runs something."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield words
    for group in groups:
        for name, command in group.choices.items():
            yield from commands(command, (*words, name))


PARSER, NODE_PARSER = build_parser(), node_parser()
ALL = tuple(commands(PARSER))
PASSED_ON = {("key", "backup"), ("key", "recover"), ("cold", "sign")}
OWN = tuple(words for words in ALL if words[0] != "node" and words not in PASSED_ON)


@pytest.mark.parametrize("words", OWN, ids=" ".join)
def test_every_command_explains_itself_with_an_example(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        PARSER.parse_args([*words, "--help"])

    shown = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert f"example: quorumkeep {' '.join(words)}" in shown
    assert "--json" in shown


def parser_of(parser: argparse.ArgumentParser, words: tuple[str, ...]) -> argparse.ArgumentParser:
    """The parser of a command or group."""
    for word in words:
        group = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = group.choices[word]
    return parser


def example_of(parser: argparse.ArgumentParser) -> list[str]:
    """The words of an example, after the program's name and without what the shell reads."""
    said = str(parser.epilog).removeprefix("example: ").partition("    ")[0]
    return shlex.split(re.split(r" [0-9]?[<>]", said)[0])[1:]


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_example_can_be_typed_as_it_stands(words: tuple[str, ...]) -> None:
    given = example_of(parser_of(PARSER, words))

    assert tuple(given[: len(words)]) == words
    assert PARSER.parse_args(given).function


NODES = tuple(commands(NODE_PARSER))


@pytest.mark.parametrize("words", NODES, ids=" ".join)
def test_every_command_of_a_node_has_an_example_that_can_be_typed(words: tuple[str, ...]) -> None:
    given = example_of(parser_of(NODE_PARSER, words))

    assert tuple(given[: len(words)]) == words
    assert NODE_PARSER.parse_args(given).command


@pytest.mark.parametrize(
    "words", sorted({words[:n] for words in ALL for n in range(len(words))}), ids=" ".join
)
def test_every_group_of_commands_shows_an_example(words: tuple[str, ...]) -> None:
    assert str(parser_of(PARSER, words).epilog).startswith("example: quorumkeep ")


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_names_a_function_that_exists(words: tuple[str, ...]) -> None:
    module, name = str(parser_of(PARSER, words).get_default("function")).split(":")

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
    assert {one for one in loaded if one.startswith("signer_nodes")} <= LIGHT
    assert "argparse" in loaded  # the test sees what is loaded


def test_the_arguments_of_a_node_go_to_its_program_untouched() -> None:
    given = ["--config", "node-a/config.toml", "--pin-fd", "3", "--json"]

    assert PARSER.parse_args(["node", "doctor", *given]).rest == given
    assert PARSER.parse_args(["key", "recover", "a.backup", *given]).rest == ["a.backup", *given]


def test_a_log_that_is_not_there_is_said_in_json_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["audit", "verify", str(tmp_path), "--json"])

    assert "name the folder of a log" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    "words",
    [
        ["status", "--as", "nobody", "--jso"],
        ["request", "list", "--as", "nobody", "--lim", "3"],
        ["coordinator", "run", "--conf", "config.toml"],
    ],
)
def test_an_abbreviated_option_is_none(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        build_parser().parse_args(words)

    assert "--" in capsys.readouterr().err


def test_programs_take_no_abbreviated_options_either(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["check", "--conf", "x"], ["recover", "x", "--officer", "y", "--out", "z"]):
        with pytest.raises(SystemExit, match="2"):
            node_parser().parse_args(words)
    for program in (custody.main.main, custody.check.main.main):
        with pytest.raises(SystemExit, match="2"):
            program(["--conf", "x"])

    assert capsys.readouterr().err.count("usage:") == 4


@pytest.mark.parametrize("text", ["-1", "9" * 30, "x", "", "٣", "1.0"])
def test_a_descriptor_is_a_small_number(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        node_parser().parse_args(["doctor", "--config", "x", f"--pin-fd={text}"])

    assert "3<FILE" in capsys.readouterr().err


def test_a_node_that_refuses_says_so_in_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = node_program(["doctor", "--config", str(tmp_path / "none.toml"), "--json"])

    said = json.loads(capsys.readouterr().out)
    assert (code, said["ok"], said["code"]) == (75, False, "ConfigError")
    assert "none.toml" in said["error"]


@pytest.mark.parametrize("text", ["-5", "nan", "inf", "1e9", "86401", "", "٣", "1.2345"])
def test_how_long_to_wait_is_a_number_of_seconds_of_a_day(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        build_parser().parse_args(["request", "wait", "00" * 32, "--as", "x", "--timeout", text])

    assert "--timeout" in capsys.readouterr().err
    taken = build_parser().parse_args(["request", "wait", "00" * 32, "--as", "x", "--timeout", "0.5"])
    assert taken.timeout == 0.5


@pytest.mark.parametrize("number", ["-1", "0", "10001", "9" * 30, "x", "٣"])
def test_a_script_is_told_of_misuse_by_one_object_too(
    number: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["request", "list", "--as", "nobody", "--limit", number, "--json"]
    monkeypatch.setattr(sys, "argv", ["quorumkeep", *words])

    with pytest.raises(SystemExit) as ended:
        main()

    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (ended.value.code, found["ok"], found["code"]) == (2, False, "Misuse")
    assert "--limit" in found["error"] and "usage:" in said.err
