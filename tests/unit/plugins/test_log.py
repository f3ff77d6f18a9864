"""The lines of the `log` plugin."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from llm_one_api.plugins.interfaces import PluginConfig, ResponseInfo
from llm_one_api.plugins.log import Console, LogStatsPlugin, json_line, text_line
from llm_one_api.values import Usage
from tests.harness.records import bare, context, info, record


def test_the_json_line_has_the_founding_documents_keys_first_and_in_its_order() -> None:
    line = json.loads(json_line(info()))

    assert list(line)[:8] == ["event", "model", "user", "endpoint", "stream", "duration", "timestamp", "tokens"]
    assert {name: line[name] for name in list(line)[:8]} == {
        "event": "response",
        "model": "gpt-3.5-turbo",
        "user": "sk-test-123",
        "endpoint": "chat",
        "stream": False,
        "duration": 2.5,
        "timestamp": "2025-11-12T10:00:00.123456+00:00",
        "tokens": {"prompt_tokens": 50, "completion_tokens": 120, "total_tokens": 170},
    }


def test_the_json_line_goes_on_with_what_else_is_known() -> None:
    line = json.loads(json_line(info(usage=Usage(prompt_tokens=5, cache_read_tokens=3), cost=Decimal("1E-9"))))

    assert line["request_id"] == "0193-00000001"
    assert (line["outcome"], line["status"], line["upstream"], line["attempts"]) == ("success", 200, "openai", 1)
    assert (line["ttft"], line["usage_source"]) == (0.25, "reported")
    assert line["usage_parts"] == {"cache_read_tokens": 3}
    assert (line["cost"], line["price_source"], line["price_date"]) == ("0.000000001", None, None)


def test_the_json_line_says_where_the_cost_comes_from() -> None:
    line = json.loads(json_line(info(price_source="configured", price_date=date(2026, 1, 31))))

    assert (line["cost"], line["price_source"], line["price_date"]) == ("0.000315", "configured", "2026-01-31")


def test_times_are_in_the_configured_zone_and_say_so() -> None:
    line = json.loads(json_line(info(zone="Asia/Shanghai")))

    assert line["timestamp"] == "2025-11-12T18:00:00.123456+08:00"


def test_the_text_line_is_the_founding_documents_to_the_character() -> None:
    assert text_line(info()) == (
        "📊 响应统计 | 模型=gpt-3.5-turbo | 用户=sk-test-123 | 耗时=2.50s"
        " | 输入Token=50 | 输出Token=120 | 总Token=170 | 流式=False"
    )


def test_what_is_unknown_is_null_in_json_and_a_dash_in_text() -> None:
    call = ResponseInfo.of(bare(), ZoneInfo("UTC"))

    line = json.loads(json_line(call))

    assert line["tokens"] == {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}
    assert (line["duration"], line["cost"], line["usage_parts"]) == (None, None, {})
    assert text_line(call) == (
        "📊 响应统计 | 模型=m | 用户=u | 耗时=- | 输入Token=- | 输出Token=- | 总Token=- | 流式=False"
    )


@pytest.mark.parametrize("nasty", ["a\nb", "a\r\nb", "\x1b[2Ja", "a\u2028b", "a\x85b", "\u202eab", "a\x00", "\ud800"])
def test_a_name_with_control_characters_stays_on_its_line(nasty: str) -> None:
    call = info(model=nasty, user=nasty)

    text, line = text_line(call), json_line(call)

    assert len(text.splitlines()) == 1
    assert text.isprintable()
    assert "\n" not in line
    assert json.loads(line)["model"] == nasty


def test_a_stream_is_called_one() -> None:
    assert text_line(info(stream=True)).endswith("| 流式=True")
    assert json.loads(json_line(info(stream=True)))["stream"] is True


@pytest.mark.parametrize("written", ["json", "text"])
def test_several_calls_at_once_are_as_many_lines_as_one_by_one(tmp_path: Path, written: str) -> None:
    calls = [info(number, model=f"m{number}") for number in range(3)]
    for name in ("together", "apart"):
        plugin = LogStatsPlugin(PluginConfig({"format": written}, context(tmp_path / name)))
        if name == "together":
            plugin.record_responses(calls)
        else:
            for call in calls:
                plugin.record_response(call)
        plugin.cleanup()

    together, apart = ((tmp_path / name / "logs/llm-one-api.log").read_text() for name in ("together", "apart"))
    assert together == apart
    assert together.count("\n") == 3


def test_each_file_is_of_one_kind_however_often_the_format_is_changed(tmp_path: Path) -> None:
    where = context(tmp_path)
    for written in ("text", "json", "json", "text", "json"):
        plugin = LogStatsPlugin(PluginConfig({"format": written}, where))
        plugin.initialize()
        plugin.record_response(info())
        plugin.cleanup()

    files = [file.read_text().splitlines() for file in where.log_file.file.parent.glob("llm-one-api.log*")]
    assert sorted("".join(line[0] for line in lines) for lines in files) == ["{", "{{", "📊", "📊"]
    assert json.loads(where.log_file.file.read_text())["event"] == "response"


def test_a_summary_is_one_event_among_json_lines_and_the_block_among_text_lines(tmp_path: Path) -> None:
    for written in ("json", "text"):
        plugin = LogStatsPlugin(PluginConfig({"format": written}, context(tmp_path / written)))
        plugin.write_summary({"total_requests": 3}, "==\nblock\n==")
        plugin.cleanup()

    assert (tmp_path / "json/logs/llm-one-api.log").read_text() == '{"event":"memory.summary","total_requests":3}\n'
    assert (tmp_path / "text/logs/llm-one-api.log").read_text() == "==\nblock\n==\n"


def test_the_console_speaks_utf8_whatever_the_terminal_says(capfd: pytest.CaptureFixture[str]) -> None:
    plugin = LogStatsPlugin(PluginConfig({"format": "text", "output": "console"}))

    plugin.record_response(info())
    plugin.cleanup()

    assert capfd.readouterr().out.startswith("📊 响应统计 | 模型=gpt-3.5-turbo | ")


def test_the_console_takes_half_a_surrogate_pair(capfd: pytest.CaptureFixture[str]) -> None:
    Console().write("\ud800")

    assert capfd.readouterr().out == "\\ud800\n"


def test_every_field_of_a_record_is_there_for_plugins_under_its_own_name() -> None:
    call = info()

    for name in record().__struct_fields__:
        assert call[name] == getattr(call, name) == getattr(record(), name)
    assert call.token_usage["prompt_tokens"] == call["token_usage"]["prompt_tokens"] == 50
    with pytest.raises(AttributeError):
        _ = call.no_such_thing
