"""Third stage: where calls to a model go, and whether this key may use it."""

from __future__ import annotations

from collections.abc import Sequence

from llm_one_api.errors import UnknownModel
from llm_one_api.plugins.interfaces import ModelRoutePlugin
from llm_one_api.values import Caller, Target


class Route:
    """Ask the route plugins in their order; the first that knows the model decides."""

    def __init__(self, plugins: Sequence[ModelRoutePlugin]) -> None:
        """Keep the plugins."""
        self._plugins = tuple(plugins)

    def __call__(self, caller: Caller, model: str) -> Target:
        """Tell where calls to *model* go. Raises UnknownModel, also for a model that this key may not use."""
        if caller.may_use(model):
            for plugin in self._plugins:
                target = plugin.get_model_config(model)
                if target is not None:
                    return target
        raise UnknownModel(
            f"The model `{model[:200]}` does not exist or you do not have access to it. `GET /v1/models` lists yours.",
            param="model",
        )

    def models(self, caller: Caller) -> list[str]:
        """List the models that *caller* may use, each once."""
        seen: dict[str, None] = {}
        for plugin in self._plugins:
            seen.update(dict.fromkeys(plugin.list_models()))
        return [model for model in seen if caller.may_use(model)]
