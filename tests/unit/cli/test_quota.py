"""`llm-one-api quota`, over a ledger and a limit store as they are."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from llm_one_api.books.quotas.check import QuotaCheck
from llm_one_api.cli import quota
from llm_one_api.limits.windows import Calendar
from llm_one_api.settings import load
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.stores.limits.messages import Admit
from llm_one_api.stores.limits.store import LimitStore
from tests.harness.databases import give_tables
from tests.harness.records import record
from tests.harness.services import Valkey

ZONE = ZoneInfo("Asia/Shanghai")
KEY = "key_3f9a1c22"
LIMITS: dict[str, Any] = {
    "each_user": {"day": {"tokens": 1000, "cost_usd": "2.50"}, "requests_per_minute": 60},
    "groups": {"lab": {"month": {"requests": 9}, "action": "throttle"}},
    "everyone": {"max_concurrent": 7},
    "exempt": {"users": ["root"], "keys": [KEY]},
}


class Desk:
    """An operator at a terminal."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.config = folder / "config.yaml"
        self.write(redis_url)
        self.settings = load(self.config)
        give_tables(folder / "ledger.db")
        self.ledger = Ledger(self.settings.ledger.url)
        self.store = LimitStore(redis_url, "desk:", timeout=5)

    def write(self, redis_url: str, limits: dict[str, Any] | None = None) -> None:
        """Write the config file."""
        told = {
            "timezone": str(ZONE),
            "data_dir": str(self.config.parent),
            "redis": {"url": redis_url, "key_prefix": "desk:"},
            "ledger": {"url": f"sqlite:///{self.config.parent}/ledger.db"},
            "models": {"m": {"api_base": "http://127.0.0.1:1/v1"}},
            "limits": LIMITS if limits is None else limits,
        }
        self.config.write_text(json.dumps(told))

    def run(self, *words: str, answer: str = "") -> Result:
        return CliRunner().invoke(quota.command, [*words, "--config", str(self.config)], input=answer)

    def done(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exit_code == 0, result.output
        return result.output

    def refused(self, *words: str) -> str:
        result = self.run(*words)
        assert result.exit_code != 0
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.output

    def check(self) -> None:
        """Do what beat does each minute."""
        QuotaCheck(self.ledger.quotas, self.store, self.settings.limit_rules(), ZONE, wait=lambda _: None).run()

    def shown(self, *words: str) -> dict[tuple[str, str, str | None], Any]:
        told = json.loads(self.done("show", *words, "--json"))
        return {(one["scope"], one["kind"], one["period"]): one for one in told["limits"]}


@pytest.fixture
def desk(tmp_path: Path, redis_url: str) -> Iterator[Desk]:
    """A day on which alice has used 400 tokens in one call, which cost $1.25."""
    it = Desk(tmp_path, redis_url)
    charged = {"quota_windows": (today("user:alice"),), "quota_tokens": 400, "quota_cost": Decimal("1.25")}
    it.ledger.ingest([record(1, at=datetime.now(UTC), user="alice", **charged)])
    it.check()
    yield it
    it.store.close()
    it.ledger.close()


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory, session_valkey: Valkey) -> Iterator[Desk]:
    """One where nothing was used, and where a test changes nothing."""
    it = Desk(tmp_path_factory.mktemp("idle"), session_valkey.url)
    yield it
    it.store.close()
    it.ledger.close()


def today(scope: str) -> str:
    return f"{scope}:day:{Calendar(ZONE).at('day', time.time()).label}"


def room(desk: Desk, tokens: int) -> str:
    """Ask for tokens as a call of alice's does."""
    name = f"{time.time_ns()}"
    asked = (today("user:alice"), 1000, -1, -1, 0, 1, 0, 2**52)
    [reply] = desk.store.run([Admit(id=name, tokens=tokens, nanos=0, allow_unwhole=False, quotas=[asked])])
    return reply.code


def test_it_shows_what_is_used_of_whom_and_what_is_left(desk: Desk) -> None:
    assert room(desk, 50) == "admitted"

    lines = desk.done("show").splitlines()

    assert lines[0].split() == ["SCOPE", "PER", "UNIT", "LIMIT", "USED", "RESERVED", "LEFT", "RESETS", "REMARK"]
    rows = [line.split() for line in lines[1:]]
    assert ["user:alice", "day", "tokens", "1000", "400", "50", "550"] in [row[:7] for row in rows]
    assert ["user:alice", "day", "USD", "2.5", "1.25", "0", "1.25"] in [row[:7] for row in rows]
    assert ["user:alice", "minute", "requests", "60", "0", "-", "60", "-"] in rows
    assert ["all", "-", "at", "a", "time", "7", "0", "-", "7", "-"] in rows
    assert next(row[-1] for row in rows if row[0] == "group:lab") == "throttle"
    assert all(row[7].endswith("T00:00:00+08:00") for row in rows if row[1] in {"day", "month"})


