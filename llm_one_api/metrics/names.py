"""Which metrics there are. `monitoring.prometheus.metrics` chooses among them by these names, also without `llm_`."""

from __future__ import annotations

from collections.abc import Collection, Mapping

PREFIX = "llm_"

COUNTED: Mapping[str, str] = {
    "request_total": "Finished calls, by how they ended.",
    "attempt_total": "Tries at upstreams that finished calls took.",
    "sdk_retry_total": "Finished calls that the caller's SDK had tried before.",
    "request_duration_seconds": "Seconds from a call's arrival to the last byte from upstream.",
    "time_to_first_token_seconds": "Seconds from a call's arrival to the first byte of its answer.",
    "token_usage_total": "Tokens of finished calls: type prompt and completion, which together are all.",
    "token_part_total": "Tokens that are counted in llm_token_usage_total already, as far as they are told: from a "
    "cache, for reasoning, and so on.",
    "metered_request_total": "Finished calls whose tokens are known, those of the input at least.",
    "estimated_request_total": "Finished calls whose tokens were counted by us, for the upstream told none.",
    "cost_usd_total": "Cost of the finished calls that have one, in USD.",
    "priced_request_total": "Finished calls that were given a cost.",
    "unpriced_request_total": "Finished calls whose usage is known and whose cost was not.",
    "user_request_total": "Finished calls, by user.",
    "user_token_total": "Tokens of finished calls, by user.",
    "user_cost_usd_total": "Cost of finished calls in USD, by user.",
}
"""From the ledger's sums."""

STANDING: Mapping[str, str] = {
    "error_rate": "Failed calls / (failed + successful ones) of this quarter of an hour and the one before.",
    "quota_used_ratio": "How much is used of the fullest quota of each kind: 1 is all of it.",
    "plugin_lag_records": "Records in the ledger that a stats plugin has not been given yet.",
    "dead_letters": "Records that stats plugins have refused, and that were set aside.",
    "refused_records": "Records that the ledger has refused, and that were set aside.",
    "job_last_run_timestamp_seconds": "When a periodic job was last done with, in seconds since 1970.",
    "job_last_duration_seconds": "Seconds of work that it took then.",
    "job_last_ok": "Whether it went well then.",
    "job_overdue": "Whether it ought to have been done by now.",
}
"""How the ledger, and what works on it, is just now."""

LIVE: Mapping[str, str] = {
    "gateway_processes": "Gateway processes that were heard of in the last 20 s.",
    "active_requests": "Calls under way.",
    "last_minute_requests": "Calls that came within the last minute, refused ones too.",
    "upstream_up": "Whether an upstream takes calls: 0 while it rests. One that is off (weight 0) is left out.",
    "upstream_active_requests": "Tries under way at an upstream.",
    "waiting_requests": "Calls that wait for an upstream of their model to have room.",
    "auth_failures_total": "Requests without a valid key: reason invalid_key, or flood (not even looked at, for too "
    "many came from there).",
    "unlimited_request_total": "Calls that were admitted while limits could not be relied on.",
}
"""What the gateway processes tell."""

JOURNALS: Mapping[str, str] = {
    "relay_up": "Whether a journal's relay tells how it fares.",
    "relay_lag_records": "Records that are not in the ledger yet, as far as the relay has read.",
    "relay_lag_seconds": "Age of the oldest of them.",
    "relay_unsettled_requests": "Finished calls that are not charged to their quotas yet.",
    "journal_bytes": "Size of what waits in a journal.",
    "lost_records_total": "Records that a full journal has cost.",
}
"""What the relays tell."""

ALWAYS: Mapping[str, str] = {
    "exporter_source_up": "Whether the ledger, redis, the journals could be read: what they tell is left out if not.",
    "exporter_read_seconds": "Seconds that the last reading of a source took.",
    "exporter_info": "The version of the exporter.",
}
"""What the exporter says of itself, whatever is chosen."""

HELP: Mapping[str, str] = {**COUNTED, **STANDING, **LIVE, **JOURNALS, **ALWAYS}
BY_USER = frozenset(name for name in COUNTED if name.startswith("user_"))
"""Those that are left out unless `monitoring.prometheus.users` is on."""
CHOICES: tuple[str, ...] = tuple({**COUNTED, **STANDING, **LIVE, **JOURNALS})


def short(name: str) -> str:
    """Take the prefix off."""
    return name.removeprefix(PREFIX)


def chosen(names: Collection[str] | None, *, users: bool) -> frozenset[str]:
    """Tell which metrics are served: *names*, or all; those by user only if *users*."""
    wanted = frozenset(CHOICES) if names is None else frozenset(map(short, names))
    return (wanted if users else wanted - BY_USER) | frozenset(ALWAYS)
