"""The section `alerts.channels`: where somebody is told."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, model_validator

from llm_one_api.books.reports.alerts import signing
from llm_one_api.books.reports.alerts.rules import Channel
from llm_one_api.settings.kinds import CallSeconds, Expect, fault, listed
from llm_one_api.settings.sections import Section

_HTTP = frozenset({"http", "https"})
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)


def _is_secret(secret: SecretStr) -> SecretStr:
    try:
        signing.key_of(secret.get_secret_value())
    except ValueError:
        raise ValueError("no secret") from None
    return secret


UrlOrNone = Annotated[SecretStr | None, Expect("a URL", secret=True)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_is_secret)]
WebhookSecrets = Annotated[
    tuple[WebhookSecret, ...],
    BeforeValidator(listed),
    Expect("whsec_ and 24 to 64 bytes in base64; several while they are being replaced", secret=True),
]


class ChannelSettings(Section):
    """Where somebody is told: one of `url` and `webhook`."""

    url: UrlOrNone = None
    """A URL of Apprise's, such as `slack://…`, `msteams://…`, `discord://…`, `dingtalk://…`, `feishu://…`, `wecombot://…`
    or `mailtos://…`. A secret."""
    webhook: UrlOrNone = None
    """An http:// or https:// URL that gets signed JSON (Standard Webhooks). A secret."""
    secret: WebhookSecrets = ()
    """What a webhook's messages are signed with."""
    timeout: CallSeconds = 15.0
    """Seconds that it may take to take a message."""

    @model_validator(mode="after")
    def _is_one(self) -> ChannelSettings:
        if (self.url is None) == (self.webhook is None):
            raise fault("needs one of url and webhook", field=None if self.url is None else "url")
        if self.webhook is None and self.secret:
            raise fault("is read beside webhook only", field="secret")
        if self.webhook is not None and not self.secret:
            raise fault("must be given beside webhook: whsec_ and 24 to 64 bytes in base64", field="secret")
        name = "url" if self.webhook is None else "webhook"
        if not _is_url(self._url, http=self.webhook is not None):
            expected = "an http:// or https:// URL" if self.webhook else "a URL of Apprise's, such as slack://…"
            raise fault(f"must be {expected}, got a text of {len(self._url)} characters", field=name)
        return self

    @property
    def _url(self) -> str:
        secret = self.url or self.webhook
        return "" if secret is None else str(secret.get_secret_value())

    def channel(self, name: str, proxy: str, ca_file: str) -> Channel:
        """Make the channel."""
        return Channel(
            name=name,
            kind="apprise" if self.webhook is None else "webhook",
            url=self._url,
            secrets=tuple(secret.get_secret_value() for secret in self.secret),
            timeout=self.timeout,
            proxy=proxy,
            ca_file=ca_file,
        )


def _is_url(url: str, *, http: bool) -> bool:
    if not url.isprintable() or " " in url or not _SCHEME.match(url):
        return False
    if not http:
        return True
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() in _HTTP and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
