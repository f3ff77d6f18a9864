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

PAGE = (ROOT / "docs/plugins.md").read_text()


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


@pytest.mark.parametrize("kind", [*manager.KINDS, "exact"])
def test_every_hook_is_on_it_with_its_arguments(kind: str) -> None:
    base = manager.KINDS.get(kind, ExactStatsPlugin)

    for name, hook in hooks(base).items():
        assert f"`{name}({', '.join(hook.arguments)})`" in PAGE


def test_every_kind_is_on_it() -> None:
    for kind, base in manager.KINDS.items():
        assert f"| `llm_one_api.{kind}` | `{base.__name__}` | `plugins.{kind}` | `{kind}.<name>` |" in PAGE


def test_its_plugin_works_as_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "data").mkdir()
    (tmp_path / "count_plugin.py").write_text(block("python"))
    project = tomllib.loads(block("toml"))["project"]
    config = yaml.safe_load(block("yaml"))
    install(monkeypatch, tmp_path, {"stats": project["entry-points"]["llm_one_api.stats"]})

    plugins = StatsPlugins(config["plugins"]["stats"], config["stats"], context(tmp_path))
    plugins.get("count").record(info(1))
    plugins.close()

    assert (tmp_path / "data/calls.txt").read_text().startswith(info(1)["request_id"])
