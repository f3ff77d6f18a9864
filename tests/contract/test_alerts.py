"""Alerts are looked at by one, and told by one, however many try: on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from sqlalchemy import delete, update
from structlog.testing import capture_logs

from llm_one_api.books.reports.alerts.check import MOST_GROUPS, Check
from llm_one_api.books.reports.alerts.delivering import TRIES, Delivering
from llm_one_api.books.reports.alerts.figures import Figures, Looking
from llm_one_api.books.reports.alerts.judging import Figure
from llm_one_api.books.reports.alerts.rules import Alerting, Channel, Rule
from llm_one_api.books.reports.alerts.sending import Outcome
from llm_one_api.books.reports.alerts.wording import Message
from llm_one_api.stores.ledger.alert_mail import Delivery, Mail
from llm_one_api.stores.ledger.alert_tables import alerts
from llm_one_api.stores.ledger.alerts import Alert, Event
from llm_one_api.stores.ledger.ledger import DatabaseError, Ledger
from llm_one_api.stores.ledger.tables import metadata

UTC_ZONE = ZoneInfo("UTC")
AT = datetime(2026, 11, 30, 4, tzinfo=UTC)
RULE = Rule(name="errors", metric="error_rate", above=Decimal(5), resolve_at=Decimal(5), channels=("a", "b"))
CHANNELS = {name: Channel(name=name, kind="webhook", url=f"http://{name}/?S3CRET", timeout=1) for name in ("a", "b")}
DATA = (
    '{"rule":"errors","metric":"error_rate","severity":"warning","group":{},"value":"9","above":"5",'
    '"window_seconds":900,"requests":20,"where":{},"state":"firing","since":"2026-11-30T04:00:00+00:00"}'
)


@pytest.fixture(scope="module")
def home(module_url: str) -> Iterator[Ledger]:
    it = Ledger(module_url)
    yield it
    it.close()


@pytest.fixture
def ledger(home: Ledger) -> Ledger:
    """The ledger, without any alert."""
    with home._engine.begin() as connection:
        for table in metadata.tables.values():
            if table.name.startswith("alert"):
                connection.execute(delete(table))
    return home


class Given:
    """Figures that a test gives."""

    def __init__(self, figures: Figures | None) -> None:
        self.figures = figures

    def of(self, rule: Rule) -> Figures | None:
        return self.figures


class Receivers:
    """Keeps what comes, and answers as it is told."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.got: list[tuple[str, str, str]] = []
        self.outcomes = list(outcomes)
        self.lock = threading.Lock()

    def __call__(self, channel: Channel, message: Message) -> Outcome:
        with self.lock:
            self.got.append((channel.name, message.kind, message.uid))
            return self.outcomes.pop(0) if self.outcomes else Outcome(ok=True)


def at(value: Any) -> Figures:
    return {"{}": Figure(value=Decimal(value), samples=20)}


def check(ledger: Ledger, figures: Figures | None, *rules: Rule) -> Check:
    given: Callable[[datetime], Any] = lambda _now: Given(figures)  # noqa: E731
    looking: Callable[[datetime], Looking] = given
    return Check(ledger.alerts, Alerting(rules=rules or (RULE,), channels=CHANNELS), UTC_ZONE, looking)


def delivering(ledger: Ledger, receivers: Receivers, channels: dict[str, Channel] | None = None) -> Delivering:
    return Delivering(ledger.alerts.mail, CHANNELS if channels is None else channels, UTC_ZONE, send=receivers)


def event(kind: Any = "firing", **changes: Any) -> Event:
    return Event(
        **{"kind": kind, "rule": "errors", "group": "{}", "at": AT, "data": DATA, "channels": ("a",), **changes}
    )


def states(ledger: Ledger) -> list[tuple[str, str, str]]:
    return [(one.rule, one.group, one.state) for one in ledger.alerts.all()]


def come_due(ledger: Ledger) -> None:
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alert_deliveries SET due_at = 0")


def in_threads(number: int, work: Callable[[], None]) -> None:
    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_many_who_look_at_once_keep_and_tell_an_alert_once(ledger: Ledger, module_url: str) -> None:
    receivers = Receivers()

    def work() -> None:
        mine = Ledger(module_url)
        check(mine, at(9)).run(apart=60)
        delivering(mine, receivers).run()
        mine.close()

    in_threads(6, work)
    delivering(ledger, receivers).run()

    assert states(ledger) == [("errors", "{}", "firing")]
    assert sorted((name, kind) for name, kind, _ in receivers.got) == [("a", "firing"), ("b", "firing")]
    assert len({uid for *_, uid in receivers.got}) == 1


