"""`/v1/stats/usage`, `top`, `peak-hours` and `requests`, over a ledger with a few known calls."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.databases import give_tables
from tests.harness.records import record
from tests.unit.web.analysis.conftest import AT, DAYS, EVIL, OTHER, OWN, Pages

PAGES = ("usage", "top", "peak-hours", "requests", "live")


def some(row: Mapping[str, Any], *names: str) -> Sequence[Any]:
    return tuple(row[name] for name in names)


def sheet(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_usage_is_one_sum_of_all_unless_told(books: Pages) -> None:
    told = books.told_by("usage")

    [row] = told["rows"]
    assert some(told, "object", "scope", "timezone", "bucket", "group_by") == (
        "stats.usage", "all", "Asia/Shanghai", None, [],
    )  # fmt: skip
    assert some(told, "from", "to") == ("2026-11-24T00:00:00+08:00", "2026-11-26T00:00:00+08:00")
    assert some(row, "requests", "failed", "outcomes", "error_rate", "streams") == (
        6, 1, {"success": 5, "timeout": 1}, 0.166667, 1,
    )  # fmt: skip
    assert some(row, "prompt_tokens", "total_tokens", "avg_tokens", "input_output_ratio") == (250, 850, 170, 0.416667)
    assert some(row, "cost", "requests_priced", "requests_unpriced", "unpriced_share") == ("0.00126", 4, 1, 0.2)
    assert some(row, "avg_duration", "avg_ttft") == (2.5, 0.25)
    assert row["p95_duration"] == pytest.approx(2.5, rel=0.025)


def test_usage_by_hours_and_models_in_the_zone(books: Pages) -> None:
    rows = books.told_by("usage", f"{DAYS}&bucket=hour&group_by=model,stream")["rows"]

    assert [some(row, "bucket", "model", "stream", "requests") for row in rows] == [
        ("2026-11-25T00:00:00+08:00", EVIL, False, 2),
        ("2026-11-25T00:00:00+08:00", "gpt-4", True, 1),
        ("2026-11-25T01:00:00+08:00", "gpt-4", False, 1),
        ("2026-11-25T02:00:00+08:00", "gpt-4", False, 1),
        ("2026-11-25T03:00:00+08:00", "gpt-4", False, 1),
    ]


def test_the_same_calls_are_of_other_days_in_another_zone(books: Pages) -> None:
    rows = books.told_by("usage", "from=2026-11-24&to=2026-11-25&bucket=day&tz=UTC")["rows"]

    assert [some(row, "bucket", "requests") for row in rows] == [
        ("2026-11-24T00:00:00+00:00", 6),
        ("2026-11-25T00:00:00+00:00", 2),
    ]


def test_a_call_that_reached_no_upstream_has_none(books: Pages) -> None:
    rows = books.told_by("usage", "from=2026-11-26&to=2026-11-26&group_by=upstream")["rows"]

    assert [some(row, "upstream", "requests") for row in rows] == [(None, 1), ("azure", 1)]
    assert [row["requests"] for row in books.told_by("usage", "from=2026-11-26&to=2026-11-26&upstream=")["rows"]] == [1]


def test_percentiles_are_null_where_they_are_not_kept(books: Pages) -> None:
    [row] = books.told_by("usage", f"{DAYS}&user=ann")["rows"]

    assert row["avg_duration"] == 2.5
    assert row["p50_duration"] is row["p99_ttft"] is None


def test_no_calls_are_a_sum_of_nothing_and_no_row_of_a_bucket(books: Pages) -> None:
    [row] = books.told_by("usage", "from=2020-01-01&to=2020-01-01")["rows"]

    assert some(row, "requests", "total_tokens", "cost", "error_rate", "avg_tokens") == (0, 0, None, None, None)
    assert books.told_by("usage", "from=2020-01-01&to=2020-01-01&bucket=hour")["rows"] == []


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("requests", [("ann", 4, 0.5), ("bob", 4, 0.5)]),
        ("tokens", [("ann", 4, 0.666667), ("bob", 4, 0.333333)]),
        ("cost", [("bob", 4, 0.999161), ("ann", 4, 0.000839)]),
        ("errors", [("bob", 4, 1.0)]),
    ],
)
def test_who_is_on_top_and_whose_share_is_how_large(books: Pages, by: str, expected: list[Any]) -> None:
    told = books.told_by("top", f"from=2026-11-24&to=2026-11-26&group_by=user&by={by}")

    assert some(told, "by", "group_by") == (by, ["user"])
    assert [some(row, "user", "requests", "share") for row in told["rows"]] == expected
    assert [row["rank"] for row in told["rows"]] == [*range(1, len(expected) + 1)]


def test_a_top_list_is_cut_and_shares_are_still_of_all(books: Pages) -> None:
    [row] = books.told_by("top", f"{DAYS}&limit=1")["rows"]

    assert some(row, "rank", "model", "share") == (1, "gpt-4", 0.666667)


def test_peak_hours_are_those_of_the_week_in_the_zone(books: Pages) -> None:
    rows = books.told_by("peak-hours")["rows"]

    assert [some(row, "weekday", "hour", "requests") for row in rows] == [(2, 0, 3), (2, 1, 1), (2, 2, 1), (2, 3, 1)]


def test_single_calls_come_newest_first_page_by_page(books: Pages) -> None:
    query, seen = "limit=3&", []
    for _ in range(4):
        answer = books.ask("requests", query)
        told: Any = answer.json
        seen += [call["request_id"][-1] for call in told["requests"]]
        if told["next"] is None:
            break
        assert answer.headers["link"] == f'<?limit=3&before={told["next"]}>; rel="next"'
        query = answer.headers["link"].split("<?")[1].split(">")[0]

    assert seen == ["8", "7", "4", "3", "2", "6", "5", "1"]
    assert "link" not in answer.headers


def test_single_calls_can_be_chosen(books: Pages) -> None:
    def found(query: str) -> list[str]:
        return [call["request_id"][-1] for call in books.told_by("requests", query)["requests"]]

    assert found("outcome=timeout&outcome=rejected") == ["7", "5"]
    assert found("stream=true") == ["1"]
    assert found("upstream=") == ["7"]
    assert found("user=ann&from=2026-11-25T02:00&to=2026-11-25T03:00") == ["3"]


def test_a_call_is_shown_as_everywhere_else(books: Pages) -> None:
    [call] = books.told_by("requests", "limit=1&user=ann")["requests"]

    assert some(call, "at", "cost", "outcome") == ("2026-11-25T03:30:00.000000+08:00", "0.000315", "success")
    assert call["usage"]["total_tokens"] == 170


# -- who sees what --


def test_a_plain_key_sees_its_own_calls_whatever_it_asks_for(books: Pages) -> None:
    wide = "from=2026-11-24&to=2026-11-26"

    [row] = books.told_by("usage", wide, key="own")["rows"]
    users = books.told_by("top", f"{wide}&group_by=user,key", key="own")["rows"]
    others = books.told_by("usage", f"{wide}&key={OTHER}", key="own")["rows"]
    hours = books.told_by("peak-hours", wide, key="own")["rows"]
    calls = books.told_by("requests", "limit=500", key="own")

    assert row["requests"] == 4
    assert [some(each, "user", "key", "requests", "share") for each in users] == [("ann", OWN, 4, 1.0)]
    assert others[0]["requests"] == 0
    assert sum(hour["requests"] for hour in hours) == 4
    assert calls["scope"] == "own"
    assert {call["key"] for call in calls["requests"]} == {OWN}


@pytest.mark.parametrize("page", PAGES)
def test_without_a_key_nothing_is_told_not_even_what_is_wrong(books: Pages, page: str) -> None:
    status, error = books.fails(page, "foo=1", key="sk-wrong")

    assert (status, error["code"]) == (401, "invalid_api_key")
    assert "foo" not in str(error)


# -- CSV --


@pytest.mark.parametrize(
    ("query", "accept"), [("&format=csv", "*/*"), ("", "text/csv"), ("", "text/csv;q=0.9,application/json;q=0.5")]
)
def test_csv_is_asked_for_in_either_way(books: Pages, query: str, accept: str) -> None:
    answer = books.ask("usage", DAYS + query, accept=accept)

    assert answer.content_type.startswith("text/csv; charset=utf-8")
    assert answer.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    assert answer.headers["vary"] == "accept"
    assert sheet(answer.text)[0]["requests"] == "6"


@pytest.mark.parametrize(
    "accept", ["text/html,*/*;q=0.8", "application/json", "application/json,text/csv", "image/png", ""]
)
def test_else_it_is_json(books: Pages, accept: str) -> None:
    assert books.ask("usage", accept=accept).content_type == "application/json"
    assert books.ask("usage", f"{DAYS}&format=json", accept="text/csv").content_type == "application/json"


def test_a_sheet_says_the_same_as_json_and_none_of_its_cells_is_a_formula(books: Pages) -> None:
    query = f"{DAYS}&bucket=hour&group_by=model,stream"

    rows = books.told_by("usage", query)["rows"]
    lines = sheet(books.ask("usage", f"{query}&format=csv").text)

    assert len(lines) == len(rows)
    for row, line in zip(rows, lines, strict=True):
        outcomes = {name.removeprefix("outcome_"): int(calls) for name, calls in line.items() if "outcome_" in name}
        assert {name: calls for name, calls in outcomes.items() if calls} == row["outcomes"]
        for name, value in row.items():
            if name != "outcomes":
                text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
                assert line[name] == (f"'{text}" if text.startswith("=") else text), name


def test_calls_are_a_sheet_too(books: Pages) -> None:
    lines = sheet(books.ask("requests", f"format=csv&key={OTHER}&outcome=timeout").text)

    [line] = lines
    assert some(line, "model", "status", "attempts", "total_tokens", "cost") == (f"'{EVIL}", "504", "1", "", "")


# -- what goes wrong --


@pytest.mark.parametrize("page", PAGES)
def test_what_cannot_be_asked_is_told_with_its_name(books: Pages, page: str) -> None:
    status, error = books.fails(page, "tz=Mars&format=xml&foo=1")

    assert (status, error["type"], error["param"]) == (400, "invalid_request_error", "foo")
    assert all(f"`{name}`" in error["message"] for name in ("foo", "tz", "format"))


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("query", "param"), [("model=%ff", "model"), ("tz=UTC&user=a%ed%a0%80", "user"), ("%ff=1", "\ufffd")]
)
def test_a_query_that_is_no_utf_8_is_a_fault(books: Pages, page: str, query: str, param: str) -> None:
    status, error = books.fails(page, query)

    assert (status, error["param"]) == (400, param)
    assert error["message"] == f"`{param}` is no text in UTF-8."


def test_what_looks_like_such_a_byte_is_a_name_as_any_other(books: Pages) -> None:
    assert books.told_by("requests", "model=%25FF")["requests"] == []


def test_a_ledger_that_is_away_is_a_503_and_its_words_are_kept(tmp_path: Path) -> None:
    away = Ledger(f"sqlite:///{tmp_path}/none.db")

    with capture_logs() as logged:
        status, error = Pages(away).fails("usage")

    assert (status, error["code"]) == (503, "ledger_unavailable")
    assert "rollups" not in str(error)
    assert [each["event"] for each in logged] == ["stats.ledger_unavailable"]
    away.close()


def test_what_no_table_tells_any_more_says_what_to_ask_instead(tmp_path: Path) -> None:
    give_tables(tmp_path / "ledger.db")
    with closing(Ledger(f"sqlite:///{tmp_path}/ledger.db")) as old:
        old.ingest([record(1, at=AT), record(2, at=AT + timedelta(days=2))])
        old.retention.delete_quarters(AT + timedelta(days=1))

        status, error = Pages(old).fails("usage", f"{DAYS}&bucket=15m")

    assert (status, error["param"]) == (400, "bucket")
    assert error["message"].startswith("That cannot be told: quarters of an hour are no longer kept")
