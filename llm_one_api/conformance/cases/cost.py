"""What calls cost: exact, with the price's source, and null where no price is known."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from llm_one_api.conformance.bench import Bench
from llm_one_api.conformance.case import Unprovable, case
from llm_one_api.conformance.judge import SOMETHING, That
from llm_one_api.conformance.models import CHEAP, DEAR, GPT_4O
from llm_one_api.conformance.scripts import DONE, refusal
from llm_one_api.conformance.shapes import openai
from llm_one_api.conformance.shapes.openai import ASK, ASK_STREAM, ENDED, RAW, stream_of
from llm_one_api.values import Usage

A_DAY = That("a day", lambda day: bool(re.fullmatch(r"\d{4}-\d\d-\d\d", day)))


def exactly(amount: str) -> That:
    """Ask for an exact amount of dollars."""
    return That(f"${amount}", lambda cost: isinstance(cost, str) and Decimal(cost) == Decimal(amount))


def costs(bench: Bench, call: Any, amount: str, source: str, **record: Any) -> None:
    """Check what a call costs."""
    bench.holds(call, cost=exactly(amount), price_source=source, price_date=A_DAY, **record)


@case("cost/gpt-3.5-turbo")
def cheap(bench: Bench) -> None:
    """The founding document's first example comes out as $0.000315, at the operator's price."""
    costs(bench, bench.call(ASK, openai.answer(model=CHEAP)), "0.000315", "configured")


@case("cost/gpt-4")
def dear(bench: Bench) -> None:
    """Its second example comes out as $0.0087."""
    costs(bench, bench.call(ASK, openai.answer(model=DEAR)), "0.0087", "configured")


@case("cost/stream")
def of_stream(bench: Bench) -> None:
    """A stream costs what the same answer costs in one piece."""
    events = [each.replace(openai.MODEL.encode(), CHEAP.encode()) for each in (*ENDED, openai.USAGE_EVENT)]
    call = bench.call(ASK_STREAM, stream_of(*events, DONE, model=CHEAP))
    costs(bench, call, "0.000315", "configured", body=b"".join((*events[:-1], DONE)))


@case("cost/unpriced")
def unpriced(bench: Bench) -> None:
    """Where no price is known the cost is null, never zero."""
    bench.holds(bench.call(ASK, openai.answer()), cost=None, price_source=None, price_date=None)


@case("cost/refused")
def refused(bench: Bench) -> None:
    """A refused call has no cost."""
    told = openai.error("No.", "invalid_request_error", "bad")
    bench.holds(bench.call(ASK, refusal(400, told, outcome="client_error")), error="bad", cost=None)


@case("cost/reported")
def reported(bench: Bench) -> None:
    """The provider's own figure counts where the operator has no price (OpenRouter)."""
    raw = {**RAW, "cost": 0.00123}
    call = bench.call(ASK, openai.answer(raw))
    costs(bench, call, "0.00123", "reported")


@case("cost/configured-before-reported")
def configured_first(bench: Bench) -> None:
    """The operator's price goes before the provider's figure."""
    call = bench.call(ASK, openai.answer({**RAW, "cost": 0.5}, model=CHEAP))
    costs(bench, call, "0.000315", "configured")


@case("cost/public-price")
def public(bench: Bench) -> None:
    """A model that everybody knows has its public price, its cached input too."""
    raw = {**RAW, "prompt_tokens": 1000, "total_tokens": 1120, "prompt_tokens_details": {"cached_tokens": 400}}
    usage = Usage(prompt_tokens=1000, completion_tokens=120, total_tokens=1120, cache_read_tokens=400)
    call = bench.call(openai.ask(GPT_4O), openai.answer(raw, usage, model="gpt-4o"))
    bench.holds(call, cost=SOMETHING, price_date=A_DAY)
    record = call.record
    if record is not None and record.get("price_source") == "configured":
        raise Unprovable("the operator has a price of its own for gpt-4o")
    # 600 at $2.50 a million, 400 cached at $1.25, 120 put out at $10
    if record is not None:
        bench.check("record.cost", exactly("0.0032"), record.get("cost"))
        bench.check("record.price_source", "genai-prices", record.get("price_source"))


@case("cost/no-usage")
def no_usage(bench: Bench) -> None:
    """A call of which nothing is known costs nothing that is known."""
    call = bench.call(ASK, refusal(503, openai.error("Later.", "server_error", None), outcome="upstream_error"))
    bench.holds(call, error="server_error", cost=None)
