"""The `default_router` plugin: the models of the config's `models` section."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel, ConfigDict

from llm_one_api.plugins.interfaces import ModelRoutePlugin, PluginConfig
from llm_one_api.targets import ModelRoute


class RouterSettings(BaseModel):
    """The section `model_route.default_router`: there is nothing to set, the models stand in `models`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class DefaultRouterPlugin(ModelRoutePlugin):
    """Looks a model up by the name that callers use."""

    config_model = RouterSettings

    def __init__(self, config: PluginConfig) -> None:
        """Take the models that the installation has."""
        super().__init__(config)
        self._routes: Mapping[str, ModelRoute] = dict(config.context.models) if config.context else {}

    def get_model_config(self, model: str) -> ModelRoute | None:
        """Tell where calls to *model* may go; None: it is not configured."""
        return self._routes.get(model)

    def list_models(self) -> Iterable[str]:
        """Name the models in the order of the config."""
        return tuple(self._routes)
