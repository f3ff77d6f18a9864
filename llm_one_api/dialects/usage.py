"""The one canonical usage, from what providers report: a small pure function for each shape they use.

A field that a provider adds is a line here. Input includes what was read from and written to a cache, output includes
reasoning. What is not told is None, never zero; what cannot be true is told as a fault, and the figures stay as they
came.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

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
    """Reads figures out of an object, and notes those that cannot be. Done for each call, so it goes the short way."""

    __slots__ = ("_faults", "_get")

    def __init__(self, raw: Any, faults: list[str]) -> None:
        """Read *raw*, if it is an object."""
        self._get = raw.get if isinstance(raw, dict) else _NOTHING_THERE.get
        self._faults = faults

    def __call__(self, name: str) -> int | None:
        """Give the figure called *name*."""
        value = self._get(name)
        if value is None or (value.__class__ is int and 0 <= value <= MOST_TOKENS):
            return value
        if value.__class__ is float and value.is_integer() and 0 <= value <= MOST_TOKENS:
            return int(value)
        negative = isinstance(value, int | float) and value < 0
        self._faults.append(f"{name} is negative" if negative else f"{name} is no count")
        return None

    def either(self, name: str, other: str) -> int | None:
        """Give the first of two that is told."""
        return self(other) if self._get(name) is None else self(name)


_NOTHING_THERE: dict[str, Any] = {}


def of_openai(raw: Raw | None) -> Measured:
    """Read OpenAI's usage, and that of the many who copied it.

    Chat, completions and embeddings say `prompt_tokens` and `completion_tokens`; responses, images and audio say
    `input_tokens` and `output_tokens`. Audio may be billed by its length instead: `{"type": "duration", "seconds": 9}`.
    """
    if not raw:
        return UNKNOWN
    faults: list[str] = []
    figure = _Figures(raw, faults)
    chat = "prompt_tokens" in raw or "completion_tokens" in raw
    if chat:
        inputs, outputs = raw.get("prompt_tokens_details"), raw.get("completion_tokens_details")
    else:
        inputs = raw.get("input_tokens_details") or raw.get("input_token_details")
        outputs = raw.get("output_tokens_details") or raw.get("output_token_details")
    in_, out = _Figures(inputs, faults), _Figures(outputs, faults)
    prompt = figure("prompt_tokens" if chat else "input_tokens")
    completion = figure("completion_tokens" if chat else "output_tokens")
    total = figure("total_tokens")
    cached = in_("cached_tokens")
    if cached is None:  # DeepSeek and Moonshot tell it outside the details, and so does LiteLLM
        cached = figure.either("prompt_cache_hit_tokens", "cached_tokens")
        cached = figure("cache_read_input_tokens") if cached is None else cached
    written = in_.either("cache_write_tokens", "cache_creation_tokens")
    if written is None:  # DashScope, and LiteLLM
        written = in_("cache_creation_input_tokens")
        written = figure("cache_creation_input_tokens") if written is None else written
    reasoning = out("reasoning_tokens")
    if reasoning and None not in (prompt, completion, total) and total == prompt + completion + reasoning:  # type: ignore[operator]
        # xAI counts reasoning beside the completion, and only in the total.
        completion += reasoning  # type: ignore[operator]
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=_total(prompt, completion) if total is None else total,
        cache_read_tokens=cached,
        cache_write_5m_tokens=written,
        reasoning_tokens=reasoning,
        audio_input_tokens=in_("audio_tokens"),
        audio_output_tokens=out("audio_tokens"),
        image_tokens=in_("image_tokens"),
        image_output_tokens=out("image_tokens"),
        accepted_prediction_tokens=out("accepted_prediction_tokens"),
        rejected_prediction_tokens=out("rejected_prediction_tokens"),
        audio_seconds=_seconds(raw, faults) if raw.get("type") == "duration" else None,
    )
    return _measured(usage, faults)


def of_anthropic(raw: Raw | None) -> Measured:
    """Read Anthropic's usage, whose `input_tokens` leaves out what was read from and written to the cache."""
    if not raw:
        return UNKNOWN
    faults: list[str] = []
    figure, kept = _Figures(raw, faults), _Figures(raw.get("cache_creation"), faults)
    fresh, completion = figure("input_tokens"), figure("output_tokens")
    read, written = figure("cache_read_input_tokens"), figure("cache_creation_input_tokens")
    short, long = kept("ephemeral_5m_input_tokens"), kept("ephemeral_1h_input_tokens")
    if short is None and long is None:
        short = written  # the default of those who do not say how long
    elif written is not None and written != (short or 0) + (long or 0):
        faults.append("cache_creation_input_tokens is not the sum of its parts")
        # A stream tells the parts at its start and the sum so far at its end: what was written since was written too.
        short = max(short or 0, written - (long or 0))
    prompt = None if fresh is None else fresh + (read or 0) + (short or 0) + (long or 0)
    usage = Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=_total(prompt, completion),
        cache_read_tokens=read,
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
        reasoning_tokens=_Figures(raw.get("output_tokens_details"), faults)("thinking_tokens"),
    )
    return _measured(usage, faults)


