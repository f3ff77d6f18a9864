"""TLS contexts: whom we trust and who we are, from the settings and the system's own store, never from the environment.

`ssl.create_default_context` is not used: it reads `SSL_CERT_FILE`, `SSL_CERT_DIR` and `SSLKEYLOGFILE`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import gevent
import structlog
from gevent import ssl
from gevent.lock import RLock

from llm_one_api.gateway.upstreams.faults import Unusable, tls_reason
from llm_one_api.targets import Link

log = structlog.get_logger()

_Key = tuple[str, str, str, bool]
_Stamps = tuple[tuple[int, int, int] | None, ...]


@dataclass(slots=True)
class _Made:
    context: Any
    stamps: _Stamps


class Contexts:
    """A context for each way of trusting; made anew when one of its files changes."""

    def __init__(self) -> None:
        """Read no file yet."""
        self._made: dict[_Key, _Made] = {}
        self._lock = RLock()

    def of(self, link: Link) -> Any:
        """Give the context for *link*. Raises Unusable.

        Files that were changed and cannot be used (a certificate whose key has not been replaced yet) change nothing.
        """
        key = _key(link)
        stamps = _stamps(key)
        made = self._made.get(key)
        if made is not None and made.stamps == stamps:
            return made.context
        with self._lock:  # it takes 20 ms and a megabyte: once is enough for all that wait
            made = self._made.get(key)
            if made is not None and made.stamps == stamps:
                return made.context
            context, problem = gevent.get_hub().threadpool.apply(_tried, (link,))
            if context is not None:
                self._made[key] = _Made(context, stamps)
                return context
            if made is None:
                raise Unusable(problem)
            made.stamps = stamps  # they are read again when they change again
            log.error("tls.files_unusable", reason=problem, decision="go on with what was read before")
            return made.context

    def keep(self, links: set[Link]) -> None:
        """Forget those that none of *links* uses."""
        wanted = {_key(link) for link in links}
        for key in [key for key in self._made if key not in wanted]:
            del self._made[key]


def _key(link: Link) -> _Key:
    return link.ca_file, link.client_certificate, link.client_key, link.verify


def _stamps(key: _Key) -> _Stamps:
    """Tell the state of the files that a context is made of."""
    stamps: list[tuple[int, int, int] | None] = []
    for file in key[:3]:
        try:
            stat = os.stat(file) if file else None  # noqa: PTH116 (four times as fast as a Path's)
        except OSError:
            stat = None
        stamps.append(None if stat is None else (stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return tuple(stamps)


def _tried(link: Link) -> tuple[Any, str]:
    """Make a context in a thread: None and what is wrong if that fails (what is raised there, gevent would print)."""
    doing = "the authorities that everybody trusts"
    try:
        context = _plain(verify=link.verify)
        if link.ca_file:
            doing = f"ca_file {link.ca_file}"
            context.load_verify_locations(link.ca_file)
        if link.client_certificate:
            doing = f"client_certificate {link.client_certificate}"
            if link.client_key:
                doing += f" with client_key {link.client_key}"
            # Without a password OpenSSL would ask for one on the terminal, and wait.
            context.load_cert_chain(link.client_certificate, link.client_key or None, password=lambda: b"")
    except (OSError, ValueError) as error:
        reason = tls_reason(error) if isinstance(error, ssl.SSLError) else getattr(error, "strerror", None)
        return None, f"{doing}: {reason or 'it cannot be used'}"
    return context, ""


def _plain(*, verify: bool) -> Any:
    """Trust Mozilla's authorities and the system's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    # What stands in `ca_file` is trusted as it is, also where it is no root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_verify_locations(certifi.where())
    # These two are where OpenSSL was built to look; the same call's `cafile` and `capath` come from the environment.
    built_in = ssl.get_default_verify_paths()
    if Path(built_in.openssl_cafile).is_file():
        context.load_verify_locations(cafile=built_in.openssl_cafile)
    if Path(built_in.openssl_capath).is_dir():
        context.load_verify_locations(capath=built_in.openssl_capath)
    return context
