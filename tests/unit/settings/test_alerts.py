"""The section `alerts`: what it accepts, and what it says to what it does not."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from llm_one_api.errors import ConfigError
from llm_one_api.settings import Settings
from tests.harness.certificates import Authority
from tests.unit.settings.loader import Loader

SECRET = "whsec_" + "S3CRET" * 6 + "AAAA"
CHANNELS = f"""
  channels:
    ops: {{url: "slack://S3CRET/S3CRET/S3CRET"}}
    hook: {{webhook: "https://h/?t=S3CRET", secret: "{SECRET}", timeout: 5}}
"""


def rule(text: str) -> str:
    return f"alerts:\n  rules:\n    r: {{{text}}}\n"


def test_the_founding_documents_three_rules_are_the_default(config: Loader) -> None:
    for text in ("", "alerts:", "alerts: {proxy: none}"):
        found = config(text).alerts.alerting()

        assert [(one.name, one.metric, one.above) for one in found.rules] == [
            ("avg-tokens", "avg_tokens", 1000),
            ("error-rate", "error_rate", Decimal("0.05")),
            ("avg-duration", "avg_duration", 5),
        ]
        assert found.channels == {}


def test_rules_that_are_given_take_their_place(config: Loader) -> None:
    assert config("alerts: {rules: {}}").alerts.alerting().rules == ()
    [one] = config(rule("metric: error_rate, above: 1, for: , cooldown: , window: , repeat: ")).alerts.alerting().rules
    assert (one.hold, one.cooldown, one.repeat) == (timedelta(), timedelta(minutes=30), None)
    [one] = config(rule("metric: cost_per_day, above: 12.50")).alerts.alerting().rules
    assert (one.name, one.above, one.resolve_at) == ("r", Decimal("12.50"), Decimal("12.50"))


def test_a_rule_with_everything(config: Loader) -> None:
    text = (
        "metric: error_rate, above: 5%, resolve_at: 2 %, window: 30m, min_requests: 50, for: 90s, cooldown: 2h, "
        "repeat: 1d, severity: critical, where: {model: gpt-4o, user: [alice, bob]}, group_by: upstream, channels: ops"
    )

    found = config(rule(text) + CHANNELS).alerts.alerting()

    [one] = found.rules
    assert (one.above, one.resolve_at) == (Decimal("0.05"), Decimal("0.02"))
    assert (one.window, one.hold, one.cooldown) == (timedelta(minutes=30), timedelta(seconds=90), timedelta(hours=2))
    assert one.repeat == timedelta(days=1)
    assert (one.min_requests, one.severity) == (50, "critical")
    assert one.where == {"model": ("gpt-4o",), "user": ("alice", "bob")}
    assert (one.group_by, one.channels) == (("upstream",), ("ops",))


def test_all_channels_are_told_where_none_is_named(config: Loader) -> None:
    found = config("alerts:" + CHANNELS + "  proxy: 'http://u:S3CRET@p:3128'").alerts.alerting()

    assert {one.channels for one in found.rules} == {("ops", "hook")}
    hook = found.channels["hook"]
    assert (hook.kind, hook.url, hook.secrets, hook.timeout) == ("webhook", "https://h/?t=S3CRET", (SECRET,), 5)
    assert {channel.proxy for channel in found.channels.values()} == {"http://u:S3CRET@p:3128"}
    assert {channel.service for channel in found.channels.values()} == {"slack", "webhook"}
    assert {type(text) for channel in found.channels.values() for text in (channel.proxy, channel.url)} == {str}


def test_secrets_of_channels_are_printed_nowhere(config: Loader) -> None:
    settings = config("alerts:" + CHANNELS + "  proxy: 'http://u:S3CRET@p:3128'")

    assert "S3CRET" not in repr(settings)
    assert "S3CRET" not in repr(settings.alerts)
    assert "S3CRET" not in repr(settings.alerts.alerting())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("above: 5", "alerts.rules.r.metric (line 3): must be one of avg_tokens, error_rate,"),
        ("metric: latency, above: 5", "metric (line 3): must be one of avg_tokens, error_rate,"),
        ("metric: error_rate", "above (line 3): must be a number of at least 0, such as 1000, 0.05 or 5%"),
        ("metric: error_rate, above: -1", "above (line 3): must be a number of at least 0"),
        ("metric: error_rate, above: 5%, resolve_at: 6%", "resolve_at (line 3): must not be more than above (0.05)"),
        ("metric: error_rate, above: 1, window: 30s", "window (line 3): must be a length of time, such as 90s, 15m,"),
        ("metric: error_rate, above: 1, window: 8d", "window (line 3): must be a length of time, such as 90s, 15m,"),
        ("metric: error_rate, above: 1, for: soon", "for (line 3): must be a length of time"),
        ("metric: error_rate, above: 1, hold: 1m", "hold (line 3): unknown setting"),
        ("metric: relay_lag, above: 60, window: 5m", "window (line 3): is not read for relay_lag; leave it out"),
        ("metric: relay_lag, above: 60, where: {model: m}", "where.model (line 3): for relay_lag may name nothing"),
        ("metric: p95_ttft, above: 1, where: {user: u}", "where.user (line 3): for p95_ttft may name model, endpoint"),
        (
            "metric: p95_ttft, above: 1, group_by: [key]",
            "group_by (line 3): for p95_ttft may name model, endpoint, upst",
        ),
        ("metric: error_rate, above: 1, group_by: [team]", "group_by.0 (line 3): must be model, user, key, endp"),
        ("metric: error_rate, above: 1, group_by: [user, user]", "group_by (line 3): names something twice"),
        ("metric: upstream_down, above: 0, group_by: [model]", "each has an alert of its own anyway"),
        ("metric: error_rate, above: 1, channels: [ops]", "channels (line 3): there is no such channel: ops"),
        ("metric: error_rate, above: 1, where: {key: sk-S3CRET-1}", "must name keys by their fingerprints, never"),
    ],
)
def test_a_rule_that_cannot_work_is_a_fault(config: Loader, text: str, fault: str) -> None:
    [told] = config.faults(rule(text))

    assert fault in told
    assert "S3CRET" not in told


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{}", "alerts.channels.c (line 3): needs one of url and webhook"),
        ("{url: 'slack://S3CRET', webhook: 'https://S3CRET'}", "c.url (line 3): needs one of url and webhook"),
        ("{webhook: 'https://h/S3CRET'}", "c.secret (line 3): must be given beside webhook: whsec_"),
        ("{webhook: 'https://h', secret: whsec_S3CRET}", "secret.0 (line 3): must be whsec_ and 24 to 64 bytes"),
        (f"{{url: 'slack://a', secret: {SECRET}}}", "c.secret (line 3): is read beside webhook only"),
        (f"{{webhook: 'ftp://S3CRET', secret: {SECRET}}}", "c.webhook (line 3): must be an http:// or https:// URL"),
        ("{url: 'mailto:u:S3CRET@h?to=http://x'}", "c.url (line 3): must be a URL of Apprise's"),
        ("{url: S3CRET}", "c.url (line 3): must be a URL of Apprise's, such as slack://…, got a text of 6 characters"),
        ("{url: 'slack://a', timeout: 90}", "c.timeout (line 3): must be a number of seconds above 0, at most 60"),
    ],
)
def test_a_channel_that_cannot_work_is_a_fault_that_shows_no_secret(config: Loader, text: str, fault: str) -> None:
    told = config.faults(f"alerts:\n  channels:\n    c: {text}\n")

    assert fault in "\n".join(told)
    assert "S3CRET" not in "\n".join(told)


def test_names_must_be_good_for_a_command_line_and_tell_rules_from_channels(config: Loader) -> None:
    [space] = config.faults("alerts: {rules: {'my rule': {metric: error_rate, above: 1}}}")
    [same] = config.faults("alerts: {channels: {error-rate: {url: 'slack://a'}}}")

    assert "names have 1 to 100 letters, digits and . _ -" in space
    assert same.startswith("alerts.channels.error-rate (line 1): is the name of a rule, too")


def test_a_secret_that_is_being_replaced_stands_beside_the_new_one() -> None:
    other = "whsec_" + "B" * 40
    section = {"webhook": "https://h", "secret": [SECRET, other]}

    found = Settings.model_validate({"alerts": {"channels": {"c": section}}}).alerts.alerting()

    assert found.channels["c"].secrets == (SECRET, other)


def test_authorities_of_ones_own_hold_for_all_channels_and_are_looked_at_when_the_config_is_read(
    config: Loader, tmp_path: Path
) -> None:
    good, bad = Authority(tmp_path).file, tmp_path / "none.pem"
    bad.write_text("no certificate")

    found = config(f"alerts:\n  ca_file: {good}{CHANNELS}").alerts.alerting()

    assert {channel.ca_file for channel in found.channels.values()} == {str(good)}
    with pytest.raises(ConfigError, match=r"alerts\.ca_file.*holds no certificate"):
        config(f"alerts: {{ca_file: {bad}}}")
