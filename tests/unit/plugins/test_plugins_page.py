"""`docs/plugins.md`: its table is the contract's, and its plugin works as printed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from llm_one_api.plugins import manager
from llm_one_api.plugins.hooks import hooks
from llm_one_api.plugins.interfaces import ExactStatsPlugin
from llm_one_api.plugins.running import StatsPlugins
from tests.harness.plugins import install
from tests.harness.processes import ROOT
from tests.harness.records import context, info
from tests.unit.plugins.load_balance.strategies import upstreams

PAGE = (ROOT / "docs/plugins.md").read_text()


SWITCHED_ON = {"load_balance": ("models.<name>.load_balance_strategy", "none")}
"""How a kind is switched on, and its section, if it is not as others are."""


def block(language: str, file: str = "") -> str:
    (found,) = re.findall(rf"```{language}\n({file and '# '}{file}.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.mark.parametrize("kind", [*manager.KINDS, "exact"])
def test_every_hook_is_on_it_with_its_arguments(kind: str) -> None:
    base = manager.KINDS.get(kind, ExactStatsPlugin)

    for name, hook in hooks(base).items():
        assert f"`{name}({', '.join(hook.arguments)})`" in PAGE


def test_every_kind_is_on_it() -> None:
    for kind, base in manager.KINDS.items():
        switch, section = SWITCHED_ON.get(kind, (f"plugins.{kind}", f"`{kind}.<name>`"))
        assert f"| `llm_one_api.{kind}` | `{base.__name__}` | `{switch}` | {section} |" in PAGE


def test_its_plugin_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "count_plugin.py").write_text(block("python", "count_plugin.py"))
    project = tomllib.loads(block("toml"))["project"]
    config = yaml.safe_load(block("yaml"))
    install(monkeypatch, tmp_path, {"stats": project["entry-points"]["llm_one_api.stats"]})

    plugins = StatsPlugins(config["plugins"]["stats"], config["stats"], context(tmp_path))
    plugins.get("count").record(info(1))
    plugins.close()

    assert (tmp_path / "data/calls.txt").read_text().startswith(info(1)["request_id"])


def test_its_strategy_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "heaviest.py").write_text(block("python", "heaviest.py"))
    install(monkeypatch, tmp_path, {"load_balance": {"heaviest": "heaviest:Heaviest"}})

    strategy = manager.strategy("heaviest", context(tmp_path))

    assert strategy.choose(upstreams(a=1, b=3, c=2)).name == "b"
