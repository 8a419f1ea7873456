"""Pages for backends, guides and runbooks work as they stand, on what the first page sets up."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.pages import page_script, playing, text_of

pytestmark = pytest.mark.timeout(900)  # a busy machine is slower
NAMES = ("setup", "quickstart-backend", "guide-integrator", "guide-operator", "guide-auditor")
PAGES_S = 840
OPERATING = ("setup", "backup", "upgrades", "runbook-rotate-key")


def blocks_of(names: Sequence[str], folder: Path) -> str:
    """What the blocks of these pages print; all of them end well."""
    with playing(page_script(text_of(names)), folder, PAGES_S) as found:
        return found.output


def test_the_blocks_of_the_quick_start_and_of_the_guides_do_what_they_say(tmp_path: Path) -> None:
    said = blocks_of(NAMES, tmp_path)

    assert "settled 0x" in said
    assert "denied unknown-destination" in said
    assert "unknown-asset: " in said
    assert "fails its EIP-55 checksum" in said
    assert "m/0/1" in said
    assert '{"name": "node-a", "state": "ready"}' in said
    assert "\nnothing is broken\n" in said
    assert said.count("config.toml: no problems") == 2
    assert said.count("\nok: ") == 4  # of the set-up, the operator, and the auditor twice
    assert (tmp_path / "movements.csv").read_text().count("transfer") >= 3


@pytest.mark.slow
def test_a_restore_an_upgrade_and_a_new_key_go_as_their_pages_say(tmp_path: Path) -> None:
    said = blocks_of(OPERATING, tmp_path)

    assert "is restored." in said
    assert "the database is this deployment's, of this program" in said
    assert "entries, as the token remembers" in said
    assert "rules 1 are in force" in said
    assert said.rstrip().splitlines()[-2] == "  is settled by rule empty-main"
