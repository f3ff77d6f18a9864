"""Sends one message and ends: reads an errand from stdin, writes what came of it as the last line of stdout.

A process of its own, so it may change what libraries do: it sees what is answered to them.
"""

from __future__ import annotations

import os
import signal
import smtplib
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import requests

from llm_one_api.books.reports.alerts import signing
from llm_one_api.books.reports.alerts.rules import Channel
from llm_one_api.books.reports.alerts.sending import Errand, Outcome
from llm_one_api.books.reports.alerts.wording import Message

CONNECT_SECONDS = 5.0
PERMANENT = frozenset({400, 405, 410, 411, 413, 414, 415, 422, 431, 451, 501, *range(300, 400)})
"""What an HTTP receiver will not answer otherwise the next time. A wrong key or address may be put right there."""
_REFUSED = "errcode"
"""Where DingTalk and WeCom say in a 200 that they refuse it."""
_MOST = 64 * 1024
_USER_AGENT = "llm-one-api"
_OK = range(200, 300)
_SMTP_LATER, _SMTP_NEVER = 400, 500


def main() -> None:
    """Do the errand."""
    errand = msgspec.json.decode(sys.stdin.buffer.read(), type=Errand)
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints is not our answer
    if errand.channel.kind == "apprise":
        import apprise  # noqa: F401 (this takes a second, which is not the receiver's)
    signal.alarm(int(errand.channel.timeout) + 1)  # whatever hangs in C; who waits for us sees that we ended
    try:
        outcome = deliver(errand.channel, errand.message, errand.authorities)
    except Exception as error:  # a library's text may hold the URL
        outcome = Outcome(ok=False, error=_name(error))
    os.write(out, b"\n" + msgspec.json.encode(outcome))
    os._exit(0)  # whatever threads a library has left


def deliver(channel: Channel, message: Message | None, authorities: str = "") -> Outcome:
    """Send *message* to *channel*; None: see whether it can be sent there at all.

    *authorities* is a file of those that are trusted; Apprise goes by the environment's.
    """
    if message is None:
        return Outcome(ok=_service(channel) is not None)
    if channel.kind == "webhook":
        return _post(channel, message, authorities)
    return _notify(channel, message)


# -- our own webhook --


def _post(channel: Channel, message: Message, authorities: str) -> Outcome:
    body = message.payload.encode()
    headers = {"content-type": "application/json", "user-agent": _USER_AGENT}
    headers |= signing.headers(message.uid, int(time.time()), body, channel.secrets)
    with requests.Session() as session:
        session.trust_env = False
        proxies = {"http": channel.proxy, "https": channel.proxy} if channel.proxy else {}
        try:
            answer = session.post(
                channel.url,
                data=body,
                headers=headers,
                timeout=(min(CONNECT_SECONDS, channel.timeout), channel.timeout),
                allow_redirects=False,
                proxies=proxies,
                verify=authorities or True,
                stream=True,  # what it says beside its status is of no use to us, however long
            )
        except requests.RequestException as error:
            return Outcome(ok=False, error=_name(error), permanent=_cannot_be(error))
        with answer:
            return _of(Answer(answer.status_code, answer.headers.get("retry-after")))


# -- all others --


class Answer:
    """What a server has answered."""

    def __init__(self, status: int, retry_after: str | None = None, refusal: int = 0) -> None:
        """Keep it."""
        self.status = status
        self.retry_after = retry_after
        self.refusal = refusal

    @property
    def is_good(self) -> bool:
        """Whether it takes what was sent."""
        return self.status in _OK and not self.refusal


def _of(answer: Answer) -> Outcome:
    if answer.is_good:
        return Outcome(ok=True)
    if answer.status in _OK:
        return Outcome(ok=False, error=f"refused with code {answer.refusal}")
    after = answer.retry_after or ""
    return Outcome(
        ok=False,
        permanent=answer.status in PERMANENT,
        error=f"HTTP {answer.status}",
        retry_after=float(after) if after.isdecimal() and len(after) <= 9 else None,  # noqa: PLR2004
    )


