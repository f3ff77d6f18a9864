"""What a person reads who got the config wrong."""

from __future__ import annotations

import pytest

from tests.unit.settings.loader import Loader

MODEL = "models:\n  m:\n    api_base: http://h/v1\n"


def test_all_faults_are_told_at_once_in_the_order_of_the_file(config: Loader) -> None:
    text = """\
server:
  port: 99999
  wrokers: 3
  on_client_gone: drian
timezone: Asia/Shangai
rate_limit: {enabled: true}
relay: {resend_min: 10, resend_max: 2}
"""

    faults = config.faults(text, {"LLM_ONE_API__LEDGER__URL": "mysql://x/y"})

    assert (
        "\n".join(faults)
        == """\
server.port (line 2): must be a whole number between 1 and 65535, got 99999
server.wrokers (line 3): unknown setting; did you mean workers?
server.on_client_gone (line 4): must be cut or drain, got 'drian'
timezone (line 5): must be the name of a time zone, such as UTC or Asia/Shanghai, got 'Asia/Shangai'; \
did you mean Asia/Shanghai?
rate_limit.requests_per_minute (line 6): must be given where enabled is true: without it nothing is limited
relay.resend_max (line 7): must not be less than resend_min (10)
ledger.url (LLM_ONE_API__LEDGER__URL): must be sqlite:///path/to/file or postgresql://user:password@host/database, \
got a text of 11 characters"""
    )


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("portt: 1", "portt (line 1): unknown setting"),
        ("prot: 80", "unknown setting"),
        ("max_streams: 80", "max_streams (line 1): unknown setting; did you mean server.max_streams?"),
        ("model: {}", "model (line 1): unknown setting; did you mean models?"),
        ("server:\n  max-body-bytes: 1MiB", "(line 2): unknown setting; did you mean max_body_bytes?"),
        ("models: {m: {api_base: http://h, api-key: x}}", "m.api-key (line 1): unknown setting; did you mean api_key?"),
        ("broker:\n  zzz: 1", "broker.zzz (line 2): unknown setting; known here: url"),
        ("broker:\n  zzz:", "broker.zzz (line 2): unknown setting; known here: url"),
    ],
)  # fmt: skip
def test_an_unknown_name_suggests_the_nearest_known_one(config: Loader, text: str, end: str) -> None:
    faults = config.faults(text)

    assert end in faults[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("server: 5", "server (line 1): must be a section (lines of name: value below it), got a text of 1 characters"),
        ("server: [a]", "got a list"),
        ("models: [a]", "models (line 1): must be a section"),
        ("stats: {log: 5}", "stats.log (line 1): must be a section (lines of name: value below it), got a number"),
        ("models: {m: }", "models.m (line 1): must be a section (lines of name: value below it), got nothing"),
        ("models: {'': {api_base: http://h}}", "a name of a model has 1 to 200 characters"),
        (f"models: {{{'m' * 201}: {{api_base: http://h}}}}", "a name of a model has 1 to 200 characters"),
        ("server: {workers: 0}", "got 0"),
        ("server: {workers: 1.5}", "got 1.5"),
        ("server: {workers: true}", "got 'true'"),
        ("server: {port: [1]}", "got a list"),
        ("server: {host: 'a b'}", "server.host (line 1): must be an address or a host name"),
        ("server: {host: 'http://h'}", "server.host (line 1): must be an address or a host name"),
        ("server: {drain_timeout: .inf}", "must be a number of seconds above 0, at most 86400, got '.inf'"),
        ("server: {drain_timeout: nan}", "got 'nan'"),
        ("server: {drain_timeout: -1}", "got -1"),
        ("server: {max_body_bytes: 1}", "must be a size of at least 1KiB"),
        (
            "server: {trusted_proxies: [10.0.0.0/99]}",
            "server.trusted_proxies.0 (line 1): must be a list of addresses and n",
        ),
        ("plugins: {stats: [log, log]}", "plugins.stats (line 1): names a plugin twice"),
        ("plugins: {stats: {log: 1}}", "plugins.stats (line 1): must be a list of plugin names"),
        ("timezone: ''", "timezone (line 1): must be the name of a time zone"),
        ("timezone: ../../etc/passwd", "timezone (line 1): must be the name of a time zone"),
        ("timezone: America", "timezone (line 1): must be the name of a time zone"),
        ("logging: {rotate: 'size:0MB'}", "logging.rotate (line 1): must be daily, or size: with a number and KB, MB"),
        ("logging: {rotate: weekly}", "logging.rotate (line 1): must be daily, or size:"),
        ("logging: {level: loud}", "must be debug, info, warning, error or critical, got 'loud'"),
        ("redis: {key_prefix: 'a b'}", "redis.key_prefix (line 1): must be 1 to 64 letters"),
        ("redis: {url: 'http://h'}", "redis.url (line 1): must be a Redis URL"),
        ("redis: {url: 'redis:///0'}", "redis.url (line 1): must be a Redis URL"),
        ("redis: {url: 'redis://h:99999'}", "redis.url (line 1): must be a Redis URL"),
        ("data_dir: ''", "data_dir (line 1): must be a path, got an empty text"),
        ("logging: {file: ' '}", "logging.file (line 1): must be a path"),
        ('journal: {folder: "a\\0b"}', "journal.folder (line 1): must be a path"),
        ("redis: {url: 'unix://'}", "redis.url (line 1): must be a Redis URL"),
        (
            "broker: {url: 'sqs://h'}",
            "broker.url (line 1): must be a Redis URL (redis://, rediss://, unix://) or a Rab",
        ),
        ("ledger: {url: 'sqlite://'}", "ledger.url (line 1): must name a file that all processes share"),
        ("ledger: {url: 'sqlite:///:memory:'}", "ledger.url (line 1): must name a file that all processes share"),
        ("ledger: {url: 'postgres://h/d'}", "ledger.url (line 1): must be sqlite:///path/to/file or postgresql://"),
        ("ledger: {url: 'postgresql://h'}", "ledger.url (line 1): must be sqlite:///path/to/file or postgresql://"),
        ("ledger: {url: 'postgresql://u:p@a:1,b:2/d'}", "ledger.url (line 1): must name several hosts that have ports"),
        ("ledger: {url: 'postgresql://u:p@q@h/d'}", "ledger.url (line 1): must have no @ in its user or password"),
        ("delivery: {lease: 40}", "delivery.lease (line 1): must be longer than four times delivery.call_timeout (10)"),
        ("delivery: {call_timeout: 61, lease: 1000}", "must be a number of seconds above 0, at most 60, got 61"),
        ("plugins: {auth: []}", "plugins.auth (line 1): names no plugin, so that no call could be served"),
        ("plugins: {model_route: ''}", "plugins.model_route (line 1): names no plugin"),
        ("delivery: {retry_min: 9, retry_max: 8}", "delivery.retry_max (line 1): must not be less than retry_min (9)"),
    ],
)
def test_a_wrong_value_is_told_with_what_is_expected(config: Loader, text: str, fault: str) -> None:
    faults = config.faults(text)

    assert len(faults) == 1
    assert fault in faults[0]


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("api_base: ftp://h", "api_base (line 3): must be an http:// or https:// URL without key or query"),
        ("api_base: h/v1", "api_base (line 3): must be an http:// or https:// URL"),
        ("api_base: http://", "api_base (line 3): must be an http:// or https:// URL"),
        ("api_base: http://h:99999", "api_base (line 3): must be an http:// or https:// URL"),
        ("api_base: 'http://h/ v1'", "api_base (line 3): must be an http:// or https:// URL"),
        ("api_base: http://[::1/v1", "api_base (line 3): must be an http:// or https:// URL"),
        ("api_base: http://u:s3cret@h/v1", "api_base (line 3): must not hold a user or a password"),
        ("api_base: http://h/v1?key=s3cret", "api_base (line 3): must not have a query or a fragment"),
        ("timeout: 5", "api_base (line 2): must be given: an http:// or https:// URL"),
        ("api_base:", "api_base (line 3): must be given: an http:// or https:// URL"),
        ("{api_base: http://h, timeout: 1, total_timeout: 2}", "total_timeout (line 3): is the same as timeout"),
        ("{api_base: http://h, api_key: 's3cret\n\n'}", "api_key (line 3): has a space, a line break or a character"),
        ("{api_base: http://h, api_key: s3crét}", "api_key (line 3): has a space, a line break or a character"),
        ("{api_base: http://h, api_key: [s3cret]}", "api_key (line 3): must be a text, got a list"),
        ("{api_base: http://h, upstreams: [{api_base: http://h}]}", "api_base (line 3): must not be given beside"),
        ("upstreams: [{weight: }]", "upstreams.0.api_base (line 3): must be given"),
        ("upstreams: []", "upstreams (line 3): has no entry, so that no call could go anywhere"),
        (
            "upstreams: [{api_base: http://h, weigth: 1}]",
            "upstreams.0.weigth (line 3): unknown setting; did you mean we",
        ),
    ],
)
def test_a_model_that_cannot_be_called_is_a_fault(config: Loader, lines: str, fault: str) -> None:
    faults = config.faults(f"models:\n  m:\n    {lines}\n")

    assert len(faults) == 1
    assert faults[0].startswith(f"models.m.{fault}")
    assert "s3cr" not in faults[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "monitoring: {prometheus: {metrics: [request_totl]}}",
            "monitoring.prometheus.metrics (line 1): there is no metric 'request_totl'; did you mean request_total?",
        ),
        (
            "monitoring: {prometheus: {port: 8000}}",
            "monitoring.prometheus.port (line 1): is the same as server.port; give one of the two another",
        ),
        (
            "monitoring: {prometheus: {host: 'a b'}}",
            "monitoring.prometheus.host (line 1): must be an address or a host name, without a port or brackets",
        ),
    ],
)
def test_metrics_that_cannot_be_served_are_a_fault(config: Loader, text: str, fault: str) -> None:
    faults = config.faults(text)

    assert len(faults) == 1
    assert faults[0].startswith(fault)


