"""Ruff and mypy judge by this repository's configuration: each is seen to fail and to pass."""

from pathlib import Path

import pytest

from tests.architecture.planting import plant, plant_house, run_tool

CLEAN = (
    '"""A room."""\n\n\ndef double(value: int) -> int:\n    """Twice the value."""\n    return 2 * value\n'
)
RUFF = [
    ("F401", "policy/a.py", "import json\n"),
    ("I001", "policy/a.py", "import json\nimport ast\n\nprint = (json, ast)\n"),
    ("E501", "policy/a.py", "# " + "x" * 109 + "\n"),
    ("B006", "policy/a.py", "def a(b: list[int] = []) -> None: ...\n"),
    ("S101", "policy/a.py", "assert 1 + 1 == 2\n"),
    ("S602", "tests/test_a.py", "import subprocess\n\nsubprocess.run('ls *', shell=True)\n"),
    ("BLE001", "policy/a.py", "try:\n    len('')\nexcept Exception:\n    len('')\n"),
    ("PGH003", "policy/a.py", "a = 1  # type: ignore\n"),
    ("T201", "custody/a.py", "print('done')\n"),
    ("UP006", "policy/a.py", "from typing import List\n\na: List[int]\n"),
]
MYPY = [
    ("no-untyped-def", "def double(value):\n    return 2 * value\n"),
    ("type-arg", "def first(values: list) -> None: ...\n"),
    ("return-value", "def name() -> str:\n    return 1\n"),
    ("no-any-return", "import json\n\n\ndef load(text: str) -> str:\n    return json.loads(text)\n"),
    (
        "exhaustive-match",
        "def a(b: int | str) -> None:\n    match b:\n        case int():\n            pass\n",
    ),
    ("ignore-without-code", "a: int = ''  # type: ignore\n"),
]


@pytest.fixture
def house(tmp_path: Path) -> Path:
    plant_house(tmp_path)
    plant(tmp_path, {"policy/a.py": CLEAN})
    return tmp_path


def test_ruff_passes_a_clean_house_and_skips_generated_stubs(house: Path) -> None:
    plant(house, {"custody/api/door_pb2.py": "import json\n", "cli/main.py": 'print("done")\n'})

    check = run_tool(house, "ruff", "check", "--no-cache", ".")
    layout = run_tool(house, "ruff", "format", "--check", "--no-cache", ".")

    assert check.returncode == 0, check.stdout
    assert layout.returncode == 0, layout.stdout


@pytest.mark.parametrize(("rule", "path", "source"), RUFF)
def test_ruff_sees(house: Path, rule: str, path: str, source: str) -> None:
    plant(house, {path: source})

    check = run_tool(house, "ruff", "check", "--no-cache", "--output-format", "concise", ".")

    assert check.returncode == 1
    assert f" {rule} " in check.stdout


def test_ruff_sees_a_layout_that_is_not_its_own(house: Path) -> None:
    plant(house, {"policy/a.py": "a = 'text'\n"})

    layout = run_tool(house, "ruff", "format", "--check", "--no-cache", ".")

    assert layout.returncode == 1


def test_mypy_is_strict_and_sees_each_of_these(house: Path) -> None:
    cache = ("--cache-dir", str(house / ".mypy_cache"))
    clean = run_tool(house, "mypy", *cache)
    plant(house, {f"policy/broken_{number}.py": source for number, (_, source) in enumerate(MYPY)})
    broken = run_tool(house, "mypy", *cache)

    assert clean.returncode == 0, clean.stdout
    assert broken.returncode == 1
    lines = broken.stdout.splitlines()
    for number, (code, _) in enumerate(MYPY):
        assert any(f"broken_{number}.py" in line and f"[{code}]" in line for line in lines), broken.stdout
