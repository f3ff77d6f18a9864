"""The models of the config file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from llm_one_api.plugins.default_router import DefaultRouterPlugin
from llm_one_api.plugins.interfaces import PluginConfig
from llm_one_api.plugins.manager import check
from llm_one_api.targets import ModelRoute, Target, Upstream
from tests.harness.records import context

UPSTREAM = Upstream(name="main", base_url="http://127.0.0.1:1/v1", api_key="sk-canary")


def target(model: str) -> Target:
    return Target(model=model, upstream_model=model, upstream=UPSTREAM)


def route(model: str) -> ModelRoute:
    return ModelRoute(model=model, targets=(target(model),))


def router(*models: str) -> DefaultRouterPlugin:
    installation = msgspec.structs.replace(context(Path()), models={model: route(model) for model in models})
    return DefaultRouterPlugin(PluginConfig({}, installation))


def test_a_configured_model_goes_where_the_config_says_and_another_nowhere() -> None:
    assert router("b", "a").get_model_config("a") == route("a")
    assert router("b", "a").get_model_config("c") is None


def test_models_are_listed_in_the_order_of_the_config() -> None:
    assert list(router("b", "a", "c").list_models()) == ["b", "a", "c"]


def test_there_is_nothing_to_set() -> None:
    (fault,) = check("model_route", ["default_router"], {"default_router": {"default": "a"}})

    assert fault.path == "model_route.default_router.default"
    assert "unknown setting" in fault.message
