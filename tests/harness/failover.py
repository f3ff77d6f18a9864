"""A gateway in front of two upstreams: it asks the first one first, however often that has failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llm_one_api.plugins.interfaces import Candidate, LoadBalanceStrategy
from tests.harness.gateway import Gateway, gateway
from tests.harness.plugins import entry_points
from tests.harness.processes import ROOT
from tests.harness.product import config

FORGIVING = {"load_balance_strategy": "in_order", "health_check_interval": "off", "cooldown": 0.000001}
"""An upstream that has failed may be tried again at once: the first is asked first by each call."""


class InOrder(LoadBalanceStrategy):
    """Takes the first that may have the call."""

    def choose(self, among: Sequence[Candidate]) -> Candidate:
        return among[0]


def model(*urls: str, **more: Any) -> dict[str, Any]:
    """Write a model whose upstreams, `u0`, `u1` and so on, are at *urls*; *more*: what else is set."""
    return {
        **FORGIVING,
        "api_key": "sk-upstream-secret-0009",
        "upstreams": [{"name": f"u{number}", "api_base": url} for number, url in enumerate(urls)],
        **more,
    }


@contextmanager
def balanced(folder: Path, models: Mapping[str, Any], **sections: Any) -> Iterator[Gateway]:
    """Run a gateway with these *models*."""
    made = config("http://127.0.0.1:1/v1", **sections)
    made["models"] = dict(models)
    path = entry_points(folder, {"load_balance": {"in_order": f"{__name__}:InOrder"}})
    with gateway(folder, made, {"PYTHONPATH": f"{path}:{ROOT}"}) as it:
        yield it
