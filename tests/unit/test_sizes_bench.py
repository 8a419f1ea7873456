"""What a log takes: the figures of docs/sizing.md can be made again."""

import json

import pytest

from tests.bench.sizes import main


@pytest.mark.slow
def test_every_place_holds_more_than_the_entries_alone(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["--entries", "600", "--json"])
    found = json.loads(capsys.readouterr().out)

    assert code == 0 and found["entries"] == 600
    assert 200 < found["entry_bytes"] < 2000
    assert found["coordinator_disk_bytes"] > found["entry_bytes"]
    assert found["node_disk_bytes"] > found["entry_bytes"]
