"""A real Prometheus scrapes a real installation: its numbers are those of the statistics, also after all was restarted.

Needs `prometheus` and `promtool` on the path (Debian: apt-get install prometheus).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from tests.harness.metrics import parsed, total
from tests.harness.processes import ROOT, Process, free_port, wait_until
from tests.harness.product import OTHER_KEY, Product, config, demo_upstream

PROMETHEUS = shutil.which("prometheus")
pytestmark = pytest.mark.skipif(PROMETHEUS is None, reason="prometheus is not installed (apt-get install prometheus)")

DASHBOARD: dict[str, Any] = json.loads((ROOT / "config/grafana/dashboards/llm-one-api.json").read_text())


class Scraping:
    """A Prometheus that scrapes one target once a second, by our rules."""

    def __init__(self, folder: Path, target: str) -> None:
        self.port = free_port()
        written = yaml.safe_load((ROOT / "config/prometheus/prometheus.yml").read_text())
        written["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        written["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
        folder.mkdir()
        (folder / "prometheus.yml").write_text(yaml.safe_dump(written))
        shutil.copy(ROOT / "config/prometheus/rules.yml", folder)
        self.process = Process(
            "prometheus",
            [
                PROMETHEUS or "",
                "--config.file=prometheus.yml",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
            ],
            folder=folder,
        )

    def ask(self, query: str) -> list[dict[str, Any]]:
        """Give what a query comes to now: labels (`metric`) and `value`."""
        url = f"http://127.0.0.1:{self.port}/api/v1/query"
        told: dict[str, Any] = requests.get(url, params={"query": query}, timeout=10).json()
        assert told["status"] == "success", (query, told)
        found: list[dict[str, Any]] = told["data"]["result"]
        return found

    def number(self, query: str) -> float | None:
        try:
            found = self.ask(query)
        except requests.RequestException:  # it is only starting
            return None
        return float(found[0]["value"][1]) if found else None


class Scene:
    """An installation, and a Prometheus beside it."""

    def __init__(self, folder: Path, upstream: str) -> None:
        self.port = free_port()
        settings = config(
            upstream,
            monitoring={"prometheus": {"enabled": True, "port": self.port, "users": True}},
            pricing={"m": {"per": "1K", "input": "0.5", "output": "1.5"}},
            limits={"each_user": {"day": {"tokens": 1_000_000}}},
        )
        settings["models"]["dead"] = {"api_base": "http://127.0.0.1:1/v1", "api_key": "x", "timeout": 1}
        self.product = Product(folder / "product", settings)
        self.prometheus = Scraping(folder / "prometheus", f"127.0.0.1:{self.port}")

    def text(self) -> str:
        return requests.get(f"http://127.0.0.1:{self.port}/metrics", timeout=20).text

    def calls(self, number: int) -> None:
        before = self.counted()
        for n in range(number):
            self.product.call(stream=n % 2 == 0)
        self.product.call(model="dead")
        self.product.call(model="no-such-model", key=OTHER_KEY)
        wait_until(lambda: self.counted() == before + number + 2, timeout=60, what="all calls are counted")

    def counted(self) -> int:
        return sum(row["requests"] for row in self.stats())

    def stats(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self.product.get("/v1/stats/usage?group_by=model,outcome")["rows"]
        return rows

    def restart(self) -> None:
        assert self.product.process
        self.product.stop()
        self.product.process.output.unlink()
        self.product.start()

    def close(self) -> None:
        self.prometheus.process.kill()
        self.product.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One that has made calls, was stopped, was started again, and has made more."""
    folder = tmp_path_factory.mktemp("prometheus")
    with demo_upstream(folder / "demo") as upstream:
        it = Scene(folder, upstream)
        try:
            it.product.start()
            it.calls(4)
            wait_until(lambda: it.prometheus.number("sum(llm_request_total)") == 6, timeout=60, what="it was scraped")
            it.restart()
            it.calls(6)
            wait_until(lambda: it.prometheus.number("sum(llm_request_total)") == 14, timeout=60, what="and again")
            yield it
        finally:
            it.close()


