"""Checks of every temper, run together."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import pytest
from structlog.testing import capture_logs

from llm_one_api.books.audit import check as checking
from llm_one_api.books.audit import daily
from llm_one_api.books.audit.audit import AGREES, CHECKS, DIFFERS, UNCHECKED, audit
from llm_one_api.books.audit.check import Check, Context, Difference, Findings
from llm_one_api.books.audit.set_aside import SetAsideCheck
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import Usage
from tests.harness.processes import ROOT
from tests.harness.records import record
from tests.unit.books.audit.looking import context, tamper

PAGE = (ROOT / "docs/audit.md").read_text()


@dataclass
class Scripted:
    """Finds what it is told to, one thing a look."""

    looks: list[Findings]
    name: str = "scripted"
    compares: str = "this = that"
    mends: str = "mends it"
    repaired: int = 0
    seen: list[str] = field(default_factory=list)

    def run(self, context: Context) -> Findings:
        return self.looks.pop(0)

    def repair(self, context: Context, findings: Findings) -> None:
        self.repaired += 1


def differing(repairable: bool, unchecked: str | None = None) -> Findings:
    found = Findings(unchecked=unchecked)
    found.add(Difference(what={"id": 1}, says={"a": 1, "b": 2}, repairable=repairable))
    return found


@pytest.mark.parametrize(
    ("looks", "verdict"),
    [
        ([Findings(), Findings()], AGREES),
        ([Findings(), Findings(elsewhere="not on this machine")], AGREES),
        ([Findings(), Findings(only_tells=True, notes=["one was set aside"])], AGREES),
        ([Findings(), Findings(unchecked="Redis is away")], UNCHECKED),
        ([differing(repairable=True), Findings(unchecked="Redis is away")], DIFFERS),
        ([differing(repairable=False, unchecked="in part")], DIFFERS),
    ],
)
def test_the_exit_code_tells_difference_from_ignorance(ledger: Ledger, looks: list[Findings], verdict: int) -> None:
    checks: list[Check] = [Scripted([one]) for one in looks]

    assert audit(context(ledger), checks=checks).verdict == verdict


def test_nothing_is_repaired_unless_it_is_asked_for(ledger: Ledger) -> None:
    check = Scripted([differing(repairable=True)])

    report = audit(context(ledger), checks=[check])

    assert (check.repaired, report.verdict, report.repairable) == (0, DIFFERS, 1)


@pytest.mark.parametrize(("after", "verdict"), [(Findings(), AGREES), (differing(repairable=True), DIFFERS)])
def test_after_a_repair_a_second_look_decides(ledger: Ledger, after: Findings, verdict: int) -> None:
    check = Scripted([differing(repairable=True), after])

    report = audit(context(ledger), repair=True, checks=[check])

    [plain] = [each.plain() for each in report.checked]
    assert (check.repaired, report.verdict) == (1, verdict)
    assert plain["before_repair"]["count"] == 1


def test_what_cannot_be_put_right_is_left_alone(ledger: Ledger) -> None:
    check = Scripted([differing(repairable=False)])

    report = audit(context(ledger), repair=True, checks=[check])

    assert (check.repaired, report.verdict) == (0, DIFFERS)


def test_differences_without_end_are_counted_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "MOST_KEPT", 2)
    found = Findings()

    for number in range(5):
        found.add(Difference(what={"id": number}, says={}, repairable=True))

    assert (found.count, found.repairable, len(found.differences)) == (5, 5, 2)


def test_what_was_set_aside_is_listed_and_is_no_difference(ledger: Ledger) -> None:
    ledger.ingest([record(1), record(2, usage=Usage(prompt_tokens=-1))])
    tamper(
        ledger,
        "INSERT INTO dead_letters (consumer, seq, request_id, reason, tries, line, at)"
        " VALUES ('log', 1, '0193-00000001', 'r', 8, '{}', '2026-01-01 00:00:00.000000')",
    )

    found = SetAsideCheck().run(context(ledger))

    assert found.state == "told"
    assert found.compared == {"refused records": 1, "dead letters": 1}
    assert found.notes == [
        "the ledger: 1 refused, such as 0193-00000002",
        "plugin log: 1 dead letters, such as 0193-00000001",
    ]


def test_the_real_checks_agree_on_a_ledger_as_it_should_be(ledger: Ledger) -> None:
    ledger.ingest([record(n) for n in range(1, 20)])

    report = audit(context(ledger))

    assert report.verdict == AGREES
    states = [each.found.state for each in report.checked]
    assert states == ["elsewhere", "agrees", "agrees", "agrees", "elsewhere", "elsewhere", "elsewhere", "told"]


def test_the_daily_audit_says_that_all_agrees_and_keeps_it(ledger: Ledger) -> None:
    ledger.ingest([record(n) for n in range(1, 20)])

    with capture_logs() as logs:
        done = daily.audit_day(context(ledger), date(2025, 11, 12))

    assert [(event["event"], event["log_level"]) for event in logs] == [("audit.agrees", "info")]
    assert (logs[0]["day"], logs[0]["records"]) == ("2025-11-12", 19)
    assert done.ok
    assert done.result["checks"]["rollups"] == "agrees"


def test_the_daily_audit_names_what_differs_and_the_command_and_repairs_nothing(ledger: Ledger) -> None:
    ledger.ingest([record(n) for n in range(1, 20)])
    tamper(ledger, "UPDATE rollups_hour SET requests = 3")

    with capture_logs() as logs:
        first = daily.audit_day(context(ledger), date(2025, 11, 12))
        second = daily.audit_day(context(ledger), date(2025, 11, 12))

    assert [(event["event"], event["log_level"]) for event in logs] == [("audit.differs", "error")] * 2
    assert logs[0]["differences"] == {"rollups": 1}
    assert logs[0]["see"] == "llm-one-api verify --day 2025-11-12"
    assert not first.ok
    assert first == second


def test_the_daily_audit_says_what_it_could_not_check(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SetAsideCheck, "run", lambda *_: Findings(unchecked="it is away"))

    with capture_logs() as logs:
        done = daily.audit_day(context(ledger), date(2025, 11, 12))

    assert [(event["event"], event["unchecked"]) for event in logs] == [
        ("audit.incomplete", {"set aside": "it is away"})
    ]
    assert not done.ok


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_every_check_is_on_the_page_about_it(check: Check) -> None:
    assert f"| `{check.name}` |" in PAGE
    assert check.mends
