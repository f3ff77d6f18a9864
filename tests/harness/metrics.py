"""Reads metrics, as they stand in memory or in what is served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def samples(metrics: Iterable[Metric]) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Give all values by name and labels; none may be there twice."""
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for metric in metrics:
        for sample in metric.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, f"twice: {key}"
            found[key] = sample.value
    return found


def parsed(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Read what was served."""
    return samples(text_string_to_metric_families(text))


def value(of: Samples, name: str, /, **labels: str) -> float | None:
    """Give one value; None: there is none."""
    return of.get((name, frozenset(labels.items())))


def total(of: Samples, name: str, /, **labels: str) -> float:
    """Add up all values of *name* that have *labels*, whatever others they have."""
    wanted = labels.items()
    return sum(v for (n, has), v in of.items() if n == name and has.issuperset(wanted))


def counters(of: Samples) -> dict[Any, float]:
    """Give those that may never fall."""
    endings = ("_total", "_bucket", "_count", "_sum")
    return {key: v for key, v in of.items() if key[0].endswith(endings)}
