"""Facts, one a line, on stderr: a constant event name, values as keywords. Never a key, a prompt or an answer.

The file of `logging.file` is not written from here: it belongs to the `log` plugin (one line a call).
"""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog
from structlog.dev import plain_traceback
from structlog.tracebacks import ExceptionDictTransformer

LogFormat = Literal["console", "json"]


def configure(level: str = "info", format: LogFormat = "console") -> None:  # noqa: A002 (the setting's own name)
    """Send structlog's and the standard library's log records to stderr in one *format*, from *level* up."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # A library's traceback says where it failed, and not what its variables held, such as a password.
    tracebacks = structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False))
    last: list[structlog.typing.Processor] = (
        [tracebacks, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if format == "json"
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain_traceback)]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("alembic").setLevel(logging.WARNING)  # ten lines of its plugins at each start
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        cache_logger_on_first_use=True,
    )
