"""Beat's table. Everything here is a hint that may come twice or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llm_one_api.broker import DELIVER, JOBS

DELIVER_EVERY = 5.0
"""Seconds. Ingest hints at deliveries at once; this is for hints that were lost, and for retries of failed plugins."""
HINT_EXPIRES = 60.0
"""Seconds. Longer than a hint waits behind deliveries to plugins that are slow: a hint that expires there each time
would leave its plugin without any. One that waited longer says nothing that the next one does not."""
TICK_EVERY = 60.0
"""Seconds. What is due stands in the ledger: a tick that is missed, or comes twice, changes nothing."""
TICK_SOFT_LIMIT, TICK_HARD_LIMIT = 600, 660
"""Seconds: an audit of a large day takes minutes. Less than `jobs.LEASE`, and than the broker's visibility timeout."""


def beat_schedule(stats_plugins: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give the table: a look at each stats plugin's place every few seconds, and at the rest every minute.

    Whether there are quotas, the worker sees: they may be set while beat runs.
    """
    each_minute = {"jobs": "jobs.tick", "quotas": "quota.check", "alerts": "alerts.check"}
    return {
        name: {"task": task, "schedule": TICK_EVERY, "options": {"queue": JOBS, "expires": TICK_EVERY}}
        for name, task in each_minute.items()
    } | {
        f"deliver-{name}": {
            "task": "stats.deliver",
            "schedule": DELIVER_EVERY,
            "args": [name],
            "options": {"queue": DELIVER, "expires": HINT_EXPIRES},
        }
        for name in stats_plugins
    }
