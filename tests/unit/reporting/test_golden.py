"""The golden year, as pages and terminal tell it: what adding up by hand gives, in three zones."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner
from flask import Flask

from llm_one_api.cli import stats
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.upstreams.messages import Told
from llm_one_api.values import Caller
from llm_one_api.web import errors
from llm_one_api.web.analysis import pages
from tests.harness import golden
from tests.harness.databases import give_tables

YEAR = {"from": "2028-02-10T00:00:00Z", "to": "2028-11-20T00:00:00Z"}
NAMES = {
    "priced": "requests_priced",
    "unpriced": "requests_unpriced",
    "estimated": "requests_estimated",
    "partial": "requests_partial",
}
APART = {"durations", "ttfts", "audio_us", "cost"}

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger with the year's calls, and a config."""
    folder = tmp_path_factory.mktemp("golden")
    url = f"sqlite:///{folder}/ledger.db"
    give_tables(folder / "ledger.db")
    with closing(Ledger(url)) as ledger:
        ledger.ingest(golden.calls())
    (folder / "config.yaml").write_text(
        json.dumps({"timezone": "UTC", "data_dir": str(folder), "ledger": {"url": url}})
    )
    return folder


@pytest.fixture(scope="module")
def ask(folder: Path) -> Iterator[Ask]:
    """Ask a page."""
    app = Flask(__name__)
    errors.register(app)
    with closing(Ledger(f"sqlite:///{folder}/ledger.db")) as ledger:
        admin = Caller(key="key_00000000", user="root", admin=True)
        hear = (Told(0, {}, [], {}), True)
        pages.register(app, lambda _key, _peer: admin, ledger.analysis, ZoneInfo("UTC"), lambda: hear)
        client = app.test_client()

        def asked(page: str, **given: str) -> Any:
            answer = client.get(f"/v1/stats/{page}", query_string=YEAR | given)
            assert answer.status_code == 200, answer.text
            return answer.text if given.get("format") == "csv" else answer.json

        yield asked


def by_hand(zone: ZoneInfo, bucket: str | None = None, group_by: Sequence[str] = ()) -> dict[Any, dict[str, Any]]:
    return golden.recount(golden.calls(), zone, bucket, group_by)


def place(row: dict[str, Any], group_by: Sequence[str]) -> tuple[Any, ...]:
    begin = datetime.fromisoformat(row["bucket"]).astimezone(UTC) if "bucket" in row else None
    return (begin, *["" if row[name] is None else row[name] for name in group_by])


def assert_same(row: dict[str, Any], expected: dict[str, Any]) -> None:
    told = {name: row[NAMES.get(name, name)] for name in expected if name not in APART}
    assert told == {name: expected[name] for name in told}
    assert row["audio_seconds"] == expected["audio_us"] / 10**6
    assert (None if row["cost"] is None else Decimal(row["cost"])) == expected["cost"]


@pytest.mark.parametrize("zone", golden.ZONES, ids=str)
@pytest.mark.parametrize(
    ("bucket", "group_by"),
    [(None, ()), ("15m", ()), ("hour", ("model",)), ("day", ("upstream", "outcome")), ("month", ("user", "stream"))],
)
def test_usage_is_what_adding_up_by_hand_gives(
    ask: Ask, zone: ZoneInfo, bucket: str | None, group_by: Sequence[str]
) -> None:
    given = (
        {"tz": zone.key}
        | ({"bucket": bucket} if bucket else {})
        | ({"group_by": ",".join(group_by)} if group_by else {})
    )

    rows = ask("usage", **given)["rows"]

    expected = by_hand(zone, bucket, group_by)
    assert len(rows) == len(expected)
    for row in rows:
        assert_same(row, expected[place(row, group_by)])


def test_times_are_within_a_bucket_of_what_sorting_gives(ask: Ask) -> None:
    for row in ask("usage", group_by="model")["rows"]:
        durations = by_hand(golden.BERLIN, None, ("model",))[None, row["model"]]["durations"]

        for share in (50, 95, 99):
            assert row[f"p{share}_duration"] == pytest.approx(golden.quantile(durations, share / 100), rel=0.026)


def test_who_is_on_top_is_who_has_most(ask: Ask) -> None:
    expected = {user: made["cost"] or Decimal() for (_, user), made in by_hand(golden.BERLIN, None, ("user",)).items()}

    rows = ask("top", by="cost", group_by="user")["rows"]

    assert [row["user"] for row in rows] == sorted(expected, key=lambda user: -expected[user])
    assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("zone", golden.ZONES, ids=str)
def test_hours_of_the_week_are_those_of_the_zone(ask: Ask, zone: ZoneInfo) -> None:
    expected: dict[tuple[int, int], int] = {}
    for call in golden.calls():
        local = call.at.astimezone(zone)
        expected[local.weekday(), local.hour] = expected.get((local.weekday(), local.hour), 0) + 1

    rows = ask("peak-hours", tz=zone.key)["rows"]

    assert {(row["weekday"], row["hour"]): row["requests"] for row in rows} == expected


def test_single_calls_are_all_there_in_order(ask: Ask) -> None:
    seen: list[str] = []
    before: dict[str, str] = {}
    while True:
        told = ask("requests", limit="250", **before)
        seen += [call["request_id"] for call in told["requests"]]
        if told["next"] is None:
            break
        before = {"before": told["next"]}

    inside = [call for call in golden.calls() if golden.SINCE <= call.at < golden.UNTIL]
    assert len(seen) == len(set(seen)) == len(inside)
    at = {call.request_id: call.at for call in inside}
    assert [at[each] for each in seen] == sorted(at.values(), reverse=True)


@pytest.mark.parametrize(
    "words", [["usage", "--bucket", "day", "--group-by", "model"], ["top", "--group-by", "key"], ["peak-hours"]]
)
def test_the_terminal_says_what_the_page_says(ask: Ask, folder: Path, words: list[str]) -> None:
    options = [
        "--tz",
        "America/New_York",
        "--from",
        YEAR["from"],
        "--to",
        YEAR["to"],
        "--config",
        str(folder / "config.yaml"),
    ]
    page, *chosen = words
    given = {
        name.removeprefix("--").replace("-", "_"): value for name, value in zip(chosen[::2], chosen[1::2], strict=True)
    }

    told, sheet = (CliRunner().invoke(stats.command, [*words, *options, kind]) for kind in ("--json", "--csv"))

    assert told.exit_code == sheet.exit_code == 0, told.output + sheet.output
    assert json.loads(told.output) == ask(page, tz="America/New_York", **given)
    lines = list(csv.reader(io.StringIO(sheet.output)))
    assert lines == list(csv.reader(io.StringIO(ask(page, tz="America/New_York", format="csv", **given))))