def test_an_alert_goes_its_way_through_the_database(ledger: Ledger) -> None:
    receivers = Receivers()

    for value in (9, 9, 1):
        check(ledger, at(value)).run(apart=0)
        delivering(ledger, receivers).run()

    assert [(name, kind) for name, kind, _ in receivers.got if name == "a"] == [("a", "firing"), ("a", "resolved")]
    assert states(ledger) == [("errors", "{}", "resolved")]
    assert [(one.kind, [(sent.channel, sent.state) for sent in one.sent]) for one in ledger.alerts.mail.history(9)] == [
        ("resolved", [("a", "sent"), ("b", "sent")]),
        ("firing", [("a", "sent"), ("b", "sent")]),
    ]


def test_who_was_overtaken_keeps_nothing(ledger: Ledger) -> None:
    old = ledger.alerts.claim(-1, 0)
    new = ledger.alerts.claim(60, 0)
    assert old
    assert new
    alert = Alert(rule="errors", group="{}", state="firing", since=AT, seen_at=AT)

    assert ledger.alerts.finish(old, [alert], (), [event()]) is None
    assert (ledger.alerts.all(), ledger.alerts.mail.waiting()) == ([], [])
    assert ledger.alerts.finish(new, [alert], (), [event()]) is not None
    assert ledger.alerts.finish(new, [], [alert], ()) is None
    assert ledger.alerts.all() == [alert]


def test_a_look_that_failed_holds_up_no_other(ledger: Ledger) -> None:
    class Failing(Given):
        def of(self, rule: Rule) -> Figures | None:
            raise LookupError(rule.name)

    given: Callable[[datetime], Any] = lambda _now: Failing(None)  # noqa: E731
    broken = Check(ledger.alerts, Alerting(rules=(RULE,)), UTC_ZONE, given)

    with pytest.raises(LookupError):
        broken.run(apart=0)
    after = check(ledger, at(9)).run(apart=0)

    assert after is not None
    assert after.events == 1


def test_two_clocks_that_strike_together_have_one_look(ledger: Ledger) -> None:
    first = check(ledger, at(9)).run(apart=30)
    second = check(ledger, at(1)).run(apart=30)

    assert first is not None
    assert (first.events, second) == (1, None)
    assert abs(ledger.alerts.now() - (ledger.alerts.checked_at() or AT)) < timedelta(seconds=20)


def test_what_was_sent_and_not_noted_is_sent_again_under_the_same_name(ledger: Ledger) -> None:
    ledger.alerts.add(event())
    receivers = Receivers()

    class Killed(BaseException):
        """Stands for a process that ends between sending and noting."""

    def send(channel: Channel, message: Message) -> Outcome:
        receivers(channel, message)
        raise Killed

    with pytest.raises(Killed):
        Delivering(ledger.alerts.mail, CHANNELS, UTC_ZONE, send=send).run()
    at_once = delivering(ledger, receivers).run()
    come_due(ledger)
    later = delivering(ledger, receivers).run()
    again = delivering(ledger, receivers).run()

    assert (at_once, later, again) == (0, 1, 0)
    assert len(receivers.got) == 2
    assert len(set(receivers.got)) == 1


def test_a_sender_who_took_too_long_notes_nothing_any_more(ledger: Ledger) -> None:
    ledger.alerts.add(event())
    [waiting] = ledger.alerts.mail.waiting()
    slow = ledger.alerts.mail.take(waiting, -1)
    [waiting] = ledger.alerts.mail.waiting()
    other = ledger.alerts.mail.take(waiting, 60)
    assert slow
    assert other

    assert not ledger.alerts.mail.sent(slow)
    assert not ledger.alerts.mail.put_off(slow, "late", 0)
    assert ledger.alerts.mail.sent(other)


def test_what_fails_is_tried_again_later_and_in_the_end_given_up(ledger: Ledger) -> None:
    ledger.alerts.add(event())
    receivers = Receivers(*[Outcome(ok=False, error="HTTP 503")] * TRIES)
    waits: list[float] = []

    for _ in range(TRIES + 1):
        with capture_logs() as logs:
            delivering(ledger, receivers).run()
        waits += [line["retry_in"] for line in logs if line["event"] == "alerts.not_sent"]
        come_due(ledger)

    [happened] = ledger.alerts.mail.history(1)
    assert len(receivers.got) == TRIES
    assert [(one.state, one.tries, one.error) for one in happened.sent] == [("failed", TRIES, "HTTP 503")]
    assert waits[0] < 60 < waits[1]
    assert sorted(waits) == waits or max(waits) <= 3600
    assert sum(waits) > 5 * 3600


