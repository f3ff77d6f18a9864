"""Measures how long questions take, by `.venv/bin/python -m benchmarks.analysis [postgresql://…]`.

A year of sums over 10 million calls is made by SQL (`year.py`), days and months are closed as the workers do, and each
question is asked five times; the table has the medians, in milliseconds. SQLite in a temporary folder (3 GB) and a
PostgreSQL from the wheel that the tests use, one after another; or the database that is named: an empty one, or one
that was filled so before. `--days 60` makes less.
"""

from __future__ import annotations

import argparse
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
from llm_one_api.stores.ledger.analysis import NotAnswerable, Question
from llm_one_api.stores.ledger.ledger import Ledger

BERLIN, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata")
UTC_ZONE = ZoneInfo("UTC")
ROUNDS = 5


def questions(ledger: Ledger, until: datetime) -> Mapping[str, Callable[[], object]]:
    """List what is asked: of 30 days that are no month, but for what the names say."""
    analysis = ledger.analysis
    since = until - timedelta(days=30)

    def asked(**changes: object) -> Question:
        return Question(**{"since": since, "until": until, "zone": UTC_ZONE, **changes})  # type: ignore[arg-type]

    found: dict[str, Callable[[], object]] = {}
    for bucket in (None, "day", "hour"):
        for groups in ((), ("model",), ("upstream", "endpoint"), ("outcome",), ("user",), ("model", "user")):
            question = asked(bucket=bucket, group_by=groups)
            name = f"usage, {bucket or 'in one'}{', by ' + ' and '.join(groups) if groups else ''}"
            found[name] = lambda question=question: analysis.ask(question)  # type: ignore[misc]
    week, quarters, year = (until - timedelta(days=days) for days in (3, 7, 365))
    more = {
        "usage, day, own calls": asked(bucket="day", key="key_7"),
        "usage, hour, own calls": asked(bucket="hour", key="key_7"),
        "usage, hour, one user by model": asked(bucket="hour", where={"user": ("user-7",)}, group_by=("model",)),
        "usage, day, of another zone, by model": asked(bucket="day", zone=BERLIN, group_by=("model",)),
        "usage, day, half an hour beside, by model": asked(bucket="day", zone=KOLKATA, group_by=("model",)),
        "usage, hour, half an hour beside": asked(bucket="hour", zone=KOLKATA),
        "usage, hour, 3 days, by user": asked(since=week, bucket="hour", group_by=("user",)),
        "usage, 15m, 7 days, by model": asked(since=quarters, bucket="15m", group_by=("model",)),
        "usage, month, a year, by model": asked(since=year, bucket="month", group_by=("model",)),
    }
    found |= {name: lambda question=question: analysis.ask(question) for name, question in more.items()}  # type: ignore[misc]
    return found | {
        "top users by tokens": lambda: analysis.top(asked(group_by=("user",)), "tokens", 10),
        "top models by cost": lambda: analysis.top(asked(group_by=("model",)), "cost", 10),
        "top users and models by errors": lambda: analysis.top(asked(group_by=("user", "model")), "errors", 10),
        "peak hours": lambda: analysis.peak_hours(asked()),
        "peak hours, own calls": lambda: analysis.peak_hours(asked(key="key_7")),
        "peak hours of a model": lambda: analysis.peak_hours(asked(where={"model": ("model-1",)})),
        "totals of all time": analysis.totals,
        "histograms of all time": lambda: analysis.latencies(
            asked(since=datetime(1990, 1, 1, tzinfo=UTC), group_by=("model", "endpoint", "stream", "upstream"))
        ),
    }


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
    found = {name: _median(ask) for name, ask in questions(ledger, year.until - timedelta(days=6)).items()}
    ledger.close()
    return found


def _median(ask: Callable[[], object]) -> str:
    times = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        try:
            ask()
        except NotAnswerable:
            return "refused"
        times.append(time.perf_counter() - begun)
    return f"{statistics.median(times) * 1000:.0f}"


def _say(what: str) -> None:
    sys.stderr.write(f"{what}\n")


@contextmanager
def _databases(named: str | None) -> Iterator[dict[str, str]]:
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
