"""The limits that workers go by are those of the config as it stands."""

from __future__ import annotations

from structlog.testing import capture_logs

from llm_one_api.errors import ConfigError, Fault
from llm_one_api.settings import Settings
from workers.rules import CurrentRules

NONE = Settings()
SOME = Settings.model_validate({"limits": {"each_user": {"day": {"tokens": 1000}}}})


class File:
    def __init__(self) -> None:
        self.written = "at first"
        self.holds: Settings | None = NONE
        self.reads = 0

    def read(self) -> Settings:
        self.reads += 1
        if self.holds is None:
            raise ConfigError([Fault("limits", "must be a section")])
        return self.holds


def test_a_first_quota_is_known_without_a_restart() -> None:
    file = File()
    rules = CurrentRules(NONE, file.read, lambda: file.written)
    assert not rules.now().have_quotas

    file.written, file.holds = "later", SOME

    assert rules.now().have_quotas
    assert (rules.now().have_quotas, file.reads) == (True, 2)


def test_a_file_with_faults_changes_nothing_and_is_told_of_once() -> None:
    file = File()
    rules = CurrentRules(SOME, file.read, lambda: file.written)
    file.holds = None

    with capture_logs() as logs:
        assert rules.now().have_quotas
        assert rules.now().have_quotas

    assert [(line["event"], line["faults"]) for line in logs] == [("config.refused", ["limits: must be a section"])]
