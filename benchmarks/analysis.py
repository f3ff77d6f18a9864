"""Measures how long questions take, by `.venv/bin/python -m benchmarks.analysis [postgresql://…]`.

A year of sums over 10 million calls is made by SQL (`year.py`), days and months are closed as the workers do, and each
page is asked for five times, from the texts of its parameters to its JSON; the table has the medians, in milliseconds.
SQLite in a temporary folder (3 GB) and a PostgreSQL from the wheel that the tests use, one after another; or the
database that is named: an empty one, or one that was filled so before. `--days 60` makes less.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from benchmarks.year import Year, fill
from llm_one_api.reporting.answering import PAGES
from llm_one_api.reporting.asking import Asking
from llm_one_api.reporting.page import written
from llm_one_api.stores.ledger.analysis import Analysis, NotAnswerable
from llm_one_api.stores.ledger.analysis.questions import of_all_time
from llm_one_api.stores.ledger.ledger import Ledger

UTC_ZONE = ZoneInfo("UTC")
ROUNDS = 5
A_KEY = "key_7"
MONTH, YEAR = 30, 365


def pages(until: datetime) -> Iterator[tuple[str, Callable[[Analysis], object]]]:
    """List what is asked for: of 30 days that are no month, but for what the names say."""

    def page(name: str, parameters: str = "", *, days: int = MONTH, key: str | None = None) -> Callable[..., object]:
        given: dict[str, list[str]] = {}
        for each in parameters.split():
            called, _, value = each.partition("=")
            given.setdefault(called, []).append(value)
        given |= {"from": [(until - timedelta(days=days)).isoformat()], "to": [until.isoformat()]}
        kind = PAGES[name]

        def ask(analysis: Analysis) -> object:
            answer = kind.answer(analysis, kind.read(Asking(given, UTC_ZONE, key=key)), "all")
            return written(answer, as_csv=False) if answer.rows else None

        return ask

    for bucket in ("", "bucket=day", "bucket=hour"):
        for groups in ("", "model", "upstream,endpoint", "outcome", "user", "model,user"):
            asked = f"{bucket} {groups and f'group_by={groups}'}".strip()
            yield f"usage {asked}".strip(), page("usage", asked)
    yield "usage bucket=day, a plain key", page("usage", "bucket=day", key=A_KEY)
    yield "usage bucket=hour, a plain key", page("usage", "bucket=hour", key=A_KEY)
    for days, asked in (
        (MONTH, "bucket=hour user=user-7 group_by=model"),
        (MONTH, "bucket=hour model=model-1"),
        (MONTH, "bucket=day tz=Europe/Berlin group_by=model"),
        (MONTH, "bucket=day tz=Europe/Berlin group_by=user"),
        (MONTH, "bucket=day tz=America/New_York group_by=user"),
        (MONTH, "bucket=day tz=Asia/Shanghai group_by=model"),
        (MONTH, "bucket=day tz=Asia/Kolkata group_by=model"),
        (MONTH, "bucket=hour tz=Asia/Kolkata"),
        (MONTH, "bucket=hour tz=Asia/Kolkata group_by=model"),
        (3, "bucket=hour group_by=user"),
        (7, "bucket=hour group_by=user"),
        (7, "bucket=15m group_by=model"),
        (MONTH, "bucket=15m"),
        (YEAR, "bucket=day"),
        (YEAR, "bucket=day group_by=model"),
        (YEAR, "bucket=month group_by=model"),
        (YEAR, "bucket=month group_by=user"),
    ):
        yield f"usage {asked}{'' if days == MONTH else f', {days} days'}", page("usage", asked, days=days)
    for asked in ("by=tokens group_by=user", "by=cost group_by=model", "by=errors group_by=user,model"):
        yield f"top {asked}", page("top", asked)
    yield "peak-hours", page("peak-hours")
    yield "peak-hours, a plain key", page("peak-hours", key=A_KEY)
    yield "peak-hours model=model-1", page("peak-hours", "model=model-1")
    yield "peak-hours tz=Asia/Kolkata", page("peak-hours", "tz=Asia/Kolkata")
    yield "Prometheus: totals of all time", Analysis.totals
    by = of_all_time("model", "endpoint", "stream", "upstream")
    yield "Prometheus: histograms of all time", lambda analysis: analysis.latencies(by)


def measure(url: str, year: Year) -> dict[str, str]:
    """Make a year in the database at *url*, and ask."""
    ledger = Ledger(url)
    ledger.upgrade()
    due = ledger.closing.due(UTC_ZONE, year.until)
    if not due and not ledger.closing.count(year.since, year.until)["days"]:
        _say("making sums …")
        fill(ledger, year, lambda day: _say(f"{day} days") if day % 30 == 0 else None)
        due = ledger.closing.due(UTC_ZONE, year.until)
    begun = time.monotonic()
    closed = sum(ledger.closing.close(period) for period in due)
    _say(f"{closed} days and months closed in {time.monotonic() - begun:.0f} s")
    found = {name: _median(ask, ledger.analysis) for name, ask in pages(year.until - timedelta(days=6))}
    ledger.close()
    return found


def _median(ask: Callable[[Analysis], object], analysis: Analysis) -> str:
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        try:
            told = ask(analysis)
        except NotAnswerable as error:
            return f"refused: {error}"
        times.append(time.perf_counter() - begun)
        if not told:
            raise AssertionError("nothing was told, so nothing was measured")
    return f"{statistics.median(times) * 1000:.0f}"


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")


@contextmanager
def _databases(named: str | None) -> Iterator[Mapping[str, str]]:
    if named:
        yield {named.partition(":")[0].partition("+")[0]: named}
        return
    from tests.harness.services import postgres

    with tempfile.TemporaryDirectory() as folder, postgres() as url:
        yield {"SQLite": f"sqlite:///{Path(folder) / 'ledger.db'}", "PostgreSQL": url}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--days", type=int, default=365)
    options = parser.parse_args()
    gc.freeze()  # as the gateway's processes do
    year = Year(
        since=datetime(2025, 12, 1, tzinfo=UTC) + timedelta(days=365 - options.days),
        days=options.days,
        calls=10_000_000 * options.days // 365,
        quarters_days=min(90, options.days),
    )
    with _databases(options.url) as databases:
        found = {name: measure(url, year) for name, url in databases.items()}
    print(f"| question | {' | '.join(found)} |\n|---|{'---:|' * len(found)}")
    for name in next(iter(found.values())):
        print(f"| {name} | {' | '.join(times[name] for times in found.values())} |")


if __name__ == "__main__":
    main()
