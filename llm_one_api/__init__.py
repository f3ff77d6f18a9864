"""LLM One API: an OpenAI-compatible gateway whose numbers can be trusted with the bill."""

import sys

__version__ = "0.1.0"

if "structlog" not in sys.modules:
    # It imports rich where that is installed, for tracebacks that we never print: 5 MB in each process. The commands
    # that draw tables import it themselves.
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]
