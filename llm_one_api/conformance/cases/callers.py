"""What callers bring about: they leave, or ask for what cannot be; and what each of them may know."""

from __future__ import annotations

import json

from llm_one_api.conformance.bench import Bench, Call
from llm_one_api.conformance.case import Unprovable, case
from llm_one_api.conformance.client import Ask
from llm_one_api.conformance.judge import ANYTHING, COUNTED, SOMETHING, containing, one_of
from llm_one_api.conformance.scripts import DONE, HOLD, Pause, Script, encoded
from llm_one_api.conformance.shapes import openai
from llm_one_api.conformance.shapes.openai import ASK, ASK_STREAM, BEGUN, ENDED, FINISH, USAGE_EVENT, stream_of

NOTICED = 5.0
"""Seconds in which the upstream must see that the caller is gone."""
HALF = stream_of(*BEGUN, end="wait", outcome="client_gone", raw=None, usage=None, finish_reason=None)


def _leaves_midway(bench: Bench, *, reset: bool) -> None:
    call = bench.begin(ASK_STREAM, HALF)
    call.read(lambda body: body.count(b"\n\n") >= len(BEGUN))
    call.hang_up(reset=reset)
    _is_cut(bench, call)
    bench.records(call, error="client_gone", usage=COUNTED, usage_source="partial", status=200)


def _is_cut(bench: Bench, call: Call) -> None:
    noticed = call.account.wait(lambda account: bool(account.exchanges and account.exchanges[0].ended), NOTICED)
    bench.check(f"the upstream was cut within {NOTICED:g} s", True, noticed)
    bench.check("how the upstream's connection ended", "hung up", call.seen.ended)


@case("callers/leaves-midway")
def leaves_midway(bench: Bench) -> None:
    """A caller who leaves in a stream is `client_gone`; the upstream is cut, and the figures are what had been seen."""
    _leaves_midway(bench, reset=False)


@case("callers/leaves-midway-reset")
def leaves_midway_reset(bench: Bench) -> None:
    """So is one whose connection is reset."""
    _leaves_midway(bench, reset=True)


@case("callers/leaves-before-first-byte")
def leaves_before(bench: Bench) -> None:
    """A caller who leaves before the answer begins is noticed too."""
    script = Script(before=(HOLD,), head=False, outcome="client_gone")
    call = bench.begin(ASK_STREAM, script)
    call.account.wait(lambda account: any(each.complete for each in account.exchanges))
    call.hang_up()
    _is_cut(bench, call)
    nothing_came = one_of(None, 499)
    bench.records(call, error="client_gone", status=nothing_came, usage=ANYTHING,
                  usage_source=one_of("none", "partial"))  # fmt: skip


@case("callers/leaves-whole-answer")
def leaves_whole(bench: Bench) -> None:
    """So is one who asked for an answer in one piece."""
    call = bench.begin(ASK, Script(before=(HOLD,), head=False, outcome="client_gone"))
    call.account.wait(lambda account: any(each.complete for each in account.exchanges))
    call.hang_up()
    _is_cut(bench, call)
    bench.records(call, error="client_gone", status=one_of(None, 499),
                  usage=ANYTHING, usage_source=one_of("none", "partial"))  # fmt: skip


@case("callers/drain")
def drain(bench: Bench) -> None:
    """For a key with `on_client_gone: drain` the upstream is read on, and the usage is the reported one."""
    key = bench.gateway.drain_key
    if key is None:
        raise Unprovable("no key with `on_client_gone: drain` was given (--drain-key)")
    script = stream_of(*BEGUN, HOLD, FINISH, USAGE_EVENT, DONE, outcome="client_gone")
    call = bench.begin(ASK_STREAM, script, key=key)
    call.read(lambda body: body.count(b"\n\n") >= len(BEGUN))
    call.hang_up()
    cut = call.account.wait(lambda account: bool(account.exchanges[0].ended), 1.0)
    bench.check("the upstream is cut", False, cut)
    call.account.released.set()
    call.account.wait(lambda account: bool(account.exchanges[0].ended))
    bench.records(call, status=200, finish_reason="stop")
    bench.check("how the upstream's connection ended", "clean", call.seen.ended)


