"""`llm-one-api stats`: what the books say, for people and for programs."""

from __future__ import annotations

import csv
import io
import json
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llm_one_api.cli import stats
from llm_one_api.cli.statistics import marks
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.upstreams.messages import CallFigures, MemberFigures, ModelFigures, ProcessFigures
from llm_one_api.stores.upstreams.store import UpstreamStore
from llm_one_api.values import Usage
from tests.harness.records import record

SECRET = "sk-upstream-0123456789abcdef"
AT = datetime(2026, 10, 24, 16, 30, tzinfo=UTC)
"""Half past midnight of a Sunday in Shanghai."""
WHEN = ("--from", "2026-10-25", "--to", "2026-10-25")
MARKUP = "[red]=x[/red]\x1b[2J"


class Desk:
    """An operator at a terminal."""

    def __init__(self, folder: Path, redis_url: str | None = None) -> None:
        self.url = f"sqlite:///{folder}/books/ledger.db"
        self.config = folder / "config.yaml"
        told: dict[str, Any] = {
            "timezone": "Asia/Shanghai",
            "data_dir": str(folder),
            "redis": {"url": redis_url, "key_prefix": "desk:"},
            "ledger": {"url": self.url},
            "models": {"m": {"api_base": "http://127.0.0.1:1/v1", "api_key": SECRET}},
        }
        self.config.write_text(json.dumps(told))

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(stats.command, [*words, "--config", str(self.config)])

    def done(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return result.output


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A ledger with five calls of a Sunday, an hour apart but for the last two; one failed, one has no price."""
    it = Desk(tmp_path_factory.mktemp("desk"))
    calls = [
        record(1, at=AT, user="ann", model="gpt-4", stream=True),
        record(2, at=AT + timedelta(hours=1), user="ann", model="gpt-4"),
        record(3, at=AT + timedelta(hours=2), user="bob", model=MARKUP, cost=Decimal("1234.5")),
        record(4, at=AT + timedelta(hours=3), user="bob", model="gpt-4", cost=None),
        record(
            5, at=AT + timedelta(hours=3, minutes=1), user="bob", model="gpt-4", outcome="timeout", status=504,
            error="upstream_timeout", usage=Usage(), usage_source="none", cost=None, ttft=None,
        ),
    ]  # fmt: skip
    with closing(Ledger(it.url)) as ledger:
        ledger.upgrade()
        ledger.ingest(calls)
    return it


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_without_more_it_is_an_overview(desk: Desk) -> None:
    head, *rest = desk.done(*WHEN).splitlines()
    told = {line.split()[0]: line for line in rest if line.strip()}

    assert head == "2026-10-25 00:00 to 2026-10-26 00:00 Asia/Shanghai"
    assert told["Calls"].split()[1:] == ["5", "▅▅▅█" + "▁" * 20]
    assert told["Errors"].split()[1:] == ["20.0%", "▁▁▁█" + "▁" * 20]
    assert "$1,234.50, 1 unpriced" in told["Cost"]
    assert "2.500 s, 95 % within 2.447 s" in told["Duration"]
    assert told["gpt-4"].split()[:3] == ["gpt-4", "4", "25.0%"]


def test_names_are_neither_markup_nor_obeyed_by_a_terminal(desk: Desk) -> None:
    for words in ((), ("top",), ("requests",), ("usage", "--bucket", "day", "--by", "model")):
        shown = desk.done(*words, *WHEN)

        assert "[red]=x[/red]\ufffd[2J" in shown
        assert "\x1b" not in shown


def test_usage_by_buckets_and_groups_has_a_line_for_each_and_their_course(desk: Desk) -> None:
    found = lines(desk.done("usage", *WHEN, "--bucket", "hour", "--group-by", "user"))

    assert ["bob", "▁▁▅█" + "▁" * 20, "3"] in found
    assert ["ann", "██" + "▁" * 22, "2"] in found
    assert [line[:4] for line in found if line[0] == "2026-10-25" and line[2] != "to"] == [
        ["2026-10-25", "00:00+0800", "ann", "1"],
        ["2026-10-25", "01:00+0800", "ann", "1"],
        ["2026-10-25", "02:00+0800", "bob", "1"],
        ["2026-10-25", "03:00+0800", "bob", "2"],
    ]


def test_two_hours_of_one_name_are_two_in_the_course(tmp_path: Path) -> None:
    """In Berlin the clocks are put back at 03:00 of that day: 02:00 comes twice, and the day has 25 hours."""
    desk = Desk(tmp_path)
    with closing(Ledger(desk.url)) as ledger:
        ledger.upgrade()
        ledger.ingest([record(n, at=datetime(2026, 10, 25, n, 5, tzinfo=UTC)) for n in (0, 1)])

    found = lines(desk.done("usage", *WHEN, "--tz", "Europe/Berlin", "--bucket", "hour"))

    assert ["all", "calls", "▁▁██" + "▁" * 21, "2"] in found
    assert [line[:3] for line in found if line[0] == "2026-10-25" and line[2] != "to"] == [
        ["2026-10-25", "02:00+0200", "1"],
        ["2026-10-25", "02:00+0100", "1"],
    ]


def test_who_is_on_top(desk: Desk) -> None:
    found = lines(desk.done("top", *WHEN, "--by", "errors", "--group-by", "user"))

    assert ["By", "errors"] in found
    assert found[-1][:6] == ["1", "bob", "100.0%", "█" * 20, "3", "33.3%"]


def test_peak_hours_are_a_heat_map(desk: Desk) -> None:
    shown = desk.done("peak-hours", "--from", "2026-10-25", "--to", "2026-10-25", "--user", "bob").splitlines()

    [sunday] = [line for line in shown if line.startswith("Sun")]
    assert sunday[4:].rstrip() == "      " + "▒▒▒" + "███" + " " * 65 + "3"
    assert shown[-1] == "Busiest: Sun 03:00, 2 of 3 calls."


def test_single_calls_come_page_by_page(desk: Desk) -> None:
    first = desk.done("requests", "--limit", "1", "--user", "bob", *WHEN)
    place = first.split("--before ")[1].split()[0]

    second = desk.done("requests", "--limit", "1", "--user", "bob", "--before", place, *WHEN)

    assert "timeout upstream_timeout" in first
    assert lines(second)[2][:2] == ["2026-10-25", "03:30:00"]


def test_for_programs_it_is_as_the_pages_have_it(desk: Desk) -> None:
    told = json.loads(desk.done("top", *WHEN, "--json"))
    [row] = csv.DictReader(io.StringIO(desk.done("usage", *WHEN, "--user", "bob", "--csv"), newline=""))

    assert (told["object"], [row["model"] for row in told["rows"]]) == ("stats.top", ["gpt-4", MARKUP])
    assert (row["requests"], row["cost"], row["requests_unpriced"]) == ("3", "1234.5", "1")


def test_no_calls_are_said(desk: Desk) -> None:
    long_ago = ("--from", "2020-01-01", "--to", "2020-01-01")

    for words in (("usage",), ("usage", "--bucket", "day"), ("peak-hours",), ("requests",), ("top",)):
        assert desk.done(*words, *long_ago).splitlines()[-1] == "No calls."
    assert desk.done("top", "--by", "errors", "--user", "ann", *WHEN).splitlines()[-1] == "No errors."


def test_every_fault_is_told(desk: Desk) -> None:
    result = desk.run("usage", "--bucket", "week", "--limit", "3", "--tz", "Mars")

    assert result.exit_code == 2
    assert all(f"--{name}" in result.output for name in ("bucket", "limit", "tz"))


def test_without_a_ledger_it_says_so_and_makes_none(tmp_path: Path) -> None:
    result = Desk(tmp_path).run()

    assert result.exit_code == 1
    assert result.output.startswith("Error: there is no ledger sqlite:///")
    assert not (tmp_path / "books").exists()


@pytest.mark.parametrize("words", [("--json",), ("--csv",), ()])
def test_it_looks_again_until_it_is_told_to_end(desk: Desk, words: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)

    result = desk.run("usage", "--watch", *WHEN, *words)

    assert (result.exit_code, "Abort" in result.output) == (0, False)
    assert looks == [5.0] * 3
    if words == ("--json",):
        assert [json.loads(line)["object"] for line in result.output.splitlines() if line.startswith("{")] == [
            "stats.usage"
        ] * 3


def test_what_is_live_is_read_from_redis(tmp_path: Path, redis_url: str) -> None:
    member = MemberFigures(
        name="openai", weight=1, max_concurrent=None, kept=False, in_flight=3, requests=9, failures=0, ttft={},
        duration={}, error=None, error_at=0,
    )  # fmt: skip
    model = ModelFigures(model="m", strategy="round_robin", fallbacks=[], waiting=2, upstreams=[member])
    calls = CallFigures(keys={"key_0000aaaa": (3, 90), "key_0000bbbb": (1, 30)})
    with closing(UpstreamStore(redis_url, "desk:", timeout=5)) as store:
        store.turn("p", [], {}, figures=ProcessFigures(config_read_at=1, models=[model], calls=calls))
    desk = Desk(tmp_path, redis_url)

    found = lines(desk.done("live"))

    assert ["Under", "way", "4"] in found
    assert ["Calls", "a", "second", "2.00"] in found
    assert ["Waiting", "for", "room", "2"] in found
    assert ["m", "openai", "healthy", "3"] in found
    assert json.loads(desk.done("live", "--json"))["requests"] == 120


def test_without_a_gateway_or_without_redis_it_says_so(tmp_path: Path, redis_url: str) -> None:
    assert Desk(tmp_path, redis_url).done("live").startswith("No gateway has told anything of late")

    result = Desk(tmp_path, "redis://:hunter2@127.0.0.1:1/0").run("live")

    assert (result.exit_code, "hunter2" in result.output) == (1, False)
    assert "cannot be asked: ConnectionError" in result.output


def test_a_terminal_without_its_letters_shows_a_name_and_programs_get_it_whole(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    with closing(Ledger(desk.url)) as ledger:
        ledger.upgrade()
        ledger.ingest([record(1, at=AT, model="模型")])
    words = ["top", *WHEN, "--config", str(desk.config)]

    shown = CliRunner(charset="ascii").invoke(stats.command, words)
    told = CliRunner(charset="ascii").invoke(stats.command, [*words, "--json"])

    assert (shown.exit_code, "??" in shown.output) == (0, True)
    assert json.loads(told.stdout_bytes)["rows"][0]["model"] == "模型"


def test_marks_are_ascii_where_a_terminal_knows_no_more() -> None:
    drawn = [
        marks.sparkline([0, 1, 5, 10], 10, ascii_only=True),
        marks.bar(0.5, 10, ascii_only=True),
        marks.shade(1, 1, 3, ascii_only=True).plain,
    ]

    assert drawn == ["_.=#", "#####", "###"]


def test_a_sparkline_has_room_for_all_of_it() -> None:
    assert marks.sparkline([1] * 100, 10) == "█" * 10
    assert marks.sparkline([], 10) == ""
    assert marks.sparkline([0, 0.001, 1000], 10) == "▁▂█"