def test_what_makes_no_sense_to_try_again_is_not(ledger: Ledger) -> None:
    ledger.alerts.add(event(channels=("a", "gone")))
    receivers = Receivers(Outcome(ok=False, permanent=True, error="HTTP 410"))

    with capture_logs() as logs:
        delivering(ledger, receivers).run()

    [happened] = ledger.alerts.mail.history(1)
    assert [(one.channel, one.state, one.error) for one in happened.sent] == [
        ("a", "failed", "HTTP 410"),
        ("gone", "waiting", "there is no such channel here"),  # another's config may have it
    ]
    assert {line["event"] for line in logs} == {"alerts.given_up", "alerts.not_sent"}


def test_who_says_when_to_come_back_is_not_asked_before(ledger: Ledger) -> None:
    ledger.alerts.add(event())

    with capture_logs() as logs:
        delivering(ledger, Receivers(Outcome(ok=False, error="HTTP 429", retry_after=900.0))).run()

    assert [line["retry_in"] for line in logs] == [900]


def test_a_channel_that_hangs_holds_up_no_other(ledger: Ledger) -> None:
    ledger.alerts.add(event(channels=("a", "b")))
    reached = threading.Event()
    hung: list[bool] = []

    def send(channel: Channel, message: Message) -> Outcome:
        if channel.name == "a":
            hung.append(reached.wait(20))
            return Outcome(ok=False, error="no answer within 1 s")
        reached.set()
        return Outcome(ok=True)

    sent = Delivering(ledger.alerts.mail, CHANNELS, UTC_ZONE, send=send).run()

    assert (sent, hung) == (1, [True])


def test_nobody_hears_of_an_end_before_its_beginning(ledger: Ledger) -> None:
    for kind, group in (("firing", "{}"), ("resolved", "{}"), ("firing", '{"model":"m"}')):
        ledger.alerts.add(event(kind, group=group))
    receivers = Receivers(Outcome(ok=False, error="no connection"))

    delivering(ledger, receivers).run()
    before = [kind for _, kind, _ in receivers.got]
    come_due(ledger)
    delivering(ledger, receivers).run()

    assert before == ["firing", "firing"]
    assert [kind for _, kind, _ in receivers.got[2:]] == ["firing", "resolved"]


def test_silence_is_kept_by_rule_and_ends_by_itself(ledger: Ledger) -> None:
    now = ledger.alerts.now()
    ledger.alerts.silence("errors", now + timedelta(hours=1), "we know")
    check(ledger, at(9)).run(apart=0)
    silent = ledger.alerts.mail.waiting()
    ledger.alerts.silence("errors", now - timedelta(seconds=1), "")

    check(ledger, at(9)).run(apart=0)

    assert silent == []
    assert [one.withheld for one in ledger.alerts.mail.history(9)] == [None, "silence"]
    assert {one.channel for one in ledger.alerts.mail.waiting()} == {"a", "b"}
    assert (ledger.alerts.unsilence("errors"), ledger.alerts.unsilence("errors")) == (True, False)


def test_alerts_of_rules_that_nobody_knows_any_more_are_forgotten_after_a_while(ledger: Ledger) -> None:
    other = Rule(name="other", metric="avg_tokens", above=Decimal(1), resolve_at=Decimal(1))
    check(ledger, at(9)).run(apart=0)

    check(ledger, at(9), other).run(apart=0)
    soon = states(ledger)
    with ledger._engine.begin() as connection:
        connection.execute(update(alerts).values(seen_at=ledger.alerts.now() - timedelta(hours=2)))
    check(ledger, at(9), other).run(apart=0)

    assert soon == [("errors", "{}", "firing"), ("other", "{}", "firing")]
    assert states(ledger) == [("other", "{}", "firing")]


def test_the_end_is_told_to_those_who_were_told_the_beginning(ledger: Ledger) -> None:
    receivers = Receivers()
    check(ledger, at(9), msgspec.structs.replace(RULE, channels=("a",))).run(apart=0)
    check(ledger, at(1)).run(apart=0)

    delivering(ledger, receivers).run()

    assert [(name, kind) for name, kind, _ in receivers.got] == [("a", "firing"), ("a", "resolved")]


