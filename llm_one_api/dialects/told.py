"""What an answer tells of itself, in whatever dialect."""

from __future__ import annotations

from typing import Any

from llm_one_api.values import Value


class Told(Value, frozen=True, kw_only=True):
    """What an answer, or one event of a stream, tells of itself. None: nothing of that."""

    model: str | None = None
    service_tier: str | None = None
    finish_reason: str | None = None
    error: str | None = None
    """The provider's code for its error, else its type; never its message."""
    usage_raw: dict[str, Any] | None = None
    images: int | None = None
    """How many the answer has."""
    audio_seconds: float | None = None
    """The length of the audio, told beside the usage."""
    unfinished: bool = False
    """The answer goes on elsewhere (a response in the background), so that what was used is not known yet."""


NOTHING = Told()
