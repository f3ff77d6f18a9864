"""The terminal of `llm-one-api up`, which may be gone before it: closed, or a pipe whose reader has ended."""

from __future__ import annotations

import os
import sys

import click


def say(text: str, *, err: bool = False) -> None:
    """Print *text*, if there is anybody to read it: that there is not must not hold up what is said."""
    try:
        click.echo(text, err=err)
    except OSError:
        let_go()


def let_go() -> None:
    """Forget what cannot be printed any more; Python would try again at its end, and make a failure of it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
