"""Alerts come to real receivers: over HTTP and by mail, through failures, hangs and deaths."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from standardwebhooks.webhooks import Webhook

from llm_one_api.books.reports.alerts.rules import Channel
from llm_one_api.books.reports.alerts.sending import Outcome, send
from llm_one_api.books.reports.alerts.wording import Message
from llm_one_api.cli import main
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.databases import give_tables
from tests.harness.http_proxy import HttpProxy
from tests.harness.processes import BIN, ROOT, Process
from tests.harness.receivers import Mailbox, Receiver, mailbox, receiver
from tests.harness.records import record

SECRET = "whsec_" + "S3CRET" * 6 + "AAAA"
MESSAGE = Message(uid="1", kind="firing", severity="warning", title="[FIRING] r", body="a: 9\nb", payload='{"a":1}')


@pytest.fixture(autouse=True)
def _logs_stay_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep commands from setting up a log that holds for the tests after them."""
    monkeypatch.setattr("llm_one_api.logs.configure", lambda *_: None)


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as it:
        yield it


@pytest.fixture
def mail() -> Iterator[Mailbox]:
    with mailbox() as it:
        yield it


def hook(url: str, **changes: Any) -> Channel:
    return Channel(**{"name": "hook", "kind": "webhook", "url": url, "secrets": (SECRET,), "timeout": 5.0, **changes})


def letters(port: int) -> str:
    return f"mailto://127.0.0.1:{port}?from=alerts@example.com&to=ops@example.com&mode=insecure"


@pytest.mark.parametrize("answer", [Receiver.HANG, Receiver.DRIP])
def test_a_receiver_that_never_ends_is_left(there: Receiver, answer: int) -> None:
    there.answers = [answer]

    outcome = send(hook(there.url, timeout=1.0), MESSAGE)

    assert not outcome.ok
    assert not outcome.permanent
    assert outcome.error in {"no answer in time", "no answer within 1 s"}


