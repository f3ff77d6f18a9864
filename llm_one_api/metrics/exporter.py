"""What a scrape gets: of each source what it tells now, or nothing, and which of them could be read."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.metadata import version

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from llm_one_api.metrics.families import gauge, info
from llm_one_api.metrics.names import PREFIX
from llm_one_api.metrics.sources import Source

PATIENCE = 7.0
"""Seconds that a scrape waits for its sources, all together: Prometheus gives up after 10, if not told otherwise."""


class Exporter(Collector):
    """Collects at each scrape. A source that cannot be read costs its own metrics, and never makes a zero of one."""

    def __init__(
        self,
        sources: Callable[[], tuple[Sequence[Source], Collection[str]]],
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        """Ask *sources* at each scrape for the sources, and which metrics are served."""
        self._sources = sources
        self._clock = clock
        self._patience = patience
        self._version = version("llm-one-api")

    def collect(self) -> Iterator[Metric]:
        """Give the metrics."""
        sources, wanted = self._sources()
        until = self._clock() + self._patience
        for source in sources:
            source.ask()
        up: dict[tuple[tuple[str, str], ...], float] = {}
        took: dict[tuple[tuple[str, str], ...], float] = {}
        for source in sources:
            told, labels = source.told(until), (("source", source.name),)
            up[labels] = told is not None and told.metrics is not None
            if told is not None:
                took[labels] = told.took
                for metric in told.metrics or ():
                    if _name(metric) in wanted:
                        yield metric
        yield gauge("exporter_source_up", up)
        yield gauge("exporter_read_seconds", took)
        yield info("exporter_info", (("version", self._version),))

    def describe(self) -> Iterator[Metric]:
        """Tell nothing: the registry need not read the sources to begin with."""
        return iter(())


def _name(metric: Metric) -> str:
    name = metric.name.removeprefix(PREFIX)
    return f"{name}_total" if metric.type == "counter" else name
