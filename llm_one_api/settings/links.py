"""The section `upstreams`: how connections are made to all of them. A model, or one entry of it, may say otherwise."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from msgspec import structs
from pydantic import AfterValidator, BeforeValidator, model_validator

from llm_one_api.settings.kinds import Expect, Url, fault
from llm_one_api.settings.sections import Section, Switch
from llm_one_api.targets import DIRECT, Link

_NONE = "none"


def _without(value: Any) -> Any:
    """Take the word `none` for the empty text: here there is none, whatever is said for all."""
    return "" if isinstance(value, str) and value.strip().lower() in {"", _NONE} else value


def _is_proxy(url: str | None) -> str | None:
    if not url:
        return url
    scheme = url.partition("://")[0].lower()
    if scheme.startswith("socks"):
        raise fault("must be an HTTP proxy (http://…): SOCKS proxies are not supported")
    if scheme == "https":
        raise fault(
            "must begin with http://: proxies that are spoken to in TLS are not supported (what goes to an https:// "
            "upstream is encrypted all the way, also through an http:// proxy)"
        )
    if not url.isprintable() or " " in url or scheme != "http":
        raise ValueError("no proxy")
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0 or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("no proxy")
    return Url(url.rstrip("/"))


def _is_file(path: str | None) -> str | None:
    if not path:
        return path
    if not (path.strip() and path.isprintable()):
        raise ValueError("no path")
    try:
        # What is no plain file (a pipe, say) could keep whoever reads it waiting.
        if not Path(path).is_file():
            Path(path).stat()
            raise fault("is not a file")
        with Path(path).open("rb"):
            return path
    except OSError as error:
        raise fault(f"cannot be read: {error.strerror or 'not a path'}") from None


def _is_authority(path: str | None) -> str | None:
    if not path:
        return path
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(path)
    except ssl.SSLError:
        raise fault(_NO_CERTIFICATE) from None
    if not context.cert_store_stats()["x509"]:
        raise fault(_NO_CERTIFICATE)
    return path


_NO_CERTIFICATE = "holds no certificate; it must be a PEM file (-----BEGIN CERTIFICATE-----)"
_FILE = "the path of a PEM file that can be read, or none"
ProxyUrl = Annotated[
    str | None,
    BeforeValidator(_without),
    AfterValidator(_is_proxy),
    Expect("the http:// URL of a proxy, such as http://user:password@proxy:3128, or none", secret=True),
]
PemFile = Annotated[str | None, BeforeValidator(_without), AfterValidator(_is_file), Expect(_FILE)]
AuthorityFile = Annotated[PemFile, AfterValidator(_is_authority), Expect(_FILE)]
SwitchOrNone = Annotated[Switch | None, Expect("true or false")]


class LinkSettings(Section):
    """How connections are made."""

    proxy: ProxyUrl = None
    """An HTTP proxy that they go through. `none`, and nothing anywhere: they go straight there."""
    ca_file: AuthorityFile = None
    """A file of certificate authorities (PEM) that are trusted, beside those that everybody trusts."""
    client_certificate: PemFile = None
    """A certificate (PEM) that shows the upstream who we are."""
    client_key: PemFile = None
    """Its key (PEM, without a password). Nothing: it is in the certificate's file."""
    tls_verify: SwitchOrNone = None
    """Whether an upstream must have a trusted certificate; it must, if nobody says otherwise. With `false`, anybody on
    the way can read keys and prompts."""

    @model_validator(mode="after")
    def _has_a_certificates_key(self) -> LinkSettings:
        if self.client_key and not self.client_certificate:
            raise fault("is read beside client_certificate only: give both, or neither", field="client_key")
        if self.client_certificate:
            _check_pair(self.client_certificate, self.client_key)
        return self

    def over(self, link: Link) -> Link:
        """Tell how connections are made where else they would be made by *link*."""
        return structs.replace(link, **dict(self._said()))

    def _said(self) -> Iterator[tuple[str, Any]]:
        if self.proxy is not None:
            yield "proxy", self.proxy
        if self.ca_file is not None:
            yield "ca_file", self.ca_file
        if self.client_certificate is not None:
            # The key belongs to the certificate: one from elsewhere would not fit.
            yield "client_certificate", self.client_certificate
            yield "client_key", self.client_key or ""
        if self.tls_verify is not None:
            yield "verify", self.tls_verify


class UpstreamsSettings(LinkSettings):
    """How connections are made to upstreams, where a model, or an entry of its `upstreams`, says nothing else.

    Only what stands in the config counts: `HTTPS_PROXY`, `SSL_CERT_FILE` and the like are read where it names them, as
    in `proxy: ${HTTPS_PROXY:-}`, and nowhere else. The files are looked at whenever the config is read, so every part
    (the workers too) must be able to read them.
    """

    @property
    def link(self) -> Link:
        """How they are made."""
        return self.over(DIRECT)


def _check_pair(certificate: str, key: str | None) -> None:
    """Refuse a certificate that could not be shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        # Without a password of ours, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key or None, password=lambda: b"")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise fault("is not the key of client_certificate", field="client_key") from None
        if b"-----BEGIN CERTIFICATE-----" not in Path(certificate).read_bytes():
            raise fault(_NO_CERTIFICATE, field="client_certificate") from None
        if key:
            raise fault(
                "holds no key that can be used; it must be a PEM file without a password", field="client_key"
            ) from None
        raise fault(
            "holds no key that can be used (without a password); put it there, or name its file in client_key",
            field="client_certificate",
        ) from None
