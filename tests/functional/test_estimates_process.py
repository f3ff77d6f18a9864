"""The process that counts tokens: fair, behind calls, gone with its parent, and replaced when it died."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeVar

import gevent
import psutil
import pytest
from structlog.testing import capture_logs

from llm_one_api.gateway.estimate import KEPT, LARGE, Counted, Estimator
from llm_one_api.lifetime import BEHIND_CALLS
from llm_one_api.tokens import encodings
from llm_one_api.tokens.count import input_tokens, text_tokens
from tests.harness.gateway import gateway, settings
from tests.harness.processes import Process, wait_until
from tests.harness.upstream import DONE, FINISH, USAGE, delta, scripted, stream
from tests.unit.tokens.texts import TEXTS

T = TypeVar("T")

UNKNOWN = Counted()


def chat(content: str) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()


SMALL = chat("Hello")


@cache
def expected(body: bytes, answer: str, encoding: encodings.Name = "o200k_base") -> Counted:
    """Count in this process."""
    loaded = encodings.load(encoding)
    return Counted(prompt_tokens=input_tokens("chat", body, loaded), completion_tokens=text_tokens(answer, loaded))


def counters(parent: int | None = None) -> list[psutil.Process]:
    """Find the processes that count for *parent*, which is this one if not otherwise told."""
    return [child for child in psutil.Process(parent).children() if "llm_one_api.tokens" in command(child)]


def command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:  # it has just ended
        return []


def gone(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def uses_tiktoken(process: psutil.Process) -> bool:
    return "tiktoken" in Path(f"/proc/{process.pid}/maps").read_text()


def soon(check: Callable[[], T]) -> T:
    """Let the greenlets run until *check* holds."""
    with gevent.Timeout(30):
        while not (found := check()):
            gevent.sleep(0.005)
    return found


@pytest.fixture
def estimator() -> Iterator[Estimator]:
    estimator = Estimator(patience=60)
    yield estimator
    estimator.stop()
    assert counters() == []


@pytest.fixture
def counter(estimator: Estimator) -> psutil.Process:
    """The process of *estimator*; it has loaded its table."""
    estimator.begin("gpt-4o", "chat", SMALL).finish()
    (it,) = counters()
    return it


def test_it_counts_what_was_asked_and_what_was_answered(estimator: Estimator) -> None:
    found = {}
    for name, text in TEXTS.items():
        counting = estimator.begin("gpt-4o", "chat", chat(text))
        for start in range(0, len(text), 100):
            counting.hear(text[start : start + 100])
        found[name] = counting.finish()

    assert found == {name: expected(chat(text), text) for name, text in TEXTS.items()}


def test_the_model_decides_how_it_is_counted(estimator: Estimator) -> None:
    text = TEXTS["Hindi"]
    found = []
    for model in ("openai/gpt-4o", "gpt-4", "x" * 10_000):
        counting = estimator.begin(model, "chat", chat(text))
        counting.hear(text)
        found.append(counting.finish())

    new, old = expected(chat(text), text), expected(chat(text), text, "cl100k_base")
    assert found == [new, old, new]
    assert new != old


def test_long_bodies_and_answers_are_counted_like_short_ones(estimator: Estimator) -> None:
    for size in (KEPT - 100, KEPT + 100, 300_000, LARGE + 100):
        text = "All human beings are born free. " * (size // 32)
        body = chat(text)

        counting = estimator.begin("gpt-4o", "chat", body)
        counting.hear(text)
        gevent.sleep(0)
        counting.hear(" The end.")

        assert counting.finish() == expected(body, text + " The end."), size


def test_many_at_once_each_get_their_own(estimator: Estimator) -> None:
    texts = [f"answer number {number} " * number for number in range(200)]

    def call(text: str) -> Counted:
        counting = estimator.begin("gpt-4o", "chat", chat(text))
        counting.hear(text)
        gevent.sleep(0)
        return counting.finish()

    calls = [gevent.spawn(call, text) for text in texts]
    gevent.joinall(calls, timeout=60)

    assert [each.value for each in calls] == [expected(chat(text), text) for text in texts]
    assert len(counters()) == 1


def test_a_small_count_is_answered_while_a_large_one_goes_on(estimator: Estimator, counter: psutil.Process) -> None:
    order: list[str] = []

    def call(name: str, body: bytes, answer: str) -> None:
        counting = estimator.begin("gpt-4o", "chat", body)
        counting.hear(answer)
        counting.finish()
        order.append(name)

    large = [
        gevent.spawn(call, "large answer", SMALL, "x" * 2_000_000),
        gevent.spawn(call, "large body", chat("x" * 2_000_000), "Hello"),
    ]
    gevent.sleep(0)
    small = [gevent.spawn(call, "small", SMALL, "Hello") for _ in range(20)]
    gevent.joinall([*large, *small], timeout=120)

    assert order[:20] == ["small"] * 20
    assert sorted(order[20:]) == ["large answer", "large body"]


def test_very_long_bodies_have_a_process_of_their_own(estimator: Estimator, counter: psutil.Process) -> None:
    very_long = estimator.begin("gpt-4o", "chat", chat("a b " * (LARGE // 4)))
    soon(lambda: len(counters()) == 2)
    (other,) = [each for each in counters() if each.pid != counter.pid]
    other.suspend()

    found = estimator.begin("gpt-4o", "chat", SMALL).finish()

    assert found == expected(SMALL, "")
    other.resume()
    assert very_long.finish().prompt_tokens is not None


def test_a_dropped_call_is_not_counted_to_its_end(estimator: Estimator, counter: psutil.Process) -> None:
    counter.suspend()
    large = [estimator.begin("gpt-4o", "chat", chat("x" * 2_000_000)) for _ in range(20)]
    before = counter.cpu_times().user

    for counting in large:
        counting.drop()
    counter.resume()
    found = estimator.begin("gpt-4o", "chat", SMALL).finish()

    assert found == expected(SMALL, "")
    one = 0.3  # seconds at the very least for one of them, where a slice of each is all that may be done
    assert counter.cpu_times().user - before < len(large) * one
    assert estimator._processes[False].behind == 0


def test_it_is_behind_calls_in_a_session_of_its_own_and_leaves_no_core(
    estimator: Estimator, counter: psutil.Process
) -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)

    assert counter.nice() == min(19, ours + BEHIND_CALLS)
    assert os.getsid(counter.pid) == counter.pid != os.getsid(0)
    assert resource.prlimit(counter.pid, resource.RLIMIT_CORE) == (0, 0)


def test_it_holds_nothing_open_but_its_socket(estimator: Estimator, counter: psutil.Process, tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as ours:
        os.set_inheritable(ours.fileno(), True)
        estimator.begin("gpt-4o", "chat", chat("a b " * (LARGE // 4))).finish()

    for each in counters():
        folder = Path(f"/proc/{each.pid}/fd")
        open_files = {int(path.name): str(path.readlink()) for path in folder.iterdir()}
        assert set(open_files) == {0, 1, 2}
        assert open_files[0].startswith("socket:")
        assert {open_files[1], open_files[2]} == {"/dev/null"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_signal_that_stops_a_service_does_not_end_it(
    estimator: Estimator, counter: psutil.Process, number: int
) -> None:
    counter.send_signal(number)

    assert estimator.begin("gpt-4o", "chat", SMALL).finish() == expected(SMALL, "")
    assert counters() == [counter]


def test_when_it_is_killed_who_waits_is_told_and_the_next_need_starts_another(
    estimator: Estimator, counter: psutil.Process
) -> None:
    counter.suspend()
    counting = estimator.begin("gpt-4o", "chat", SMALL)
    counting.hear("a secret answer")
    waiting = gevent.spawn(counting.finish)
    gevent.sleep(0.01)

    with capture_logs() as logs:
        counter.kill()
        waiting.join(timeout=20)
        soon(lambda: logs)

    assert waiting.value == UNKNOWN
    assert [(e["event"], e["log_level"], e["exit"], e["pending"]) for e in logs] == [
        ("tokens.process_died", "warning", -signal.SIGKILL, 2)
    ]
    assert "secret" not in str(logs)
    assert estimator.begin("gpt-4o", "chat", SMALL).finish() == expected(SMALL, "")
    assert len(counters()) == 1
    assert counters() != [counter]


def test_without_work_it_ends_by_itself_and_the_next_need_starts_another() -> None:
    estimator = Estimator(patience=60, idle=0.05)
    with capture_logs() as logs:
        first = estimator.begin("gpt-4o", "chat", SMALL).finish()
        soon(lambda: not counters())
        second = estimator.begin("gpt-4o", "chat", SMALL).finish()
        estimator.stop()

    assert (first, second) == (expected(SMALL, ""), expected(SMALL, ""))
    assert logs == []


def test_with_work_it_stays_however_long_nothing_comes() -> None:
    estimator = Estimator(patience=60, idle=0.02)
    counting = estimator.begin("gpt-4o", None, b"")
    text = "one two " * KEPT

    counting.hear(text)
    for _ in range(60):
        gevent.sleep(0.01)
    counting.hear("three")

    assert counting.finish().completion_tokens == expected(SMALL, text + "three").completion_tokens
    estimator.stop()


def test_a_body_that_would_take_too_much_memory_is_not_counted_and_costs_nobody_else(
    estimator: Estimator, counter: psutil.Process
) -> None:
    room = counter.memory_info().vms + 60_000_000
    resource.prlimit(counter.pid, resource.RLIMIT_AS, (room, room))
    monster = b'{"messages":[' + b"{}," * 1_300_000 + b"{}]}"

    found = estimator.begin("gpt-4o", "chat", monster).finish()

    assert found.prompt_tokens is None
    assert estimator.begin("gpt-4o", "chat", SMALL).finish() == expected(SMALL, "")
    assert counters() == [counter]


def test_a_damaged_table_is_told_by_its_name_and_by_nothing_else(tmp_path: Path) -> None:
    script = tmp_path / "damaged.py"
    script.write_text(
        "from pathlib import Path\n"
        "from llm_one_api.tokens import __main__, encodings\n"
        f"encodings.load.__wrapped__.__defaults__ = (Path({str(tmp_path)!r}),)\n"
        "__main__.main()\n"
    )
    (tmp_path / "o200k_base.tiktoken.gz").write_bytes(b"not a table")
    estimator = Estimator(patience=60, command=[sys.executable, str(script)])

    with capture_logs() as logs:
        counting = estimator.begin("gpt-4o", "chat", chat("a secret question"))
        found = counting.finish()
        soon(lambda: logs)
    estimator.stop()

    assert found == Counted(completion_tokens=0)
    assert [(e["event"], e["exit"]) for e in logs] == [("tokens.process_died", 1)]
    assert logs[0]["kind"].startswith("TableDamaged: ")
    assert "o200k_base.tiktoken.gz" in logs[0]["kind"]
    assert logs[0]["where"]
    assert "secret" not in str(logs)


PARENT = """
from gevent import monkey
monkey.patch_all()
import sys, time
from llm_one_api.gateway.estimate import Estimator
estimator = Estimator(patience=60)
assert "tiktoken" not in sys.modules
counting = estimator.begin("gpt-4o", "chat", {body!r})
counting.hear("Hello")
print("counted", counting.finish(), flush=True)
assert "tiktoken" not in sys.modules
busy = estimator.begin("gpt-4o", "chat", b'{{"input":"' + b"x" * 20_000_000 + b'"}}')
busy.hear("x" * 20_000_000)
time.sleep(0.05)
print("busy", flush=True)
time.sleep(600)
"""


def test_it_is_gone_when_its_parent_was_killed_also_in_the_middle_of_work(tmp_path: Path) -> None:
    parent = Process("parent", [sys.executable, "-c", PARENT.format(body=SMALL)], folder=tmp_path)
    try:
        wait_until(lambda: "busy" in parent.text(), what="the parent counts")
        found = counters(parent.pid)

        os.kill(parent.pid, signal.SIGKILL)
        wait_until(lambda: all(map(gone, found)), what="what counted is gone")

        assert found
        assert str(expected(SMALL, "Hello")) in parent.text()
    finally:
        parent.kill()


def test_a_gunicorn_process_has_no_table_of_tokens_and_starts_nobody_who_has_before_it_is_needed(
    tmp_path: Path,
) -> None:
    with scripted() as upstream, gateway(tmp_path, settings(upstream.url)) as it:
        upstream.answer(stream(delta("Hi"), FINISH, USAGE, DONE))
        it.record(it.post(stream=True).headers["x-request-id"])
        before = [(uses_tiktoken(worker), counters(worker.pid)) for worker in it.workers()]

        upstream.answer(stream(delta("Hi"), FINISH, DONE))
        record = it.record(it.post(stream=True).headers["x-request-id"])
        after = [(uses_tiktoken(worker), len(counters(worker.pid))) for worker in it.workers()]

        assert before == [(False, [])]
        assert after == [(False, 1)]
        assert record.usage_source == "estimated"
