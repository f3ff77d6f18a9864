"""LLM One API: an OpenAI-compatible gateway whose numbers can be trusted with the bill."""

__version__ = "0.1.0"
