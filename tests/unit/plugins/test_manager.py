"""What is said at start about plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import BaseModel, Field, field_validator

from llm_one_api.errors import ConfigError
from llm_one_api.plugins import manager
from llm_one_api.plugins.default_auth import DefaultAuthPlugin
from llm_one_api.plugins.interfaces import (
    AuthPlugin,
    AuthResult,
    ExactStatsPlugin,
    ModelRoutePlugin,
    PluginConfig,
    ResponseInfo,
    StatsPlugin,
)
from llm_one_api.plugins.log import LogStatsPlugin
from llm_one_api.plugins.memory import MemoryStatsPlugin
from llm_one_api.targets import Target
from tests.harness.plugins import install
from tests.harness.records import context

HERE = __name__


class Good(StatsPlugin):
    async def record_response(self, response_info: ResponseInfo) -> None: ...


class GoodAndPlain(StatsPlugin):
    def record_response(self, response_info: ResponseInfo, *, flush: bool = False) -> None: ...

    @staticmethod
    def cleanup() -> None: ...

    def record_respons(self, infos: list[ResponseInfo]) -> None:
        """A method of its own with a name like a hook's is nobody's business while the hook is there."""


class GoodExact(ExactStatsPlugin):
    def position(self, since: int) -> int:
        return since

    def record_batch(self, after: int, upto: int, infos: Any) -> bool:
        return True


class GoodRoute(ModelRoutePlugin):
    def get_model_config(self, model: str) -> Target | None:
        return None

    def list_models(self) -> Iterable[str]:
        yield "a"


class NotAPlugin:
    def record_response(self, response_info: ResponseInfo) -> None: ...


class Missing(StatsPlugin):
    def record_request(self, request_info: ResponseInfo) -> None: ...


class WithoutArgument(StatsPlugin):
    def record_response(self) -> None: ...  # type: ignore[override]


class TooMany(StatsPlugin):
    def record_response(self, response_info: ResponseInfo, when: float) -> None: ...  # type: ignore[override]


class Yielding(StatsPlugin):
    async def record_response(self, response_info: ResponseInfo) -> AsyncIterator[None]:  # type: ignore[override]
        yield


class YieldingPlainly(StatsPlugin):
    def record_response(self, response_info: ResponseInfo) -> Iterator[None]:  # type: ignore[override]
        yield


class Misspelt(StatsPlugin):
    def record_response(self, response_info: ResponseInfo) -> None: ...
    def initialise(self) -> None: ...


class NoMethod(StatsPlugin):
    record_response = "yes"  # type: ignore[assignment]


class WithoutConfig(StatsPlugin):
    def __init__(self) -> None: ...
    def record_response(self, response_info: ResponseInfo) -> None: ...


class AsyncAuth(AuthPlugin):
    async def authenticate(self, api_key: str) -> AuthResult:  # type: ignore[override]
        return AuthResult(authenticated=False)


class HalfExact(ExactStatsPlugin):
    def position(self, since: int) -> int:
        return since


class WrongModel(StatsPlugin):
    config_model: ClassVar[Any] = dict

    def record_response(self, response_info: ResponseInfo) -> None: ...


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kinds = {
        "AsyncAuth": "auth",
        "PickyAuth": "auth",
        "DetailedAuth": "auth",
        "FailingAuth": "auth",
        "SlowAuth": "auth",
        "GoodRoute": "model_route",
    }
    entries: dict[str, dict[str, str]] = {"stats": {}, "auth": {}, "model_route": {}}
    for name, thing in globals().items():
        if isinstance(thing, type) and thing.__module__ == HERE:
            entries[kinds.get(name, "stats")][name] = f"{HERE}:{name}"
    entries["stats"] |= {"NoModule": "no_such_module:X", "NoClass": f"{HERE}:Nothing", "AFunction": f"{HERE}:strangers"}
    install(monkeypatch, tmp_path, entries)


def test_the_built_in_plugins_come_through_entry_points() -> None:
    assert manager.find("stats", "log") is LogStatsPlugin
    assert manager.find("stats", "memory") is MemoryStatsPlugin
    assert manager.find("auth", "default_auth") is DefaultAuthPlugin
    assert "default_router" in manager.names("model_route")


def test_no_built_in_plugin_takes_the_name_database() -> None:
    assert "database" not in manager.names("stats")


def test_an_unknown_name_is_told_with_the_names_that_exist() -> None:
    (fault,) = manager.check("stats", ["log", "memroy"], {})

    assert fault.path == "plugins.stats.1"
    assert fault.message == "there is no stats plugin 'memroy'; did you mean memory? installed: log, memory"


@pytest.mark.usefixtures("strangers")
@pytest.mark.parametrize("name", ["Good", "GoodAndPlain", "GoodExact"])
def test_a_plugin_that_keeps_to_the_contract_is_taken(name: str) -> None:
    assert manager.check("stats", [name], {}) == []


@pytest.mark.usefixtures("strangers")
def test_a_route_plugin_may_list_its_models_with_yield() -> None:
    assert manager.check("model_route", ["GoodRoute"], {}) == []


@pytest.mark.usefixtures("strangers")
@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("stats", "NotAPlugin", "NotAPlugin must be a subclass of llm_one_api.plugins.interfaces.StatsPlugin"),
        ("stats", "AFunction", "must be a subclass of llm_one_api.plugins.interfaces.StatsPlugin"),
        ("stats", "Missing", "Missing.record_response is missing: define record_response(self, response_info)"),
        ("stats", "WithoutArgument", "WithoutArgument.record_response must take one argument (response_info)"),
        ("stats", "TooMany", "TooMany.record_response must take one argument (response_info)"),
        ("stats", "Yielding", "Yielding.record_response has a yield in it"),
        ("stats", "YieldingPlainly", "YieldingPlainly.record_response has a yield in it"),
        ("stats", "Misspelt", "Misspelt.initialise is never called; did you mean initialize?"),
        ("stats", "NoMethod", "NoMethod.record_response must be a method"),
        ("stats", "WithoutConfig", "WithoutConfig.__init__ must take one argument, the config"),
        ("stats", "HalfExact", "HalfExact.record_batch is missing: define record_batch(self, after, upto, infos)"),
        ("stats", "WrongModel", "WrongModel.config_model must be a pydantic model"),
        ("stats", "NoModule", "cannot be imported from no_such_module:X: ModuleNotFoundError"),
        ("stats", "NoClass", "cannot be imported from"),
        ("auth", "AsyncAuth", "AsyncAuth.authenticate must not be async"),
    ],
)
def test_a_class_that_breaks_the_contract_is_a_fault_at_start_that_names_the_plugin(
    kind: str, name: str, words: str
) -> None:
    (fault,) = manager.check(kind, [name], {})

    assert fault.path == f"plugins.{kind}.0"
    assert f"plugin {name!r}" in fault.message
    assert words in fault.message
    with pytest.raises(ConfigError, match=name):
        manager.find(kind, name)


def test_two_packages_with_the_same_name_are_a_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, {"stats": {"log": f"{HERE}:Good"}})

    (fault,) = manager.check("stats", ["log"], {})

    assert "several stats plugins 'log'" in fault.message
    assert f"{HERE}:Good" in fault.message


def test_no_stats_plugin_can_have_the_ledgers_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, tmp_path, {"stats": {"ledger": f"{HERE}:Good"}})

    (fault,) = manager.check("stats", ["ledger"], {})

    assert "no stats plugin can be called 'ledger'" in fault.message


def test_a_package_that_is_on_the_path_twice_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for _ in range(2):
        install(monkeypatch, tmp_path, {"stats": {"good": f"{HERE}:Good"}})

    assert manager.check("stats", ["good"], {}) == []


@pytest.mark.parametrize(
    ("section", "path", "words"),
    [
        ({"format": "xml"}, "stats.log.format", "must be 'json' or 'text'"),
        ({"fromat": "json"}, "stats.log.fromat", "unknown setting; did you mean format?"),
        ({"zzz": 1}, "stats.log.zzz", "unknown setting; known here: format, output"),
        (5, "stats.log", "must be a section"),
    ],
)
def test_a_section_is_checked_by_the_plugins_own_model(section: Any, path: str, words: str) -> None:
    (fault,) = manager.check("stats", ["log"], {"log": section})

    assert fault.path == path
    assert words in fault.message


def test_a_section_of_a_plugin_that_is_off_is_not_looked_at() -> None:
    assert manager.check("stats", ["log"], {"memory": {"max_records": "many"}}) == []


def test_a_section_of_a_plugin_that_is_not_installed_is_a_fault() -> None:
    (off,) = manager.check("stats", ["log"], {"memroy": {"max_records": 5}})
    (on,) = manager.check("stats", ["memroy"], {"memroy": {"max_records": 5}})

    assert (off.path, on.path) == ("stats.memroy", "plugins.stats.0")
    assert "there is no stats plugin 'memroy'; did you mean memory?" in off.message


class Detailed(BaseModel):
    name: str = ""
    count: int = 0
    share: float = 0.0
    on: bool = False
    tags: tuple[str, ...] = ()
    set_of: frozenset[str] = frozenset()
    part: dict[str, int] = {}
    short: str = Field("", max_length=2)
    least: int = Field(1, ge=1)


class DetailedAuth(AuthPlugin):
    config_model = Detailed

    def authenticate(self, api_key: str) -> AuthResult:
        return AuthResult(authenticated=False)


@pytest.mark.usefixtures("strangers")
@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"name": 456}, "must be a text: put it in quotes"),
        ({"name": ["a"]}, "must be a text"),
        ({"tags": [1]}, "must be a text: put it in quotes"),
        ({"tags": "a"}, "must be a list"),
        ({"set_of": "a"}, "must be a list"),
        ({"part": [1]}, "must be a section (lines of name: value below it)"),
        ({"count": "many"}, "must be a whole number"),
        ({"count": 1.5}, "must be a whole number"),
        ({"share": "half"}, "must be a number"),
        ({"on": "maybe"}, "must be true or false"),
        ({"short": "long"}, "must have at most 2 characters"),
        ({"least": 0}, "must be greater than or equal to 1"),
    ],
)
def test_what_a_section_must_be_is_told_in_words_of_the_config_file(section: dict[str, Any], words: str) -> None:
    (fault,) = manager.check("auth", ["DetailedAuth"], {"DetailedAuth": section})

    assert fault.message == words


@pytest.mark.usefixtures("strangers")
def test_a_setting_that_a_plugin_needs_must_be_given() -> None:
    (fault,) = manager.check("auth", ["PickyAuth"], {})

    assert (fault.path, fault.message) == ("auth.PickyAuth.password", "must be given")


class Picky(BaseModel):
    password: int

    @field_validator("password", mode="before")
    @classmethod
    def _never(cls, password: Any) -> Any:
        if password == "boom":
            raise RuntimeError(f"cannot use {password} hunter2-hunter2")
        return password


class PickyAuth(AuthPlugin):
    config_model = Picky

    def authenticate(self, api_key: str) -> AuthResult:
        return AuthResult(authenticated=False)


class FailingAuth(AuthPlugin):
    def __init__(self, config: PluginConfig) -> None:
        super().__init__(config)
        raise RuntimeError(f"cannot reach {config['url']}")

    def authenticate(self, api_key: str) -> AuthResult:
        return AuthResult(authenticated=False)


class SlowAuth(AuthPlugin):
    started = False

    async def initialize(self) -> None:
        self.started = True

    def authenticate(self, api_key: str) -> AuthResult:
        return AuthResult(authenticated=self.started)


@pytest.mark.usefixtures("strangers")
def test_no_fault_repeats_what_was_written_for_it_may_be_a_secret() -> None:
    (fault,) = manager.check("auth", ["PickyAuth"], {"PickyAuth": {"password": "hunter2-hunter2"}})
    (crash,) = manager.check("auth", ["PickyAuth"], {"PickyAuth": {"password": "boom", "other": "hunter2-hunter2"}})

    assert fault.path == "auth.PickyAuth.password"
    assert "hunter2" not in fault.message + crash.message
    assert "RuntimeError" in crash.message


@pytest.mark.usefixtures("strangers")
def test_the_gateways_plugins_are_made_in_order_and_started(tmp_path: Path) -> None:
    made = manager.auth_plugins(
        ["SlowAuth", "default_auth"], {"default_auth": {"api_keys": ["sk-1"]}}, context(tmp_path)
    )

    assert [plugin.authenticate("sk-1").authenticated for plugin in made] == [True, True]
    assert list(manager.model_routes(["GoodRoute"], {}, context(tmp_path))[0].list_models()) == ["a"]


@pytest.mark.usefixtures("strangers")
def test_a_gateway_plugin_that_cannot_start_is_a_fault_without_its_secrets(tmp_path: Path) -> None:
    sections = {"FailingAuth": {"url": "redis://:hunter2@h/0"}}

    with pytest.raises(ConfigError) as refused:
        manager.auth_plugins(["FailingAuth"], sections, context(tmp_path))

    assert "plugin 'FailingAuth' cannot start: RuntimeError: cannot reach ***" in str(refused.value)
