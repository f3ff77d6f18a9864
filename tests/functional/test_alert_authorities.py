"""Alerts come to webhooks and mail servers whose certificates a company's own authority has signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_one_api.books.reports.alerts.rules import Channel
from llm_one_api.books.reports.alerts.sending import send
from llm_one_api.books.reports.alerts.wording import Message
from tests.harness.certificates import Authority
from tests.harness.receivers import mailbox, receiver

SECRET = "whsec_" + "S3CRET" * 6 + "AAAA"
MESSAGE = Message(uid="1", kind="firing", severity="warning", title="[FIRING] r", body="a: 9\nb", payload='{"a":1}')


def channels(hook: str, port: int, ca_file: str) -> list[Channel]:
    urls = [
        hook.replace("https:", "jsons:"),
        f"mailtos://127.0.0.1:{port}?from=alerts@example.com&to=ops@example.com&mode=ssl",
    ]
    signed = Channel(name="hook", kind="webhook", url=hook, secrets=(SECRET,), ca_file=ca_file)
    return [signed, *[Channel(name="c", kind="apprise", url=url, ca_file=ca_file) for url in urls]]


def test_a_companys_own_authority_is_trusted_once_the_config_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "ca")
    for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"):  # of the environment nothing counts
        monkeypatch.setenv(name, str(authority.file))

    with receiver(authority.server("127.0.0.1")) as there, mailbox(authority.server("127.0.0.1")) as mail:
        without = [send(channel, MESSAGE) for channel in channels(there.url, mail.port, "")]
        nothing = len(there.got) + len(mail.got)
        trusted = [send(channel, MESSAGE) for channel in channels(there.url, mail.port, str(authority.file))]
        gone = send(channels(there.url, mail.port, str(tmp_path / "none.pem"))[0], MESSAGE)

    assert [(outcome.ok, outcome.permanent) for outcome in without] == [(False, False)] * 3
    assert (without[0].error, nothing) == ("its certificate is not trusted, or TLS failed", 0)
    assert [outcome.error for outcome in trusted] == [""] * 3
    assert (len(there.got), len(mail.got)) == (2, 1)
    assert (gone.ok, gone.permanent, gone.error) == (
        False, False, "alerts.ca_file cannot be used: No such file or directory",
    )  # fmt: skip
