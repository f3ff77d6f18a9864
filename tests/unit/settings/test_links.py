"""How connections are made to upstreams: what the config makes of it, and what it refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from llm_one_api.targets import DIRECT, Link
from tests.unit.settings.loader import Loader, targets_of

NO_PROXIES = [
    "S3CRET:3128",
    "p",
    "http://",
    "http://p:0",
    "http://p:99999",
    "http://p/S3CRET",
    "http://p?q",
    "http://p q",
    "ftp://p",
    "http://[::1",
    "off",
]
M = "models: {m: {api_base: https://h}}"


class Files:
    """PEM files of an authority, and of a client that it knows."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        client = authority.issue_cert("client@example.org", key_type=trustme.KeyType.ECDSA)
        other = authority.issue_cert("other@example.org", key_type=trustme.KeyType.ECDSA)
        self.authority = folder / "ca.pem"
        self.certificate = folder / "client.pem"
        self.key = folder / "client.key"
        self.both = folder / "both.pem"
        self.other_key = folder / "other.key"
        self.locked_key = folder / "locked.key"
        self.text = folder / "text.pem"
        authority.cert_pem.write_to_path(self.authority)
        client.cert_chain_pems[0].write_to_path(self.certificate)
        client.private_key_pem.write_to_path(self.key)
        client.private_key_and_cert_chain_pem.write_to_path(self.both)
        other.private_key_pem.write_to_path(self.other_key)
        self.locked_key.write_bytes(_locked(client.private_key_pem.bytes()))
        self.text.write_text("S3CRET\n")


def _locked(pem: bytes) -> bytes:
    key = serialization.load_pem_private_key(pem, None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"S3CRET"),
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("pem"))


def link(config: Loader, text: str, **environ: str) -> Link:
    return targets_of(config(text, environ))["m"].upstream.link


# --- what comes of it --------------------------------------------------------------------------------------------


def test_connections_are_direct_and_checked_if_nothing_is_said(config: Loader) -> None:
    everything = {"HTTPS_PROXY": "http://p", "HTTP_PROXY": "http://p", "ALL_PROXY": "http://p", "SSL_CERT_FILE": "/x"}

    assert link(config, M, **everything) == DIRECT


def test_what_is_said_for_all_holds_for_each(config: Loader, files: Files) -> None:
    text = f"""
upstreams:
  proxy: ${{HTTPS_PROXY:-}}
  ca_file: {files.authority}
  client_certificate: {files.certificate}
  client_key: {files.key}
  tls_verify: false
{M}
"""

    assert link(config, text, HTTPS_PROXY="http://user:p%40ss@proxy:3128/") == Link(
        proxy="http://user:p%40ss@proxy:3128",
        ca_file=str(files.authority),
        client_certificate=str(files.certificate),
        client_key=str(files.key),
        verify=False,
    )
    assert link(config, text).proxy == ""


@pytest.mark.parametrize("written", ["none", "None", "''", "'${NOTHING:-}'"])
def test_a_model_or_an_upstream_can_do_without(config: Loader, files: Files, written: str) -> None:
    text = f"""
upstreams: {{proxy: http://p:1, ca_file: {files.authority}, client_certificate: {files.both}}}
models:
  m: {{api_base: https://h, proxy: {written}, ca_file: {written}, client_certificate: {written}}}
"""

    assert link(config, text) == DIRECT
    assert link(config, "upstreams: {proxy: " + written + "}\n" + M) == DIRECT


def test_a_setting_with_nothing_behind_it_is_not_given(config: Loader) -> None:
    text = "upstreams: {proxy: http://p:1, tls_verify: no}\nmodels: {m: {api_base: https://h, proxy: , tls_verify: }}"

    assert link(config, text) == Link(proxy="http://p:1", verify=False)


def test_a_certificate_comes_with_its_own_key(config: Loader, files: Files) -> None:
    """The key that is said for all would not fit the certificate of one."""
    text = f"""
upstreams: {{client_certificate: {files.certificate}, client_key: {files.key}}}
models: {{m: {{api_base: https://h, client_certificate: {files.both}}}}}
"""

    made = link(config, text)

    assert (made.client_certificate, made.client_key) == (str(files.both), "")


