"""LLM One API: an OpenAI-compatible gateway whose numbers can be trusted with the bill."""

import gc
import sys

__version__ = "0.1.0"

# What is imported is no garbage: to look for some takes a tenth of a process's start.
gc.set_threshold(50_000, 20, 100)

if "structlog" not in sys.modules:
    # It imports rich where that is installed, for tracebacks that we never print: 5 MB in each process. The commands
    # that draw tables import it themselves.
    sys.modules["rich"] = None  # type: ignore[assignment]
    import structlog  # noqa: F401

    del sys.modules["rich"]
