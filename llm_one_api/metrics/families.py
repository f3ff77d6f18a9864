"""Builds metrics as the Prometheus client writes them, from values by labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal

from prometheus_client.core import Metric
from prometheus_client.utils import floatToGoString

from llm_one_api.metrics.labels import Labels
from llm_one_api.metrics.names import HELP, PREFIX
from llm_one_api.metrics.spreads import BOUNDS

Values = Mapping[Labels, int | float | Decimal]
_LE = (*map(floatToGoString, BOUNDS), "+Inf")


def counter(name: str, values: Values) -> Metric:
    """Make a counter, whose name ends in `_total`."""
    metric = Metric(PREFIX + name.removesuffix("_total"), HELP[name], "counter")
    for labels, value in sorted(values.items()):
        metric.add_sample(PREFIX + name, dict(labels), float(value))
    return metric


def gauge(name: str, values: Values | float | None) -> Metric:
    """Make a gauge. A plain number has no labels; None: it is not known, so there is no sample."""
    metric = Metric(PREFIX + name, HELP[name], "gauge")
    if not isinstance(values, Mapping):
        values = {} if values is None else {(): values}
    for labels, value in sorted(values.items()):
        metric.add_sample(PREFIX + name, dict(labels), float(value))
    return metric


def info(name: str, labels: Labels) -> Metric:
    """Make what only has labels."""
    kind: Literal["info"] = "info"
    metric = Metric((PREFIX + name).removesuffix("_info"), HELP[name], kind)
    metric.add_sample(PREFIX + name, dict(labels), 1.0)
    return metric


def histogram(name: str, spreads: Mapping[Labels, tuple[Sequence[int], float]]) -> Metric:
    """Make a histogram of counts up to each bound, as `spreads.cumulative` gives them, and the sum of the times."""
    metric, full = Metric(PREFIX + name, HELP[name], "histogram"), PREFIX + name
    for labels, (counts, seconds) in sorted(spreads.items()):
        for bound, calls in zip(_LE, counts, strict=True):
            metric.add_sample(f"{full}_bucket", {**dict(labels), "le": bound}, float(calls))
        metric.add_sample(f"{full}_count", dict(labels), float(counts[-1]))
        metric.add_sample(f"{full}_sum", dict(labels), seconds)
    return metric
