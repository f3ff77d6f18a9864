"""The figures of a run, as a table or as JSON."""

from __future__ import annotations

import json
from typing import Any

from llm_one_api.cli.benching.carrying import Carried, Point
from llm_one_api.cli.benching.filling import Filled
from llm_one_api.values import Value

_ROWS = 10
"""Lines of the curve that are shown."""


class Report(Value, frozen=True, kw_only=True):
    """What a run of the pipeline showed."""

    ledger: str
    """The kind of database."""
    broker: str
    filled: Filled
    carried: Carried
    faults: tuple[str, ...]
    """What is not as it has to be."""

    @property
    def gateway_us(self) -> float:
        """Microseconds of CPU that a call's entries cost the gateway."""
        return self.filled.cpu_seconds / self.filled.calls * 1e6

    @property
    def rate(self) -> float:
        """Records a second, from when the first were in the ledger until the last were everywhere."""
        first, last = self.carried.curve[0], self.carried.last
        return (last.least - first.least) / (last.seconds - first.seconds) if last.seconds > first.seconds else 0.0

    @property
    def is_whole(self) -> bool:
        """Whether all arrived."""
        return self.carried.last.least >= self.filled.calls and not self.faults


def as_json(report: Report) -> str:
    """Write everything."""
    carried, filled = report.carried, report.filled
    return json.dumps(
        {
            "records": filled.calls,
            "complete": report.is_whole,
            "faults": report.faults,
            "ledger": report.ledger,
            "broker": report.broker,
            "gateway_cpu_us_per_call": round(report.gateway_us, 1),
            "journal_bytes_per_call": round(filled.bytes / filled.calls),
            "seconds": round(carried.last.seconds, 2),
            "records_per_second": round(report.rate),
            "cores_busy": round(carried.busy, 3),
            "restarts": carried.restarts,
            "processes": [
                {
                    "name": taken.name,
                    "processes": taken.processes,
                    "cpu_seconds": round(taken.cpu_seconds, 2),
                    "cpu_us_per_record": round(taken.cpu_seconds / filled.calls * 1e6, 1),
                    "peak_mb": round(taken.peak_mb, 1),
                }
                for taken in carried.taken
            ],
            "curve": [_point(point) for point in carried.curve],
        },
        indent=2,
    )


def as_text(report: Report) -> str:
    """Write what is read by people."""
    carried, filled, total = report.carried, report.filled, report.filled.calls
    gateway = f"{report.gateway_us:8.1f} µs CPU a call (OPEN, record, CLOSE), {filled.bytes / total:,.0f} bytes"
    seconds = f"{carried.last.seconds:.1f} s; cores {carried.busy:.0%} busy"
    lines = [
        f"{total:,} records from the journal to a ledger in {report.ledger}, tasks through {report.broker}",
        "",
        f"gateway        {gateway}",
        f"sustained      {report.rate:8,.0f} records/s to the ledger, log and memory, in {seconds}",
        "",
        f"{'process':<24}{'n':>3}{'CPU s':>9}{'µs a record':>13}{'peak MB':>9}",
    ]
    for taken in carried.taken:
        each = taken.cpu_seconds / total * 1e6
        lines.append(f"{taken.name:<24}{taken.processes:>3}{taken.cpu_seconds:>9.1f}{each:>13.1f}{taken.peak_mb:>9.0f}")
    lines += ["", f"{'after s':>8}{'not in ledger':>15}{'not in log':>13}{'not in memory':>15}{'records/s':>11}"]
    before = None
    for point in _thinned(carried.curve):
        rate = "" if before is None else f"{(point.least - before.least) / (point.seconds - before.seconds):,.0f}"
        left = [total - had for had in (point.ledger, point.log, point.memory)]
        lines.append(f"{point.seconds:>8.1f}{left[0]:>15,}{left[1]:>13,}{left[2]:>15,}{rate:>11}")
        before = point
    if carried.restarts:
        lines += ["", f"processes started again: {carried.restarts}"]
    if carried.last.least < total:
        lines += ["", f"NOT WHOLE: {total - carried.last.least:,} records had not come everywhere"]
    lines += [f"WRONG: {fault}" for fault in report.faults]
    return "\n".join(lines)


def _thinned(curve: tuple[Point, ...]) -> list[Point]:
    """Take some points, the first and the last among them."""
    if len(curve) <= _ROWS:
        return list(curve)
    return [curve[round(n * (len(curve) - 1) / (_ROWS - 1))] for n in range(_ROWS)]


def _point(point: Point) -> dict[str, Any]:
    return {
        "seconds": round(point.seconds, 2),
        "ledger": point.ledger,
        "log": point.log,
        "memory": point.memory,
    }
