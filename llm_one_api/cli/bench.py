"""`llm-one-api bench`: how fast this machine is at it."""

from __future__ import annotations

import click

from llm_one_api.cli.bench_pipeline import command as pipeline


@click.group()
def command() -> None:
    """Measure how fast the parts are on this machine."""


command.add_command(pipeline, "pipeline")