@pytest.mark.parametrize("text", ["plugins: {stats: []}", "pricing: {}\nalerts:\nexport:\nmonitoring:"])
def test_a_section_with_nothing_in_it_is_harmless(config: Loader, text: str) -> None:
    settings = config(text)

    assert not settings.monitoring.prometheus.enabled


def test_the_founding_documents_metrics_are_chosen_by_their_short_names(config: Loader) -> None:
    text = """
monitoring:
  prometheus:
    enabled: true
    port: 9090
    metrics:
      - request_total
      - request_duration_seconds
      - token_usage_total
      - error_rate
"""
    settings = config(text).monitoring.prometheus

    assert (settings.enabled, settings.port) == (True, 9090)
    assert settings.metrics == ("request_total", "request_duration_seconds", "token_usage_total", "error_rate")


def test_a_secret_is_in_no_fault(config: Loader) -> None:
    text = """\
server: {port: "sk-S3CRET", host: "redis://:S3CRET@h", on_client_gone: "${KEY}"}
redis: {url: "redis://:S3CRET"}
ledger: {url: "postgresql://user:S3CRET/stats"}
timezone: 5
models:
  a: {api_base: "https://u:S3CRET@h", api_key: "S3CRET x"}
  b: {api_base: "https://h?key=S3CRET"}
  c: {api_base: "sk-S3CRET", api_key: {S: S3CRET}}
  d: "S3CRET-that-went-astray-and-is-a-long-text"
"""
    environ = {"KEY": "S3CRET", "LLM_ONE_API__SERVER__WORKERS": "S3CRET", "LLM_ONE_API__BROKER__URL": "x://S3CRET"}

    faults = config.faults(text, environ)

    assert len(faults) == 14
    assert "S3CRET" not in "\n".join(faults)


