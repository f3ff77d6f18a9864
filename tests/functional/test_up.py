"""`llm-one-api up` as a user has it: real gunicorn, Celery, Valkey, SQLite, and the official client."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jq
import openai
import psutil
import pytest
import requests

from llm_one_api.settings.sections import DeliverySettings
from tests.harness import commands
from tests.harness.processes import BIN, Process, free_port, wait_until
from tests.harness.product import KEY, OTHER_KEY, Product, config, demo_upstream, product


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("up")
    with demo_upstream(folder / "demo") as upstream, product(folder / "product", config(upstream)) as it:
        yield it


def say(text: str) -> Any:
    return [{"role": "user", "content": text}]


def client(it: Product, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=it.url + "/v1", api_key=key, max_retries=0)


def test_the_openai_client_works_and_the_statistics_agree_with_its_answers(running: Product) -> None:
    with client(running) as api:
        told: list[Any] = [
            api.chat.completions.with_raw_response.create(model="m", messages=say("one two three")),
            api.completions.with_raw_response.create(model="m", prompt="one two"),
            api.embeddings.with_raw_response.create(model="m", input="one two"),
            api.chat.completions.with_raw_response.create(
                model="m", messages=say("one"), stream=True, stream_options={"include_usage": True}
            ),
        ]
        usages = [list(answer.parse())[-1].usage if n == 3 else answer.parse().usage for n, answer in enumerate(told)]

    records = [running.record(answer.headers["x-request-id"]) for answer in told]

    assert [(u.prompt_tokens, u.total_tokens) for u in usages] == [
        (r["usage"]["prompt_tokens"], r["usage"]["total_tokens"]) for r in records
    ]
    assert [r["endpoint"] for r in records] == ["chat", "completions", "embeddings", "chat"]
    assert {(r["outcome"], r["usage_source"]) for r in records} == {("success", "reported")}


def test_a_call_is_in_the_statistics_within_a_second(running: Product) -> None:
    running.call()
    answer = running.call()

    request_id = answer.headers["x-request-id"]
    wait_until(lambda: request_id in {r["request_id"] for r in running.newest()}, timeout=1.5, what="it is counted")


def test_a_stream_whose_caller_did_not_ask_for_usage_is_counted_and_shows_none(running: Product) -> None:
    with client(running) as api:
        answer = api.chat.completions.with_raw_response.create(model="m", messages=say("a b"), stream=True)
        chunks = list(answer.parse())
    request_id = answer.headers["x-request-id"]

    record = running.record(request_id)

    assert all(c.choices for c in chunks)
    assert record["usage"]["prompt_tokens"] == 2
    assert record["usage_source"] == "reported"
    assert record["stream"]
    assert record["ttft"] <= record["duration"]


def test_the_async_client_works(running: Product) -> None:
    async def ask() -> str:
        async with openai.AsyncOpenAI(base_url=running.url + "/v1", api_key=KEY) as api:
            stream = await api.chat.completions.create(model="m", messages=say("hello"), stream=True)
            return "".join([c.choices[0].delta.content or "" async for c in stream])

    assert "demo upstream" in asyncio.run(ask())


def test_models_lists_what_the_key_may_use(running: Product) -> None:
    with client(running, OTHER_KEY) as api:
        assert [m.id for m in api.models.list()] == ["m"]
        assert api.models.retrieve("m").id == "m"


def test_a_wrong_key_and_an_unknown_model_raise_what_openai_raises(running: Product) -> None:
    with client(running, "sk-wrong") as wrong, client(running) as right:
        with pytest.raises(openai.AuthenticationError) as auth:
            wrong.chat.completions.create(model="m", messages=say("x"))
        with pytest.raises(openai.NotFoundError) as missing:
            right.chat.completions.create(model="nope", messages=say("x"))

    assert auth.value.code == "invalid_api_key"
    assert missing.value.code == "model_not_found"


def test_a_key_sees_its_own_calls_only_and_an_admin_all(running: Product) -> None:
    mine = running.call(key=OTHER_KEY).headers["x-request-id"]
    theirs = running.call().headers["x-request-id"]
    running.record(mine)
    running.record(theirs)

    own = running.newest(OTHER_KEY)

    assert {r["user"] for r in own} == {"bob"}
    assert {r["user"] for r in running.newest()} >= {"alice", "bob"}


def test_the_log_file_is_json_lines_and_memory_has_the_same_sums(running: Product) -> None:
    request_id = running.call().headers["x-request-id"]
    log = running.folder / "logs" / "llm-one-api.log"
    wait_until(lambda: log.exists() and request_id in log.read_text(), what="the line is in the log")

    totals = jq.compile('[.[] | select(.event=="response") | .tokens.total_tokens // 0] | add').input_text(
        "[" + ",".join(log.read_text().splitlines()) + "]"
    )

    stats = running.get("/v1/stats")["models"]
    assert totals.first() == sum(m["total_tokens"] for m in stats)
    wait_until(
        lambda: running.get("/v1/stats/memory")["total_requests"] >= sum(m["requests"] for m in stats) - 2,
        what="memory has caught up",
    )


def test_memory_counts_its_run_anew_when_an_operator_says_so(running: Product) -> None:
    def stats() -> Any:
        return running.get("/v1/stats/memory")

    request_id = running.call().headers["x-request-id"]
    wait_until(lambda: request_id in str(stats()["newest"]), what="the call is counted")
    before = stats()

    words: list[str | Path] = [
        "plugins",
        "replay",
        "memory",
        "--since",
        "2000-01-01",
        "--yes",
        "--config",
        running.config,
    ]
    done = commands.run(*words, folder=running.folder)
    wait_until(lambda: stats()["total_requests"] == before["total_requests"], what="all is counted again")

    assert done.returncode == 0, done.stderr
    assert "memory goes on after record 0" in done.stdout
    assert stats()["models"] == before["models"]


def test_memory_is_limited_where_plugins_run_and_nowhere_else(running: Product) -> None:
    limited = {
        name: [[process.rlimit(resource.RLIMIT_DATA)[0] for process in group] for group in ([main], main.children())]
        for name in ("worker-deliver@", "worker-ingest@")
        for main in running.part(name)[:1]
    }

    none = resource.getrlimit(resource.RLIMIT_DATA)[0]
    deliver, ingest = limited["worker-deliver@"], limited["worker-ingest@"]
    assert ingest == [[none], [none] * len(ingest[1])]
    assert deliver[0] == [none]
    assert deliver[1]
    assert all(DeliverySettings().max_memory < limit < 2 * DeliverySettings().max_memory for limit in deliver[1])


def test_no_key_is_anywhere_in_what_is_kept_or_printed(running: Product) -> None:
    running.call()
    running.call(key="sk-wrong-canary-7777")
    assert running.process is not None

    seen = running.process.output.read_bytes()
    for file in running.folder.rglob("*"):
        if file.is_file() and file != running.config:
            seen += file.read_bytes()

    for canary in (KEY, OTHER_KEY, "sk-upstream-secret-0009", "sk-wrong-canary-7777"):
        assert canary.encode() not in seen


def first_call(printed: str) -> requests.Response:
    """Make the call that `up` has printed."""
    found = re.search(r"curl (\S+) -H \"Authorization: (Bearer \S+)\" .* -d '(.*)'", printed)
    assert found
    return requests.post(found[1], data=found[3], headers={"Authorization": found[2]}, timeout=10)


def what_was_counted(printed: str) -> Any:
    """Ask as `up` has printed."""
    found = re.search(r"curl (\S+/v1/stats) -H \"Authorization: (Bearer \S+)\"", printed)
    assert found
    return requests.get(found[1], headers={"Authorization": found[2]}, timeout=10).json()


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Process]:
    """A first start in an empty folder, with nothing said but the port."""
    port = free_port()
    it = Process("up", [BIN / "llm-one-api", "up", "--port", str(port)], folder=tmp_path)
    try:
        wait_until(lambda: "A first call" in it.text(), timeout=60, what="up says where it answers")
        yield it
    finally:
        it.kill()


def test_a_first_start_in_an_empty_folder_prints_a_curl_that_works_and_stops_in_order(up: Process) -> None:
    answer = first_call(up.text())
    counted = wait_until(lambda: what_was_counted(up.text())["models"], what="the call is counted")
    family = psutil.Process(up.pid).children(recursive=True)
    up.signal(signal.SIGTERM)
    code = up.popen.wait(30)

    assert answer.status_code == 200
    assert [(each["cost"], each["requests_unpriced"]) for each in counted] == [("0", 0)]  # the demo is free
    assert code == 0
    assert up.text().count("📊 内存统计插件 - 最终统计数据") == 1
    assert "总请求数: 1\n" in up.text()
    ends = ["Shutting down: Master", "relay.stopped", "最终统计数据", "Warm shutdown"]
    assert sorted(ends, key=up.text().index) == ends
    assert psutil.wait_procs(family, timeout=5)[1] == []


def test_nothing_survives_kill_minus_nine_of_up(up: Process) -> None:
    family = psutil.Process(up.pid).children(recursive=True)

    up.kill()

    assert len(family) > 5
    assert psutil.wait_procs(family, timeout=15)[1] == []


ONE = {"LLM_ONE_API__SERVER__WORKERS": "1"}
"""Not two gateway processes, of which each takes more than a second to start."""

ON = """
import fcntl, os, sys, termios
out = int(sys.argv[1])
if os.isatty(out):
    fcntl.ioctl(out, termios.TIOCSCTTY, 0)