def _notify(channel: Channel, message: Message) -> Outcome:
    """Have Apprise send it, and judge by what was answered to it: it tells nothing but whether it went well."""
    from apprise import NotifyType

    service = _service(channel)
    if service is None:
        return Outcome(ok=False, permanent=True, error="no URL that Apprise can use")
    kind = {"info": NotifyType.INFO, "warning": NotifyType.WARNING, "critical": NotifyType.FAILURE}[message.severity]
    if message.kind == "resolved":
        kind = NotifyType.SUCCESS
    seen = Seen()
    with _seeing(seen):
        went_well = service.notify(body=message.body, title=message.title, notify_type=kind, body_format="text")
    refused = next((answer for answer in reversed(seen.answers) if not answer.is_good), None)
    if went_well and (refused is None or not refused.refusal):
        return Outcome(ok=True)
    if refused is not None:
        return _of(refused)
    code = next((code for code in reversed(seen.replies) if code >= _SMTP_LATER), None)
    if code is not None:
        return Outcome(ok=False, error=f"SMTP {code}", permanent=code >= _SMTP_NEVER)
    return Outcome(ok=False, error=_name(seen.failures[-1]) if seen.failures else "refused")


def _service(channel: Channel) -> Any:
    """Make what sends to a URL of Apprise's; None: there is none for it."""
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(
        app_id="LLM One API",
        app_desc="LLM One API",
        app_url="",
        storage_mode="memory",
        image_url_mask="",
        image_url_logo="",
        async_mode=False,
        http_redirects=False,
        allow_templates=False,
        pgp_autogen=False,
        pem_autogen=False,
        service_timeout=channel.timeout,
    )
    service = Apprise.instantiate(channel.url, asset=asset)
    if service is not None:  # four seconds each, if nobody says otherwise
        service.socket_connect_timeout = min(CONNECT_SECONDS, channel.timeout)
        service.socket_read_timeout = channel.timeout
    return service


class Seen:
    """What was answered while a library sent something."""

    def __init__(self) -> None:
        """Have seen nothing yet."""
        self.answers: list[Answer] = []
        self.replies: list[int] = []
        """Of an SMTP server."""
        self.failures: list[Exception] = []


@contextmanager
def _seeing(seen: Seen) -> Iterator[None]:
    """Look over the shoulder of `requests` and `smtplib` for the length of a block."""
    send, getreply, connect = requests.Session.send, smtplib.SMTP.getreply, smtplib.SMTP.connect

    def sent(session: requests.Session, request: Any, **options: Any) -> requests.Response:
        try:
            answer = send(session, request, **options)
        except requests.RequestException as error:
            seen.failures.append(error)
            raise
        seen.answers.append(Answer(answer.status_code, answer.headers.get("retry-after"), _refusal(answer)))
        return answer

    def replied(connection: smtplib.SMTP) -> tuple[int, bytes]:
        code, text = getreply(connection)
        seen.replies.append(code)
        return code, text

    def connected(connection: smtplib.SMTP, *where: Any, **named: Any) -> tuple[int, bytes]:
        try:
            return connect(connection, *where, **named)
        except OSError as error:
            seen.failures.append(error)
            raise

    requests.Session.send = sent  # type: ignore[method-assign,assignment]
    smtplib.SMTP.getreply = replied  # type: ignore[method-assign,assignment]
    smtplib.SMTP.connect = connected  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        requests.Session.send = send  # type: ignore[method-assign]
        smtplib.SMTP.getreply = getreply  # type: ignore[method-assign]
        smtplib.SMTP.connect = connect  # type: ignore[method-assign]


def _refusal(answer: requests.Response) -> int:
    """Find the code of a refusal that comes as a 200; 0: it is none."""
    if len(answer.content) > _MOST:
        return 0
    try:
        said = msgspec.json.decode(answer.content)
    except (msgspec.MsgspecError, UnicodeError):
        return 0
    code = said.get(_REFUSED) if isinstance(said, dict) else None
    return code if isinstance(code, int) else 0


def _name(error: Exception) -> str:
    """Say what kind of failure it is, without its text."""
    known: tuple[tuple[type[Exception], str], ...] = (
        (requests.exceptions.ProxyError, "the proxy cannot be reached, or refuses"),
        (requests.exceptions.SSLError, "its certificate is not trusted, or TLS failed"),
        (requests.exceptions.ConnectTimeout, "no connection in time"),
        (requests.exceptions.Timeout, "no answer in time"),
        (requests.exceptions.ConnectionError, "no connection"),
        (TimeoutError, "no answer in time"),
        (OSError, "no connection"),
    )
    return next((words for kind, words in known if isinstance(error, kind)), type(error).__name__)


def _cannot_be(error: Exception) -> bool:
    return isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema)


if __name__ == "__main__":
    main()
