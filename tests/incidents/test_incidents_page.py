"""docs/incidents.md and the tests that play the incidents are the same list."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/incidents.md"
TESTS = ROOT / "tests/incidents/test_custody_breaks.py"


def played() -> dict[str, str]:
    """Every test of an incident and its docstring."""
    found = {}
    for node in ast.parse(TESTS.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            found[node.name] = ast.get_docstring(node) or ""
    return found


def test_the_page_names_every_test_of_an_incident_and_no_other() -> None:
    assert set(re.findall(r"`(test_\w+)`", PAGE.read_text())) == set(played())


def test_every_test_of_an_incident_names_its_control() -> None:
    baseline = "test_without_an_attack_the_payment_is_signed"

    assert [name for name, said in played().items() if not said.startswith("Control: ")] == [baseline]


def test_every_row_has_incident_story_control_and_test() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|") and "---" not in line]

    assert len(rows) == 14
    assert all(len([cell for cell in row.strip("|").split("|") if cell.strip()]) == 4 for row in rows)
