"""The page that says which test shows what names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/spec/pitfalls.md"


def existing() -> set[str]:
    source = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    return set(re.findall(r"def (test_\w+)", source))


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))

    assert len(named) > 50
    assert named <= existing(), sorted(named - existing())


def test_every_row_says_what_why_and_how_it_is_shown() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|") and "---" not in line]

    assert all(len([cell for cell in row.strip("|").split("|") if cell.strip()]) == 3 for row in rows)
