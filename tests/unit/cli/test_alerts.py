"""`llm-one-api alerts`, as an operator types it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result

from llm_one_api.cli import alerts
from llm_one_api.stores.ledger.alerts import Alert, Event
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.databases import give_tables

DATA = {
    "rule": "error-rate", "metric": "error_rate", "severity": "warning", "state": "firing",
    "group": {"model": "m\x1b[2J"}, "value": "0.125", "above": "0.05", "window_seconds": 900, "requests": 48,
}  # fmt: skip


class Desk:
    """A ledger, and the command over it."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "config.yaml"
        give_tables(folder / "ledger.db")
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        self.configure({})

    def configure(self, section: Any, zone: str = "Asia/Shanghai") -> None:
        whole = {"ledger": {"url": f"sqlite:///{self.config.parent / 'ledger.db'}"}, "timezone": zone}
        self.config.write_text(json.dumps({**whole, "alerts": section}))

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(alerts.command, [*words, "--config", str(self.config)])

    def fires(self) -> None:
        """Have an alert fire that a channel was told, and another not."""
        now = self.ledger.alerts.now()
        turn = self.ledger.alerts.claim(60, 0)
        assert turn
        alert = Alert(
            rule="error-rate", group=msgspec.json.encode(DATA["group"]).decode(), state="firing", since=now,
            seen_at=now, value=Decimal("0.125"), told="firing", told_at=now,
        )  # fmt: skip
        event = Event(
            kind="firing", rule="error-rate", group=alert.group, at=now, channels=("ops", "pager"),
            data=msgspec.json.encode(DATA).decode(),
        )  # fmt: skip
        quiet = msgspec.structs.replace(event, channels=(), withheld="silence")
        self.ledger.alerts.finish(turn, [alert], (), [quiet, event])
        for delivery in self.ledger.alerts.mail.waiting():
            taken = self.ledger.alerts.mail.take(delivery, 60)
            assert taken
            if delivery.channel == "ops":
                self.ledger.alerts.mail.sent(taken)
            else:
                self.ledger.alerts.mail.give_up(taken, "HTTP 410")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    it = Desk(tmp_path)
    yield it
    it.ledger.close()


def test_the_list_shows_rules_alerts_and_channels_without_their_urls(desk: Desk) -> None:
    desk.configure({"channels": {"ops": {"url": "slack://S3CRET/S3CRET/S3CRET"}}})
    desk.fires()

    listed = desk.run("list")
    page = json.loads(desk.run("list", "--json").stdout)

    lines = listed.stdout.splitlines()
    assert re.fullmatch(r"error-rate    FIRING  \S+\+08:00  12.5 %    5 %  model m�\[2J", lines[2])
    assert lines[1].split() == ["avg-tokens", "ok", "-", "-", "1000"]
    assert "Channels: ops (slack)." in lines
    assert lines[-1].startswith("Looked at last ")
    assert page["rules"][1]["alerts"][0]["value"] == "0.125"
    assert page["channels"] == [{"name": "ops", "service": "slack"}]
    assert "S3CRET" not in listed.stdout + json.dumps(page)


def test_before_anybody_has_looked_it_says_so(desk: Desk) -> None:
    listed = desk.run("list").stdout

    assert "Channels: none; what happens is logged, and listed here." in listed
    assert "Nobody has looked at the rules yet" in listed
    desk.configure({"rules": {}})
    assert "There are no rules" in desk.run("list").stdout


def test_silence_is_kept_until_it_is_over_or_taken_back(desk: Desk) -> None:
    silent = desk.run("silence", "error-rate", "--for", "2h", "--reason", "we know")
    listed = desk.run("list").stdout
    page = json.loads(desk.run("list", "--json").stdout)
    kept = desk.ledger.alerts.silences()["error-rate"]
    told = desk.run("unsilence", "error-rate", "avg-tokens")

    assert re.fullmatch(r"error-rate is silent until \S+\+08:00\.\n", silent.stdout)
    assert timedelta(minutes=119) < kept.until - desk.ledger.alerts.now() <= timedelta(hours=2)
    assert "silent until" in listed
    assert page["rules"][1]["silent_because"] == "we know"
    assert told.stdout == "error-rate is told again.\navg-tokens was not silent.\n"


def test_all_rules_can_be_silent_at_once(desk: Desk) -> None:
    desk.run("silence", "--all", "--for", "1d")

    assert set(desk.ledger.alerts.silences()) == {"avg-tokens", "error-rate", "avg-duration"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["silence", "nobody", "--for", "2h"],
            "there is no rule 'nobody'; there are: avg-duration, avg-tokens, error-",
        ),
        (["silence", "error-rate", "--for", "2"], "--for must be a length of time, such as 90m, 2h or 3d, of"),
        (["silence", "error-rate", "--for", "0m"], "--for must be a length of time"),
        (["silence", "error-rate", "--for", "400d"], "--for must be a length of time"),
        (["silence", "--for", "2h"], "Say which: one or more rules, or --all."),
        (["unsilence", "--all", "error-rate"], "Say which: one or more rules, or --all."),
        (["test", "nobody"], "there is no rule or channel 'nobody'"),
        (["test"], "there is no channel (alerts.channels)"),
    ],
)
def test_what_makes_no_sense_is_told(desk: Desk, words: list[str], said: str) -> None:
    result = desk.run(*words)

    assert result.exit_code != 0
    assert said in result.output


def test_the_history_tells_who_was_told_and_who_was_not(desk: Desk) -> None:
    desk.fires()

    shown = desk.run("history").stdout.splitlines()
    first, second = json.loads(desk.run("history", "--json").stdout)

    assert "ops, pager FAILED: HTTP 410" in shown[1]
    assert "nobody (silence)" in shown[2]
    assert first["id"].startswith("msg_")
    assert [(one["channel"], one["state"], one["error"]) for one in first["sent"]] == [
        ("ops", "sent", None),
        ("pager", "failed", "HTTP 410"),
    ]
    assert (second["withheld"], second["sent"]) == ("silence", [])
    assert desk.run("history", "--rule", "other").stdout == "Nothing has happened of other.\n"
    assert len(json.loads(desk.run("history", "--json", "--limit", "1").stdout)) == 1


def test_a_rule_without_a_channel_shows_how_it_stands(desk: Desk) -> None:
    tried = desk.run("test", "error-rate")

    assert tried.exit_code == 0
    assert tried.stdout.splitlines() == [
        "error-rate: error_rate above 5 %",
        "  too few calls (0 calls)",
        "It has no channel: what happens is logged, and listed.",
    ]
