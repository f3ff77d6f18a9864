"""A reload of the config, in two real gunicorn processes: no call notices, and all that come after go by it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner, Result

from llm_one_api.cli.reload import command
from llm_one_api.stores.generation import Answer, answers, bump
from tests.harness.gateway import Gateway, gateway, id_of, read_all, read_until, settings
from tests.harness.load import load
from tests.harness.processes import wait_until
from tests.harness.product import KEY, OTHER_KEY
from tests.harness.upstream import CHAT, Upstream, json_answer, scripted, waits_for_go

ANSWER = json_answer(200, CHAT)


class Reloaded:
    """A gateway of two processes, and its config."""

    def __init__(self, it: Gateway, upstream: Upstream) -> None:
        self.it = it
        self.upstream = upstream
        self.model: dict[str, Any] = {"api_base": upstream.url, "upstream_model": "demo"}
        self.run = it.folder / "data" / "run"

    def answers(self, number: int) -> list[Answer]:
        """Wait until both processes have said what they do with generation *number*."""

        def both() -> list[Answer] | None:
            found = [one for one in answers(self.run) if one is not None and one.generation >= number]
            return found if len(found) == 2 else None

        return wait_until(both, what="both processes have answered")

    def reload(self, **sections: Any) -> list[Answer]:
        """Change the config and have it taken up, whatever it is."""
        self.it.change(**sections)
        return self.answers(bump(self.run))

    def ask(self, model: str = "m", key: str = KEY) -> set[int]:
        """Give the statuses of calls over several connections, so that both processes have answered some."""
        return {self.it.post(model=model, key=key).status_code for _ in range(8)}

    def command(self, *arguments: str | Path) -> Result:
        """Run `llm-one-api reload`."""
        return CliRunner().invoke(command, ["--config", str(self.it.folder / "config.yaml"), *map(str, arguments)])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reloaded]:
    with scripted() as upstream, gateway(tmp_path_factory.mktemp("it"), settings(upstream.url, workers=2)) as it:
        yield Reloaded(it, upstream)


@pytest.fixture
def product(running: Reloaded, monkeypatch: pytest.MonkeyPatch) -> Reloaded:
    """Give it with the config that it began with, and with the command in its folder."""
    monkeypatch.chdir(running.it.folder)
    running.upstream.answer(ANSWER)
    assert [one.state for one in running.reload()] == ["uses", "uses"]
    return running


def test_under_load_no_call_fails_and_new_calls_see_the_new_config_within_a_second(product: Reloaded) -> None:
    it, took = product.it, []

    with load(it.url, "reload", callers=6, pause=0.0, kinds=("plain",)) as calls:
        calls.goes_on()
        for number in range(6):
            name = f"new-{number}"
            it.change(models={"m": product.model, name: product.model})
            began = time.monotonic()
            product.answers(bump(product.run))
            took.append(time.monotonic() - began)
            assert product.ask(name) == {200}
            assert product.ask(f"new-{number - 1}") == {404}
        calls.goes_on()

    assert calls.broken == []
    assert calls.ended > 100
    assert min(took) < 1.0, took  # on a machine that does nothing else, each is


def test_a_stream_ends_as_it_began_though_its_model_and_its_key_are_gone(product: Reloaded) -> None:
    product.upstream.answer(waits_for_go)
    with product.it.begin(stream=True) as sock:
        seen = read_until(sock, b'"a"')
        keys = {"auth": {"default_auth": {"api_keys": [{"key": OTHER_KEY, "user": "bob"}]}}}
        product.reload(models={"other": product.model}, **keys)
        assert product.ask("m") == {401}
        assert product.ask("m", OTHER_KEY) == {404}

        product.upstream.seen[0].go.set()
        assert read_until(sock, b"\r\n0\r\n\r\n").endswith(b"[DONE]\n\n\r\n0\r\n\r\n")

    record = product.it.record(id_of(seen))
    assert (record.outcome, record.model) == ("success", "m")


def test_a_call_whose_body_is_still_coming_goes_by_the_config_that_it_began_with(product: Reloaded) -> None:
    body = json.dumps({"model": "m", "messages": []}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %b\r\n"
    with product.it.connect() as sock:
        sock.sendall(head % KEY.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body[:5])
        # Its head is read within one turn of the event loop; a call that comes after has an answer later.
        wait_until(lambda: product.ask() == {200})
        product.reload(models={"other": product.model})

        sock.sendall(body[5:])

        assert read_all(sock).startswith(b"HTTP/1.1 200")
    assert product.ask("m") == {404}


def test_a_faulty_file_is_refused_with_its_faults_and_nobody_is_told(product: Reloaded) -> None:
    product.it.change(models={"m": {"api_bass": product.upstream.url, "api_key": "sk-secret-0001"}})

    done = product.command()

    assert done.exit_code == 2
    assert "models.m.api_bass (line 1): unknown setting" in done.output
    assert "sk-secret-0001" not in done.output
    assert product.ask() == {200}


def test_processes_refuse_a_faulty_file_too_and_go_on(product: Reloaded) -> None:
    told = product.reload(models={"m": {"api_bass": product.upstream.url, "api_key": "sk-secret-0002"}})

    assert [one.state for one in told] == ["refused", "refused"]
    assert all("models.m.api_bass" in fault for one in told for fault in one.faults[:1])
    assert product.ask() == {200}
    assert "config.refused" in product.it.output
    assert "sk-secret-0002" not in product.it.output


@pytest.mark.parametrize("gone", ["removed", "half written", "a folder"])
def test_a_file_that_cannot_be_read_changes_nothing(product: Reloaded, gone: str) -> None:
    file = product.it.folder / "config.yaml"
    text = file.read_text()
    file.unlink()
    if gone == "half written":
        file.write_text(text[: len(text) // 2])
    elif gone == "a folder":
        file.mkdir()
    try:
        told = product.answers(bump(product.run))
    finally:
        if gone == "a folder":
            file.rmdir()

    assert [one.state for one in told] == ["refused", "refused"]
    assert product.ask() == {200}


def test_the_command_says_who_uses_it_and_what_wants_a_restart(product: Reloaded) -> None:
    product.it.change(models={"renamed": product.model}, delivery={"tries": 3}, timezone="Asia/Shanghai")

    done = product.command()

    assert done.exit_code == 0, done.output
    first, second, head, *rows = done.output.splitlines()
    assert first.startswith(f"{product.it.folder / 'config.yaml'}, written ")
    assert first.endswith(": used by gateway (2)")
    assert second == "Not used before a restart:"
    assert head.split() == ["setting", "of"]
    assert [row.split(maxsplit=1) for row in rows] == [
        ["delivery", "workers"],
        ["timezone", "gateway, relay, workers, beat, metrics"],
    ]
    assert product.ask("renamed") == {200}


def test_a_file_that_the_processes_do_not_read_is_found_out(product: Reloaded, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text((product.it.folder / "config.yaml").read_text())

    done = product.command("--config", other)

    assert done.exit_code == 1
    assert "used by nobody" in done.output
    assert done.output.count("another file, or it was changed meanwhile") == 2


def test_with_another_data_folder_nothing_is_found_that_runs(product: Reloaded, tmp_path: Path) -> None:
    product.it.change(data_dir=str(tmp_path / "elsewhere"))

    done = product.command()

    assert done.exit_code == 1
    assert f"nothing runs here with the data folder {tmp_path / 'elsewhere'}" in done.output
    assert not (tmp_path / "elsewhere").exists()


def test_several_reloads_at_once_end_with_the_last_config(product: Reloaded) -> None:
    product.it.change(models={"last": product.model})

    commands = [threading.Thread(target=lambda: bump(product.run)) for _ in range(5)]
    for one in commands:
        one.start()
    for one in commands:
        one.join()
    done = product.command()

    assert done.exit_code == 0, done.output
    assert product.ask("last") == {200}


def test_a_first_limit_holds_and_goes_away_again(product: Reloaded) -> None:
    product.reload(rate_limit={"requests_per_minute": 2})
    assert product.ask() == {200, 429}
    assert (
        requests.get(f"{product.it.url}/v1/usage", headers={"Authorization": f"Bearer {KEY}"}, timeout=10).status_code
        == 503
    )

    product.reload()

    assert product.ask() == {200}


def test_a_process_that_starts_afterwards_is_waited_for_too(product: Reloaded) -> None:
    first, second = product.it.workers()
    first.kill()
    wait_until(lambda: len(product.it.workers()) == 2 and first not in product.it.workers(), what="another one")
    wait_until(lambda: len(answers(product.run)) == 2, what="it is there")
    product.it.change(models={"after": product.model})

    done = product.command()

    assert done.exit_code == 0, done.output
    assert "used by gateway (2)" in done.output
    assert second.is_running()
    assert product.ask("after") == {200}
