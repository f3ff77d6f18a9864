"""`llm-one-api metrics`: the process that Prometheus scrapes. One for a whole installation."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import click
import structlog
from prometheus_client.core import Metric

from llm_one_api import logs
from llm_one_api.cli.opening import config_option, with_redis_of_up
from llm_one_api.errors import ConfigError
from llm_one_api.metrics.exporter import Exporter
from llm_one_api.metrics.journals import FromJournals
from llm_one_api.metrics.labels import Known
from llm_one_api.metrics.live import FromGateways
from llm_one_api.metrics.names import chosen
from llm_one_api.metrics.quotas import QuotaRatios
from llm_one_api.metrics.serving import application, listen
from llm_one_api.metrics.sources import Read, Source
from llm_one_api.metrics.sums import FromLedger
from llm_one_api.settings import Settings, load
from llm_one_api.settings.applying import METRICS, keeping, written
from llm_one_api.stores.gateways import GatewayStore
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.upstreams import UpstreamStore
from llm_one_api.timetable import planned

log = structlog.get_logger()

REDIS_SECONDS = 2.0
"""How long Redis may take to answer."""


@click.command()
@config_option
@click.option("--host", help="The address to listen on, instead of monitoring.prometheus.host.")
@click.option("--port", type=click.IntRange(1, 65535), help="The port, instead of monitoring.prometheus.port (9090).")
def command(config: Path | None, host: str | None, port: int | None) -> None:
    """Serve figures to Prometheus at /metrics: counters from the ledger, and how the gateways are just now.

    One process does for a whole installation, whatever number of gateways it has. It keeps nothing, and no call
    waits for it. Runs until SIGTERM or Ctrl-C.
    """
    try:
        settings = load(config)
    except ConfigError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from None
    logs.configure(settings.logging.level, settings.logging.format)
    at = settings.monitoring.prometheus
    sources = Sources(settings, lambda: load(config), lambda: written(config))
    try:
        server = listen(host or at.host, port or at.port, application(Exporter(sources)))
    except OSError as error:
        raise click.ClickException(
            f"cannot listen on {host or at.host}:{port or at.port}: {error.strerror or error}; "
            "set monitoring.prometheus.port, or --port"
        ) from None

    def end(_number: int, _frame: FrameType | None) -> None:
        threading.Thread(target=server.shutdown, daemon=True).start()  # it waits for the loop below

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    log.info("metrics.serving", url=f"http://{server.server_name}:{server.server_port}/metrics")
    server.serve_forever()
    server.server_close()


class Sources:
    """What is read, by the config as its file says now."""

    def __init__(self, settings: Settings, read: Callable[[], Settings], at: Callable[[], str]) -> None:
        """Begin with *settings*; *read* reads them again, *at* tells when their file was written."""
        self._read = read
        self._at = at
        self._running = settings
        self._seen = at()
        self._lock = threading.Lock()
        redis = with_redis_of_up(settings)
        self._ledger = Ledger(settings.ledger.url)
        # A store is for one thread at a time, and each source has its own.
        self._upstreams = UpstreamStore(redis.redis_url, redis.redis.key_prefix, timeout=REDIS_SECONDS)
        self._heard, self._heard_too = (
            GatewayStore(redis.redis_url, redis.redis.key_prefix, timeout=REDIS_SECONDS) for _ in range(2)
        )
        self._is_checked = False
        self._folder = settings.journal_folder
        self._sources: dict[str, Source] = {}
        self._wanted: AbstractSet[str] = frozenset()
        self._use(settings)

    def __call__(self) -> tuple[Sequence[Source], Collection[str]]:
        """Give the sources, and which metrics are wanted of them."""
        with self._lock:
            at = self._at()
            if at != self._seen:
                self._seen = at
                try:
                    self._use(keeping(self._running, self._read(), METRICS))
                except ConfigError as error:  # what it said before holds on
                    log.error("config.refused", faults=[str(fault) for fault in error.faults])
            return tuple(self._sources.values()), self._wanted

    def _use(self, settings: Settings) -> None:
        self._running = settings
        section = settings.monitoring.prometheus
        self._wanted = chosen(section.metrics, users=section.users)
        routes = settings.routes()
        known = Known(routes, {target.upstream.name for route in routes.values() for target in route.targets})
        from_ledger = FromLedger(
            self._ledger,
            known=known,
            wanted=self._wanted,
            plugins=settings.plugins.stats,
            jobs=planned(settings),
            quotas=QuotaRatios(settings.limit_rules(), settings.zone, each=section.users),
            zone=settings.zone,
            since=datetime.now(UTC),
        )
        reads: dict[str, Read] = {
            "ledger": lambda: self._checked(from_ledger),
            "redis": FromGateways(self._upstreams.read, self._heard.read, known),
            "journals": FromJournals(self._folder, self._heard_too.read),
        }
        for name, read in reads.items():
            if name in self._sources:
                self._sources[name].read = read
            else:
                self._sources[name] = Source(name, read)

    def _checked(self, read: Read) -> Sequence[Metric]:
        """Read the ledger, and see first whether it is there and as this version needs it: none is made here."""
        if not self._is_checked:
            if not self._ledger.audit.exists():
                raise LookupError("there is no ledger yet")
            self._ledger.check()
            self._is_checked = True
        return read()
