"""What goes to each kind of place, and what its answers mean: shapes of third parties, by `responses`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import responses
from standardwebhooks.webhooks import Webhook

from llm_one_api.books.reports.alerts.rules import Channel
from llm_one_api.books.reports.alerts.sender import deliver
from llm_one_api.books.reports.alerts.sending import Outcome
from llm_one_api.books.reports.alerts.wording import Message

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated")  # Apprise looks for it

SECRET = "whsec_" + "A" * 32
HOOK = "https://ops.example.com/hook?token=S3CRET"
MESSAGE = Message(
    uid="77",
    kind="firing",
    severity="critical",
    title="[FIRING] error-rate",
    body="error rate: 12 %, limit 5 %\nin the last 15 min",
    payload='{"type":"alert.firing"}',
)
SLACK = "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
DINGTALK = "https://oapi.dingtalk.com/robot/send"
FEISHU = "https://open.feishu.cn/open-apis/bot/v2/hook/abc123/"
WECOM = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send"
DISCORD = "https://discord.com/api/webhooks/123456/abcdef"
TEAMS = "https://prod.logic.azure.com:443/workflows/643e69f83c8944/triggers/manual/paths/invoke"

URLS = {
    "slack": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#ops",
    "dingtalk": "dingtalk://SECabcdef@tokentokentoken/",
    "feishu": "feishu://abc123",
    "wecom": "wecombot://bot-key-1",
    "discord": "discord://123456/abcdef",
    "teams": "workflows://prod.logic.azure.com:443/643e69f83c8944/signature/",
}


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def send(url: str, message: Message = MESSAGE) -> Outcome:
    return deliver(Channel(name="c", kind="apprise", url=url), message)


def hook(**changes: Any) -> Outcome:
    return deliver(Channel(name="h", kind="webhook", url=HOOK, secrets=(SECRET,), **changes), MESSAGE)


def said(web: responses.RequestsMock) -> Any:
    [call] = web.calls
    return json.loads(call.request.body or "{}")


def texts(found: Any) -> str:
    match found:
        case dict():
            return "\n".join(map(texts, found.values()))
        case list():
            return "\n".join(map(texts, found))
    return str(found)


@pytest.mark.parametrize(
    ("kind", "url", "answer"),
    [
        ("slack", SLACK, "ok"),
        ("dingtalk", DINGTALK, '{"errcode":0,"errmsg":"ok"}'),
        ("feishu", FEISHU, '{"code":0,"data":{},"msg":"success"}'),
        ("wecom", WECOM, '{"errcode":0,"errmsg":"ok"}'),
        ("discord", DISCORD, ""),
        ("teams", TEAMS, ""),
    ],
)
def test_each_service_gets_the_title_and_the_lines_in_its_own_shape(
    web: responses.RequestsMock, kind: str, url: str, answer: str
) -> None:
    web.post(url, body=answer)

    outcome = send(URLS[kind])

    told = texts(said(web))
    assert outcome == Outcome(ok=True)
    assert "[FIRING] error-rate" in told
    assert "error rate: 12 %, limit 5 %" in told
    assert "in the last 15 min" in told
    assert "appriseit" not in told
    assert "github" not in told


@pytest.mark.parametrize(
    ("kind", "url", "body"),
    [
        ("dingtalk", DINGTALK, '{"errcode":310000,"errmsg":"keywords not in content"}'),
        ("wecom", WECOM, '{"errcode":93000,"errmsg":"invalid webhook url"}'),
        ("feishu", FEISHU, '{"code":19024,"msg":"Key Words Not Found"}'),
    ],
)
def test_a_refusal_that_comes_as_a_200_is_a_refusal(
    web: responses.RequestsMock, kind: str, url: str, body: str
) -> None:
    web.post(url, body=body)

    outcome = send(URLS[kind])

    assert not outcome.ok
    assert outcome.error.startswith("refused")


@pytest.mark.parametrize(
    ("status", "headers", "outcome"),
    [
        (200, {}, Outcome(ok=True)),
        (204, {}, Outcome(ok=True)),
        (302, {"location": "https://other.example.com"}, Outcome(ok=False, permanent=True, error="HTTP 302")),
        (400, {}, Outcome(ok=False, permanent=True, error="HTTP 400")),
        (404, {}, Outcome(ok=False, error="HTTP 404")),
        (410, {}, Outcome(ok=False, permanent=True, error="HTTP 410")),
        (429, {"retry-after": "120"}, Outcome(ok=False, error="HTTP 429", retry_after=120)),
        (503, {"retry-after": "Wed, 21 Oct"}, Outcome(ok=False, error="HTTP 503")),
    ],
)
def test_what_an_answer_means(
    web: responses.RequestsMock, status: int, headers: dict[str, str], outcome: Outcome
) -> None:
    web.post(HOOK, status=status, headers=headers)
    web.post(SLACK, body="ok", status=status, headers=headers)

    assert hook() == outcome
    slack = send(URLS["slack"])
    assert (slack.ok, slack.permanent) == ((status == 200), outcome.permanent)


def test_a_webhook_is_signed_and_says_who_it_is(web: responses.RequestsMock) -> None:
    web.post(HOOK)

    hook()

    [call] = web.calls
    headers = {name.lower(): value for name, value in call.request.headers.items()}
    assert Webhook(SECRET).verify(call.request.body or b"", headers) == {"type": "alert.firing"}
    assert headers["webhook-id"] == "msg_77"
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "llm-one-api"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (requests.ConnectionError(f"to {HOOK}"), "no connection"),
        (requests.ReadTimeout(HOOK), "no answer in time"),
        (requests.exceptions.SSLError(HOOK), "its certificate is not trusted, or TLS failed"),
        (requests.exceptions.ProxyError(HOOK), "the proxy cannot be reached, or refuses"),
    ],
)
def test_what_goes_wrong_is_said_without_the_url(web: responses.RequestsMock, error: Exception, words: str) -> None:
    web.post(HOOK, body=error)
    web.post(SLACK, body=error)

    assert hook() == send(URLS["slack"]) == Outcome(ok=False, error=words)


def test_a_url_that_nobody_can_use_is_no_use_trying_again() -> None:
    for url in ("nonsense://S3CRET", "slack://", "https://example.com/S3CRET"):
        outcome = send(url)

        assert (outcome.ok, outcome.permanent, outcome.error) == (False, True, "no URL that Apprise can use")


def test_who_sent_before_sees_nothing_of_it(web: responses.RequestsMock) -> None:
    before = requests.Session.send
    web.post(SLACK, body="ok")

    send(URLS["slack"])

    assert requests.Session.send is before
