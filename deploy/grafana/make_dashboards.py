"""Writes the dashboards beside this file from the metrics that the programs have: one panel a metric.

Run it after a change of a metric: ``.venv/bin/python deploy/grafana/make_dashboards.py``. A test makes them
again and compares, so that no dashboard asks for what no program shows.
"""

import json
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from custody.indicators.scoring import INDICATORS
from custody.metrics import Metrics
from custody.rebalancing.metrics import RebalancerMetrics
from custody.sweeping.metrics import SweeperMetrics

HERE = Path(__file__).parent
COLUMNS, WIDTH, HEIGHT = 2, 12, 8
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
VARIABLES: list[dict[str, Any]] = [
    {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
    {
        "name": "instance",
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": "label_values(up, instance)", "refId": "instance"},
        "includeAll": True,
        "multi": True,
        "refresh": 2,
    },
]
CHOSEN = '{instance=~"$instance"}'


def dashboards() -> dict[str, dict[str, Any]]:
    """By file name."""
    return {
        "coordinator.json": dashboard("Quorumkeep: coordinator", "quorumkeep", Metrics().registry),
        "rebalancer.json": dashboard(
            "Quorumkeep: rebalancer", "quorumkeep-rebalancer", RebalancerMetrics().registry
        ),
        "sweeper.json": dashboard("Quorumkeep: sweeper", "quorumkeep-sweeper", SweeperMetrics().registry),
    }


def dashboard(title: str, uid: str, registry: CollectorRegistry) -> dict[str, Any]:
    """One dashboard of all metrics of a registry; the score of a coordinator comes first."""
    families = sorted(registry.collect(), key=lambda one: (one.name != "quorumkeep_risk_score", one.name))
    return {
        "uid": uid,
        "title": title,
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": VARIABLES},
        "panels": [panel(number, family) for number, family in enumerate(families)],
    }


def panel(number: int, family: Metric) -> dict[str, Any]:
    """A time series of one metric; what it means is its description."""
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": family.name.removeprefix("quorumkeep_").replace("_", " "),
        "description": family.documentation + explained(family.name),
        "datasource": DATASOURCE,
        "gridPos": {
            "x": number % COLUMNS * WIDTH,
            "y": number // COLUMNS * HEIGHT,
            "w": WIDTH,
            "h": HEIGHT,
        },
        "fieldConfig": {"defaults": {"unit": unit(family), "min": 0} | bounds(family.name), "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": expression,
                "legendFormat": legend,
                "datasource": DATASOURCE,
            }
            for index, (expression, legend) in enumerate(queries(family))
        ],
    }


def queries(family: Metric) -> list[tuple[str, str]]:
    """What is drawn: rates of counters, quantiles of histograms, gauges as they are."""
    name = family.name
    match family.type:
        case "counter":
            return [(f"rate({name}_total{CHOSEN}[$__rate_interval])", "__auto")]
        case "histogram":
            rate = f"sum by (le) (rate({name}_bucket{CHOSEN}[$__rate_interval]))"
            return [
                (f"histogram_quantile({quantile}, {rate})", quantile) for quantile in ("0.5", "0.95", "0.99")
            ]
        case _:
            return [(f"{name}{CHOSEN}", "__auto")]


def unit(family: Metric) -> str:
    """Grafana's name of the unit that the metric's name ends with."""
    if family.type == "counter":
        return "ops"
    ends = {"_seconds": "s", "_bytes": "bytes"}
    return next((found for ending, found in ends.items() if family.name.endswith(ending)), "short")


def bounds(name: str) -> dict[str, Any]:
    """What has an upper end, and what can be below zero."""
    if name in ("quorumkeep_risk_score", "quorumkeep_indicator_points"):
        return {"max": 100}
    below = ("quorumkeep_cosigner_clock_off_seconds", "quorumkeep_certificate_left_seconds")
    return {"min": None} if name in below else {}


def explained(name: str) -> str:
    """The indicators, under the panels that show them."""
    if name != "quorumkeep_indicator":
        return ""
    return ". " + "; ".join(f"{one.name}: {one.what}" for one in INDICATORS)


def main() -> None:
    """Write all files."""
    for name, document in dashboards().items():
        (HERE / name).write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
