"""One entry point: what the Makefile, continuous integration and the pinned versions promise each other."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.planting import REPOSITORY, run_tool

TARGET = re.compile(r"^([a-z][a-z-]*):", re.MULTILINE)


def read(path: str) -> str:
    return (REPOSITORY / path).read_text(encoding="utf-8")


def test_make_prints_every_target_with_a_line() -> None:
    make = shutil.which("make") or "make"
    printed = subprocess.run([make], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout

    lines = dict(line.removeprefix("make ").split(maxsplit=1) for line in printed.splitlines())
    assert set(lines) == set(TARGET.findall(read("Makefile")))
    assert all(lines.values())


def test_continuous_integration_runs_the_test_command_of_the_readme() -> None:
    commands = [
        line for line in read(".ci/run").splitlines() if line and not line.startswith(("#", "set ", "cd "))
    ]

    assert commands == ["exec make test"]
    assert "\nmake test\n" in read("README.md")


def test_every_dependency_is_held_to_one_version() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    held = {canonicalize_name(line.split("==")[0]) for line in lines if "==" in line}
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["dev"], *extras["demo"]]

    assert len(held) == len(lines)
    assert {canonicalize_name(Requirement(text).name) for text in wanted} <= held


def test_every_node_package_is_held_to_its_content() -> None:
    lock = json.loads(read("package-lock.json"))
    packages = {name: package for name, package in lock["packages"].items() if name}

    assert packages
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())


def test_the_local_chain_comes_for_amd64_and_arm64_whatever_node_there_is() -> None:
    wanted = {f"@foundry-rs/anvil-linux-{machine}": machine for machine in ("amd64", "arm64")}
    named = json.loads(read("package.json"))["optionalDependencies"]
    lock = json.loads(read("package-lock.json"))["packages"]
    locked = {name: lock[f"node_modules/{name}"] for name in wanted}

    assert (
        set(named) == set(wanted) == {name.removeprefix("node_modules/") for name in lock if "anvil" in name}
    )
    assert {name: package["version"] for name, package in locked.items()} == named
    assert [package["cpu"] for package in locked.values()] == [["x64"], ["arm64"]]
    assert not any("engines" in package for package in locked.values()), "see CONTRIBUTING.md"


@pytest.mark.parametrize("machine", ["this one", "another one"])
def test_setup_says_plainly_that_no_local_chain_fits(tmp_path: Path, machine: str) -> None:
    script = re.sub(r"(?m)^(set_up_\w+|mapfile.*|\[ .*)$", "", read("deploy/setup.sh"))
    program = tmp_path / "node_modules" / "@foundry-rs" / "anvil-linux-amd64" / "bin" / "anvil"
    program.parent.mkdir(parents=True)
    (tmp_path / "node_modules" / ".bin").mkdir()
    program.write_text("#!/bin/sh\n" if machine == "this one" else "built for another processor\n")
    program.chmod(0o755)
    linked = ["bash", "-c", f"{script}\ncd {tmp_path}\nlink_anvil", str(REPOSITORY / "deploy" / "setup.sh")]
    ran = subprocess.run(linked, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert (ran.returncode == 0) == (tmp_path / "node_modules/.bin/anvil").exists() == (machine == "this one")
    assert ("it comes for Linux on amd64 and arm64" in ran.stderr) == (machine == "another one")


def test_the_stubs_are_what_the_proto_files_generate(tmp_path: Path) -> None:
    rooms = [REPOSITORY / room / "api" for room in ("signer_nodes", "custody")]
    sources = [
        file.relative_to(REPOSITORY).as_posix() for room in rooms for file in sorted(room.glob("*.proto"))
    ]
    outputs = ("--python_out", "--grpc_python_out", "--mypy_out", "--mypy_grpc_out")
    if sources:
        plugins = [
            f"{output}=quiet:{tmp_path}" if "mypy" in output else f"{output}={tmp_path}" for output in outputs
        ]
        done = run_tool(REPOSITORY, "python", "-m", "grpc_tools.protoc", "-I", ".", *plugins, *sources)
        assert done.returncode == 0, done.stderr

    fresh = {file.relative_to(tmp_path).as_posix(): file.read_text() for file in tmp_path.rglob("*_pb2*")}
    kept = {
        file.relative_to(REPOSITORY).as_posix(): file.read_text()
        for room in rooms
        for file in room.glob("*_pb2*.py*")
    }
    assert fresh == kept, "run `make proto`"


@pytest.mark.parametrize("answer", ["echo program >checker", "false", ": >checker"])
def test_setup_goes_on_without_what_only_checks_and_does_not_ask_twice(tmp_path: Path, answer: str) -> None:
    script = re.sub(r"(?m)^(set_up_\w+|mapfile.*|\[ .*)$", "", read("deploy/setup.sh"))
    twice = "take_out checker bin/checker fetch; take_out checker bin/checker fetch"
    (tmp_path / ".venv").mkdir()
    (tmp_path / "bin").mkdir()
    command = f"{script}\ncd {tmp_path}\nfetch() {{ {answer}; }}\n{twice}"
    asked = ["bash", "-c", command, str(REPOSITORY / "deploy" / "setup.sh")]
    ran = subprocess.run(asked, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    fetched = answer.startswith("echo")

    assert ran.returncode == 0
    assert ran.stderr.count("fetching checker") == 1
    assert (tmp_path / "bin" / "checker").exists() == fetched
    assert ("the tests that need it are skipped" in ran.stderr) != fetched
