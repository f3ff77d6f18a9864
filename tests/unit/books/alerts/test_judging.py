"""What follows from a figure, by tables of what it was minute by minute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from llm_one_api.books.reports.alerts.judging import GAP, Figure, absent, judge
from llm_one_api.books.reports.alerts.rules import Metric, Rule
from llm_one_api.stores.ledger.alerts import Alert

AT = datetime(2026, 11, 30, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
AWAY = "away"
FEW = "few"


def rule(metric: Metric = "error_rate", above: int = 5, **changes: Any) -> Rule:
    given = {"resolve_at": above, "cooldown": 0, "hold": 0, "window": 10, **changes}
    lengths = {
        name: given.pop(name) * MINUTE
        for name in ("cooldown", "hold", "window", "repeat")
        if given.get(name) is not None
    }
    return Rule(
        name="r", metric=metric, above=Decimal(above), **{**given, **lengths, "resolve_at": given["resolve_at"]}
    )


def play(one: Rule, figures: list[Any], silent: range = range(0), step: timedelta = MINUTE) -> tuple[str, list[str]]:
    """Give the states, a letter a minute, and what happened when: `3 firing`, `(3 firing: silence)`."""
    alert: Alert | None = None
    states, events = "", []
    for minute, value in enumerate(figures):
        figure = None if value == AWAY else Figure(value=None if value == FEW else Decimal(str(value)), samples=3)
        judged = judge(one, "{}", alert, figure, AT + minute * step, silent=minute in silent)
        alert = judged.alert
        states += "-" if alert is None else alert.state[0]
        if judged.event:
            said = f"{minute} {judged.event}"
            events.append(said if judged.withheld is None else f"({said}: {judged.withheld})")
    return states, events


@pytest.mark.parametrize(
    ("changes", "figures", "states", "events"),
    [
        ({}, [1, 5, 6, 6, 5, 5], "--ffrr", ["2 firing", "4 resolved"]),
        ({"hold": 2}, [6, 6, 6, 1], "ppfr", ["2 firing", "3 resolved"]),
        ({"hold": 2}, [6, 6, 5, 6, 6, 6], "pp-ppf", ["5 firing"]),
        ({"resolve_at": 3}, [6, 5, 4, 3, 4, 6], "fffrrf", ["0 firing", "3 resolved", "5 firing"]),
        ({"cooldown": 3}, [6, 1, 6, 6, 1], "frffr",
         ["0 firing", "1 resolved", "(2 firing: cooldown)", "3 firing", "4 resolved"]),
        ({"cooldown": 9}, [6, 1, 6, 1, 1], "frfrr",
         ["0 firing", "1 resolved", "(2 firing: cooldown)", "(3 resolved: untold)"]),
        ({"cooldown": 9, "hold": 1}, [6, 6, 1, 6, 1], "pfrpr", ["1 firing", "2 resolved"]),
        ({"repeat": 2}, [6] * 6, "ffffff", ["0 firing", "2 repeat", "4 repeat"]),
    ],
    ids=["above and at", "for", "for begins anew", "hysteresis", "cooldown", "untold", "pending", "repeat"],
)  # fmt: skip
def test_figures_become_states(changes: dict[str, Any], figures: list[Any], states: str, events: list[str]) -> None:
    assert play(rule(**changes), figures) == (states, events)


@pytest.mark.parametrize(
    ("figures", "silent", "events"),
    [
        ([6, 6, 6, 6], range(3), ["(0 firing: silence)", "3 firing"]),
        ([6, 1, 1, 1], range(3), ["(0 firing: silence)", "(1 resolved: silence)"]),
        ([6, 6, 1, 1], range(1, 3), ["0 firing", "(2 resolved: silence)", "3 resolved"]),
        ([6, 6, 1, 6, 1], range(1, 3), ["0 firing", "(2 resolved: silence)", "4 resolved"]),
    ],
    ids=["goes on after it", "over by then", "its end is told after it", "begins again after it"],
)
def test_silence_holds_back_what_is_told_and_nothing_else(figures: list[Any], silent: range, events: list[str]) -> None:
    assert play(rule(), figures, silent)[1] == events


@pytest.mark.parametrize(
    ("changes", "figures", "states"),
    [
        ({}, [FEW] * 3, "---"),
        ({"hold": 5}, [6, FEW, 6], "p-p"),
        ({"window": 3}, [6, FEW, FEW, FEW, FEW], "ffffr"),
        ({"window": 2}, [6, FEW, FEW, 6, FEW, FEW, FEW], "ffffffr"),
        ({"window": 2}, [6, FEW, AWAY, AWAY, FEW, FEW], "fffffr"),
        ({"metric": "cost_per_hour"}, [6, 0], "fr"),
    ],
    ids=[
        "nothing begins",
        "what was pending is forgotten",
        "what fires is over after a window",
        "a figure begins it anew",
        "looks that could not be had do not count",
        "no calls cost nothing",
    ],
)
def test_too_few_calls_tell_nothing(changes: dict[str, Any], figures: list[Any], states: str) -> None:
    assert play(rule(**changes), figures)[0] == states


def test_while_a_figure_cannot_be_known_nothing_begins_and_nothing_ends() -> None:
    assert play(rule(window=2), [AWAY, AWAY, 6, AWAY, AWAY, AWAY, AWAY, 1])[0] == "--fffffr"
    assert play(rule(hold=1), [6, AWAY, AWAY, 6])[0] == "pppf"


def test_when_nobody_looked_for_long_what_was_pending_begins_anew() -> None:
    assert play(rule(hold=10), [6, 6, 6], step=GAP)[0] == "ppf"
    assert play(rule(hold=10), [6, 6, 6], step=GAP + MINUTE)[0] == "ppp"


def test_what_is_not_there_any_more_is_over_but_for_calls_of_which_there_are_too_few() -> None:
    assert absent(rule("upstream_down")) == Figure(value=Decimal(0))
    assert absent(rule("avg_tokens")).value is None


def test_what_a_clock_that_was_ahead_has_left_holds_nothing_up() -> None:
    ahead = AT + 60 * MINUTE
    told = Alert(rule="r", group="{}", state="resolved", since=ahead, seen_at=ahead, told="resolved", told_at=ahead)
    pending = Alert(rule="r", group="{}", state="pending", since=ahead, seen_at=ahead)

    assert judge(rule(cooldown=30), "{}", told, Figure(value=Decimal(9)), AT).withheld is None
    again = judge(rule(hold=1), "{}", pending, Figure(value=Decimal(9)), AT).alert
    assert again is not None
    assert again.since == AT


def test_an_alert_knows_since_when_and_what_its_figure_was() -> None:
    first = judge(rule(hold=1), "{}", None, Figure(value=Decimal(7)), AT).alert
    second = judge(rule(hold=1), "{}", first, Figure(value=Decimal(8)), AT + MINUTE).alert
    third = judge(rule(hold=1), "{}", second, None, AT + 2 * MINUTE).alert

    assert first is not None
    assert second is not None
    assert (first.state, first.since) == ("pending", AT)
    assert (second.state, second.since, second.value, second.told_at) == (
        "firing",
        AT + MINUTE,
        Decimal(8),
        AT + MINUTE,
    )
    assert third == second
