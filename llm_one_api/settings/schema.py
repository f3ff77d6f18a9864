"""`Settings`: all sections together, and the plain values that the rest of the program is handed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field

from llm_one_api.limits.rules import Rules
from llm_one_api.plugins.interfaces import LogFile, PluginContext
from llm_one_api.pricing import PriceList, Pricer
from llm_one_api.settings.alerts import AlertsSettings
from llm_one_api.settings.export import ExportSettings
from llm_one_api.settings.kinds import Expect, Folder, ModelName, TimeZone
from llm_one_api.settings.limits import LimitsSettings, QuotaSettings, RateLimitSettings, rules
from llm_one_api.settings.links import UpstreamsSettings
from llm_one_api.settings.models import ModelSettings
from llm_one_api.settings.monitoring import MonitoringSettings
from llm_one_api.settings.pricing import PricedName, Prices, entries
from llm_one_api.settings.sections import (
    BrokerSettings,
    DeliverySettings,
    JournalSettings,
    LedgerSettings,
    LoggingSettings,
    PluginsSettings,
    RedisSettings,
    RelaySettings,
    Section,
    ServerSettings,
)
from llm_one_api.targets import ModelRoute

PLUGIN_KINDS = ("auth", "model_route", "stats")
"""The sections whose parts are read by plugins only."""


def _without_nothing(sections: Any) -> Any:
    """Take a plugin's name with nothing behind it for an empty section."""
    if not isinstance(sections, dict):
        return sections
    return {name: {} if section is None else section for name, section in sections.items()}


_PLUGIN = Expect("the plugin's own settings, as name: value")
PluginSections = Annotated[dict[str, dict[str, Any]], BeforeValidator(_without_nothing), _PLUGIN]


class Settings(Section):
    """Everything the config says. Made by `load`; printed, it shows no secret."""

    server: ServerSettings = ServerSettings()
    plugins: PluginsSettings = PluginsSettings()
    auth: PluginSections = Field(default={}, repr=False)
    """One part for each auth plugin, by its name; what may stand there, the plugin says."""
    model_route: PluginSections = Field(default={}, repr=False)
    """One part for each model_route plugin, by its name."""
    stats: PluginSections = Field(default={}, repr=False)
    """One part for each stats plugin, by its name."""
    models: Annotated[dict[ModelName, ModelSettings], Expect("models by name")] = Field(default={})
    upstreams: UpstreamsSettings = UpstreamsSettings()
    pricing: Annotated[dict[PricedName, Prices], Expect("prices by model")] = Field(default={})
    data_dir: Folder = Path("data")
    """The folder for what is kept on this machine: the journal, and the Valkey of `llm-one-api up`."""
    timezone: TimeZone = "UTC"
    """The one time zone, for timestamps in statistics and for where a day begins."""
    logging: LoggingSettings = LoggingSettings()
    redis: RedisSettings = RedisSettings()
    broker: BrokerSettings = BrokerSettings()
    ledger: LedgerSettings = LedgerSettings()
    journal: JournalSettings = JournalSettings()
    relay: RelaySettings = RelaySettings()
    delivery: DeliverySettings = DeliverySettings()
    limits: LimitsSettings = LimitsSettings()
    quota: QuotaSettings = QuotaSettings()
    rate_limit: RateLimitSettings = RateLimitSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    alerts: AlertsSettings = AlertsSettings()
    export: ExportSettings = ExportSettings()

    @property
    def redis_url(self) -> str:
        """Where Redis is. A secret: it may hold a password."""
        return self.redis.url or "redis://127.0.0.1:6379/0"

    @property
    def broker_url(self) -> str:
        """Where the broker is. A secret: it may hold a password."""
        return self.broker.url or self.redis_url

    @property
    def journal_folder(self) -> Path:
        """Where the journal is."""
        return self.journal.folder or self.data_dir / "journal"

    @property
    def export_to(self) -> str:
        """Where exports go: a folder or a URL. A secret: it may hold a password."""
        return self.export.to or str(self.data_dir / "exports")

    @property
    def zone(self) -> ZoneInfo:
        """The one time zone."""
        return ZoneInfo(self.timezone)

    def routes(self) -> dict[str, ModelRoute]:
        """Tell where calls to each model may go, in the order of the file."""
        link = self.upstreams.link
        return {name: model.route(name, link) for name, model in self.models.items()}

    def limit_rules(self) -> Rules:
        """Tell which limits there are."""
        return rules(self.limits, self.quota, self.rate_limit)

    def pricer(self) -> Pricer:
        """Make what tells the cost of a call."""
        return Pricer(PriceList(entries(self.pricing)), self.zone, dict(self._urls()))

    def _urls(self) -> Iterator[tuple[tuple[str, str], str]]:
        """Tell where each upstream is: (model, upstream) and URL. A model's calls may be answered by a fallback's."""
        routes = self.routes()
        for name, route in routes.items():
            answering = [routes[other] for other in reversed(route.fallbacks) if other in routes]
            for target in (target for one in (*answering, route) for target in one.targets):
                yield (name, target.upstream.name), target.upstream.base_url

    def plugin_context(self) -> PluginContext:
        """Tell what every plugin may know."""
        return PluginContext(
            zone=self.zone,
            log_file=LogFile(
                file=self.logging.file, rotate=self.logging.rotate, backup_count=self.logging.backup_count
            ),
            redis_url=self.redis_url,
            key_prefix=self.redis.key_prefix,
            models=self.routes(),
        )

    def plugin_sections(self) -> Iterator[tuple[str, tuple[str, ...], Mapping[str, Mapping[str, Any]]]]:
        """Give each kind of plugin, the names that are on, and the sections."""
        for kind in PLUGIN_KINDS:
            yield kind, getattr(self.plugins, kind), getattr(self, kind)
