"""The house rules hold in this repository."""

import subprocess
from pathlib import Path

from tests.architecture import checks
from tests.architecture.planting import REPOSITORY

# A checkout may stand directly in one of these; their names say nothing about a machine.
COMMON_FOLDERS = {Path(name) for name in ("/", "/app", "/home", "/mnt", "/opt", "/srv", "/usr", "/var")}


def committed_files() -> list[str]:
    """What git holds or would add: ignored files are not looked at."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for path in listed.stdout.split("\0") if path]


def machine_folders() -> set[str]:
    folders = {REPOSITORY, REPOSITORY.parent, Path.home()} - COMMON_FOLDERS
    return {f"{folder}/" for folder in folders}


def assert_none(found: list[checks.Violation]) -> None:
    assert not found, "\n" + "\n".join(map(str, found))


def test_pure_modules_are_pure() -> None:
    assert_none(checks.purity(REPOSITORY))


def test_adapters_are_wired_in_main_only() -> None:
    assert_none(checks.wiring(REPOSITORY))


def test_only_the_tools_of_authors_read_yaml() -> None:
    assert_none(checks.authoring(REPOSITORY))


def test_only_the_http_door_and_the_console_serve_http() -> None:
    assert_none(checks.serving(REPOSITORY))


def test_a_backends_client_needs_policy_grpc_and_httpx_alone() -> None:
    assert_none(checks.client(REPOSITORY))


def test_files_functions_and_parameter_lists_keep_their_sizes() -> None:
    assert_none(checks.sizes(REPOSITORY))


def test_no_committed_text_names_a_registry_or_this_machine() -> None:
    found = checks.committed_text(REPOSITORY, committed_files(), machine=machine_folders())

    assert_none(found)


def test_the_committed_files_are_found() -> None:
    files = committed_files()

    assert {"pyproject.toml", "policy/__init__.py", "package-lock.json"} <= set(files)
