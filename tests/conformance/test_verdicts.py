"""The suite itself: it sees what is wrong, and passes nothing that it cannot see."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from llm_one_api.conformance import report
from llm_one_api.conformance.case import all_cases
from llm_one_api.conformance.run import Result, play
from tests.conformance.conftest import Place
from tests.conformance.tampering import Seen, Tamper, tampered

WHOLE, STREAM, ASKED = "usage/chat-whole", "streams/usage-asked-on-behalf", "streams/usage-asked-by-caller"


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
