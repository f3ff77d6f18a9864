"""What becomes of calls, plugins and limits when another config is put to work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import gevent
import pytest

from llm_one_api.errors import ConfigError, InvalidKey, UnknownModel
from llm_one_api.plugins.interfaces import AuthPlugin, AuthResult
from llm_one_api.renewing import Renewal
from llm_one_api.serving import Draft, Kept, serving
from llm_one_api.settings import Settings, load
from llm_one_api.timetable import planned
from llm_one_api.values import NOWHERE
from llm_one_api.web.current import Current
from tests.harness.plugins import install

KEY = "sk-test-key-0001"
CONFIG: dict[str, Any] = {
    "auth": {"default_auth": {"api_keys": [KEY, {"key": "sk-test-key-0002", "user": "bob"}]}},
    "models": {"m": {"api_base": "http://127.0.0.1:9/v1"}, "n": {"api_base": "http://127.0.0.1:9/v1"}},
}


class Closing(AuthPlugin):
    """Knows one key, and tells of its end."""

    closed: ClassVar[list[str]] = []
    fails = False

    def authenticate(self, api_key: str) -> AuthResult:
        return AuthResult(authenticated=api_key == self.config["key"])

    async def cleanup(self) -> None:
        self.closed.append(self.config["key"])
        if self.fails:
            raise OSError("sk-secret")


class Stubborn(AuthPlugin):
    """Cannot start."""

    def initialize(self) -> None:
        raise OSError

    def authenticate(self, api_key: str) -> AuthResult:
        raise NotImplementedError


class Process:
    """A gateway process, as far as it follows the config."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "config.yaml"
        self.folder = folder
        self.write(CONFIG)
        settings = self.read()
        self.kept = Kept(settings)
        self.current = Current(serving(Draft.of(settings), self.kept))
        self.renewal = Renewal(self.read, settings, self.kept, self.current)

    def write(self, config: dict[str, Any]) -> None:
        self.file.write_text(json.dumps({"data_dir": str(self.folder / "data"), **config}))

    def read(self) -> Settings:
        return load(self.file, {})

    def reload(self, **sections: Any) -> Any:
        self.write({**CONFIG, **sections})
        drafted, _ = self.renewal.draft()
        return self.renewal.take(drafted)

    def admits(self, key: str) -> bool:
        try:
            self.current.authenticate(key, NOWHERE)
        except InvalidKey:
            return False
        return True

    def models(self) -> list[str]:
        return self.current.serving.line.route.models(self.current.authenticate(KEY, NOWHERE))


@pytest.fixture
def process(tmp_path: Path) -> Process:
    return Process(tmp_path)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    here = __name__
    install(monkeypatch, tmp_path, {"auth": {"closing": f"{here}:Closing", "stubborn": f"{here}:Stubborn"}})
    monkeypatch.setattr(Closing, "closed", [])


def wait_for(what: Any) -> None:
    with gevent.Timeout(10):
        while not what():
            gevent.sleep(0.01)


def test_keys_and_models_are_those_of_the_new_config_at_once(process: Process) -> None:
    assert (process.admits("sk-test-key-0002"), process.models()) == (True, ["m", "n"])

    process.reload(
        auth={"default_auth": {"api_keys": [KEY, "sk-test-key-0003"]}},
        models={"n": {"api_base": "http://127.0.0.1:9/v1"}, "o": {"api_base": "http://127.0.0.1:9/v1"}},
    )

    assert [process.admits(key) for key in (KEY, "sk-test-key-0002", "sk-test-key-0003")] == [True, False, True]
    assert process.models() == ["n", "o"]


def test_a_call_that_has_begun_goes_on_with_what_it_began_with(process: Process) -> None:
    began_with = process.current.serving

    process.reload(models={"n": {"api_base": "http://127.0.0.1:9/v1"}})

    caller = process.current.authenticate(KEY, NOWHERE)
    assert began_with.line.route(caller, "m")
    with pytest.raises(UnknownModel):
        process.current.serving.line.route(caller, "m")