def test_paths_are_relative_to_the_current_folder(
    config: Loader, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files.authority.parent)

    assert link(config, f"upstreams: {{ca_file: ca.pem}}\n{M}").ca_file == "ca.pem"


def test_a_proxys_password_is_not_shown_when_settings_are_printed(config: Loader) -> None:
    settings = config(f"upstreams: {{proxy: 'http://user:S3CRET@p'}}\n{M}")

    printed = f"{settings} {settings!r} {settings.upstreams} {settings.upstreams.link!r} {settings.routes()}"
    assert "S3CRET" not in printed
    assert "http://user:***@p" in printed


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        ("https://u:S3CRET@p:3128", "must begin with http://: proxies that are spoken to in TLS are not supported"),
        ("socks5://u:S3CRET@p", "must be an HTTP proxy (http://…): SOCKS proxies are not supported"),
        ("SOCKS5H://p", "must be an HTTP proxy (http://…): SOCKS proxies are not supported"),
        *(
            (proxy, "must be the http:// URL of a proxy, such as http://user:password@proxy:3128, or none, got a text")
            for proxy in NO_PROXIES
        ),
    ],
)
def test_a_proxy_that_cannot_be_used_is_a_fault(config: Loader, proxy: str, told: str) -> None:
    [everywhere] = config.faults(f"upstreams: {{proxy: '{proxy}'}}")
    [here] = config.faults(f"models: {{m: {{upstreams: [{{api_base: http://h, proxy: '{proxy}'}}]}}}}")

    assert everywhere.startswith(f"upstreams.proxy (line 1): {told}")
    assert here.startswith(f"models.m.upstreams.0.proxy (line 1): {told}")
    assert "S3CRET" not in everywhere + here


def _wrong_files(files: Files) -> Iterator[tuple[str, str]]:
    nowhere, no_key = files.text.with_name("nowhere.pem"), "holds no key that can be used"
    no_certificate = "holds no certificate; it must be a PEM file (-----BEGIN CERTIFICATE-----)"
    yield f"ca_file: {nowhere}", "ca_file (line 1): cannot be read: No such file or directory"
    yield f"ca_file: {nowhere.parent}", "ca_file (line 1): is not a file"
    yield f"ca_file: {files.text}", f"ca_file (line 1): {no_certificate}"
    yield f"ca_file: {files.key}", f"ca_file (line 1): {no_certificate}"
    yield (
        'ca_file: "a\\0b"',
        "ca_file (line 1): must be the path of a PEM file that can be read, or none, got 'a\\x00b'",
    )
    yield f"client_certificate: {files.text}", f"client_certificate (line 1): {no_certificate}"
    yield (
        f"client_certificate: {files.certificate}",
        f"client_certificate (line 1): {no_key} (without a password); put it there, or name its file in client_key",
    )
    key = f"client_certificate: {files.certificate}, client_key:"
    yield f"{key} {files.text}", f"client_key (line 1): {no_key}; it must be a PEM file without a password"
    yield f"{key} {files.locked_key}", f"client_key (line 1): {no_key}; it must be a PEM file without a password"
    yield f"{key} {files.other_key}", "client_key (line 1): is not the key of client_certificate"
    yield f"{key} {nowhere}", "client_key (line 1): cannot be read: No such file or directory"
    yield (
        f"client_key: {files.key}",
        "client_key (line 1): is read beside client_certificate only: give both, or neither",
    )
    yield "tls_verify: maybe", "tls_verify (line 1): must be true or false, got 'maybe'"


def test_files_that_cannot_be_used_are_faults_of_the_config(config: Loader, files: Files) -> None:
    for lines, told in _wrong_files(files):
        everywhere = config.faults(f"upstreams: {{{lines}}}")
        here = config.faults(f"models: {{m: {{api_base: http://h, {lines}}}}}")

        assert everywhere == [f"upstreams.{told}"]
        assert here == [f"models.m.{told}"]


def test_a_pipe_is_not_waited_for(config: Loader, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    assert config.faults(f"upstreams: {{ca_file: {tmp_path}/pipe}}") == ["upstreams.ca_file (line 1): is not a file"]