def test_the_environments_proxy_and_passwords_are_not_ours_but_the_configs_proxy_is(
    there: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login S3CRET password S3CRET\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    proxy = HttpProxy()

    direct = [send(hook(there.url), MESSAGE), send(json_to(there), MESSAGE)]
    by_proxy = [send(hook(there.url, proxy=proxy.url), MESSAGE), send(json_to(there, proxy=proxy.url), MESSAGE)]

    proxy.close()
    assert {outcome.error for outcome in direct + by_proxy} == {""}
    assert len(proxy.heads) == 2
    assert [request.headers.get("authorization") for request in there.got] == [None] * 4


def json_to(there: Receiver, proxy: str = "") -> Channel:
    """Give a channel of Apprise's to a receiver."""
    return Channel(name="c", kind="apprise", url=there.url.replace("http:", "json:"), timeout=5.0, proxy=proxy)


def test_a_letter_is_written_to_a_real_mail_server(mail: Mailbox) -> None:
    channel = Channel(name="m", kind="apprise", url=letters(mail.port), timeout=10.0)

    taken = send(channel, MESSAGE)
    mail.refuses = "451 come back"
    later = send(channel, MESSAGE)
    mail.refuses = "554 never"
    never = send(channel, MESSAGE)

    [letter] = mail.got
    assert taken == Outcome(ok=True)
    assert letter["subject"] == "[FIRING] r"
    assert letter["to"] == "ops@example.com"
    assert "a: 9" in str(letter.get_payload())
    assert later == Outcome(ok=False, error="SMTP 451")
    assert never == Outcome(ok=False, error="SMTP 554", permanent=True)


class Place:
    """A ledger with calls of which half have failed, and a config that tells of it."""

    def __init__(self, folder: Path, url: str, port: int) -> None:
        self.folder = folder
        self.config = folder / "config.yaml"
        self.config.write_text(
            json.dumps(
                {
                    "ledger": {"url": f"sqlite:///{folder / 'ledger.db'}"},
                    "data_dir": str(folder),
                    "alerts": {
                        "rules": {"errors": {"metric": "error_rate", "above": "5%", "severity": "critical"}},
                        "channels": {
                            "dead": {"webhook": "http://127.0.0.1:9/S3CRET", "secret": SECRET},
                            "hook": {"webhook": f"{url}?token=S3CRET", "secret": SECRET},
                            "mail": {"url": letters(port)},
                        },
                    },
                }
            )
        )
        give_tables(folder / "ledger.db")
        self.ledger = Ledger(f"sqlite:///{folder / 'ledger.db'}")
        now = datetime.now(UTC) - timedelta(seconds=30)
        self.ledger.ingest([record(n, at=now, outcome="timeout" if n % 2 else "success") for n in range(40)])

    def run(self, *command: str) -> Result:
        return CliRunner().invoke(main, [*command, "--config", str(self.config)])

    def come_due(self) -> None:
        with self.ledger._engine.begin() as connection:
            connection.exec_driver_sql("UPDATE alert_deliveries SET due_at = 0")
            connection.exec_driver_sql("UPDATE alert_turns SET begun_at = 0")


@pytest.fixture
def place(tmp_path: Path, there: Receiver, mail: Mailbox) -> Iterator[Place]:
    it = Place(tmp_path, there.url, mail.port)
    yield it
    it.ledger.close()


def test_two_workers_at_once_tell_each_channel_once_and_what_failed_is_told_later(
    place: Place, there: Receiver, mail: Mailbox
) -> None:
    there.answers = [503]
    argv = [str(BIN / "llm-one-api"), "jobs", "run", "alerts", "--config", str(place.config)]

    both = [Process(f"worker{n}", argv, folder=place.folder) for n in range(2)]
    codes = [each.popen.wait(60) for each in both]
    first = place.ledger.alerts.mail.history(9)
    place.come_due()
    again = place.run("jobs", "run", "alerts")
    listed = place.run("alerts", "list")
    history = place.run("alerts", "history")

    failed, taken = there.got
    assert codes == [0, 0]
    assert again.exit_code == 0
    assert len(mail.got) == 1
    assert [(one.channel, one.state, one.error) for one in first[0].sent] == [
        ("dead", "waiting", "no connection"),
        ("hook", "waiting", "HTTP 503"),
        ("mail", "sent", None),
    ]
    assert taken.headers["webhook-id"] == failed.headers["webhook-id"]
    told = Webhook(SECRET).verify(taken.body, taken.headers)
    assert (told["type"], told["data"]["rule"], told["data"]["value"]) == ("alert.firing", "errors", "0.5")
    assert "FIRING" in listed.stdout
    assert "50 %" in listed.stdout
    assert "dead not yet: no connection" in history.stdout
    everything = [each.text() for each in both] + [
        text for done in (again, listed, history) for text in (done.stdout, done.stderr)
    ]
    with place.ledger._engine.connect() as connection:
        tables = ("alert_events", "alert_deliveries")
        kept = [connection.exec_driver_sql(f"SELECT * FROM {table}").all() for table in tables]
    assert "S3CRET" not in "\n".join([*everything, repr(kept)])


KILLED = """
import os, sys
from zoneinfo import ZoneInfo
from llm_one_api.books.reports.alerts.delivering import Delivering
from llm_one_api.books.reports.alerts.sending import send
from llm_one_api.settings import load
from llm_one_api.stores.ledger.ledger import Ledger

settings = load(sys.argv[1])

def killed(channel, message):
    send(channel, message)
    os.kill(os.getpid(), 9)

channels = {"hook": settings.alerts.alerting().channels["hook"]}
Delivering(Ledger(settings.ledger.url).alerts.mail, channels, ZoneInfo("UTC"), send=killed).run()
"""


def test_what_a_worker_sent_that_was_killed_before_it_noted_that_comes_again_under_the_same_id(
    place: Place, there: Receiver
) -> None:
    place.config.write_text(json.dumps(_only_hook(json.loads(place.config.read_text()))))
    there.answers = [503]
    place.run("jobs", "run", "alerts")
    place.come_due()

    died = subprocess.run([sys.executable, "-c", KILLED, place.config], cwd=ROOT, timeout=60)
    held = place.run("jobs", "run", "alerts")
    before = len(there.got)
    place.come_due()
    place.run("jobs", "run", "alerts")

    assert died.returncode == -9
    assert held.exit_code == 0
    assert (before, len(there.got)) == (2, 3)
    assert len({request.headers["webhook-id"] for request in there.got}) == 1


def _only_hook(config: dict[str, Any]) -> dict[str, Any]:
    channels = config["alerts"]["channels"]
    return {**config, "alerts": {**config["alerts"], "channels": {"hook": channels["hook"]}}}


def test_channels_can_be_tried_out(place: Place, there: Receiver, mail: Mailbox) -> None:
    of_rule = place.run("alerts", "test", "errors")
    there.answers = [410]
    of_channel = place.run("alerts", "test", "hook")
    of_mail = place.run("alerts", "test", "mail")

    assert of_rule.exit_code == 1
    assert "50 % (40 calls)" in of_rule.stdout
    assert "hook (webhook): sent" in of_rule.stdout
    assert "dead (webhook): NOT SENT: no connection" in of_rule.stdout
    assert (of_channel.exit_code, of_channel.stdout) == (1, "hook (webhook): NOT SENT: HTTP 410\n")
    assert (of_mail.exit_code, of_mail.stdout) == (0, "mail (mailto): sent\n")
    assert "This is a test: nothing has happened." in str(mail.got[-1].get_payload())
    assert place.ledger.alerts.mail.waiting() == []
    assert "S3CRET" not in of_rule.stdout + of_rule.stderr + of_channel.stdout + of_channel.stderr


def test_a_url_that_no_service_has_is_a_fault_before_anything_happens(place: Place) -> None:
    good = place.run("check-config")
    place.config.write_text(place.config.read_text().replace("mailto://", "malto://S3CRET"))

    told = place.run("check-config")

    assert "alerts   errors; told to dead (webhook), hook (webhook), mail (mailto)" in good.stdout
    assert (told.exit_code, told.stderr) == (2, "alerts.channels.mail.url: no URL that Apprise can use\n")
    assert "S3CRET" not in good.output + told.output
