"""`docs/limits.md` cannot lie where it can be run."""

from __future__ import annotations

import re
import typing
from pathlib import Path

from llm_one_api.gateway import observed, reserving, wording
from llm_one_api.limits.rules import PERIODS, Action, Rules
from llm_one_api.settings import Settings, load
from llm_one_api.settings.limits import AmountSettings, LimitSettings, LimitsSettings, QuotaSettings
from llm_one_api.values import Caller
from tests.harness.processes import ROOT

PAGE = (ROOT / "docs/limits.md").read_text()
FIRST, SECOND = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


def settings(folder: Path, text: str) -> Settings:
    file = folder / "config.yaml"
    file.write_text(text)
    return load(file, {})


def rules(folder: Path, text: str) -> Rules:
    return settings(folder, text).limit_rules()


def test_the_first_example_limits_those_whom_it_names(tmp_path: Path) -> None:
    made = rules(tmp_path, FIRST)

    alice = dict(made.of(Caller(key="key_3f9a1c22", user="alice", group="research"), "m"))

    assert list(alice) == ["key:key_3f9a1c22", "user:alice", "group:research"]
    assert (alice["user:alice"].action, alice["user:alice"].throttled_to) == ("throttle", 6)
    assert made.of(Caller(key="key_00000000", user="admin"), "m") == ()


def test_the_second_example_says_what_alice_may_do(tmp_path: Path) -> None:
    alice = rules(tmp_path, SECOND).named["user"]["alice"]

    assert "# 600 calls a minute, 5,000 calls a day, tokens without end" in SECOND
    assert (alice.requests_per_minute, alice.day.requests, alice.day.tokens) == (600, 5000, None)


def test_the_message_is_one_that_callers_get() -> None:
    message = wording.quota(
        "user:alice", "day", "tokens",
        limit=5_000_000, used=4_999_120, held=1500, asked=1027, ends="2026-11-25T00:00:00+08:00",
    )  # fmt: skip

    assert f"```\n{message}\n```" in PAGE


def test_every_limit_every_action_and_every_place_of_a_set_is_on_it() -> None:
    names = {
        *LimitSettings.model_fields, *AmountSettings.model_fields, *LimitsSettings.model_fields,
        *PERIODS, *typing.get_args(Action),
    }  # fmt: skip
    quota = {f"quota.{name}" for name in QuotaSettings.model_fields}

    assert {name for name in names if f"`{name}`" not in PAGE and f"`{name}." not in PAGE} == set()
    assert {name for name in quota if f"`{name}" not in PAGE} == set()


def test_its_figures_are_those_of_the_code(tmp_path: Path) -> None:
    made = settings(tmp_path, "")

    figures = {
        f"counts as {reserving.DATA_TOKENS:,} tokens",
        f"({observed.UNTIL_KNOWN:,} before there were 20 of them",
        f"`quota.lease` seconds ({made.quota.lease:g})",
        f"`rate_limit.failed_auth_per_minute` ({made.rate_limit.failed_auth_per_minute})",
    }
    assert {figure for figure in figures if figure not in " ".join(PAGE.split())} == set()
