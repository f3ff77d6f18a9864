"""The conformance suite over a whole gateway of this tree: each case, its verdicts, and its command.

In one file, which has one gateway: each start of one takes ten seconds.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_one_api.conformance import report
from llm_one_api.conformance.case import Case, all_cases
from llm_one_api.conformance.run import Result, play
from llm_one_api.settings import load
from tests.conformance.conftest import DRAIN_KEY, KEY, Place
from tests.conformance.tampering import Seen, Tamper, tampered
from tests.harness import commands

WHOLE, STREAM, ASKED = "usage/chat-whole", "streams/usage-asked-on-behalf", "streams/usage-asked-by-caller"


# -- the cases --


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_the_gateway_conforms(case: Case, results: dict[str, Result]) -> None:
    result = results[case.name]

    assert result.verdict == "PASS", f"{case.says}\n{report.line(result)}"


# -- verdicts: it sees what is wrong, and passes nothing that it cannot see --


def judged(place: Place, name: str, tamper: Tamper) -> Result:
    """Play one case against the gateway as it looks through *tamper*."""
    [case] = [each for each in all_cases(name) if each.name == name]
    with place.upstream() as upstream, tampered(place.running.url, tamper) as url:
        gateway = place.gateway(url)
        gateway.recorded_within, gateway.settled_within = 3.0, 0.2
        return play(case, gateway, upstream)


def record(change: Callable[[dict[str, Any]], None]) -> Tamper:
    """Change what the gateway shows as a record."""

    def tamper(seen: Seen) -> Seen:
        if not seen.path.startswith("/v1/stats/calls/") or seen.status != 200:
            return seen
        fields = json.loads(seen.body)
        change(fields)
        return seen._replace(body=json.dumps(fields).encode())

    return tamper


def found(result: Result) -> list[str]:
    return [finding.what for finding in result.findings]


def test_a_gateway_that_is_right_passes_through_a_middleman_that_changes_nothing(place: Place) -> None:
    result = judged(place, WHOLE, lambda seen: seen)

    assert result.verdict == "PASS", report.line(result)


def test_a_figure_that_is_doubled_fails(place: Place) -> None:
    def double(fields: dict[str, Any]) -> None:
        fields["usage"]["completion_tokens"] *= 2

    result = judged(place, WHOLE, record(double))

    assert result.verdict == "FAIL"
    assert found(result) == ["record.usage.completion_tokens"]
    assert (result.findings[0].expected, result.findings[0].found) == ("120", "240")


def test_a_figure_that_was_never_told_must_not_be_zero(place: Place) -> None:
    result = judged(place, WHOLE, record(lambda fields: fields["usage"].update(cache_read_tokens=0)))

    assert found(result) == ["record.usage.cache_read_tokens"]


def test_an_estimate_that_calls_itself_reported_fails(place: Place) -> None:
    result = judged(place, WHOLE, record(lambda fields: fields.update(usage_source="estimated")))

    assert found(result) == ["record.usage_source"]


def test_a_wrong_outcome_fails(place: Place) -> None:
    result = judged(place, "outcomes/upstream_error-429", record(lambda fields: fields.update(outcome="client_error")))

    assert found(result) == ["record.outcome"]


def test_an_attempt_that_is_not_on_the_record_fails(place: Place) -> None:
    result = judged(place, WHOLE, record(lambda fields: fields.update(attempts=[])))

    assert found(result) == ["record.attempts"]


def test_a_usage_event_that_is_lost_fails(place: Place) -> None:
    def drop(seen: Seen) -> Seen:
        events = [event for event in seen.body.split(b"\n\n") if b'"usage":{' not in event]
        return seen._replace(body=b"\n\n".join(events)) if seen.path == "/v1/chat/completions" else seen

    result = judged(place, ASKED, drop)

    assert result.verdict == "FAIL"
    assert found(result)[0].startswith("reply.body")


def test_a_usage_event_that_nobody_asked_for_fails(place: Place) -> None:
    def add(seen: Seen) -> Seen:
        more = b'data: {"choices":[],"usage":{"prompt_tokens":50}}\n\n'
        return seen._replace(body=more + seen.body) if seen.path == "/v1/chat/completions" else seen

    result = judged(place, STREAM, add)

    assert found(result)[0].startswith("reply.body")


def test_a_status_that_is_changed_fails(place: Place) -> None:
    def blame(seen: Seen) -> Seen:
        return seen._replace(status=401) if seen.status == 502 else seen

    result = judged(place, "outcomes/revoked-upstream-key-401", blame)

    assert "reply.status" in found(result)


def test_a_call_without_a_record_fails(place: Place) -> None:
    def lose(seen: Seen) -> Seen:
        known = seen.path.startswith("/v1/stats/calls/") and seen.status == 200
        return Seen(seen.path, 404, b'{"error":{"code":"unknown_call"}}') if known else seen

    result = judged(place, WHOLE, lose)

    assert result.verdict == "FAIL"
    assert found(result) == ["record"]


def test_records_that_cannot_be_read_prove_nothing(place: Place) -> None:
    def hide(seen: Seen) -> Seen:
        return Seen(seen.path, 403, b"{}") if seen.path.startswith("/v1/stats") else seen

    result = judged(place, WHOLE, hide)

    assert result.verdict == "UNPROVABLE"
    assert result.reasons == ("GET /v1/stats/calls/… answered 403, so no record can be read",)


def test_what_is_wrong_without_a_look_at_the_records_fails_all_the_same(place: Place) -> None:
    def hide_and_cut(seen: Seen) -> Seen:
        if seen.path.startswith("/v1/stats"):
            return Seen(seen.path, 404, b"")
        return seen._replace(body=seen.body[:-10]) if seen.path == "/v1/chat/completions" else seen

    result = judged(place, WHOLE, hide_and_cut)

    assert result.verdict == "FAIL"
    assert result.reasons


def test_a_model_that_is_not_configured_proves_nothing(place: Place) -> None:
    def forget(seen: Seen) -> Seen:
        return seen._replace(body=b'{"data":[{"id":"gpt-4"}]}') if seen.path == "/v1/models" else seen

    result = judged(place, WHOLE, forget)

    assert result.verdict == "UNPROVABLE"
    assert result.reasons == ("the model conformance-openai is not configured",)


def test_a_key_that_reaches_the_upstream_fails(place: Place) -> None:
    [case] = [each for each in all_cases(WHOLE) if each.name == WHOLE]
    with place.upstream() as upstream:
        gateway = place.gateway()
        # As if the gateway passed everything on as it came.
        gateway.url, gateway.hidden = f"http://{upstream.address}", "it keeps no records"

        result = play(case, gateway, upstream)

    assert "the caller's key upstream" in found(result)
    assert "the upstream's own key upstream" in found(result)


def test_a_case_that_raises_fails_with_the_reason(place: Place) -> None:
    [case] = [each for each in all_cases(WHOLE) if each.name == WHOLE]
    with place.upstream() as upstream:
        gateway = place.gateway()
        gateway.url = "http://127.0.0.1:1"

        result = play(case, gateway, upstream)

    assert result.verdict == "FAIL"
    assert "ConnectionRefusedError" in result.findings[0].found


# -- the command, as its users run it --


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
