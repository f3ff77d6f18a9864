"""A gateway that is started with too few files, reloaded, stopped in the middle of calls, or killed."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.harness.gateway import Gateway, gateway, id_of, read_all, read_until, settings
from tests.harness.processes import BIN, Process, wait_until
from tests.harness.upstream import (
    CHAT,
    STREAM_HEAD,
    Conversation,
    Upstream,
    chunk,
    json_answer,
    scripted,
    waits_for_go,
)

GUNICORN: list[str | Path] = [BIN / "gunicorn", "-c", "python:llm_one_api.web.gunicorn_conf", "wsgi:application"]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


def silent(talk: Conversation) -> None:
    talk.wait_closed()


# -- open files --


def test_it_refuses_to_start_where_its_files_do_not_suffice_for_its_calls(upstream: Upstream, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps(settings(upstream.url, workers=1, max_streams=1000, port=1)))
    limited: list[str | Path] = [
        "/bin/sh",
        "-c",
        'ulimit -n 1000 && exec "$@"',
        "sh",
        *GUNICORN,
        "--bind",
        "127.0.0.1:0",
    ]
    process = Process("gunicorn", limited, folder=tmp_path, env={"LLM_ONE_API_CONFIG": str(tmp_path / "config.yaml")})
    try:
        code = process.popen.wait(20)
    finally:
        process.kill()

    assert code != 0
    (told,) = [line for line in process.text().splitlines() if "server.max_streams needs" in line]
    assert "the hard limit is 1000" in told


def test_it_raises_the_soft_limit_of_open_files_to_what_its_calls_need(upstream: Upstream, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = 2 * (100 + 200)
    assert hard == resource.RLIM_INFINITY or hard > need
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        with gateway(tmp_path, settings(upstream.url, max_streams=100)) as it:
            (worker,) = it.workers()
            raised, _ = worker.rlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert raised > need


# -- reload, stop, kill --


def test_a_reload_lets_streams_end_and_takes_the_new_config(upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer(waits_for_go)
    made = settings(upstream.url, drain_timeout=15)
    with gateway(tmp_path, made) as it, it.begin(stream=True) as sock:
        seen = read_until(sock, b'"a"')
        (old,) = it.workers()
        it.change(models={"new": made["models"]["m"]})

        it.process.signal(signal.SIGHUP)
        upstream.scripts = [json_answer(200, CHAT)]
        wait_until(lambda: it.post(model="new").status_code == 200, what="the new config is in force")
        upstream.seen[0].go.set()
        rest = read_all(sock)
        wait_until(lambda: not old.is_running(), what="the old process has ended")

        assert rest.endswith(b"[DONE]\n\n\r\n0\r\n\r\n")
        assert it.record(id_of(seen)).outcome == "success"
        assert it.post(model="m").status_code == 404


def test_a_reload_with_a_fault_in_the_config_changes_nothing(upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer(json_answer(200, CHAT))
    with gateway(tmp_path, settings(upstream.url)) as it:
        before = it.workers()
        it.change(models={"m": {"api_bass": upstream.url}})

        it.process.signal(signal.SIGHUP)
        wait_until(lambda: "nothing is reloaded" in it.output, what="it says so")

        assert "api_base" in it.output
        assert it.post().status_code == 200
        assert it.workers() == before


def test_a_stop_ends_each_kind_of_call_with_what_it_can_still_be_told(upstream: Upstream, tmp_path: Path) -> None:
    def endless(talk: Conversation) -> None:
        talk.send(STREAM_HEAD)
        while True:
            talk.send(chunk(b"data: " + b"x" * 60_000 + b"\n\n"))

    with gateway(tmp_path, settings(upstream.url, drain_timeout=1)) as it, ExitStack() as stack:
        upstream.answer(waits_for_go)
        streaming = stack.enter_context(it.begin(stream=True))
        begun = [id_of(read_until(streaming, b'"a"'))]
        upstream.answer(endless)
        stalled = stack.enter_context(it.begin(stream=True, buffer=4096))
        begun.append(id_of(read_until(stalled, b"\r\n\r\n")))
        upstream.answer(silent)
        waiting = stack.enter_context(it.begin())
        wait_until(lambda: upstream.seen, what="the third call is upstream")
        idle = stack.enter_context(it.connect())

        it.process.signal(signal.SIGTERM)
        last = read_all(streaming)
        refused = read_all(waiting)
        code = it.process.popen.wait(20)

        assert b'"code":"shutting_down"' in last
        assert not last.endswith(b"0\r\n\r\n")
        assert b" 503 " in refused
        assert b'"code":"shutting_down"' in refused
        assert read_all(idle) == b""
        records = [it.record(request_id) for request_id in [*begun, id_of(refused)]]
        assert {record.outcome for record in records} == {"aborted"}
    assert code == 0


def test_a_killed_process_leaves_its_open_calls_in_the_journal_and_is_replaced(
    upstream: Upstream, tmp_path: Path
) -> None:
    upstream.answer(waits_for_go)
    with gateway(tmp_path, settings(upstream.url)) as it, it.begin(stream=True) as sock:
        seen = read_until(sock, b'"a"')
        (worker,) = it.workers()

        worker.kill()
        rest = read_all(sock)
        upstream.answer(json_answer(200, CHAT))
        answer = wait_until(lambda: _answered(it), what="another process answers")

        assert b"[DONE]" not in rest
        it.record(answer.headers["x-request-id"])
        assert id_of(seen) in {opened.request_id for opened in it.opened()}
        assert id_of(seen) not in {record.request_id for record in it.records()}


def test_calls_end_as_they_would_when_the_main_process_is_killed(upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer(waits_for_go)
    with gateway(tmp_path, settings(upstream.url)) as it, it.begin(stream=True) as sock:
        seen = read_until(sock, b'"a"')
        (worker,) = it.workers()

        it.process.signal(signal.SIGKILL)
        wait_until(lambda: "main process is gone" in it.output, what="its process knows")
        refused = wait_until(it.refuses, what="no more calls are taken")
        upstream.seen[0].go.set()
        rest = read_all(sock)
        worker.wait(10)

        assert refused
        assert b"[DONE]" in rest
        assert it.record(id_of(seen)).outcome == "success"


def _answered(it: Gateway) -> requests.Response | None:
    try:
        return it.post()
    except requests.ConnectionError:
        return None
