"""`adapter: azure`: the deployment stands in the path, the version in the query, and the key in `api-key`."""

from __future__ import annotations

from llm_one_api.conformance.bench import Bench, Call
from llm_one_api.conformance.case import case
from llm_one_api.conformance.models import API_VERSION, AZURE, DEPLOYMENT, UPSTREAM_KEY
from llm_one_api.conformance.scripts import DONE, refusal
from llm_one_api.conformance.shapes import openai
from llm_one_api.conformance.shapes.openai import ENDED, USAGE_EVENT, chunk, stream_of

PATH = f"/{AZURE}/openai/deployments/{DEPLOYMENT}/chat/completions?api-version={API_VERSION}"


def reached(bench: Bench, call: Call) -> None:
    """Check where and how the call went up."""
    exchange = bench.reaches(call, api_key=UPSTREAM_KEY, authorization=None)
    if exchange is not None:
        bench.check("path upstream", PATH, exchange.path)


@case("adapter-azure/whole")
def whole(bench: Bench) -> None:
    """A chat goes to the deployment, and is answered as it came."""
    call = bench.call(openai.ask(AZURE), openai.answer())
    bench.gets(call)
    bench.records(call, upstream_model=DEPLOYMENT)
    reached(bench, call)


@case("adapter-azure/stream")
def stream(bench: Bench) -> None:
    """A stream begins with Azure's chunk without choices, which stays; the usage event that we asked for goes."""
    first = chunk(None, model="", prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {}}])
    call = bench.call(openai.ask_stream(AZURE), stream_of(first, *ENDED, USAGE_EVENT, DONE))
    bench.gets(call, body=first + b"".join((*ENDED, DONE)))
    bench.records(call)
    reached(bench, call)


@case("adapter-azure/refused")
def refused(bench: Bench) -> None:
    """Azure's own errors pass as they came."""
    told = openai.error("The response was filtered.", "", "content_filter", "prompt")
    call = bench.call(openai.ask(AZURE), refusal(400, told, outcome="client_error"))
    bench.gets(call)
    bench.records(call, error="content_filter")


@case("adapter-azure/revoked-key")
def revoked(bench: Bench) -> None:
    """A key that Azure refuses is the operator's matter: 502."""
    told = {"statusCode": 401, "message": "Access denied due to invalid subscription key."}
    call = bench.call(openai.ask(AZURE), refusal(401, told, outcome="upstream_error"))
    if call.reply is not None:
        bench.check("reply.status", 502, call.reply.status)
    bench.records(call, error="upstream_auth_failed", status=502)