def test_its_numbers_are_those_of_the_statistics_after_a_restart_of_every_process(scene: Scene) -> None:
    rows = scene.stats()
    of_m = [row for row in rows if row["model"] == "m"]

    def asked(query: str) -> float:
        return scene.prometheus.number(query) or 0.0

    for row in rows:
        model = row["model"] if row["model"] in {"m", "dead"} else "other"
        query = f'sum(llm_request_total{{model="{model}",outcome="{row["outcome"]}"}})'
        assert asked(query) == row["requests"], query
    for kind in ("prompt", "completion"):
        tokens = sum(row[f"{kind}_tokens"] for row in of_m)
        assert tokens > 0
        assert asked(f'sum(llm_token_usage_total{{model="m",type="{kind}"}})') == tokens
    cost = sum(float(row["cost"] or 0) for row in of_m)
    assert cost > 0
    assert asked('sum(llm_cost_usd_total{model="m"})') == pytest.approx(cost, rel=1e-12)
    seconds = sum(row["duration"] for row in rows)
    assert asked("sum(llm_request_duration_seconds_sum)") == pytest.approx(seconds, abs=1e-6)
    assert {row["model"] for row in rows} >= {"m", "dead"}


def test_no_counter_began_anew_and_none_went_unseen(scene: Scene) -> None:
    url = f"http://127.0.0.1:{scene.prometheus.port}/api/v1/label/__name__/values"
    names = requests.get(url, timeout=10).json()["data"]
    counters = [name for name in names if name.startswith("llm_") and name.endswith(("_total", "_count", "_sum"))]

    fallen = [name for name in counters if scene.prometheus.ask(f"resets({name}[1h]) > 0")]

    assert {"llm_request_total", "llm_auth_failures_total", "llm_request_duration_seconds_count"} <= set(counters)
    assert fallen == []
    # What was counted between the first scrape and the last is what `increase` would say without its extrapolation.
    grown = "sum(llm_request_total) - min_over_time(sum(llm_request_total)[1h:1s])"
    wait_until(lambda: 8 <= (scene.prometheus.number(grown) or 0) <= 14, what="all of it was seen to be counted")


def test_every_expression_of_the_dashboard_tells_something(scene: Scene) -> None:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    asked = {target["expr"]: panel["title"] for panel in panels for target in panel["targets"]}

    silent = []
    for expr, title in asked.items():
        query = expr.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$model", ".*")
        if not scene.prometheus.ask(query):
            silent.append((title, expr))

    assert {"Live QPS", "Token usage", "Response times", "Calls by model", "Cost"} <= set(asked.values())
    assert silent == []


def test_every_rule_of_ours_is_evaluated_without_an_error(scene: Scene) -> None:
    url = f"http://127.0.0.1:{scene.prometheus.port}/api/v1/rules"
    groups = wait_until(
        lambda: _all_evaluated(requests.get(url, timeout=10).json()["data"]["groups"]), what="rules were evaluated"
    )

    rules = [rule for group in groups for rule in group["rules"]]
    recorded = [rule["name"] for rule in rules if rule["type"] == "recording"]
    firing = {rule["name"] for rule in rules if rule["type"] == "alerting" and rule["state"] == "firing"}
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    wait_until(lambda: all(scene.prometheus.ask(name) for name in recorded), what="all that is recorded is there")
    assert firing == set()


def test_promtool_accepts_what_is_served(scene: Scene) -> None:
    text = scene.text()

    done = subprocess.run(
        [shutil.which("promtool") or "promtool", "check", "metrics"],
        input=text, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert total(parsed(text), "llm_exporter_source_up") == 3


def _all_evaluated(groups: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    return groups if all(rule["health"] != "unknown" for group in groups for rule in group["rules"]) else None
