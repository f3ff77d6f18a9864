"""`monitoring`: how others watch the gateway."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

from llm_one_api.metrics.names import CHOICES, short
from llm_one_api.settings.kinds import Expect, Host, Port, fault, listed
from llm_one_api.settings.sections import Section, Switch


def _are_metrics(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    for name in names or ():
        if short(name) not in CHOICES:
            near = get_close_matches(short(name), CHOICES, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(CHOICES)}"
            raise fault(f"there is no metric {name[:80]!r}; {hint}")
    return names


Metrics = Annotated[
    tuple[str, ...] | None,
    BeforeValidator(listed),
    AfterValidator(_are_metrics),
    Expect("a list of names of metrics, such as [request_total, error_rate]"),
]


class PrometheusSettings(Section):
    """Figures for Prometheus ([monitoring.md](monitoring.md)): one process serves them all, `llm-one-api metrics`."""

    enabled: Switch = False
    """Whether `llm-one-api up` runs that process. By itself it runs whatever stands here."""
    host: Host = "127.0.0.1"
    """The address that it listens on. There is no key to it: let Prometheus reach it, and nobody else."""
    port: Port = 9090
    """The port that it listens on; the figures are at `/metrics`."""
    metrics: Metrics = None
    """Which of them, with or without `llm_` in front. Nothing: all."""
    users: Switch = False
    """Whether figures are told by user too, and quotas by whose they are: up to 1000, and Prometheus keeps each."""


class MonitoringSettings(Section):
    """How others watch the gateway."""

    prometheus: PrometheusSettings = PrometheusSettings()