def test_what_lives_as_long_as_the_process_is_the_same_afterwards(process: Process) -> None:
    before = process.current.serving.line

    process.reload(limits={"each_key": {"requests_per_minute": 5}})

    after = process.current.serving.line
    assert after is not before
    for name in ("watch", "record", "forward", "estimator", "prepare"):
        assert getattr(after, name) is getattr(before, name)


def test_the_bounds_that_can_change_do_and_the_others_do_not(process: Process) -> None:
    needs = process.reload(
        server={"on_client_gone": "drain", "max_streams": 7, "max_body_bytes": 5000, "port": 9},
        rate_limit={"failed_auth_per_minute": 1},
        quota={"lease": 90},
    )

    assert process.kept.watch.bounds.on_client_gone == "drain"
    assert process.kept.watch.bounds.max_streams == 2000
    assert process.current.serving.max_body_bytes == 5000
    assert needs == {
        "server.port": ("gateway",),
        "server.max_streams": ("gateway",),
        "quota.lease": ("gateway", "relay"),
    }


def test_what_we_cannot_take_up_is_said_each_time_what_others_cannot_once(process: Process) -> None:
    wanted = {"server": {"port": 9}, "delivery": {"tries": 3}}

    assert process.reload(**wanted) == {"server.port": ("gateway",), "delivery": ("workers",)}
    assert process.reload(**wanted) == {"server.port": ("gateway",)}
    assert process.reload() == {"delivery": ("workers",)}


def test_the_first_limit_holds_and_a_limit_that_is_taken_out_does_not(process: Process) -> None:
    line = process.current.serving.line
    assert process.current.serving.rules.are_none
    unlimited = line.admit

    process.reload(limits={"each_key": {"requests_per_minute": 5}})
    assert not process.current.serving.rules.are_none
    process.reload()

    assert process.current.serving.rules.are_none
    assert type(process.current.serving.line.admit._limits) is type(unlimited._limits)


def test_which_jobs_are_looked_for_follows_the_config_from_then_on(process: Process) -> None:
    began = process.renewal.since

    def jobs() -> set[str]:
        return {each.name for each in planned(process.renewal.running)}

    before = jobs()
    process.reload(limits={"each_key": {"day": {"tokens": 9}}}, export={"enabled": True})
    limited, since = jobs(), process.renewal.since
    process.reload()

    assert limited - before == {"quota-check"}  # exports want a restart
    assert jobs() == before
    assert began < since < process.renewal.since


def test_a_plugin_is_closed_when_no_call_asks_it_any_more(process: Process, plugins: None) -> None:
    on = {"plugins": {"auth": ["closing"]}}
    process.reload(**on, auth={"closing": {"key": "first"}})
    old = process.current.serving
    old.asking += 1
    process.reload(**on, auth={"closing": {"key": "second"}})
    assert (process.admits("first"), process.admits("second")) == (False, True)
    gevent.sleep(0.05)
    assert Closing.closed == []

    old.asking -= 1

    wait_for(lambda: Closing.closed == ["first"])
    process.current.cleanup()
    assert Closing.closed == ["first", "second"]


def test_a_plugin_that_fails_to_close_holds_up_nobody(
    process: Process, plugins: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Closing, "fails", True)
    process.reload(plugins={"auth": ["closing"]}, auth={"closing": {"key": "first"}})

    process.reload()

    wait_for(lambda: Closing.closed == ["first"])
    assert process.admits(KEY)


def test_a_plugin_that_cannot_start_changes_nothing_and_the_others_are_closed(process: Process, plugins: None) -> None:
    before = process.current.serving
    process.write({**CONFIG, "plugins": {"auth": ["closing", "stubborn"]}, "auth": {"closing": {"key": "first"}}})
    drafted, _ = process.renewal.draft()

    with pytest.raises(ConfigError) as told:
        process.renewal.take(drafted)

    assert [fault.path for fault in told.value.faults] == ["plugins.auth.1"]
    assert process.current.serving is before
    assert process.admits(KEY)
    assert Closing.closed == ["first"]


def test_heads_that_hold_an_upstreams_old_key_are_forgotten(process: Process) -> None:
    process.kept.prepare._heads["a",] = b"Authorization: Bearer sk-old"

    process.reload()

    assert process.kept.prepare._heads == {}
