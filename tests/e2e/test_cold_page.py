"""The page on cold ceremonies says what works: its blocks run as they stand, after those of the set-up.

Other are the ports and the delays, which are a day in earnest; and the coordinator is killed before every
pass of the payment, with ``kill -9``, which no ceremony may mind.
"""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.pages import Played, page_script, playing, text_of
from tests.e2e.processes import secrets_shown

pytestmark = pytest.mark.timeout(900)
NAMES = ("setup", "runbook-cold-ceremony")
PAGES_S = 840
PASSES = 4
PASS = "rm -rf stick\n"
KILLED = """if [ "$1" = --request ]; then
{ kill -9 "${process[coordinator]}"; wait "${process[coordinator]}" || true; }
quorumkeep coordinator run --config treasury/coordinator/config.toml >>logs/coordinator.log 2>&1 &
process[coordinator]=$!
until quorumkeep status --as people/alice >status 2>&1; do sleep 0.2; done
echo "killed before a pass"
fi
"""


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    script = page_script(text_of(NAMES)).replace('"delay_ms": 86400000', '"delay_ms": 1000')
    assert script.count(PASS) == 1
    script = script.replace(PASS, PASS + KILLED)
    with playing(script, tmp_path_factory.mktemp("cold"), PAGES_S) as found:
        yield found


def test_the_payment_from_the_vault_is_settled(played: Played) -> None:
    listed = played.run("quorumkeep", "request", "list", "--as", "people/bob", "--json")
    (found,) = [
        one
        for one in json.loads(listed.stdout)["requests"]
        if one["body"]["idempotency_key"] == "from-the-vault"
    ]

    assert (found["state"], found["rule"]) == ("settled", "from-the-vault")
    assert "verdict: allow by rule from-the-vault" in played.output
    assert played.output.count("killed before a pass") == PASSES


def test_the_record_is_in_the_log_and_names_the_only_cold_payment(played: Played) -> None:
    audited = played.run("quorumkeep", "audit", "verify", "treasury/log", "--json")

    report = json.loads(audited.stdout)
    assert (report["ok"], report["ceremonies"], report["unrecorded"]) == (True, 1, [])


def test_no_pin_of_a_cold_machine_stands_in_a_command_line(played: Played) -> None:
    pins = (played.folder / "pins").read_text().split()

    assert len(pins) == 7
    assert secrets_shown(pins) == []