def of_input(raw: Raw | None) -> Measured:
    """Read the usage of what is input alone, embeddings and reranks: some (Voyage, Jina) tell the total and no more."""
    measured = of_openai(raw)
    usage = measured.usage
    if usage is None or usage.total_tokens is None or usage.prompt_tokens is not None:
        return measured
    return Measured(msgspec.structs.replace(usage, prompt_tokens=usage.total_tokens), measured.faults)


def of_rerank(raw: Raw | None) -> Measured:
    """Read the usage of a rerank: Jina's and vLLM's `usage`, or Cohere's `meta` with `tokens` and `billed_units`."""
    if not raw:
        return Measured(None)
    if "tokens" not in raw and "billed_units" not in raw:
        return of_input(raw)
    faults: list[str] = []
    figure = _Figures(raw.get("tokens") or raw.get("billed_units"), faults)
    prompt, completion = figure("input_tokens"), figure("output_tokens")
    total = prompt if completion is None else _total(prompt, completion)
    return _measured(Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=total), faults)


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
    prompt, completion, total = usage.prompt_tokens, usage.completion_tokens, usage.total_tokens
    read, short, long = usage.cache_read_tokens or 0, usage.cache_write_5m_tokens or 0, usage.cache_write_1h_tokens or 0
    # Done for each call, and next to never is there a fault: so first a look whether there is any.
    sound = (
        (prompt is None or not (
            read + short + long > prompt
            or (usage.audio_input_tokens or 0) > prompt
            or (usage.image_tokens or 0) > prompt
        ))
        and (completion is None or not (
            (usage.reasoning_tokens or 0) > completion
            or (usage.audio_output_tokens or 0) > completion
            or (usage.image_output_tokens or 0) > completion
            or (usage.accepted_prediction_tokens or 0) > completion
            or (usage.rejected_prediction_tokens or 0) > completion
        ))
        and (prompt is None or completion is None or total is None or total == prompt + completion)
    )  # fmt: skip
    if sound:
        return ()
    faults = []
    for part, whole in _PARTS:
        some, all_ = getattr(usage, part), getattr(usage, whole)
        if some is not None and all_ is not None and some > all_:
            faults.append(f"{part} > {whole}")
    if prompt is not None and read + short + long > prompt and not faults:
        faults.append("cache tokens > prompt_tokens")
    if prompt is not None and completion is not None and total not in {None, prompt + completion}:
        faults.append("total_tokens != prompt_tokens + completion_tokens")
    return tuple(faults)


def _measured(usage: Usage, faults: list[str]) -> Measured:
    if usage.total_tokens is None and usage == _NOTHING:
        return Measured(None, tuple(faults))
    found = faults_of(usage)
    return Measured(usage, (*faults, *found) if faults else found)


_NOTHING = Usage()


def _total(prompt: int | None, completion: int | None) -> int | None:
    return None if prompt is None or completion is None else prompt + completion


def _seconds(raw: Raw, faults: list[str]) -> float | None:
    """Read a length of audio."""
    seconds = raw.get("seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_TOKENS:
        faults.append("seconds is no length")
        return None
    return float(seconds)
