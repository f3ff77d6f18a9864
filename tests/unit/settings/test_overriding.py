"""`LLM_ONE_API__SECTION__NAME`."""

from __future__ import annotations

import pytest

from tests.unit.settings.loader import Loader, targets_of

FILE = """
models:
  gpt-4.1/mini: {api_base: http://h/v1, api_key: one}
  a--b: {api_base: http://h/v1}
auth:
  default_auth:
    api_keys: [{key: first}, second]
redis: {url: "redis://file:6379/0"}
"""


def test_a_variable_wins_over_the_file_and_the_default(config: Loader) -> None:
    environ = {"LLM_ONE_API__SERVER__PORT": "9000", "LLM_ONE_API__REDIS__URL": "unix:///tmp/s"}

    settings = config(FILE, environ)

    assert (settings.server.port, settings.redis_url, settings.broker_url) == (9000, "unix:///tmp/s", "unix:///tmp/s")


@pytest.mark.parametrize("nothing", ["", "~", "null"])
def test_nothing_in_a_variable_means_the_default(config: Loader, nothing: str) -> None:
    settings = config(FILE, {"LLM_ONE_API__REDIS__URL": nothing})

    assert settings.redis_url == "redis://127.0.0.1:6379/0"


def test_names_of_the_file_are_found_whatever_characters_they_have(config: Loader) -> None:
    environ = {
        "LLM_ONE_API__MODELS__GPT_4_1_MINI__API_KEY": "two",
        "LLM_ONE_API__MODELS__A__B__UPSTREAM_MODEL": "c",
    }

    targets = targets_of(config(FILE, environ))

    assert targets["gpt-4.1/mini"].upstream.api_key == "two"
    assert targets["a--b"].upstream_model == "c"


@pytest.mark.parametrize("value", ['{demo: {api_base: "http://u/v1"}}', '{"demo":{"api_base":"http://u/v1"}}'])
def test_a_whole_section_is_replaced_and_then_changed_in_part(config: Loader, value: str) -> None:
    settings = config(FILE, {"LLM_ONE_API__MODELS__DEMO__TIMEOUT": "5", "LLM_ONE_API__MODELS": value})

    assert list(settings.models) == ["demo"]
    assert targets_of(settings)["demo"].upstream.total_timeout == 5


def test_entries_of_a_list_are_numbered(config: Loader) -> None:
    environ = {
        "LLM_ONE_API__AUTH__DEFAULT_AUTH__API_KEYS__0__KEY": "k",
        "LLM_ONE_API__AUTH__DEFAULT_AUTH__API_KEYS__1": "l",
    }

    settings = config(FILE, environ)

    assert settings.auth["default_auth"]["api_keys"] == [{"key": "k"}, "l"]


def test_a_plugin_gets_yaml_types_and_sections_that_the_file_does_not_have(config: Loader) -> None:
    environ = {
        "LLM_ONE_API__STATS__MEMORY__MAX_RECORDS": "50",
        "LLM_ONE_API__STATS__LOG__FORMAT": "text",
        "LLM_ONE_API__STATS__MINE": "{a: [1, x]}",
    }

    settings = config("", environ)

    assert settings.stats == {"memory": {"max_records": 50}, "log": {"format": "text"}, "mine": {"a": [1, "x"]}}


@pytest.mark.parametrize("secret", ["a: b", "*x", "pa#ss #1", "0123", "${HOME}", "%20", "@", "true"])
def test_a_password_needs_no_quotes(config: Loader, secret: str) -> None:
    settings = config("stats: {mine: {}}", {"LLM_ONE_API__STATS__MINE__PASSWORD": f"x{secret}"})

    assert settings.stats["mine"]["password"] == f"x{secret}"


@pytest.mark.parametrize(
    ("variable", "value", "fault"),
    [
        ("SERVER__PORT", "99999", "server.port ({}): must be a whole number between 1 and 65535, got 99999"),
        ("SERVER__WROKERS", "1", "server.wrokers ({}): unknown setting; did you mean workers?"),
        ("SERVR__PORT", "1", "servr ({}): unknown setting; did you mean server?"),
        ("MODELS", "{demo: {api_base: ", "models ({}): is not YAML"),
        ("MODELS", "[" * 1000, "models ({}): is nested more than"),
        ("MODELS", "{a: {api_base: http://h}, a: 1}", "models.a ({}): stands twice"),
        ("MODELS__NEW__API_KEY", "sk", "models.new.api_base ({}): must be given"),
        ("SERVER____PORT", "1", "environment ({}): a part of the name is empty"),
        ("", "1", "environment ({}): a part of the name is empty"),
        ("REDIS__URL__X", "1", "redis.url ({}): holds a single value, so there is no 'x' in it"),
        ("AUTH__DEFAULT_AUTH__API_KEYS__7", "1", "auth.default_auth.api_keys ({}): is a list of 2: its entries are 0"),
        ("AUTH__DEFAULT_AUTH__API_KEYS__X", "1", "auth.default_auth.api_keys ({}): is a list of 2: its entries are 0"),
    ],
)
def test_a_fault_names_the_variable_instead_of_the_line(config: Loader, variable: str, value: str, fault: str) -> None:
    faults = config.faults(FILE, {f"LLM_ONE_API__{variable}": value})

    assert faults[0].startswith(fault.format(f"LLM_ONE_API__{variable}"))
    assert len(faults) == 1


def test_a_variable_that_could_mean_two_names_is_refused(config: Loader) -> None:
    text = "models:\n  g-1: {api_base: http://h/v1}\n  g.1: {api_base: http://h/v1}\n"

    faults = config.faults(text, {"LLM_ONE_API__MODELS__G_1__TIMEOUT": "1"})

    assert faults == [
        "models (LLM_ONE_API__MODELS__G_1__TIMEOUT): could mean each of 'g-1', 'g.1': change the file instead"
    ]


def test_other_variables_of_the_product_are_left_alone(config: Loader) -> None:
    settings = config("", {"LLM_ONE_API_KEY": "x", "LLM_ONE_API_LIFELINE": "3", "llm_one_api__server__port": "1"})

    assert settings.server.port == 8000


DEMO = {
    "LLM_ONE_API_DEMO__MODELS": '{"demo": {"api_base": "http://127.0.0.1:9/v1"}}',
    "LLM_ONE_API_DEMO__PRICING": '{"demo*": {"per": "1K", "input": 0, "output": 0}}',
}


@pytest.mark.parametrize("text", ["", "models: {}", "models:"])
def test_the_demo_is_there_while_the_config_has_no_models(config: Loader, text: str) -> None:
    settings = config(text, DEMO)

    assert (list(settings.models), list(settings.pricing)) == (["demo"], ["demo*"])


def test_the_demo_is_gone_with_the_first_model_of_the_configs_own(config: Loader) -> None:
    settings = config("models: {mine: {api_base: 'http://a'}}", DEMO)
    from_environ = config("", {**DEMO, "LLM_ONE_API__MODELS": '{"mine": {"api_base": "http://a"}}'})

    assert (list(settings.models), list(settings.pricing)) == (["mine"], [])
    assert list(from_environ.models) == ["mine"]


def test_the_demo_leaves_prices_that_the_config_has(config: Loader) -> None:
    settings = config("pricing: {demo: {per: 1M, input: 1, output: 1}}", DEMO)

    assert (list(settings.models), list(settings.pricing)) == (["demo"], ["demo"])
