"""What the processes print: one fact a line."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from llm_one_api import logs


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, alembic = root.handlers[:], root.level, logging.getLogger("alembic").level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("alembic").setLevel(alembic)
    structlog.reset_defaults()


def fail_with(secret: str) -> None:
    """Fail while holding a secret, as a client does that connects with one."""
    raise ValueError(f"{len(secret)} characters")


@pytest.mark.parametrize("format", ["json", "console"])
def test_a_traceback_does_not_tell_what_the_variables_held(
    format: logs.LogFormat,  # noqa: A002 (the setting's own name)
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = "".join(reversed("t3rc3s"))  # a traceback has lines of code
    logs.configure("info", format)

    try:
        fail_with(secret)
    except ValueError:
        logging.getLogger("a.library").exception("it failed")
    printed = capsys.readouterr().err

    assert "ValueError" in printed
    assert "fail_with" in printed
    assert secret not in printed


def test_a_failure_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")

    try:
        fail_with("secret")
    except ValueError:
        logging.getLogger("a.library").exception("it failed")
    (line,) = capsys.readouterr().err.splitlines()

    told = json.loads(line)
    assert told["event"] == "it failed"
    assert told["exception"][0]["exc_type"] == "ValueError"
