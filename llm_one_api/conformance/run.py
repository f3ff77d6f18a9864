"""Plays cases, many at a time, and gives a verdict on each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from llm_one_api.conformance.bench import Bench
from llm_one_api.conformance.case import Case, Unprovable
from llm_one_api.conformance.gateway import Gateway
from llm_one_api.conformance.judge import Finding
from llm_one_api.conformance.upstream import Upstream
from llm_one_api.values import Value

AT_ONCE = 16
Verdict = Literal["PASS", "FAIL", "UNPROVABLE"]


class Told(Value, frozen=True, kw_only=True):
    """One call as both sides tell it."""

    token: str
    upstream: dict[str, Any]
    """The upstream's own ledger."""
    record: dict[str, Any] | None
    """The gateway's."""


class Result(Value, frozen=True, kw_only=True):
    """What came of a case."""

    case: str
    says: str
    verdict: Verdict
    reasons: tuple[str, ...] = ()
    """Why it cannot be judged."""
    findings: tuple[Finding, ...] = ()
    calls: tuple[Told, ...] = ()
    seconds: float = 0.0


def run(cases: Iterable[Case], gateway: Gateway, upstream: Upstream, at_once: int = AT_ONCE) -> Iterator[Result]:
    """Play *cases* and give each result as soon as it and those before it are there."""
    cases = list(cases)
    pool = ThreadPoolExecutor(at_once)
    try:
        playing = [pool.submit(play, each, gateway, upstream) for each in cases if not each.alone]
        for each in playing:
            yield each.result()
    finally:  # also where somebody has seen enough
        pool.shutdown(cancel_futures=True)
    for alone in [each for each in cases if each.alone]:
        yield play(alone, gateway, upstream)


def play(case: Case, gateway: Gateway, upstream: Upstream) -> Result:
    """Play one case. Whatever goes wrong in it is its verdict."""
    bench = Bench(case, gateway, upstream)
    began = time.monotonic()
    try:
        case.play(bench)
    except Unprovable as reason:
        bench.doubt(str(reason))
    except Exception as error:  # whatever a gateway's answers lead to
        bench.check("the case came to its end", True, f"{type(error).__name__}: {error}")
    finally:
        for call in bench.calls:
            call.account.released.set()
            call.hang_up()
    verdict: Verdict = "FAIL" if bench.findings else "UNPROVABLE" if bench.doubts else "PASS"
    return Result(
        case=case.name,
        says=case.says,
        verdict=verdict,
        reasons=tuple(bench.doubts),
        findings=tuple(bench.findings),
        calls=tuple(_told(call) for call in bench.calls),
        seconds=round(time.monotonic() - began, 3),
    )


def _told(call: Any) -> Told:
    script = call.script
    sent = {
        "outcome": script.outcome,
        "usage": script.usage,
        "id": f"up-{call.token}",
        "model": script.model,
        "requests": [
            {
                "method": each.method,
                "path": each.path,
                "headers": sorted(each.headers),
                "bytes": len(each.body),
                "status": each.status,
                "sent": each.sent,
                "ended": each.ended,
            }
            for each in call.account.exchanges
        ],
    }
    return Told(token=call.token, upstream=sent, record=call.record)
