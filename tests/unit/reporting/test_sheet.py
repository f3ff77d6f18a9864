"""CSV: a spreadsheet reads it as it was meant, and computes nothing of it."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.reporting import sheet

FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


def read(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://x","y")',
        "=cmd|'/c calc'!A1",
        "+1+1",
        "-1+cmd",
        "@SUM(A1)",
        "  =1",
        "\N{NO-BREAK SPACE}@x",
        "\uff1d1+1",
        "\ufe661+1",
        "\N{MINUS SIGN}1+1",
        "-",
    ],
)
def test_no_text_becomes_a_formula(text: str) -> None:
    [[cell]] = read(sheet.line([text]))

    assert cell == f"'{text}"


@pytest.mark.parametrize("sign", "=+-@\uff1d\uff0b\uff0d\uff20")
def test_what_is_not_seen_before_a_sign_hides_no_formula(sign: str) -> None:
    unseen = "\u200b\ufeff\u00a0\u2060\u3000\u00ad\u200e\u202e\u2028\u034f\ufe0f\u3164\u2800"

    for before in [*unseen, unseen, " \u200b "]:
        [[cell, inner]] = read(sheet.line([f"{before}{sign}1", f"bob;{before}{sign}1"]))
        assert (cell, inner) == (f"'{before}{sign}1", f"bob;{before}'{sign}1")


@pytest.mark.parametrize(
    "text",
    ["\t=1", "\r=1", "\n=1", "bob;=1+1;", "bob; =1", "a\t=1+1", "a;b;@x", "a\n-1", "a\r\n+1", "a;;=1", 'a,";=1'],
)
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_no_part_of_a_text_becomes_one_wherever_cells_are_divided(text: str, delimiter: str) -> None:
    written = sheet.line(["2026-11-30", text, "key"])

    cells = [cell for row in csv.reader(io.StringIO(written, newline=""), delimiter=delimiter) for cell in row]

    assert [cell for cell in cells if cell.strip()[:1] in {"=", "+", "-", "@"}] == []


@pytest.mark.parametrize(
    "text",
    [
        "a;b",
        "a; b=c",
        "gpt-4o",
        "a=b",
        "Müller, Jörg",
        'say "hi"',
        "模型",
        "two\nlines",
        "x\ty",
        "\u200bgpt-4",
        "\ufeff",
        " ",
    ],
)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert read(sheet.line([text, text])) == [[text, text]]


def test_numbers_stay_numbers_and_what_is_unknown_is_empty() -> None:
    cells: list[sheet.Cell] = [
        -1,
        -0.5,
        1e-7,
        Decimal("-0.000000000001"),
        Decimal("1E+3"),
        Decimal("1.500"),
        True,
        None,
    ]

    assert sheet.line(cells) == "-1,-0.5,1e-07,-0.000000000001,1000,1.5,true,\r\n"


def test_times_are_iso_8601() -> None:
    cells: list[sheet.Cell] = [datetime(2026, 11, 24, 8, tzinfo=UTC), date(2026, 11, 24)]

    assert sheet.line(cells) == "2026-11-24T08:00:00+00:00,2026-11-24\r\n"


def test_what_a_terminal_would_obey_is_taken_out() -> None:
    assert read(sheet.line(["a\x1b[2Jb\0c\x9bd"])) == [["a\ufffd[2Jb\ufffdc\ufffdd"]]


@given(st.lists(st.text(), min_size=1))
def test_any_texts_come_back_in_their_cells_and_none_is_a_formula(texts: list[str]) -> None:
    [cells] = read(sheet.line(["x", *texts]))

    assert len(cells) == len(texts) + 1
    for text, cell in zip(texts, cells[1:], strict=True):
        seen = cell.lstrip(" \u200b\ufeff\u00a0\u2060\u3000")[:1]
        assert not cell or (cell[0] not in FORMULA and seen not in set(FORMULA) - set("\t\r\n"))
        clean = "".join(sheet._harmless(character) for character in text)
        assert cell.replace("'", "") == clean.replace("'", "")


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_any_amount_comes_back_exactly(amount: Decimal) -> None:
    [[cell]] = read(sheet.line([amount]))

    assert Decimal(cell) == amount
    assert "E" not in cell
