"""Which file is read, and what comes of it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from llm_one_api.errors import ConfigError, Fault
from llm_one_api.plugins import manager
from llm_one_api.settings import SAMPLE_KEY, Settings, load, source
from tests.harness.processes import ROOT
from tests.unit.settings.loader import Loader

DEFAULT = (ROOT / "config/llm-one-api.yaml").read_text()


def test_the_packaged_default_is_the_documented_one() -> None:
    packaged = ROOT / "llm_one_api/settings/default.yaml"

    assert packaged.read_text() == DEFAULT


def test_the_documented_default_states_the_defaults(config: Loader) -> None:
    settings = config(DEFAULT)

    assert settings.model_copy(update={"auth": {}, "stats": {}}) == Settings()


def test_the_documented_default_has_a_key_to_try_it_with_unless_one_is_set(config: Loader) -> None:
    [sample] = config(DEFAULT).auth["default_auth"]["api_keys"]
    [own] = config(DEFAULT, {"LLM_ONE_API_KEY": "sk-own"}).auth["default_auth"]["api_keys"]

    assert sample == {"key": SAMPLE_KEY, "user": "dev", "admin": True}
    assert own["key"] == "sk-own"


def test_the_examples_in_the_documented_default_work_without_their_comment_signs(config: Loader) -> None:
    keys = ("OPENAI_API_KEY", "DEEPSEEK_API_KEY", "GROQ_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY")
    environ = dict.fromkeys(keys, "sk-x")

    settings = config(_uncommented(DEFAULT), environ)

    models = ["gpt-4o-mini", "deepseek-chat", "fast", "claude-sonnet", "gpt-4o-azure", "qwen2.5", "gpt-4o"]
    assert list(settings.models) == models
    assert len(settings.routes()["gpt-4o"].targets) == 2
    assert len(settings.auth["default_auth"]["api_keys"]) == 3


def _uncommented(text: str) -> str:
    """Take the sign off every example: after the introduction, those are the lines with two spaces behind it."""
    introduction, line, rest = text.partition("# --- What callers may ask for")
    return introduction + line + re.sub(r"(?m)^#(?=  )", "", rest)


def test_production_needs_nothing_but_its_variables(config: Loader) -> None:
    text = (ROOT / "config/production.yaml").read_text()
    environ = {
        "LLM_ONE_API_KEY": "sk-own",
        "LLM_ONE_API_TEAM_KEY_SHA256": "0" * 64,
        "OPENAI_API_KEY": "sk-provider",
        "DATABASE_URL": "postgresql://u:p@db/llm",
        "REDIS_URL": "redis://:p@cache:6379/0",
    }

    settings = config(text, environ)
    faults = config.faults(text)

    assert settings.server.workers > 1
    assert {name for name in environ if any(f"variable {name} is" in fault for fault in faults)} == set(environ)


# --- which file --------------------------------------------------------------------------------------------------


def test_the_file_is_the_one_named_then_the_variables_then_the_current_folders_then_the_packaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, variable, local = (tmp_path / name for name in ("named.yaml", "variable.yaml", "config/llm-one-api.yaml"))
    local.parent.mkdir()
    for number, file in enumerate((named, variable, local), start=1):
        file.write_text(f"server: {{port: {number}}}")
    environ = {"LLM_ONE_API_CONFIG": str(variable)}
    monkeypatch.chdir(tmp_path)

    ports = [load(named, environ).server.port, load(None, environ).server.port, load(None, {}).server.port]
    local.unlink()
    packaged = load(None, {})

    assert ports == [1, 2, 3]
    assert packaged.auth["default_auth"]["api_keys"][0]["key"] == SAMPLE_KEY
    assert source(None, {}).startswith("packaged default")


@pytest.mark.parametrize("name", ["missing.yaml", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_a_fault_that_names_it(tmp_path: Path, name: str) -> None:
    file = f"{tmp_path}/{name}"

    with pytest.raises(ConfigError) as caught:
        load(file, {})

    assert caught.value.source == str(Path(file))
    assert "cannot be read" in str(caught.value)


def test_a_device_that_never_ends_is_not_read_to_the_end() -> None:
    with pytest.raises(ConfigError, match="larger than"):
        load("/dev/zero", {})


def test_the_environment_is_the_processs_own_if_none_is_handed_in(config: Loader, monkeypatch: Any) -> None:
    config()
    monkeypatch.setenv("LLM_ONE_API__SERVER__PORT", "4321")

    assert load(config.file).server.port == 4321
    assert "LLM_ONE_API__SERVER__PORT" in os.environ


# --- the sample key ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "gateway.example"])
@pytest.mark.parametrize(
    "entry",
    [SAMPLE_KEY, f"{{key: {SAMPLE_KEY}}}", f"{{key_sha256: {hashlib.sha256(SAMPLE_KEY.encode()).hexdigest()}}}"],
)
def test_the_published_key_is_not_offered_to_other_machines(config: Loader, host: str, entry: str) -> None:
    text = f"server: {{host: '{host}', port: 0}}\nauth:\n  default_auth:\n    api_keys:\n      - {entry}\n"

    faults = config.faults(text)

    assert faults[0].startswith("server.port")
    assert faults[1].startswith("auth.default_auth.api_keys.0 (line 5): is the published sample key")
    assert "LLM_ONE_API_KEY" in faults[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_on_this_machine_the_published_key_is_fine(config: Loader, host: str) -> None:
    settings = config(DEFAULT, {"LLM_ONE_API__SERVER__HOST": host})

    assert settings.server.host == host


@pytest.mark.parametrize(
    "text",
    ["auth: {default_auth: {api_keys: [{key: sk-local-dev, enabled: false}, sk-other]}}", "plugins: {auth: [mine]}"],
)
def test_a_published_key_that_opens_nothing_does_not_matter(config: Loader, text: str) -> None:
    settings = config(text, {"LLM_ONE_API__SERVER__HOST": "0.0.0.0"})

    assert settings.server.host == "0.0.0.0"


# --- plugins -----------------------------------------------------------------------------------------------------


def check(kind: str, names: Sequence[str], sections: Mapping[str, Mapping[str, Any]]) -> list[Fault]:
    """Refuse every section, and every plugin without one."""
    return [Fault(f"{kind}.{name}.level", "is wrong") for name in sections if name in names]


def test_plugins_check_their_own_sections_along_with_the_rest(config: Loader) -> None:
    text = "server: {port: x}\nplugins: {stats: [mine]}\nstats:\n  mine:\n    level: 5\n  other: {level: 1}\n"

    faults = config.faults(text, {"LLM_ONE_API__AUTH__DEFAULT_AUTH__LEVEL": "1"}, check=check)

    assert faults[1:] == [
        "stats.mine.level (line 5): is wrong",
        "auth.default_auth.level (LLM_ONE_API__AUTH__DEFAULT_AUTH__LEVEL): is wrong",
    ]


def test_a_plugins_complaint_about_what_could_not_be_read_is_not_told_again(config: Loader) -> None:
    faults = config.faults("plugins: {stats: [mine]}\nstats: {mine: {level: '${NOPE}'}}", check=check)

    assert len(faults) == 1
    assert "NOPE" in faults[0]


def test_every_kind_of_plugins_is_checked_whatever_is_wrong_with_another(config: Loader) -> None:
    text = """\