def test_of_too_many_groups_those_with_the_largest_figures_are_looked_at_and_none_is_lost(ledger: Ledger) -> None:
    figures = {f'{{"model":"{n}"}}': Figure(value=Decimal(6 + n), samples=9) for n in range(MOST_GROUPS + 5)}
    check(ledger, {'{"model":"0"}': Figure(value=Decimal(9), samples=9)}).run(apart=0)

    with capture_logs() as logs:
        check(ledger, figures).run(apart=0)

    assert len(ledger.alerts.all()) == MOST_GROUPS + 1
    assert {one.state for one in ledger.alerts.all()} == {"firing"}
    assert "alerts.too_many_groups" in {line["event"] for line in logs}


def test_a_dead_channel_with_very_much_waiting_holds_up_no_other(ledger: Ledger) -> None:
    mine = Mail(ledger._engine, most=3)
    for _ in range(5):
        ledger.alerts.add(event(channels=("dead",)))
    uid = ledger.alerts.add(event(channels=("a",)))

    assert [one.channel for one in mine.waiting()] == ["dead"] * 3 + ["a"]
    assert [one.channel for one in mine.of(uid)] == ["a"]


def test_a_fault_of_ours_is_a_failure_like_any_other(ledger: Ledger) -> None:
    ledger.alerts.add(event())

    def send(channel: Channel, message: Message) -> Outcome:
        raise TypeError("S3CRET")

    Delivering(ledger.alerts.mail, CHANNELS, UTC_ZONE, send=send).run()

    [happened] = ledger.alerts.mail.history(1)
    assert [(one.state, one.tries, one.error) for one in happened.sent] == [("waiting", 1, "TypeError")]


def test_a_clock_that_was_ahead_and_is_put_right_holds_up_nobody(ledger: Ledger) -> None:
    ledger.alerts.add(event())
    check(ledger, at(9)).run(apart=0)
    with ledger._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alert_turns SET begun_at = begun_at + 86400, lease_until = begun_at + 86500")
        connection.exec_driver_sql("UPDATE alert_deliveries SET due_at = 86400.0 * 365 * 100")

    assert check(ledger, at(9)).run(apart=30) is not None
    assert delivering(ledger, Receivers()).run() == 3


def test_without_a_channel_it_is_logged_and_listed(ledger: Ledger) -> None:
    lonely = Rule(name="errors", metric="error_rate", above=Decimal(5), resolve_at=Decimal(5))

    with capture_logs() as logs:
        check(ledger, at(9), lonely).run(apart=0)
        check(ledger, at(1), lonely).run(apart=0)

    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("alerts.firing", "warning"),
        ("alerts.resolved", "info"),
    ]
    assert [one.sent for one in ledger.alerts.mail.history(9)] == [(), ()]


def test_groups_have_alerts_of_their_own(ledger: Ledger) -> None:
    figures = {f'{{"model":"{name}"}}': Figure(value=Decimal(value), samples=9) for name, value in (("x", 9), ("y", 1))}

    check(ledger, figures).run(apart=0)
    check(ledger, {}, RULE).run(apart=0)

    assert states(ledger) == [("errors", '{"model":"x"}', "firing")]


def test_old_history_is_forgotten_and_what_was_sent_of_it(ledger: Ledger) -> None:
    ledger.alerts.add(event())
    ledger.alerts.add(event(at=AT + timedelta(days=1)))

    assert ledger.alerts.prune(AT + timedelta(hours=1)) == 1
    assert [one.at for one in ledger.alerts.mail.history(9)] == [AT + timedelta(days=1)]
    assert len(ledger.alerts.mail.waiting()) == 1


def test_a_delivery_knows_what_it_is_about(ledger: Ledger) -> None:
    uid = ledger.alerts.add(event(group='{"model":"m\\u0000"}'))

    [found] = ledger.alerts.mail.waiting()
    assert found == Delivery(
        event=found.event, channel="a", uid=uid, at=AT, kind="firing", rule="errors", group='{"model":"m\\u0000"}',
        data=DATA, tries=0, due=True,
    )  # fmt: skip


def test_a_database_that_is_away_is_told_and_nothing_is_told_twice_after_it(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "ledger.db").mkdir()
    broken = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.alerts.add(event())
    receivers = Receivers()

    with pytest.raises((DatabaseError, OSError)):
        check(broken, at(9)).run()
    with pytest.raises((DatabaseError, OSError)):
        delivering(broken, receivers).run()
    broken.close()
    delivering(ledger, receivers).run()

    assert len(receivers.got) == 1
