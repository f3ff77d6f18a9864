"""What providers say when they refuse a call, as far as the gateway acts on it."""

from __future__ import annotations

import re

_TOO_LONG = re.compile(
    rb"context_length_exceeded"  # OpenAI, Azure, Groq, DeepSeek
    rb"|maximum context length"  # OpenAI's and vLLM's words, Mistral's too
    rb"|context (?:window|length|size)"  # llama.cpp, Ollama, LM Studio
    rb"|prompt is too long|request_too_large"  # Anthropic
    rb"|input token count"  # Gemini
    rb"|(?:please )?reduce the length of",
    re.IGNORECASE,
)


def is_too_long(said: bytes) -> bool:
    """Whether an error (400 or 413), of which *said* is the body, is about a context too long for its model."""
    return _TOO_LONG.search(said) is not None
