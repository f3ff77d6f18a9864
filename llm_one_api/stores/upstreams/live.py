"""What is under way now, and how much came in the last minute, over all processes."""

from __future__ import annotations

from llm_one_api.stores.upstreams.messages import Told
from llm_one_api.values import Value

WINDOW = 60
"""Seconds of `requests`."""


class Live(Value, frozen=True, kw_only=True):
    """The present moment."""

    processes: int
    """How many were added up."""
    in_flight: int
    """Calls whose caller is known and whose end is not reached."""
    requests: int
    """Calls that came in the last `WINDOW` whole seconds."""

    @property
    def qps(self) -> float:
        """Calls a second."""
        return round(self.requests / WINDOW, 3)


def live(told: Told, *, key: str | None = None) -> Live:
    """Add up what processes have told; of *key* only, if it is given."""
    in_flight = requests = 0
    for process in told.processes.values():
        keys = process.calls.keys
        for under_way, came in keys.values() if key is None else [keys[key]] if key in keys else []:
            in_flight += under_way
            requests += came
    return Live(processes=len(told.processes), in_flight=in_flight, requests=requests)