def test_yaml_that_cannot_be_read_does_not_show_the_line(config: Loader) -> None:
    texts = ["api_key: 'S3CRET", "api_key: *S3CRET", "api_key: sk-S3CRET: x", "a: [S3CRET, }", "!S3CRET!x y: 1"]

    faults = [fault for text in texts for fault in config.faults(text)]

    assert "S3CRET" not in "\n".join(faults)


def test_a_name_with_terminal_codes_in_it_cannot_paint_the_screen(config: Loader) -> None:
    faults = config.faults('"\\e[31mred": 1')

    assert "\x1b" not in faults[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("    adapter: gemini", "models.m.adapter (line 4): must be openai, anthropic or azure"),
        ("    adapter: azure", "models.m.api_version (line 2): must be given for adapter azure"),
        ("    adapter: azure\n    api_version: 2024 10", "models.m.api_version (line 5): must be a version"),
        ("    api_version: '2024-10-21'", "models.m.api_version (line 4): is read for adapter azure only"),
        ("    default_max_tokens: 5", "models.m.default_max_tokens (line 4): is read for adapter anthropic only"),
    ],
)
def test_an_adapter_and_what_belongs_to_it_are_checked(config: Loader, text: str, told: str) -> None:
    [fault] = config.faults(MODEL + text)

    assert told in fault