os.dup2(out, 1)
os.dup2(out, 2)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""A program that is run on a terminal of its own, or with its output in a pipe."""


@pytest.mark.parametrize(
    ("opened", "number", "draining"),
    [
        # `… | tee log`: Ctrl-C reaches `tee` too. And what tells all parts of the stop cannot be written.
        pytest.param(os.pipe, signal.SIGINT, "nowhere/draining", id="pipe, and a disk that takes no file"),
        # The kernel tells of a window that is closed, and the shell in it does so once more.
        pytest.param(os.openpty, signal.SIGHUP, None, id="terminal"),
    ],
)
def test_a_terminal_that_is_gone_holds_up_no_stop(
    tmp_path: Path, opened: Callable[[], tuple[int, int]], number: int, draining: str | None
) -> None:
    ours, its = opened()
    argv: list[str | Path] = [sys.executable, "-c", ON, str(its), BIN / "llm-one-api", "up", "--port", str(free_port())]
    env = {"PYTHONUNBUFFERED": "", **ONE}  # buffered, as users have it
    up = Process("up", argv, folder=tmp_path, pass_fds=[its], env=env)
    os.close(its)
    try:
        answer = first_call(read_until(ours, "What was counted"))
        family = psutil.Process(up.pid).children(recursive=True)
        if draining:
            (tmp_path / "data/run/draining").symlink_to(tmp_path / draining)
        os.close(ours)
        up.signal(number)
        code = up.popen.wait(30)
    finally:
        up.kill()

    assert answer.status_code == 200
    assert code == 0
    assert psutil.wait_procs(family, timeout=5)[1] == []
    lines = [json.loads(line) for line in (tmp_path / "logs/llm-one-api.log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["response", "memory.summary"]
    assert lines[1]["total_requests"] == 1


def read_until(fd: int, text: str) -> str:
    """Read what is printed until there is *text* in it."""
    seen = b""
    while text not in seen.decode(errors="replace"):
        assert select.select([fd], [], [], 60)[0], seen
        seen += os.read(fd, 65536)
    return seen.decode(errors="replace")
