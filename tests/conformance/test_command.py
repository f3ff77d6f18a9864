"""`llm-one-api conformance` as its users run it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from llm_one_api.conformance.case import all_cases
from llm_one_api.settings import load
from tests.conformance.conftest import DRAIN_KEY, KEY, Place
from tests.harness import commands


def conformance(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.run("conformance", *arguments, folder=folder)


def test_without_a_url_it_brings_its_own_gateway_and_leaves_nothing(tmp_path: Path) -> None:
    done = conformance(tmp_path, "--only", "usage/chat-whole")

    assert done.returncode == 0, done.stdout + done.stderr
    line, summary = done.stdout.splitlines()
    assert line.split() == [
        *("PASS", "usage/chat-whole", "upstream", "50+120=170", "200", "clean", "1x"),
        *("record", "success", "200", "50+120=170", "reported"),
    ]
    assert summary.startswith("1 PASS, 0 FAIL, 0 UNPROVABLE in ")
    assert list(tmp_path.iterdir()) == []


def test_with_a_url_it_judges_what_runs_there_and_tells_programs_all_of_it(place: Place, tmp_path: Path) -> None:
    at = ("--url", place.running.url, "--key", KEY, "--upstream", place.address)

    done = conformance(tmp_path, *at, "--only", "callers/*", "--json")

    cases = {case["case"]: case for case in json.loads(done.stdout)["cases"]}
    assert done.returncode == 0, done.stdout
    assert cases["callers/drain"]["verdict"] == "UNPROVABLE"
    assert cases["callers/gateway-killed"]["verdict"] == "UNPROVABLE"
    known = cases["callers/no-prompt-in-the-record"]["calls"][0]
    assert known["upstream"]["usage"]["total_tokens"] == known["record"]["usage"]["total_tokens"] == 170
    assert known["upstream"]["requests"][0]["ended"] == "clean"
    assert "secret plan" not in done.stdout
    assert KEY not in done.stdout


def test_a_key_without_admin_proves_what_its_own_calls_show(place: Place, tmp_path: Path) -> None:
    at = ("--url", place.running.url, "--key", DRAIN_KEY, "--upstream", place.address)

    done = conformance(tmp_path, *at, "--only", "usage/chat-whole")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("PASS")


def test_a_case_that_fails_is_exit_code_1_with_what_was_expected_and_found(place: Place, tmp_path: Path) -> None:
    # Nobody listens where the gateway's models point to: the upstream is elsewhere.
    at = ("--url", place.running.url, "--key", KEY, "--upstream", "127.0.0.1:0")

    done = conformance(tmp_path, *at, "--only", "usage/chat-whole")

    assert done.returncode == 1
    assert "FAIL        usage/chat-whole" in done.stdout
    assert "expected  200\n              found     502" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--url", "http://127.0.0.1:1"), "--url needs --key"),
        (("--key", "k"), "go with --url"),
        (("--only", "no-such-case"), "no case fits"),
        (("--url", "http://127.0.0.1:1", "--key", "k", "--upstream", "9199"), "must be HOST:PORT"),
        (("--url", "http://127.0.0.1:1", "--key", "k", "--upstream", "127.0.0.1:0"), "cannot be judged"),
    ],
)
def test_what_cannot_be_run_is_exit_code_2(arguments: tuple[str, ...], reason: str, tmp_path: Path) -> None:
    done = conformance(tmp_path, *arguments)

    assert done.returncode == 2
    assert reason in done.stderr


def test_a_wrong_key_is_said_at_once(place: Place, tmp_path: Path) -> None:
    at = ("--url", place.running.url, "--key", "sk-wrong", "--upstream", place.address)

    done = conformance(tmp_path, *at)

    assert done.returncode == 2
    assert "is the key right?" in done.stderr


def test_the_config_that_is_printed_can_be_used(tmp_path: Path) -> None:
    done = conformance(tmp_path, "--print-config", "--upstream", "10.0.0.7:9199")

    sections = yaml.safe_load(done.stdout)
    keys = sections["auth"]["default_auth"]["api_keys"]
    keys[0]["key"], keys[1]["key"] = KEY, DRAIN_KEY
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(sections))
    loaded = load(tmp_path / "config.yaml", environ={})
    assert loaded.routes()["conformance-openai"].targets[0].upstream.base_url.startswith("http://10.0.0.7:9199/")


def test_the_list_says_what_each_case_checks(tmp_path: Path) -> None:
    done = conformance(tmp_path, "--list")

    lines = done.stdout.splitlines()
    assert len(lines) == len(all_cases())
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)