def test_it_shows_those_that_are_asked_for(desk: Desk) -> None:
    shown = desk.shown("--user", "alice", "--user", "bob", "--all")

    assert shown["user:alice", "tokens", "day"]["remaining"] == 600
    assert shown["user:alice", "cost_usd", "day"]["used"] == "1.25"
    assert shown["user:bob", "tokens", "day"]["used"] == 0
    assert {scope for scope, _, _ in shown} == {"user:alice", "user:bob", "all"}
    assert {scope for scope, _, _ in desk.shown("--group", "lab")} == {"group:lab"}


def test_of_many_it_shows_some_and_says_how_many_there_are(desk: Desk) -> None:
    for n in range(300):
        window = (today(f"user:u{n:03}"), 1000, -1, -1, 0, 1, 0, 2**52)
        desk.store.run([Admit(id=f"{n}", tokens=1, nanos=0, allow_unwhole=False, quotas=[window])])

    said = desk.done("show")

    assert {line.split()[0] for line in said.splitlines()[1:51]} > {"user:alice", "user:u000", "user:u010"}
    assert "253 more: --limit 303 shows all." in said
    assert len({scope for scope, _, _ in desk.shown()}) == 303


def test_who_has_used_nothing_today_is_not_shown_unasked(desk: Desk) -> None:
    window = ("user:bob:day:2020-01-01", 1000, -1, -1, 0, 1, 0, 2**52)
    desk.store.run([Admit(id="long ago", tokens=1, nanos=0, allow_unwhole=False, quotas=[window])])

    assert "user:bob" not in {scope for scope, _, _ in desk.shown()}
    assert "user:bob" in {scope for scope, _, _ in desk.shown("--user", "bob")}


def test_without_limits_it_says_so(desk: Desk) -> None:
    desk.write(desk.settings.redis_url, limits={})

    assert desk.done("show") == "No limits are set (limits, rate_limit).\n"


def test_counters_that_were_lost_are_no_nothing(desk: Desk, session_valkey: Valkey) -> None:
    with session_valkey.client() as client:
        client.flushall()

    assert "counted anew" in desk.done("show", "--user", "alice")


def test_a_boost_holds_at_once_and_for_its_time(desk: Desk) -> None:
    assert room(desk, 700) == "refused"

    said = desk.done("boost", "user:alice", "day", "tokens", "500", "--for", "2h")

    assert said.startswith("user:alice may use 1500 tokens instead of 1000 a day, until ")
    assert room(desk, 700) == "admitted"
    tokens = desk.shown("--user", "alice")["user:alice", "tokens", "day"]
    assert (tokens["limit"], tokens["boost"]["amount"]) == (1500, 500)
    until = datetime.fromisoformat(tokens["boost"]["until"])
    assert timedelta(hours=1, minutes=59) < until - datetime.now(UTC) <= timedelta(hours=2, seconds=1)
    assert "boosted by 500 until " in desk.done("show", "--user", "alice")


def test_a_boost_outlives_a_redis_that_forgets(desk: Desk, session_valkey: Valkey) -> None:
    desk.done("boost", "user:alice", "day", "cost", "0.50", "--until", "2998-12-31")
    with session_valkey.client() as client:
        client.flushall()

    desk.check()

    cost = desk.shown("--user", "alice")["user:alice", "cost_usd", "day"]
    assert (cost["limit"], cost["used"]) == ("3", "1.25")
    assert cost["boost"] == {"amount": "0.5", "until": "2999-01-01T00:00:00+08:00"}


def test_a_boost_can_be_ended(desk: Desk) -> None:
    desk.done("boost", "user:alice", "day", "tokens", "500", "--for", "2h")

    said = desk.done("boost", "user:alice", "day", "tokens", "0")

    assert said == "user:alice may use 1000 tokens a day again, and no more.\n"
    assert room(desk, 700) == "refused"
    desk.check()
    assert desk.shown("--user", "alice")["user:alice", "tokens", "day"]["boost"] is None
    assert "nothing is added" in desk.refused("boost", "user:alice", "day", "tokens", "0")


def test_a_reset_takes_off_what_is_used_at_once_and_for_good(desk: Desk, session_valkey: Valkey) -> None:
    said = desk.done("reset", "user:alice", "day", "--yes", "--reason", "they asked")

    assert f"{today('user:alice')}: 400 tokens, 1 requests, 1.25 USD taken off.\n" in said
    assert room(desk, 1000) == "admitted"
    with session_valkey.client() as client:
        client.flushall()
    desk.check()
    assert desk.shown("--user", "alice")["user:alice", "tokens", "day"]["used"] == 0
    assert [reset.reason for reset in desk.ledger.quotas.resets()] == ["they asked"]


