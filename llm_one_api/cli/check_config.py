"""`llm-one-api check-config`: every fault of a config at once, or what it comes to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import click

from llm_one_api import settings
from llm_one_api.books.reports.alerts.rules import Alerting
from llm_one_api.books.reports.alerts.sending import is_usable
from llm_one_api.errors import ConfigError
from llm_one_api.limits.rules import Rules
from llm_one_api.plugins import manager
from llm_one_api.targets import ModelRoute, Target


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    help="The file; else LLM_ONE_API_CONFIG, else config/llm-one-api.yaml, else the packaged default.",
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
def command(config: Path | None, file: Path | None) -> None:
    """Check the config FILE: print every fault and exit with 2, or print what it comes to."""
    if config and file:
        raise click.UsageError("Give the file once: as an argument or with --config.")
    try:
        loaded = settings.load(config or file, check=manager.check)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    alerting = loaded.alerts.alerting()
    unusable = [name for name, channel in alerting.channels.items() if not is_usable(channel)]
    if unusable:
        for name in unusable:
            click.echo(f"alerts.channels.{name}.url: no URL that Apprise can use", err=True)
        raise SystemExit(2)
    click.echo(f"{settings.source(config or file)}: good")
    for label, text in _summary(loaded):
        click.echo(f"  {label:<9}{text}")


def _summary(loaded: settings.Settings) -> Iterator[tuple[str, str]]:
    server = loaded.server
    yield "listens", f"http://{server.host}:{server.port}, {server.workers} process(es)"
    if not loaded.models:
        yield "models", "none (`llm-one-api up` offers `demo`, which invents its answers)"
    label = "models"
    for route in loaded.routes().values():
        for line in _route(route):
            yield label, line
            label = ""
    label = "plugins"
    for kind, names, _ in loaded.plugin_sections():
        yield label, f"{kind}: {', '.join(names) or 'none'}"
        label = ""
    if loaded.plugins.auth == ("default_auth",):
        keys = loaded.auth.get("default_auth", {}).get("api_keys") or ()
        yield "keys", str(len(keys)) if keys else "none: every call is answered with 401"
    yield "limits", ", ".join(_limits(loaded.limit_rules())) or "none"
    yield "alerts", _alerts(loaded.alerts.alerting())
    yield "stores", f"ledger {settings.masked(loaded.ledger.url)}"
    redis = settings.masked(loaded.redis.url or "one of its own with `llm-one-api up`, else 127.0.0.1:6379")
    yield "", f"redis {redis}"
    yield "", f"broker {settings.masked(loaded.broker.url or 'the same redis')}"
    yield "", f"journal {loaded.journal_folder}"
    yield "log", f"{loaded.logging.file} ({loaded.logging.rotate}, {loaded.timezone})"


def _route(route: ModelRoute) -> Iterator[str]:
    """Say where calls to a model go."""
    stand_in = f"; else to {', '.join(route.fallbacks)}" if route.fallbacks else ""
    if len(route.targets) == 1:
        yield f"{route.model} → {_place(route.targets[0])}{stand_in}"
        return
    yield f"{route.model} → {len(route.targets)} upstreams, {route.balance.strategy}{stand_in}"
    for target in route.targets:
        share = "off" if target.weight == 0 else f"weight {target.weight}"
        weighs = target.weight != 1 or route.balance.strategy == "weighted"
        yield f"  {_place(target)}{f', {share}' * weighs}"


def _place(target: Target) -> str:
    """Say where an upstream is, how it is reached, and nothing that is secret."""
    upstream, link = target.upstream, target.upstream.link
    host = urlsplit(upstream.base_url).netloc
    said = host if upstream.name == host else f"{upstream.name} at {host}"
    if upstream.adapter != "openai":
        said += f" ({upstream.adapter})"
    if target.upstream_model != target.model:
        said += f" as {target.upstream_model}"
    if not upstream.api_key:
        said += ", without a key"
    if upstream.max_concurrent is not None:
        said += f", {upstream.max_concurrent} calls at a time"
    if link.proxy:
        said += f", through {urlsplit(link.proxy).netloc.rpartition('@')[2]}"
    if not link.verify and upstream.base_url.lower().startswith("https:"):
        said += ", whoever answers there (tls_verify is false)"
    return said


def _alerts(alerting: Alerting) -> str:
    """Say what is looked at and who is told, and nothing of where."""
    rules = ", ".join(rule.name for rule in alerting.rules) or "none"
    told = ", ".join(f"{name} ({channel.service})" for name, channel in alerting.channels.items())
    return f"{rules}; {f'told to {told}' if told else 'logged'}"


def _limits(rules: Rules) -> Iterator[str]:
    """Say for whom there are limits."""
    for kind in rules.each:
        yield "everyone" if kind == "all" else f"each {kind}"
    for kind, sets in rules.named.items():
        yield f"{len(sets)} {kind}(s)"
    exempt = len(rules.exempt_keys) + len(rules.exempt_users)
    if exempt:
        yield f"{exempt} exempt"
