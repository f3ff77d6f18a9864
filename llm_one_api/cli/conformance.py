"""`llm-one-api conformance`: a scripted upstream, a gateway before it, and a verdict on every figure."""

from __future__ import annotations

import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import yaml

from llm_one_api.cli.own_gateway import own_gateway
from llm_one_api.conformance import report
from llm_one_api.conformance.case import Case, all_cases
from llm_one_api.conformance.gateway import Gateway
from llm_one_api.conformance.models import config
from llm_one_api.conformance.run import AT_ONCE, Result, run
from llm_one_api.conformance.upstream import Upstream

UPSTREAM = "127.0.0.1:9199"
KEY_SHOWN, DRAIN_KEY_SHOWN = "sk-conformance-…", "sk-conformance-drain-…"


@click.command()
@click.option("--url", help="Judge the gateway that runs there; without it one is started, and ended again.")
@click.option("--key", help="With --url: a key of that gateway, best one with `admin: true`.")
@click.option("--drain-key", help="With --url: a key of that gateway with `on_client_gone: drain`.")
@click.option(
    "--upstream",
    default=UPSTREAM,
    show_default=True,
    metavar="HOST:PORT",
    help="With --url: where the scripted upstream listens, and that gateway's models point to.",
)
@click.option("--only", default="*", metavar="PATTERN", help="The cases whose name fits, such as `usage/*` or `azure`.")
@click.option("--list", "listing", is_flag=True, help="Say what the cases check, and check nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON: both ledgers and all findings.")
@click.option("--print-config", is_flag=True, help="Print the sections that a gateway's config needs, for --url.")
@click.option("--at-once", default=AT_ONCE, show_default=True, type=click.IntRange(1, 256), help="Cases at a time.")
def command(
    url: str | None,
    key: str | None,
    drain_key: str | None,
    upstream: str,
    only: str,
    listing: bool,
    as_json: bool,
    print_config: bool,
    at_once: int,
) -> None:
    """Check that every figure a gateway records is true, against an upstream that knows what it sent.

    Exit code: 0 if no case fails, 1 if one does, 2 if it cannot be run so.
    """
    if print_config:
        made = config(upstream, KEY_SHOWN, DRAIN_KEY_SHOWN)
        click.echo(yaml.safe_dump(made, sort_keys=False, allow_unicode=True), nl=False)
        return
    cases = all_cases(only)
    if not cases:
        raise click.UsageError(f"no case fits {only!r}: --list names them")
    if listing:
        for each in cases:
            click.echo(f"{each.name:<{report.NAME}}  {each.says}")
        return
    if url is None and (key or drain_key):
        raise click.UsageError("--key and --drain-key go with --url.")
    if url is not None and not key:
        raise click.UsageError("--url needs --key: calls are made with it.")
    with _own() if url is None else _theirs(url, key or "", drain_key, upstream) as (gateway, scripted):
        try:
            gateway.look()
        except (OSError, LookupError) as error:
            raise click.UsageError(f"{gateway.url} cannot be judged: {error}") from None
        failed = _judge(cases, gateway, scripted, at_once=at_once, as_json=as_json)
    raise SystemExit(1 if failed else 0)


def _judge(cases: list[Case], gateway: Gateway, upstream: Upstream, *, at_once: int, as_json: bool) -> bool:
    """Run and report; tell whether a case fails."""
    began = time.monotonic()
    results: list[Result] = []
    for result in run(cases, gateway, upstream, at_once):
        results.append(result)
        if not as_json:
            click.echo(report.line(result, colour=sys.stdout.isatty()))
    if as_json:
        click.echo(report.as_json(results))
    else:
        click.echo(report.summary(results, time.monotonic() - began, upstream.strays))
    return any(result.verdict == "FAIL" for result in results)


@contextmanager
def _own() -> Iterator[tuple[Gateway, Upstream]]:
    """Start a gateway whose models point to an upstream of ours."""
    key, drain_key = f"sk-{secrets.token_hex(16)}", f"sk-{secrets.token_hex(16)}"
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    host, port = listening.getsockname()
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        click.echo("Starting a gateway …", err=True)
        with own_gateway(Path(folder), config(f"{host}:{port}", key, drain_key)) as running:
            upstream = Upstream(listening)
            try:
                yield Gateway(running.url, key, drain_key, running.kill), upstream
            finally:
                upstream.close()


@contextmanager
def _theirs(url: str, key: str, drain_key: str | None, address: str) -> Iterator[tuple[Gateway, Upstream]]:
    """Listen where a running gateway's models point to."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise click.UsageError(f"--upstream must be HOST:PORT, not {address!r}.")
    try:
        listening = socket.create_server((host.strip("[]"), int(port)), backlog=256)
    except (OSError, OverflowError) as error:
        raise click.UsageError(f"cannot listen on {address}: {error}") from None
    upstream = Upstream(listening)
    try:
        yield Gateway(url, key, drain_key), upstream
    finally:
        upstream.close()
