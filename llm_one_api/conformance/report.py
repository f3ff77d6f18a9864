"""The report: a line a case, the upstream's word beside the gateway's record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from llm_one_api.conformance.gateway import figures, sums
from llm_one_api.conformance.run import Result, Told

COLOURS = {"PASS": "32", "FAIL": "31", "UNPROVABLE": "33"}
NAME, UPSTREAM = 40, 28


def line(result: Result, *, colour: bool = False) -> str:
    """Tell one result, in a line; of a failure also what was expected and found."""
    verdict = f"{result.verdict:<10}"
    if colour:
        verdict = f"\x1b[{COLOURS[result.verdict]}m{verdict}\x1b[0m"
    head = f"{verdict}  {result.case:<{NAME}}"
    if not result.calls:
        lines = [head.rstrip()]
    else:
        last = result.calls[-1]
        lines = [f"{head}  upstream {_sent(last):<{UPSTREAM}}  record {figures(last.record) if last.record else '-'}"]
    lines += [f"            {reason}" for reason in result.reasons]
    for finding in result.findings:
        lines += [
            f"            {finding.what}",
            f"              expected  {finding.expected}",
            f"              found     {finding.found}",
        ]
    return "\n".join(lines)


def summary(results: Iterable[Result], seconds: float, strays: int = 0) -> str:
    """Count the verdicts, and the requests of nobody's that the upstream saw."""
    count = Counter(result.verdict for result in results)
    line = f"{count['PASS']} PASS, {count['FAIL']} FAIL, {count['UNPROVABLE']} UNPROVABLE in {seconds:.1f} s"
    return f"{line}; {strays} request(s) to the upstream belonged to no case" if strays else line


def as_json(results: Iterable[Result]) -> bytes:
    """Tell all of it, for programs."""
    return msgspec.json.format(msgspec.json.encode({"cases": list(results)}), indent=2)


def _sent(told: Told) -> str:
    requests = told.upstream["requests"]
    usage = told.upstream["usage"]
    words = [sums(msgspec.to_builtins(usage)) if usage is not None else "-"]
    if requests:
        last = requests[-1]
        words.append(f"{'no head' if last['status'] is None else last['status']} {last['ended'] or 'unfinished'}")
    words.append(f"{len(requests)}x")
    return " ".join(words)
