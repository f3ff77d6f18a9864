"""`llm-one-api` itself: what all of its commands have in common."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from llm_one_api.cli import main

NO_TEXT = b"gpt-\xff".decode(errors="surrogateescape")
"""As Python gives a word of the command line that is no UTF-8."""


@pytest.mark.parametrize(
    "words",
    [
        ("stats", "requests", "--model", NO_TEXT),
        ("alerts", "history", "--rule", NO_TEXT),
        ("alerts", "silence", "error-rate", "--for", "1h", "--reason", NO_TEXT),
        ("deadletter", "list", NO_TEXT),
        (NO_TEXT,),
    ],
)
def test_a_word_that_is_no_text_is_a_fault_of_the_command_line(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, words)

    assert done.exit_code == 2
    assert "'gpt-\ufffd' is no text in UTF-8" in done.output
