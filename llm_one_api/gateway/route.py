"""Third stage: where calls to a model may go, and whether this key may use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from msgspec import structs

from llm_one_api.errors import UnknownModel
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.plugins.interfaces import ModelRoutePlugin
from llm_one_api.targets import ModelRoute, Target
from llm_one_api.values import NO_MODEL, Caller


class Route:
    """Ask the route plugins in their order; the first that knows the model decides."""

    def __init__(self, plugins: Sequence[ModelRoutePlugin]) -> None:
        """Keep the plugins."""
        self._plugins = tuple(plugins)

    def __call__(self, caller: Caller, model: str) -> ModelRoute:
        """Tell where a call to *model* may go. Raises UnknownModel, also for a model that this key may not use."""
        if caller.may_use(model):
            for plugin in self._plugins:
                found = plugin.get_model_config(model)
                if found is not None:
                    return found if isinstance(found, ModelRoute) else ModelRoute(model=found.model, targets=(found,))
        raise UnknownModel(
            f"The model `{model[:200]}` does not exist or you do not have access to it. `GET /v1/models` lists yours.",
            param="model",
        )

    def fallbacks(self, caller: Caller, route: ModelRoute) -> Iterator[ModelRoute]:
        """Give where a call may go that none of the upstreams of *route* can take: to models that this key may use.

        The call stays one to *route*'s model, in its record and for its limits.
        """
        for model in route.fallbacks:
            with suppress(UnknownModel):
                yield self(caller, model)

    def everywhere(self, caller: Caller, endpoint: Endpoint) -> list[Target]:
        """Tell all upstreams of the models that *caller* may use and that have *endpoint*, each once.

        For what is asked for by an id of the provider's: only they can tell which of them knows it. No model is named.
        Raises UnknownModel.
        """
        found: dict[tuple[str, str], Target] = {}
        for model in self.models(caller):
            for target in self(caller, model).targets:
                if endpoint.is_served_by(target):
                    upstream = target.upstream
                    found.setdefault((upstream.base_url, upstream.api_key), structs.replace(target, model=NO_MODEL))
        if not found:
            raise UnknownModel("You have access to no model whose provider could have made it.")
        return list(found.values())

    def models(self, caller: Caller) -> list[str]:
        """List the models that *caller* may use, each once."""
        seen: dict[str, None] = {}
        for plugin in self._plugins:
            seen.update(dict.fromkeys(plugin.list_models()))
        return [model for model in seen if caller.may_use(model)]
