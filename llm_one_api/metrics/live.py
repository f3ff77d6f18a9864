"""What the gateway processes tell through Redis: what is under way, which upstreams rest, what no record has."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client.core import Metric

from llm_one_api.metrics.families import counter, gauge
from llm_one_api.metrics.labels import OTHER, Known, Labels
from llm_one_api.stores.gateways import Heard
from llm_one_api.stores.upstreams.live import live
from llm_one_api.stores.upstreams.messages import Told
from llm_one_api.stores.upstreams.overview import Overview, look

_TAKES_CALLS = {"healthy": 1, "trial": 1, "ejected": 0, "paused": 0}
AUTH_FAILURES = {reason: f"auth_failures {reason}" for reason in ("invalid_key", "flood")}
"""Why -> the name under which processes tell how many there were."""
UNLIMITED = "unlimited_requests"


class FromGateways:
    """Reads it."""

    def __init__(self, told: Callable[[], Told], heard: Callable[[], Heard], known: Known) -> None:
        """Read by *told* and *heard*, which raise what Redis's client raises."""
        self._told = told
        self._heard = heard
        self._known = known

    def __call__(self) -> list[Metric]:
        """Give all of it. Raises what Redis's client raises."""
        told, counts = self._told(), self._heard().counts
        now = live(told)
        # Where nobody is heard of, gateways may be there all the same: what they do is not known to be nothing.
        is_known = now.processes > 0
        return [
            gauge("gateway_processes", now.processes),
            gauge("active_requests", now.in_flight if is_known else None),
            gauge("last_minute_requests", now.requests if is_known else None),
            *self._upstreams(look(told)),
            counter(
                "auth_failures_total",
                {(("reason", reason),): counts.get(name, 0) for reason, name in AUTH_FAILURES.items()},
            ),
            counter("unlimited_request_total", {(): counts.get(UNLIMITED, 0)}),
        ]

    def _upstreams(self, overview: Overview) -> Iterator[Metric]:
        up: dict[Labels, int] = {}
        active: dict[Labels, int] = {}
        waiting: dict[Labels, int] = {}
        for model in overview.models:
            name = (("model", self._known.model(model.model)),)
            waiting[name] = waiting.get(name, 0) + model.waiting
            for one in model.upstreams:
                labels = (*name, ("upstream", self._known.upstream(one.name)))
                active[labels] = active.get(labels, 0) + one.in_flight
                if one.state in _TAKES_CALLS and OTHER not in (labels[0][1], labels[1][1]):
                    up[labels] = _TAKES_CALLS[one.state]
        yield gauge("upstream_up", up)
        yield gauge("upstream_active_requests", active)
        yield gauge("waiting_requests", waiting)