def test_a_reset_may_be_of_one_unit_alone(desk: Desk) -> None:
    desk.done("reset", "user:alice", "day", "--unit", "tokens", "--yes")

    shown = desk.shown("--user", "alice")
    assert shown["user:alice", "tokens", "day"]["used"] == 0
    assert shown["user:alice", "cost_usd", "day"]["used"] == "1.25"


def test_a_reset_asks_first(desk: Desk) -> None:
    result = desk.run("reset", "user:alice", "day", answer="n\n")

    assert "Take 400 tokens, 1 requests, 1.25 USD off user:alice:day:" in result.output
    assert result.exit_code == 1
    assert desk.shown("--user", "alice")["user:alice", "tokens", "day"]["used"] == 400


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "--user", "root"), "user:root is not limited: limits.exempt names it"),
        (("show", "--key", KEY), f"key:{KEY} is not limited"),
        (("show", "--key", "sk-secret-000"), "its fingerprint is key_"),
        (("show", "--key", "key_00000000"), "neither limits.keys.key_00000000 nor limits.each_key says one"),
        (("show", "--model", "nosuch"), "there is no model 'nosuch' in the config (m)"),
        (("show", "--group", "other"), "group:other has no limits"),
        (("boost", "alice", "day", "tokens", "1", "--for", "1h"), "SCOPE must be all, or key:"),
        (("boost", "user:", "day", "tokens", "1", "--for", "1h"), "SCOPE must be all, or key:"),
        (("boost", "all:x", "day", "tokens", "1", "--for", "1h"), "SCOPE must be all, or key:"),
        (("boost", "all", "day", "tokens", "1", "--for", "1h"), "it has: none at all"),
        (("boost", "user:alice", "year", "tokens", "1", "--for", "1h"), "'year' is not one of"),
        (("boost", "user:alice", "day", "calls", "1", "--for", "1h"), "'calls' is not one of"),
        (("boost", "user:alice", "day", "requests", "1", "--for", "1h"), "no quota of requests a day; it has: tokens"),
        (("boost", "user:alice", "day", "tokens", "1.5", "--for", "1h"), "must be a whole number"),
        (("boost", "user:alice", "day", "tokens", "1e3", "--for", "1h"), "must be a whole number"),
        (("boost", "user:alice", "day", "cost", "nan", "--for", "1h"), "must be USD"),
        (("boost", "user:alice", "day", "cost", "0.0000000001", "--for", "1h"), "must be USD"),
        (("boost", "user:alice", "day", "tokens", "1"), "Say until when"),
        (("boost", "user:alice", "day", "tokens", "1", "--for", "1h", "--until", "2999-01-01"), "Say until when"),
        (("boost", "user:alice", "day", "tokens", "1", "--for", "0h"), "--for must be a time"),
        (("boost", "user:alice", "day", "tokens", "1", "--for", "soon"), "--for must be a time"),
        (("boost", "user:alice", "day", "tokens", "1", "--until", "2001-01-01"), "must be in the future"),
        (("boost", "user:alice", "day", "tokens", "1", "--until", "tomorrow"), "--until must be a day"),
        (("reset", "user:alice", "month", "--yes"), "has no quota of anything a month"),
        (("reset", "group:lab", "day", "--yes"), "it has: requests a month"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_told(idle: Desk, words: tuple[str, ...], said: str) -> None:
    told = idle.refused(*words)

    assert said in told
    assert "sk-secret" not in told


def test_without_redis_nothing_can_be_shown(desk: Desk) -> None:
    desk.write("unix:///nowhere/at/all")

    assert "Redis unix:///nowhere/at/all cannot be asked: ConnectionError" in desk.refused("show")


@pytest.mark.parametrize(
    "words",
    [("boost", "user:alice", "day", "tokens", "500", "--for", "2h"), ("reset", "user:alice", "day", "--yes")],
    ids=["boost", "reset"],
)
def test_without_redis_it_is_kept_and_holds_from_the_next_check_on(desk: Desk, words: tuple[str, ...]) -> None:
    desk.write("unix:///nowhere/at/all")

    told = desk.refused(*words)
    desk.check()
    desk.write(desk.settings.redis_url)

    assert "It is kept in the ledger, but Redis does not answer" in told
    tokens = desk.shown("--user", "alice")["user:alice", "tokens", "day"]
    assert tokens["remaining"] in {1100, 1000}


def test_without_a_ledger_nothing_can_be_changed(desk: Desk) -> None:
    (desk.config.parent / "ledger.db").rename(desk.config.parent / "elsewhere.db")

    assert "there is no ledger" in desk.refused("reset", "user:alice", "day", "--yes")
    assert not (desk.config.parent / "ledger.db").exists()
