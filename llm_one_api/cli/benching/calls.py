"""Calls that nobody made, as varied as those of a day: by key, model, endpoint, outcome, usage and time."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from llm_one_api.dialects.told import Told
from llm_one_api.dialects.usage import UNKNOWN, Measured
from llm_one_api.targets import Target
from llm_one_api.values import Caller, Outcome, Usage, fingerprint

KEYS = 20
KINDS = 5000
"""Different calls; after so many they come again, with ids and times of their own."""


class Model(NamedTuple):
    """A model that is called."""

    name: str
    base: str
    upstream_model: str
    share: float
    """Of the calls."""
    streams: float = 0.6
    """Of its calls."""
    endpoint: str = "chat"
    tells: bool = True
    """Whether its upstream tells the usage."""


MODELS = (
    Model("gpt-4o-mini", "https://api.openai.com/v1", "gpt-4o-mini-2024-07-18", 30),
    Model("gpt-4o", "https://api.openai.com/v1", "gpt-4o-2024-08-06", 16),
    Model("claude-sonnet", "https://api.anthropic.com/v1", "claude-sonnet-4-20250514", 14, 0.8),
    Model("text-embedding-3-small", "https://api.openai.com/v1", "text-embedding-3-small", 10, 0, "embeddings"),
    Model("deepseek-chat", "https://api.deepseek.com/v1", "deepseek-chat", 8),
    Model("fast", "https://api.groq.com/openai/v1", "llama-3.1-8b-instant", 7, 0.3),
    Model("gpt-4.1", "https://api.openai.com/v1", "gpt-4.1-2025-04-14", 6, 0.5),
    Model("o3-mini", "https://api.openai.com/v1", "o3-mini-2025-01-31", 4, 0.2, "responses"),
    Model("in-house", "http://10.0.0.7:8000/v1", "in-house-7b", 3),  # of which no price is known
    Model("in-house-old", "http://10.0.0.8:8000/v1", "in-house-3b", 2, tells=False),
)

_OUTCOMES: tuple[tuple[float, Outcome, int | None, str | None], ...] = (
    (93.5, "success", 200, None),
    (1.5, "client_error", 400, "context_length_exceeded"),
    (1.5, "client_gone", 200, "client_gone"),
    (1.0, "upstream_error", 502, "upstream_unreachable"),
    (0.5, "upstream_error", 429, "rate_limit_exceeded"),
    (0.5, "timeout", 504, "upstream_timeout"),
    (0.4, "truncated", 200, "upstream_closed"),
    (0.3, "stream_error", 200, "server_error"),
    (0.8, "rejected", 503, "overloaded"),
)
_CUT: frozenset[Outcome] = frozenset({"truncated", "stream_error", "client_gone"})


class Invented(NamedTuple):
    """One kind of call, from its caller to its end."""

    caller: Caller
    target: Target
    endpoint: str
    stream: bool
    end_user: str | None
    tags: tuple[str, ...]
    outcome: Outcome
    status: int | None
    error: str | None
    told: Told
    measured: Measured
    counted: tuple[int, int] | None
    """Tokens that we count, for the upstream tells none."""
    duration: float
    ttft: float | None

    @property
    def cut(self) -> bool:
        """Whether more of the answer would have come."""
        return self.outcome in _CUT


def models() -> dict[str, Any]:
    """Give the section `models` of a config that knows them."""
    return {m.name: {"api_base": m.base, "api_key": "sk-none", "upstream_model": m.upstream_model} for m in MODELS}


def invent(targets: Mapping[str, Target], seed: int) -> Iterator[Invented]:
    """Give `KINDS` calls; the same for the same *seed*. A few keys and models have most of them."""
    chance = random.Random(seed)  # noqa: S311 (nothing depends on its being unforeseeable)
    callers = [
        Caller(key=fingerprint(f"sk-bench-{n}"), user=f"user-{n}", group=f"team-{n % 4}" if n % 3 else None)
        for n in range(KEYS)
    ]
    weights = [1 / (n + 1) for n in range(KEYS)]
    for _ in range(KINDS):
        (model,) = chance.choices(MODELS, [m.share for m in MODELS])
        ((_, outcome, status, error),) = chance.choices(_OUTCOMES, [o[0] for o in _OUTCOMES])
        stream = chance.random() < model.streams
        duration = min(300.0, chance.lognormvariate(math.log(2.5), 0.8))
        answered = status == 200  # noqa: PLR2004
        told, usage = _usage(chance, model) if answered else (Told(), None)
        counted = None
        if usage is not None and not model.tells:
            counted = (usage.prompt_tokens or 0, usage.completion_tokens or 0)
            told, usage = Told(model=model.upstream_model, finish_reason="stop"), None
        yield Invented(
            caller=chance.choices(callers, weights)[0],
            target=targets[model.name],
            endpoint=model.endpoint,
            stream=stream,
            end_user=f"visitor-{chance.randrange(500)}" if chance.random() < 0.3 else None,  # noqa: PLR2004
            tags=("nightly",) if chance.random() < 0.1 else (),  # noqa: PLR2004
            outcome=outcome,
            status=status,
            error=error,
            told=told,
            measured=UNKNOWN if usage is None else Measured(usage),
            counted=counted,
            duration=duration,
            ttft=duration * chance.uniform(0.1, 0.4) if answered else None,
        )


def _usage(chance: random.Random, model: Model) -> tuple[Told, Usage]:
    """Make up what an answer tells of its usage, as OpenAI puts it, and what is read from it."""
    prompt = int(chance.lognormvariate(6.5, 1.2)) + 8
    completion = 0 if model.endpoint == "embeddings" else int(chance.lognormvariate(5.2, 1.0)) + 1
    cached = prompt // 128 * 128 if chance.random() < 0.35 else 0  # noqa: PLR2004
    reasoning = completion // 2 if model.name == "o3-mini" else 0
    raw: dict[str, Any] = {"prompt_tokens": prompt, "total_tokens": prompt + completion}
    if completion:
        raw["completion_tokens"] = completion
        raw["prompt_tokens_details"] = {"cached_tokens": cached, "audio_tokens": 0}
        raw["completion_tokens_details"] = {
            "reasoning_tokens": reasoning, "audio_tokens": 0, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        }  # fmt: skip
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=prompt + completion,
        cache_read_tokens=cached,
        reasoning_tokens=reasoning,
    )
    return Told(model=model.upstream_model, finish_reason="stop", usage_raw=raw), usage
