"""What the rest of the program is handed."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from llm_one_api.settings import masked
from llm_one_api.targets import Target, Upstream
from tests.unit.settings.loader import Loader, targets_of


def test_a_model_becomes_a_target_with_defaults_for_what_is_not_given(config: Loader) -> None:
    text = "models: {gpt: {api_base: 'https://api.example:8443/v1/', api_key: sk-1}}"

    targets = targets_of(config(text))

    upstream = Upstream(name="api.example:8443", base_url="https://api.example:8443/v1", api_key="sk-1")
    assert targets == {"gpt": Target(model="gpt", upstream_model="gpt", upstream=upstream)}


def test_a_models_own_times_win(config: Loader) -> None:
    text = """
models:
  a: {api_base: http://h, timeout: 1, connect_timeout: 2, first_byte_timeout: 3.5, idle_timeout: 4, upstream_model: b}
  c: {api_base: http://h, total_timeout: 9}
"""

    a, c = targets_of(config(text)).values()

    times = a.upstream
    assert (times.total_timeout, times.connect_timeout, times.first_byte_timeout, times.idle_timeout) == (1, 2, 3.5, 4)
    assert (a.upstream_model, c.upstream.total_timeout) == ("b", 9)


def test_an_upstream_takes_from_its_model_what_it_does_not_say(config: Loader) -> None:
    text = """
models:
  m:
    api_key: of-the-model
    idle_timeout: 7
    timeout: 100
    upstreams:
      - {name: east, api_base: http://h/v1, timeout: 50, upstream_model: theirs}
  n:
    api_key: of-the-model
    upstreams: [{api_base: http://h, api_key: ""}]
"""

    m, n = targets_of(config(text)).values()

    assert (m.upstream.name, m.upstream.api_key, m.upstream_model) == ("east", "of-the-model", "theirs")
    assert (m.upstream.idle_timeout, m.upstream.total_timeout) == (7, 50)
    assert n.upstream.api_key == ""


@pytest.mark.parametrize("key", ["", "''", "'${NONE:-}'", "'${EMPTY:-}'"])
def test_an_empty_key_means_that_none_is_sent(config: Loader, key: str) -> None:
    settings = config(f"models: {{m: {{api_base: http://h, api_key: {key}}}}}", {"EMPTY": ""})

    assert targets_of(settings)["m"].upstream.api_key == ""


@pytest.mark.parametrize("name", ["模型-1", "org/model:tag@v1", "with space", "m" * 200, "null", "on", "<<x"])
def test_a_model_may_have_any_name(config: Loader, name: str) -> None:
    settings = config(f'models: {{"{name}": {{api_base: "http://h"}}}}')

    assert list(settings.routes()) == [name]


@pytest.mark.parametrize(
    ("written", "meant"),
    [("1024", 1024), ("32MiB", 32 << 20), ("100MB", 10**8), ("2 GiB", 2 << 30), ("64kb", 64000), ("2048B", 2048)],
)
def test_sizes_have_units(config: Loader, written: str, meant: int) -> None:
    settings = config(f"server: {{max_body_bytes: {written}}}")

    assert settings.server.max_body_bytes == meant


@pytest.mark.parametrize("rotate", ["daily", "size:100MB", "size:5KB", "size:1GB"])
def test_the_log_may_be_rotated_by_day_or_by_size(config: Loader, rotate: str) -> None:
    settings = config(f'logging: {{rotate: "{rotate}"}}')

    assert settings.plugin_context().log_file.rotate == rotate


@pytest.mark.parametrize(
    ("section", "url"),
    [
        ("redis", "redis://u:p@h:6379/3"),
        ("redis", "rediss://h"),
        ("redis", "unix:///run/redis.sock?db=1"),
        ("broker", "amqp://u:p@h/v"),
        ("broker", "redis://h"),
        ("ledger", "sqlite:////var/lib/ledger.db"),
        ("ledger", "postgresql://u:p@h/d?sslmode=require"),
        ("ledger", "postgresql+psycopg://u@/d?host=/run/postgresql"),
        ("ledger", "postgresql://u:p@h1,h2/d"),
        ("ledger", "postgresql://u:p@/d?host=h1:5432&host=h2:5432"),
        ("ledger", "postgresql://u:p%40q@h:5432/d"),
    ],
)
def test_urls_stay_as_they_are_written(config: Loader, section: str, url: str) -> None:
    settings = config(f'{section}: {{url: "{url}"}}')

    assert getattr(settings, section).url == url


def test_what_is_not_given_follows_from_what_is(config: Loader) -> None:
    bare = config()
    given = config("data_dir: /srv/x\nredis: {url: redis://r}\njournal: {folder: /fast/j}")

    assert (bare.redis_url, bare.broker_url) == ("redis://127.0.0.1:6379/0",) * 2
    assert bare.journal_folder == Path("data/journal")
    assert (given.redis_url, given.broker_url, given.journal_folder) == ("redis://r", "redis://r", Path("/fast/j"))


def test_proxies_are_addresses_and_networks(config: Loader) -> None:
    settings = config("server: {trusted_proxies: [127.0.0.1, 10.0.0.7/8, '::1']}")
    single = config("", {"LLM_ONE_API__SERVER__TRUSTED_PROXIES": "10.0.0.1,10.0.0.2"})

    assert settings.server.trusted_proxies == ("127.0.0.1", "10.0.0.0/8", "::1")
    assert single.server.trusted_proxies == ("10.0.0.1", "10.0.0.2")


def test_plugins_are_told_the_zone_the_log_redis_and_the_models(config: Loader) -> None:
    text = """
timezone: Asia/Shanghai
logging: {file: x.log, backup_count: 3}
redis: {url: redis://r, key_prefix: "p:"}
models: {m: {api_base: http://h}}
"""

    context = config(text).plugin_context()

    assert context.zone == ZoneInfo("Asia/Shanghai")
    assert (context.log_file.file, context.log_file.backup_count) == (Path("x.log"), 3)
    assert (context.redis_url, context.key_prefix, list(context.models)) == ("redis://r", "p:", ["m"])


def test_settings_cannot_be_changed(config: Loader) -> None:
    settings = config()

    with pytest.raises(ValidationError):
        settings.server.port = 1  # type: ignore[misc]


def test_settings_show_no_secret_when_they_are_printed(config: Loader) -> None:
    text = """
redis: {url: "redis://:S3CRET@r:6379"}
broker: {url: "amqp://u:S3CRET@b"}
ledger: {url: "postgresql://u:S3CRET@h/d?sslpassword=S3CRET&x=1"}
auth: {default_auth: {api_keys: [S3CRET]}}
stats: {database: {database_url: S3CRET}}
model_route: {mine: {token: S3CRET}}
models:
  m: {api_base: http://h, api_key: S3CRET}
  n: {upstreams: [{api_base: http://h, api_key: S3CRET}]}
"""

    settings = config(text)

    printed = f"{settings} {settings!r} {settings.models} {settings.ledger!r} {settings.redis!s} {settings.routes()}"
    assert "S3CRET" not in printed
    assert "postgresql://u:***@h/d" in printed


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:1/0", "redis://h:1/0"),
        ("redis://:p@h", "redis://:***@h"),
        ("redis://token@h", "redis://***@h"),
        ("postgresql://u:p@q/r@h/d", "postgresql://u:***@h/d"),
        ("postgresql://h/d?password=p&user=u", "postgresql://h/d?password=***&user=u"),
        ("unix:///s?password=p", "unix:///s?password=***"),
        ("sqlite:///data/x.db", "sqlite:///data/x.db"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert masked(url) == shown
