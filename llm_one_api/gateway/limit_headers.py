"""What an answer's headers tell of the limits that hold for it: how the caller's minute stands.

They are OpenAI's six, `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, those of a pair only where such a limit
holds, and `x-ratelimit-limit` and `-remaining` (of requests) for clients that know no other. Where a limit of ours
holds, the upstream's own, which are about the operator's account, are told apart as `x-upstream-ratelimit-*`.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm_one_api.gateway.reply import Reply
from llm_one_api.values import Standing

__all__ = ["Standing", "of", "with_standing"]

_UPSTREAMS = ("x-ratelimit-", "anthropic-ratelimit-")
_MARKED = "x-upstream-ratelimit-"


def of(standing: Standing | None) -> dict[str, str]:
    """Write how a caller's minute stands."""
    headers: dict[str, str] = {}
    if standing is None:
        return headers
    if standing.requests:
        limit, remaining, reset = standing.requests
        headers["x-ratelimit-limit"] = headers["x-ratelimit-limit-requests"] = str(limit)
        headers["x-ratelimit-remaining"] = headers["x-ratelimit-remaining-requests"] = str(max(0, remaining))
        headers["x-ratelimit-reset-requests"] = duration(reset)
    if standing.tokens:
        limit, remaining, reset = standing.tokens
        headers["x-ratelimit-limit-tokens"] = str(limit)
        headers["x-ratelimit-remaining-tokens"] = str(max(0, remaining))
        headers["x-ratelimit-reset-tokens"] = duration(reset)
    return headers


def with_standing(reply: Reply, standing: Standing | None) -> Reply:
    """Have an upstream's answer tell of our limits. Where none holds, it passes as it is."""
    ours = of(standing)
    if not ours:
        return reply
    return Reply(
        status=reply.status,
        headers={**marked(reply.headers), **ours},
        body=reply.body,
        waited=reply.waited,
        length=reply.length,
    )


def marked(headers: Mapping[str, str]) -> dict[str, str]:
    """Tell an upstream's own limits apart from ours."""
    found = {}
    for name, value in headers.items():
        for prefix in _UPSTREAMS:
            if name.startswith(prefix):
                found[_MARKED + name.removeprefix(prefix)] = value
                break
        else:
            found[name] = value
    return found


def duration(ms: int) -> str:
    """Write a time as OpenAI does: `12ms`, `1s`, `8.64s`, `6m0s`."""
    ms = max(0, ms)
    if 0 < ms < 1000:  # noqa: PLR2004
        return f"{ms}ms"
    minutes, rest = divmod(ms, 60_000)
    seconds = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds
