"""The examples of the specification are what the code makes, to the byte, and mean what the pages say."""

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from policy.encoding import canonical
from policy.entries import parse_entry
from policy.ledger import UnknownVersion, fold, initial
from policy.log.checkpoint import parse_checkpoint, parse_note, quorum
from policy.log.merkle import Frontier, leaf_hash
from policy.roster import bound, parse_roster

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SPEC = DOCS / "spec"
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
PATH = re.compile(r"`((?:policy|signer_nodes|custody|cli|tests|docs)/[A-Za-z0-9_/.-]+)`")


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_examples", SPEC / "make_examples.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MAKER = maker()


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    files: dict[str, str] = MAKER.files()
    return files


def example(name: str) -> Any:
    return json.loads((SPEC / "examples" / name).read_text())


def test_every_example_is_made_again_to_the_byte(made: dict[str, str]) -> None:
    stored = {path.name: path.read_text() for path in (SPEC / "examples").iterdir()}

    assert stored == made


@pytest.mark.parametrize("path", MAKER.pages(), ids=lambda path: path.name)
def test_the_examples_inside_a_page_are_those_of_the_folder(path: Path, made: dict[str, str]) -> None:
    assert MAKER.page(path.read_text(), made) == path.read_text()


def test_a_page_with_a_stale_example_is_seen(made: dict[str, str]) -> None:
    stale = "<!-- example signature.json -->\n```json\n{}\n```\n<!-- end -->\n"

    assert MAKER.page(stale, made) != stale


def test_the_example_log_folds_to_what_its_index_says() -> None:
    log = example("log.json")
    state, frontier, kinds = initial(), Frontier(), set()
    for line in log["entries"]:
        entry = canonical(example(line["file"]))
        kinds.add(parse_entry(entry).kind)
        state, outcome = fold(state, entry)
        frontier = frontier.append(leaf_hash(entry))

        assert (outcome.to_json(), outcome.reason) == (line["outcome"], line["reason"])
        assert (leaf_hash(entry).hex(), len(entry)) == (line["leaf"], line["bytes"])
    assert (frontier.root().hex(), state.digest.hex()) == (log["root"], log["state"])
    assert kinds == set(parse_kinds())
    with pytest.raises(UnknownVersion):
        fold(state, canonical(example("request.json")))


def parse_kinds() -> list[str]:
    """Every kind of entry there is, as the reader names them when it refuses one."""
    state, outcome = fold(initial(), canonical({"kind": "none", "time_ms": 0, "body": {}}))
    assert not outcome.accepted and state.size == 1
    return outcome.reason.split("one of ")[1].split(", ")


def test_the_example_checkpoint_has_a_quorum_of_its_roster() -> None:
    note = parse_note((SPEC / "examples" / "checkpoint.txt").read_bytes(), 65536)
    roster = parse_roster(example("roster.json")["body"]["roster"])

    assert quorum(note, roster.cosigner_keys(), w=roster.w)
    assert parse_checkpoint(note.body).origin == MAKER.ORIGIN


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=lambda path: str(path.relative_to(DOCS)))
def test_every_page_points_only_at_what_is_there(path: Path) -> None:
    text = path.read_text()
    links = {link for link in LINK.findall(text) if "://" not in link and not link.startswith("mailto:")}
    files = {name.rstrip("/.") for name in PATH.findall(text)}

    assert [link for link in sorted(links) if not (path.parent / link).exists()] == []
    assert [name for name in sorted(files) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(("c", "w", "f"), [(3, 2, 0), (4, 3, 1), (5, 3, 0), (5, 4, 1), (7, 5, 2)])
def test_the_table_of_cosigners_says_what_the_code_says(c: int, w: int, f: int) -> None:
    document = MAKER.roster(MAKER.OPERATORS)
    document["cosigners"] = [
        {"name": f"c-{i}", "key": MAKER.public(f"c-{i}").hex(), "role": "node"} for i in range(c)
    ]
    roster = parse_roster(document | {"w": w, "f": f})
    row = f"| {c} / {w} / {f} | {roster.f} | {c - w} | {roster.leave_count} | {roster.leave_count - 1} |"
    page = (DOCS / "adr" / "0002-what-the-cosigner-numbers-give.md").read_text()

    assert row in page
    assert f"at most {f} of them are corrupt" in bound(roster)
    assert f"at most {c - w} of them are down" in bound(roster)