plugins:
  stats: [log, log, memroy]
  auth: [default_aut]
stats:
  log: 5
  memory: {max_records: many}
"""

    faults = config.faults(text, check=manager.check)

    assert [fault.partition("; ")[0] for fault in faults] == [
        "plugins.stats (line 2): names a plugin twice",
        "plugins.stats.2 (line 2): there is no stats plugin 'memroy'",
        "plugins.auth.0 (line 3): there is no auth plugin 'default_aut'",
        "stats.log (line 5): must be a section (lines of name: value below it), got a number",
    ]


@pytest.mark.parametrize("names", ["[log, '']", "[log, [memroy]]", "{log: 1}"])
def test_what_is_no_name_of_a_plugin_is_told_once(config: Loader, names: str) -> None:
    faults = config.faults(f"plugins: {{stats: {names}}}", check=manager.check)

    assert len(faults) == 1
    assert "must be a list of plugin names" in faults[0]


def test_a_section_for_a_plugin_that_nobody_has_installed_is_a_fault_with_the_nearest_name(config: Loader) -> None:
    text = "auth:\n  default_auht: {api_keys: [sk-1]}\nstats:\n  lgo:\n"

    faults = config.faults(text, check=manager.check)

    assert [fault.partition(" installed:")[0] for fault in faults] == [
        "auth.default_auht (line 2): there is no auth plugin 'default_auht'; did you mean default_auth?",
        "stats.lgo (line 4): there is no stats plugin 'lgo'; did you mean log?",
    ]


def test_a_plugin_with_nothing_behind_its_name_gets_an_empty_section(config: Loader) -> None:
    settings = config("stats:\n  log:\nauth:\n")

    assert settings.stats == {"log": {}}
    assert settings.auth == {}
