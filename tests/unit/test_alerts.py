"""Alerts and dashboards ask for what the programs show, each alert is seen to fire, and each has its page."""

import json
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from custody.metrics import Metrics
from custody.observing.metrics import ObserveMetrics
from custody.rebalancing.metrics import RebalancerMetrics
from custody.sweeping.metrics import SweeperMetrics
from tests.architecture.planting import REPOSITORY

RULES = REPOSITORY / "deploy" / "prometheus" / "quorumkeep.rules.yaml"
TESTS = RULES.with_name("quorumkeep.tests.yaml")
CONFIG = RULES.with_name("prometheus.yaml")
GRAFANA = REPOSITORY / "deploy" / "grafana"
PAGE = REPOSITORY / "docs" / "alerts.md"
METRIC = re.compile(r"\bquorumkeep_[a-z_]+")
OFFERED = (REPOSITORY / ".venv" / "bin" / "promtool", Path("/usr/bin/promtool"))
PROMTOOL = next((str(one) for one in OFFERED if one.exists()), shutil.which("promtool"))
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="no promtool: Debian's package prometheus has it"
)


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def shown() -> set[str]:
    """Every series' name that a coordinator, rebalancer, observer or sweeper has."""
    found = set()
    kinds = (Metrics, RebalancerMetrics, ObserveMetrics, SweeperMetrics)
    for registry in (kind().registry for kind in kinds):
        for family in registry.collect():
            endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
            found |= {family.name + ending for ending in endings.get(family.type, ("",))}
    return found


def named(text: str) -> set[str]:
    return set(METRIC.findall(text))


def test_every_metric_that_an_alert_asks_for_is_one_that_a_program_shows() -> None:
    asked = named(" ".join(str(one["expr"]) for one in alerts()))

    assert len(asked) > 15
    assert asked <= shown()


def test_a_metric_that_no_program_shows_is_seen() -> None:
    assert not named("quorumkeep_frozen == 1 or quorumkeep_thawed == 1") <= shown()


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    sections = re.findall(r"^## (\w+)$", PAGE.read_text(), re.MULTILINE)
    pages = {one["alert"]: str(one["annotations"]["runbook"]) for one in alerts()}

    assert sorted(sections) == sorted(pages)
    for name, page in pages.items():
        path, _, anchor = page.partition("#")
        assert (REPOSITORY / path).is_file() and anchor == name.lower()


def test_every_alert_says_how_urgent_it_is_and_what_it_is_about() -> None:
    assert {one["labels"]["severity"] for one in alerts()} == {"page", "ticket"}
    assert all(one["annotations"]["summary"] for one in alerts())


def test_every_alert_is_tested_firing_and_silent() -> None:
    cases = [case for one in yaml.safe_load(TESTS.read_text())["tests"] for case in one["alert_rule_test"]]
    fires = {case["alertname"] for case in cases if case.get("exp_alerts")}
    silent = {case["alertname"] for case in cases if not case.get("exp_alerts")}

    assert fires == silent == {one["alert"] for one in alerts()}


def promtool(*arguments: str, folder: Path = RULES.parent) -> "subprocess.CompletedProcess[str]":
    command = [str(PROMTOOL), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_every_program_that_shows_metrics_has_its_scrape_job() -> None:
    jobs = {one["job_name"] for one in yaml.safe_load(CONFIG.read_text())["scrape_configs"]}
    programs = ("rebalancer", "sweeper", "observe", "risk")

    assert jobs == {"quorumkeep", *(f"quorumkeep-{name}" for name in programs)}


@needs_promtool
def test_promtool_accepts_rules_and_configuration_and_its_tests_pass() -> None:
    checked = promtool("check", "rules", RULES.name)
    configured = promtool("check", "config", CONFIG.name)
    tested = promtool("test", "rules", TESTS.name)

    assert checked.returncode == 0, checked.stderr
    assert configured.returncode == 0, configured.stderr
    assert tested.returncode == 0, tested.stdout + tested.stderr


@needs_promtool
def test_promtool_sees_an_alert_that_does_not_fire(tmp_path: Path) -> None:
    text = RULES.read_text()
    assert text.count("quorumkeep_frozen == 1") == 1
    (tmp_path / RULES.name).write_text(text.replace("quorumkeep_frozen == 1", "quorumkeep_frozen == 2"))
    shutil.copy(TESTS, tmp_path)

    assert promtool("test", "rules", TESTS.name, folder=tmp_path).returncode != 0


def test_the_dashboards_are_those_that_the_script_makes_of_the_programs_metrics() -> None:
    made = runpy.run_path(str(GRAFANA / "make_dashboards.py"))["dashboards"]()

    assert {path.name for path in GRAFANA.glob("*.json")} == set(made)
    for name, document in made.items():
        assert json.loads((GRAFANA / name).read_text()) == json.loads(json.dumps(document)), (
            "run .venv/bin/python deploy/grafana/make_dashboards.py"
        )


@pytest.mark.parametrize("path", sorted(GRAFANA.glob("*.json")), ids=lambda path: path.stem)
def test_a_dashboard_draws_each_metric_once_and_none_that_is_not_there(path: Path) -> None:
    document = json.loads(path.read_text())
    panels = document["panels"]
    asked = {name for one in panels for target in one["targets"] for name in named(target["expr"])}

    assert asked and asked <= shown()
    assert len({one["title"] for one in panels}) == len({one["id"] for one in panels}) == len(panels)
    places = {(one["gridPos"]["x"], one["gridPos"]["y"]) for one in panels}
    assert len(places) == len(panels)
    assert all(one["datasource"]["uid"] == "${datasource}" for one in panels)
