"""What is written is read back by others: the csv module, pyarrow, json."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_one_api.books.reports.export.formats import FORMATS, file_name, focus
from llm_one_api.books.reports.export.formats.format import FormatMissing
from llm_one_api.books.reports.export.formats.parquet import GROUP
from llm_one_api.reporting.layout import CALL_COLUMNS
from llm_one_api.values import Attempt, UsageRecord
from tests.harness import golden
from tests.harness.records import AT, bare, record

BERLIN = ZoneInfo("Europe/Berlin")
HOSTILE: dict[str, Any] = {
    "model": '=HYPERLINK("http://x","y")', "user": "@SUM(1+1)", "end_user": "-1+cmd|' /C calc'!A0", "group": "\t=1",
    "error": "+1", "client_request_id": 'a"b,c\r\nd', "tags": ("=2", "b"),
}  # fmt: skip


def written(name: str, calls: list[UsageRecord], zone: ZoneInfo = BERLIN, page: int = 7) -> bytes:
    sink = io.BytesIO()
    writer = FORMATS[name].open(sink, zone)
    for start in range(0, len(calls), page):
        writer.add(calls[start : start + page])
    writer.end()
    rows = [call for call in calls if name != "focus" or call.cost is not None]
    assert writer.rows == len(rows)
    return sink.getvalue()


def sheet(name: str, calls: list[UsageRecord]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(written(name, calls).decode(), newline=""), strict=True))


def expected(call: UsageRecord) -> dict[str, Any]:
    """Lay a call out as JSON has it."""
    fields = json.loads(msgspec.json.encode(call))
    fields["at"] = call.at.astimezone(BERLIN).isoformat(timespec="microseconds")
    for amount in ("cost", "quota_cost"):
        value = getattr(call, amount)
        fields[amount] = None if value is None else f"{value.normalize():f}"
    del fields["usage_raw"]
    return dict(fields)


CALLS = [*golden.calls(100), record(900, **HOSTILE), bare(901), record(902, cost=Decimal(0), tags=("ä", "日本"))]


def test_json_is_an_array_and_jsonl_the_same_calls_a_line_each() -> None:
    array = json.loads(written("json", CALLS))
    lines = [json.loads(line) for line in written("jsonl", CALLS).splitlines()]

    assert array == lines == [expected(call) for call in CALLS]


def test_how_calls_come_in_pages_makes_no_difference() -> None:
    for name in FORMATS:
        assert written(name, CALLS, page=7) == written(name, CALLS, page=1000)


def test_csv_is_read_back_as_it_was_meant() -> None:
    rows = sheet("csv", CALLS)

    assert tuple(rows[0]) == CALL_COLUMNS
    assert [row["request_id"] for row in rows] == [call.request_id for call in CALLS]
    for row, call in zip(rows, CALLS, strict=True):
        assert row["cost"] == ("" if call.cost is None else f"{call.cost.normalize():f}")
        assert row["prompt_tokens"] == ("" if call.usage.prompt_tokens is None else str(call.usage.prompt_tokens))
        assert datetime.fromisoformat(row["at"]) == call.at
        assert row["attempts"] == str(len(call.attempts))


@pytest.mark.parametrize("name", ["csv", "focus"])
def test_no_cell_is_a_formula_and_numbers_stay_numbers(name: str) -> None:
    (row,) = sheet(name, [record(1, **HOSTILE)])

    assert [cell for cell in row.values() if cell.lstrip()[:1] in set("=+-@")] == []
    assert [cell for cell in row.values() if cell[:1] in {"\t", "\r", "\n"}] == []
    assert HOSTILE["model"] in row["x_Model" if name == "focus" else "model"]
    assert row["BilledCost" if name == "focus" else "cost"] == "0.000315"


def test_parquet_is_typed_and_read_back_by_pyarrow() -> None:
    table = pq.read_table(pa.BufferReader(written("parquet", CALLS)))

    assert table.num_rows == len(CALLS)
    assert table.schema.field("cost").type == pa.decimal128(24, 12)
    assert table.schema.field("at").type == pa.timestamp("us", tz="UTC")
    assert "usage_raw" not in table.schema.names
    for row, call in zip(table.to_pylist(), CALLS, strict=True):
        plain = msgspec.structs.asdict(call)
        usage = msgspec.structs.asdict(plain.pop("usage"))
        del plain["usage_raw"]
        plain["attempts"] = [msgspec.structs.asdict(attempt) for attempt in call.attempts]
        for name in ("tags", "usage_faults", "quota_windows"):
            plain[name] = list(plain[name])
        assert row == {**plain, **usage}


def test_parquet_holds_on_to_no_more_than_a_row_group() -> None:
    calls = [record(n, attempts=(Attempt(upstream="u"),)) for n in range(2 * GROUP + 5)]

    file = pq.ParquetFile(pa.BufferReader(written("parquet", calls, page=2000)))

    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sizes == [GROUP, GROUP, 5]


def test_without_pyarrow_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(FormatMissing, match=r'pip install "llm-one-api\[parquet\]"'):
        FORMATS["parquet"].open(io.BytesIO(), BERLIN)


def test_files_are_named_by_day_and_no_two_alike() -> None:
    names = [file_name(name, date(2026, 1, 5)) for name in FORMATS]

    assert names == [
        "records_20260105.json", "records_20260105.jsonl", "records_20260105.csv", "records_20260105.parquet",
        "focus_20260105.csv",
    ]  # fmt: skip


MANDATORY = {
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart",
    "ContractedCost", "EffectiveCost", "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit",
    "ProviderName", "PublisherName", "ServiceCategory", "ServiceName",
}  # fmt: skip
"""Of FOCUS 1.2."""
MAY_BE_EMPTY = {"ChargeClass"}


class TestFocus:
    """FOCUS 1.2, by what its specification says of its columns."""

    def test_mandatory_columns_are_there_and_filled(self) -> None:
        rows = sheet("focus", CALLS)

        assert set(rows[0]) >= MANDATORY
        assert {name for row in rows for name in MANDATORY if not row[name]} == MAY_BE_EMPTY

    def test_columns_of_the_standard_come_first_and_ours_have_their_prefix(self) -> None:
        ours = [name.startswith("x_") for name in focus.COLUMNS]

        assert ours == sorted(ours)
        assert list(focus.COLUMNS) == sorted(focus.COLUMNS, key=lambda name: (name.startswith("x_"), name))

    def test_a_row_is_a_call_that_has_a_cost_and_they_add_up(self) -> None:
        rows = sheet("focus", CALLS)
        priced = [call for call in CALLS if call.cost is not None]

        assert [row["x_RequestId"] for row in rows] == [call.request_id for call in priced]
        assert sum(Decimal(row["BilledCost"]) for row in rows) == sum(call.cost or 0 for call in priced)

    def test_times_are_utc_and_the_period_holds_the_call(self) -> None:
        at = datetime(2025, 11, 30, 22, 59, 59, 900_000, tzinfo=UTC)  # the last second of November in Berlin
        calls = [record(1, at=at, duration=0.5), record(2, at=at + timedelta(seconds=1)), bare(3, cost=Decimal(1))]

        rows = sheet("focus", calls)

        assert [(row["ChargePeriodStart"], row["ChargePeriodEnd"]) for row in rows] == [
            ("2025-11-30T22:59:59Z", "2025-11-30T23:00:01Z"),
            ("2025-11-30T23:00:00Z", "2025-11-30T23:00:04Z"),
            (f"{AT:%Y-%m-%dT%H:%M:%SZ}", f"{AT + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}"),
        ]
        months = [(row["BillingPeriodStart"], row["BillingPeriodEnd"]) for row in rows]
        assert months[:2] == [
            ("2025-10-31T23:00:00Z", "2025-11-30T23:00:00Z"),
            ("2025-11-30T23:00:00Z", "2025-12-31T23:00:00Z"),
        ]

    def test_who_is_charged_for_what(self) -> None:
        call = record(
            1,
            tags=("team-a", 'q"x'),
            service_tier="flex",
            response_model="gpt-3.5-turbo-0125",
            price_source="configured",
        )

        (row,) = sheet("focus", [call])

        told: Mapping[str, str] = {name: row[name] for name in focus.COLUMNS if row[name]}
        assert told["ProviderName"] == told["BillingAccountId"] == "openai"
        assert (told["SubAccountId"], told["SubAccountName"]) == ("key_3f9a1c22", "sk-test-123")
        assert (told["SkuId"], told["SkuPriceId"]) == ("gpt-3.5-turbo-0125", "gpt-3.5-turbo-0125/flex")
        assert (told["PricingQuantity"], told["PricingUnit"]) == ("170", "Tokens")
        assert json.loads(told["Tags"]) == {"team-a": True, 'q"x': True}
        assert (told["ServiceCategory"], told["ServiceSubcategory"]) == ("AI and Machine Learning", "Generative AI")

    def test_amounts_have_no_exponent(self) -> None:
        rows = sheet("focus", [record(1, cost=Decimal("1E-12")), record(2, cost=Decimal("1E+3"))])

        assert [row["BilledCost"] for row in rows] == ["0.000000000001", "1000"]


def test_names_are_in_order_of_time_whatever_the_day() -> None:
    days = [date(2025, 12, 31), date(2026, 1, 1), date(2026, 10, 2)]

    assert all(file_name("jsonl", a) < file_name("jsonl", b) for a, b in pairwise(days))
