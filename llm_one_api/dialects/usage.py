"""The one canonical usage, from what providers report: a small pure function for each shape they use.

A field that a provider adds is a line here. Input includes what was read from and written to a cache, output includes
reasoning. What is not told is None, never zero; what cannot be true is told as a fault, and the figures stay as they
came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from llm_one_api.values import Usage

MOST_TOKENS = 2**40
"""A figure above this is no count of tokens."""

Raw = Mapping[str, Any]


class Measured(NamedTuple):
    """A usage object, as it is kept: None where it has no figure that could be used."""

    usage: Usage | None
    faults: tuple[str, ...] = ()


UNKNOWN = Measured(None)


class _Figures:
    """Reads figures out of objects, and notes those that cannot be."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def __call__(self, raw: Any, *names: str) -> int | None:
        """Give the first figure that stands in *raw* under one of *names*."""
        if not isinstance(raw, Mapping):
            return None
        for name in names:
            value = raw.get(name)
            if value is not None:
                return self._whole(name, value)
        return None

    def _whole(self, name: str, value: Any) -> int | None:
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or value > MOST_TOKENS:
            self.faults.append(f"{name} is no count")
            return None
        if value < 0:
            self.faults.append(f"{name} is negative")
            return None
        return value


def of_openai(raw: Raw | None) -> Measured:
    """Read OpenAI's usage, and that of the many who copied it.

    Chat, completions and embeddings say `prompt_tokens` and `completion_tokens`; responses, images and audio say
    `input_tokens` and `output_tokens`. Audio may be billed by its length instead: `{"type": "duration", "seconds": 9}`.
    """
    if not raw:
        return UNKNOWN
    figure = _Figures()
    inputs = _first(raw, "prompt_tokens_details", "input_tokens_details", "input_token_details")
    outputs = _first(raw, "completion_tokens_details", "output_tokens_details", "output_token_details")
    prompt = figure(raw, "prompt_tokens", "input_tokens")
    completion = figure(raw, "completion_tokens", "output_tokens")
    total = figure(raw, "total_tokens")
    reasoning = figure(outputs, "reasoning_tokens")
    if reasoning and None not in (prompt, completion, total) and total == prompt + completion + reasoning:  # type: ignore[operator]
        # xAI and Gemini count reasoning beside the completion, and only in the total.
        completion += reasoning  # type: ignore[operator]
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=_total(prompt, completion) if total is None else total,
        # DeepSeek and Moonshot tell it outside the details.
        cache_read_tokens=_or(figure(inputs, "cached_tokens"), figure(raw, "prompt_cache_hit_tokens", "cached_tokens")),
        cache_write_5m_tokens=figure(inputs, "cache_write_tokens", "cache_creation_tokens"),
        reasoning_tokens=reasoning,
        audio_input_tokens=figure(inputs, "audio_tokens"),
        audio_output_tokens=figure(outputs, "audio_tokens"),
        image_tokens=figure(inputs, "image_tokens"),
        image_output_tokens=figure(outputs, "image_tokens"),
        accepted_prediction_tokens=figure(outputs, "accepted_prediction_tokens"),
        rejected_prediction_tokens=figure(outputs, "rejected_prediction_tokens"),
        audio_seconds=_seconds(raw, figure) if raw.get("type") == "duration" else None,
    )
    return _measured(usage, figure.faults)


def of_anthropic(raw: Raw | None) -> Measured:
    """Read Anthropic's usage, whose `input_tokens` leaves out what was read from and written to the cache."""
    if not raw:
        return UNKNOWN
    figure = _Figures()
    fresh, completion = figure(raw, "input_tokens"), figure(raw, "output_tokens")
    read, written = figure(raw, "cache_read_input_tokens"), figure(raw, "cache_creation_input_tokens")
    kept = raw.get("cache_creation")
    short, long = figure(kept, "ephemeral_5m_input_tokens"), figure(kept, "ephemeral_1h_input_tokens")
    if short is None and long is None:
        short = written  # the default of those who do not say how long
    elif written is not None and written != (short or 0) + (long or 0):
        figure.faults.append("cache_creation_input_tokens is not the sum of its parts")
    prompt = None if fresh is None else fresh + (read or 0) + (short or 0) + (long or 0)
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=_total(prompt, completion),
        cache_read_tokens=read,
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
        reasoning_tokens=figure(raw.get("output_tokens_details"), "thinking_tokens"),
    )
    return _measured(usage, figure.faults)


def of_rerank(raw: Raw | None) -> Measured:
    """Read the usage of a rerank: Jina's and vLLM's `usage`, or Cohere's `meta` with `tokens` and `billed_units`."""
    if not raw:
        return Measured(None)
    if "tokens" not in raw and "billed_units" not in raw:
        measured = of_openai(raw)
        usage = measured.usage
        if usage is None or usage.total_tokens is None or usage.prompt_tokens is not None:
            return measured
        # All that a rerank takes is input: some tell the total alone.
        return _measured(
            Usage(prompt_tokens=usage.total_tokens, total_tokens=usage.total_tokens), list(measured.faults)
        )
    figure = _Figures()
    told = raw.get("tokens") or raw.get("billed_units")
    prompt, completion = figure(told, "input_tokens"), figure(told, "output_tokens")
    total = prompt if completion is None else _total(prompt, completion)
    return _measured(Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total), figure.faults)


_PARTS = (
    ("cache_read_tokens", "prompt_tokens"),
    ("cache_write_5m_tokens", "prompt_tokens"),
    ("cache_write_1h_tokens", "prompt_tokens"),
    ("audio_input_tokens", "prompt_tokens"),
    ("image_tokens", "prompt_tokens"),
    ("reasoning_tokens", "completion_tokens"),
    ("audio_output_tokens", "completion_tokens"),
    ("image_output_tokens", "completion_tokens"),
    ("accepted_prediction_tokens", "completion_tokens"),
    ("rejected_prediction_tokens", "completion_tokens"),
)
"""Each part and its whole."""


def faults_of(usage: Usage) -> tuple[str, ...]:
    """Tell what cannot be true between the figures: a part beyond its whole, a total that is not the sum."""
    faults = []
    for part, whole in _PARTS:
        some, all_ = getattr(usage, part), getattr(usage, whole)
        if some is not None and all_ is not None and some > all_:
            faults.append(f"{part} > {whole}")
    prompt, total = usage.prompt_tokens, usage.total_tokens
    if prompt is not None:
        cached = (
            (usage.cache_read_tokens or 0) + (usage.cache_write_5m_tokens or 0) + (usage.cache_write_1h_tokens or 0)
        )
        if cached > prompt and not faults:
            faults.append("cache tokens > prompt_tokens")
        if None not in (usage.completion_tokens, total) and total != prompt + usage.completion_tokens:  # type: ignore[operator]
            faults.append("total_tokens != prompt_tokens + completion_tokens")
    return tuple(faults)


def _measured(usage: Usage, faults: list[str]) -> Measured:
    if usage == _NOTHING:
        return Measured(None, tuple(faults))
    return Measured(usage, (*faults, *faults_of(usage)))


_NOTHING = Usage()


def _total(prompt: int | None, completion: int | None) -> int | None:
    return None if prompt is None or completion is None else prompt + completion


def _or(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _first(raw: Raw, *names: str) -> Any:
    return next((raw[name] for name in names if raw.get(name) is not None), None)


def _seconds(raw: Raw, figure: _Figures) -> float | None:
    """Read a length of audio."""
    seconds = raw.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_TOKENS:
        figure.faults.append("seconds is no length")
        return None
    return float(seconds)