@case("callers/leaves-after-the-end")
def leaves_after(bench: Bench) -> None:
    """A caller who closes right after the last event has got all: a success."""
    call = bench.begin(ASK_STREAM, stream_of(*ENDED, USAGE_EVENT, DONE))
    call.read(lambda body: body.endswith(DONE))
    call.hang_up()
    bench.records(call)


def rejected(name: str, says: str, ask: Ask, status: int, code: str, **record: object) -> None:
    """Make a case of a request that the gateway refuses by itself."""

    @case(f"callers/{name}", says)
    def play(bench: Bench) -> None:
        call = bench.call(ask, Script(outcome="rejected"))
        bench.gets(call, status=status, body=containing('"error"', code))
        fields = {"error": code, "model": SOMETHING, "stream": ask.stream, "upstream": None, "attempts": [], **record}
        bench.records(call, **fields)
        bench.reaches(call, requests=0)


rejected(
    "unknown-model",
    "An unknown model is 404, recorded as rejected, and reaches no upstream.",
    Ask(path=openai.CHAT, body=encoded({"model": "conformance-no-such", "messages": []})),
    404,
    "model_not_found",
    model="conformance-no-such",
)
rejected("no-json", "A body that is no JSON is 400.", Ask(path=openai.CHAT, body=b'{"model": '), 400, "invalid_json")
rejected(
    "no-model", "A body without a model is 400.", Ask(path=openai.CHAT, body=b'{"messages": []}'), 400, "missing_model"
)


@case("callers/wrong-key")
def wrong_key(bench: Bench) -> None:
    """A wrong key is 401 in OpenAI's shape, and reaches no upstream."""
    call = bench.call(ASK, Script(), key="sk-conformance-wrong-key-00000000")
    bench.gets(call, status=401, body=containing("invalid_api_key"))
    bench.reaches(call, requests=0)


@case("callers/records-of-others")
def records_of_others(bench: Bench) -> None:
    """A key without `admin` reads its own calls and no others."""
    other = bench.gateway.drain_key
    if other is None:
        raise Unprovable("no second key was given (--drain-key)")
    call = bench.call(ASK, openai.answer())
    bench.holds(call)
    if bench.gateway.hidden or call.reply is None:
        return
    answer = bench.gateway.get(f"/v1/stats/calls/{call.reply.request_id}", other)
    bench.check("another key's look at the record", 404, answer.status)


@case("callers/no-prompt-in-the-record")
def no_prompt(bench: Bench) -> None:
    """Neither what was asked nor what was answered is on the record."""
    call = bench.call(openai.ask(says="$CASE my secret plan"), openai.answer(text="your secret plan"))
    bench.holds(call)
    bench.check("texts on the record", False, "secret plan" in json.dumps(call.record))


@case("callers/slow-but-sure")
def slow_reader(bench: Bench) -> None:
    """A caller who reads slowly gets everything."""
    events = [each for number in range(10) for each in (BEGUN[1], Pause(seconds=0.02 * (number % 2)))]
    call = bench.call(ASK_STREAM, stream_of(*events, *ENDED, USAGE_EVENT, DONE))
    bench.holds(call, body=BEGUN[1] * 10 + b"".join((*ENDED, DONE)))


@case("callers/gateway-killed", alone=True)
def gateway_killed(bench: Bench) -> None:
    """A call whose gateway process is killed is recorded once, as aborted, with no usage that nobody saw."""
    kill = bench.gateway.kill
    if kill is None:
        raise Unprovable("a gateway that is not ours is not killed")
    call = bench.begin(ASK_STREAM, HALF.but(outcome="aborted"))
    call.read(lambda body: body.count(b"\n\n") >= len(BEGUN))
    kill()
    call.account.wait(lambda account: bool(account.exchanges[0].ended))
    bench.records(call, status=None, error="gateway_died", attempts=ANYTHING,
                  usage_source="none", provider_request_id=ANYTHING)  # fmt: skip
