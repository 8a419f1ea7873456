"""``quorumkeep rebalance`` on generated files."""

import gzip
import json
import math
from pathlib import Path

import pytest

from cli.main import invoke, main
from cli.results import Misuse

HEADER = "series,date,withdraw,deposit"


def lines(days: int = 60, *, name: str = "eth") -> list[str]:
    start = 1_767_225_600  # 2026-01-01
    from datetime import UTC, datetime

    made = []
    for day in range(days):
        date = datetime.fromtimestamp(start + 86_400 * day, UTC).date()
        wave = 10 + 3 * math.sin(day * 2 * math.pi / 7) + (day * 7919 % 13) / 5
        made.append(f"{name},{date},{wave:.18f},{wave / 2:.6f}")
    return made


def written(folder: Path, rows: list[str], *, header: str = HEADER) -> str:
    file = folder / "flows.csv"
    file.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return str(file)


def test_a_backtest_prints_one_json_object_with_the_published_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["rebalance", "backtest", written(tmp_path, lines()), "--service", "0.95", "--json"])

    printed = capsys.readouterr()
    found = json.loads(printed.out)
    assert code == 0 and "perfect foresight" in printed.err
    assert list(found) == [
        "asked",
        "service",
        "worst",
        "cost_ratio",
        "exposure_ratio",
        "topups_per_week",
        "sweeps_per_week",
        "series",
        "interval90",
    ]
    assert found["series"] == 1 and len(found["interval90"]) == 2
    assert found["cost_ratio"] >= 1.0 or found["service"] < 0.95


def test_a_packed_file_gives_the_same(tmp_path: Path) -> None:
    plain = written(tmp_path, lines())
    packed = tmp_path / "flows.csv.gz"
    packed.write_bytes(gzip.compress(Path(plain).read_bytes()))

    found = [
        invoke("rebalance", "backtest", file, "--service", "0.95").document for file in (plain, str(packed))
    ]

    assert found[0] == found[1]


def test_blank_and_missing_days_are_unknown_and_not_scored(tmp_path: Path) -> None:
    rows = lines()
    rows[50] = rows[50].split(",")[0] + "," + rows[50].split(",")[1] + ",,"
    del rows[40]

    assert (
        invoke("rebalance", "backtest", written(tmp_path, rows), "--service", "0.95").document["series"] == 1
    )


def test_eighteen_decimals_reach_the_move_as_whole_base_units(tmp_path: Path) -> None:
    file = written(tmp_path, lines())

    found = invoke(
        "rebalance", "plan", file, "--series", "eth", "--hot", "1.000000000000000001", "--maximum", "20"
    ).document

    assert found["action"] == "topup"
    assert int(found["amount_base"]) <= 20 * 10**18 - 1_000_000_000_000_000_001


def test_a_forecast_and_an_explanation_say_what_they_rest_on(tmp_path: Path) -> None:
    file = written(tmp_path, lines())

    ahead = invoke("rebalance", "forecast", file, "--series", "eth", "--days", "3").document
    words = invoke("rebalance", "explain", file, "--series", "eth", "--hot", "900").document

    assert len(ahead["days"]) == 3 and any("knows 60 steps" in line for line in ahead["rests_on"])
    assert words["action"] == "sweep" and any("above" in line for line in words["explanation"])


def test_what_if_gives_a_point_for_each_service(tmp_path: Path) -> None:
    file = written(tmp_path, lines())

    curve = invoke("rebalance", "what-if", file, "--services", "0.95", "0.99").document["curve"]

    assert [point["asked"] for point in curve] == [0.95, 0.99]
    assert curve[0]["exposure_ratio"] > 0


def _changed(row: int, cells: str) -> list[str]:
    rows = lines()
    rows[row] = cells
    return rows


@pytest.mark.parametrize(
    ("rows", "header", "fault"),
    [
        (lines(), "name,date,withdraw,deposit", r"flows.csv:1: no column series"),
        (_changed(3, "eth,2026-01-03,1,1"), HEADER, r"flows.csv:5: eth: the day 2026-01-03 is there twice"),
        (_changed(3, "eth,2026-01-01,1,1"), HEADER, r"flows.csv:5: .* comes after"),
        (_changed(3, "eth,2026-01-04,-1,1"), HEADER, r"flows.csv:5: withdraw -1"),
        (_changed(3, "eth,2026-01-04,nan,1"), HEADER, r"flows.csv:5: withdraw nan"),
        (_changed(3, "eth,2026-01-04,much,1"), HEADER, r"flows.csv:5: withdraw 'much' is no number"),
        (_changed(3, "eth,4.1.2026,1,1"), HEADER, r"flows.csv:5: date '4.1.2026'"),
        (_changed(3, "eth,2026-01-04,1"), HEADER, r"flows.csv:5: 3 cells"),
        (lines(3), HEADER, r"flows.csv:4: eth: 3 days"),
        ([], HEADER, r"flows.csv:2: no flows"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, rows: list[str], header: str, fault: str) -> None:
    with pytest.raises(Misuse, match=fault):
        invoke("rebalance", "backtest", written(tmp_path, rows, header=header))


@pytest.mark.parametrize("service", ["99", "0.94", "0.99999"])
def test_a_service_that_is_not_calibrated_is_refused(tmp_path: Path, service: str) -> None:
    with pytest.raises(Misuse, match=r"between 0\.95 and 0\.9999"):
        invoke("rebalance", "backtest", written(tmp_path, lines()), "--service", service)


def test_a_series_of_three_days_is_planned_by_its_prior_and_named_where_it_is_too_short(
    tmp_path: Path,
) -> None:
    file = written(tmp_path, lines(3))
    found = invoke("rebalance", "forecast", file, "--series", "eth").document
    plan = invoke("rebalance", "plan", file, "--series", "eth", "--hot", "12.5").document

    assert len(found["days"]) > 3 and "prior" in " ".join(found["rests_on"])
    assert plan["action"] in ("topup", "sweep", "nothing")
    with pytest.raises(Misuse, match=r"flows\.csv:4: eth: 3 days"):
        invoke("rebalance", "backtest", file)
