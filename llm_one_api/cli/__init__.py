"""`llm-one-api`: one file a command; each is imported only when it is called."""

from __future__ import annotations

from importlib import import_module

import click

from llm_one_api.cli.table import cell

COMMANDS = {
    "up": "Run everything on this machine, in the foreground.",
    "check-config": "Check the config file and print every fault.",
    "reload": "Have what runs here take up the changed config.",
    "relay": "Send the journal's records to the workers.",
    "db": "Create or upgrade the ledger's tables.",
    "stats": "Show usage, who is on top, peak hours, single calls, and what is live.",
    "prices": "List calls without a cost, and give them one.",
    "plugins": "Tell how far the stats plugins are, and set one back.",
    "deadletter": "Look after records that were set aside.",
    "quota": "Show how limits stand, and let somebody go on.",
    "upstreams": "Show how upstreams do: who takes calls, who rests, and why.",
    "alerts": "List alerts, try channels, and be silent for a while.",
    "export": "Write a day's statistics and calls as files.",
    "jobs": "Show the periodic jobs, and do one by hand.",
    "metrics": "Serve figures to Prometheus.",
    "verify": "Compare the journal, the records, the sums, the live statistics and the exports.",
    "demo-upstream": "Answer like a provider, for trying things out.",
    "bench": "Measure how fast it is on this machine.",
    "conformance": "Check that every figure a gateway records is true.",
}
"""Command → its one-line help; `check-config` lives in `check_config.py` as `command`."""


class Commands(click.Group):
    """Finds a command by its file, so that `llm-one-api relay` does not load gunicorn."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse what is no text: no database and no page could be asked for it."""
        for arg in args:
            try:
                arg.encode()
            except UnicodeEncodeError:
                raise click.UsageError(f"{cell(arg)!r} is no text in UTF-8.", ctx) from None
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's)
        """Name the commands."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the one asked for."""
        if cmd_name not in COMMANDS:
            return None
        try:
            module = import_module(f"llm_one_api.cli.{cmd_name.replace('-', '_')}")
        except OSError as error:  # such as a disk so full that a library finds no place for temporary files
            raise click.ClickException(f"cannot start: {error.strerror or error}") from None
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(cls=Commands)
@click.version_option(package_name="llm-one-api")
def main() -> None:
    """Run the LLM gateway whose numbers can be trusted with the bill."""
