"""Which settings a reload takes up, and which want a restart: none is left undecided."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm_one_api.settings import Settings, document
from llm_one_api.settings.applying import FOLLOWED, GATEWAY, METRICS, RELAY, RESTART, changed, keeping, steadily
from tests.harness.processes import ROOT

DECIDED = {*RESTART, *FOLLOWED}
PAGE = (ROOT / "docs/operations.md").read_text()


def settings(**sections: object) -> Settings:
    return Settings.model_validate(sections)


def decided(path: str) -> list[str]:
    """Give what of the tables is about *path*."""
    return [one for one in DECIDED if path == one or path.startswith(f"{one}.")]


def test_of_each_setting_it_is_decided_once_whether_it_wants_a_restart() -> None:
    paths = [path for path, _ in document.settings()]

    undecided = {path: decided(path) for path in paths if len(decided(path)) != 1}

    assert undecided == {}


def test_the_page_names_every_setting_that_wants_a_restart() -> None:
    table = PAGE.split("### What wants a restart\n")[1].split("\n## ")[0]

    assert [path for path, parts in RESTART.items() if f"| `{path}` | {', '.join(parts)} |" not in table] == []


def test_what_has_changed_is_told_with_the_parts_that_want_a_restart() -> None:
    running = settings(server={"port": 1}, models={"m": {"api_base": "http://a"}})
    new = settings(server={"port": 2}, models={"n": {"api_base": "http://b"}}, relay={"window": 3})

    assert changed(running, new) == {"server.port": ("gateway",), "relay": ("relay",)}
    assert changed(new, new) == {}


def test_a_part_keeps_what_it_cannot_take_up_and_takes_up_the_rest() -> None:
    running = settings(timezone="Asia/Shanghai", redis={"url": "redis://a/0"}, server={"max_streams": 5})
    new = settings(
        server={"max_streams": 9, "max_body_bytes": 7000},
        redis={"url": "redis://b/0"},
        relay={"window": 3},
        quota={"lease": 90, "unpriced": "allow"},
    )

    gateway, relay = keeping(running, new, GATEWAY), keeping(running, new, RELAY)

    assert (gateway.timezone, gateway.redis.url, gateway.server.max_streams) == ("Asia/Shanghai", "redis://a/0", 5)
    assert (gateway.server.max_body_bytes, gateway.relay.window) == (7000, 3)
    assert (gateway.quota.lease, gateway.quota.unpriced) == (60, "allow")
    assert (relay.timezone, relay.relay.window, relay.server.max_streams) == ("Asia/Shanghai", 64, 9)


def test_a_setting_deep_in_a_section_is_kept_and_its_neighbours_are_taken_up() -> None:
    running = settings(monitoring={"prometheus": {"port": 9091, "users": False}})
    new = settings(monitoring={"prometheus": {"port": 9092, "users": True}})

    kept = keeping(running, new, METRICS).monitoring.prometheus

    assert (kept.port, kept.users) == (9091, True)


def test_a_config_that_is_replaced_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    read: list[str] = []
    file.write_text("{}")

    def reads() -> Settings:
        read.append(file.read_text())
        if len(read) == 1:
            file.write_text("server: {port: 9}")
            os.utime(file, ns=(1, 1))
        return Settings()

    _, told = steadily(reads, file)

    assert read == ["{}", "server: {port: 9}"]
    assert told == f"{file}, written 1970-01-01T00:00:00.000000+00:00"


def test_one_that_never_comes_to_rest_is_not_read_for_ever(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    read: list[int] = []

    def reads() -> Settings:
        read.append(len(read))
        file.write_text("{}")
        os.utime(file, ns=(1, len(read) * 1000))
        return Settings()

    steadily(reads, file)

    assert 1 < len(read) < 20


def test_the_packaged_config_has_no_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LLM_ONE_API_CONFIG", raising=False)

    assert steadily(Settings)[1].startswith("packaged default")
