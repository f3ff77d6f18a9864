"""The files for Prometheus and Grafana: only metrics that there are, and rules that promtool accepts."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_one_api.metrics.names import CHOICES, HELP
from llm_one_api.metrics.spreads import BOUNDS
from tests.harness.compose import compose
from tests.harness.processes import ROOT

PROMETHEUS = ROOT / "config/prometheus"
GRAFANA = ROOT / "config/grafana"
RULES: dict[str, Any] = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
DASHBOARD: dict[str, Any] = json.loads((GRAFANA / "dashboards/llm-one-api.json").read_text())
PAGE = (ROOT / "docs/monitoring.md").read_text()
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
SERVED = {f"llm_{name}{ending}" for name in HELP for ending in ("", "_bucket", "_sum", "_count")}


def expressions() -> list[str]:
    rules = [rule["expr"] for group in RULES["groups"] for rule in group["rules"]]
    return [*rules, *[target["expr"] for panel in PANELS for target in panel["targets"]]]


def test_dashboard_and_rules_ask_for_metrics_that_there_are() -> None:
    asked = {name for text in expressions() for name in re.findall(r"\bllm_\w+", text)}

    assert asked - SERVED == set()
    assert len(asked) > 15


def test_rules_ask_for_recorded_series_that_there_are() -> None:
    recorded = {rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule}
    asked = {name for text in expressions() for name in re.findall(r"\bllm:[\w:]+", text)}

    assert asked - recorded == set()


def test_the_dashboard_has_the_five_panels_of_the_founding_document() -> None:
    kinds = {panel["title"]: panel["type"] for panel in PANELS}

    assert kinds.items() >= {
        "Live QPS": "timeseries", "Token usage": "timeseries", "Response times": "heatmap",
        "Calls by model": "piechart", "Cost": "timeseries",
    }.items()  # fmt: skip
    for chinese in ("实时 QPS", "Token 使用趋势", "响应时间分布", "模型使用占比", "成本趋势"):
        assert any(chinese in panel["description"] for panel in PANELS)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_what_is_provisioned_fits_together() -> None:
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/llm-one-api.yml").read_text())["providers"][0]
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"][0]
    made = compose()
    files = {config["target"]: made["configs"][config["source"]]["file"]
             for part in ("prometheus", "grafana") for config in made["services"][part]["configs"]}  # fmt: skip

    assert {panel["datasource"]["uid"] for panel in PANELS} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"
    assert scraped["static_configs"] == [{"targets": ["metrics:9090"]}]
    assert Path(provider["options"]["path"]) / "llm-one-api.json" in map(Path, files)
    assert all((ROOT / file).is_file() for file in files.values())


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (apt-get install prometheus)")
def test_promtool_accepts_the_config_and_the_rules() -> None:
    done = subprocess.run(
        [shutil.which("promtool") or "", "check", "config", PROMETHEUS / "prometheus.yml"],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_and_every_bound_is_on_the_page_and_none_that_is_not_there() -> None:
    rows = set(re.findall(r"^\| `llm_(\w+)", PAGE, re.MULTILINE))

    assert rows == set(HELP)
    assert all(f"{bound:g}" in PAGE or str(bound) in PAGE for bound in BOUNDS)
    assert set(CHOICES) < set(HELP)


def test_every_alert_is_on_the_page() -> None:
    alerts = {rule["alert"] for group in RULES["groups"] for rule in group["rules"] if "alert" in rule}

    assert alerts == set(re.findall(r"`(LLM\w+)`", PAGE))
