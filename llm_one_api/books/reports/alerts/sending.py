"""One message to one channel, by a process of its own.

What a library does there (hang, take memory, read the environment, leave a thread behind) ends with that process, and
after the channel's `timeout` it is ended. It inherits no proxy, no certificates, no `.netrc` from our environment: it
has those of the config.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import certifi
import msgspec

from llm_one_api.books.reports.alerts.rules import Channel
from llm_one_api.books.reports.alerts.wording import Message
from llm_one_api.values import Value

START_SECONDS = 15.0
"""That it may take to begin: a busy machine needs some to load a library of 150 services."""
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH")
_PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
"""Where libraries look for authorities: those that speak HTTP, and those that write letters."""
_SAID = 64 * 1024


class Errand(Value, frozen=True, kw_only=True):
    """What that process is told."""

    channel: Channel
    message: Message | None
    """None: only see whether the channel can be used."""
    authorities: str = ""
    """A file of all that are trusted; empty: those that everybody trusts."""


class Outcome(Value, frozen=True, kw_only=True):
    """What came of it."""

    ok: bool
    permanent: bool = False
    """Whether it makes no sense to try again."""
    error: str = ""
    """In words of ours: never what was answered, and nothing of the URL."""
    retry_after: float | None = None
    """Seconds, if the receiver said so."""


def send(channel: Channel, message: Message) -> Outcome:
    """Send *message*; what goes wrong is an outcome too. Blocks, for `timeout` and what it takes to start."""
    return _run(Errand(channel=channel, message=message))


def is_usable(channel: Channel) -> bool:
    """Tell whether there is a service for the channel's URL. Sends nothing."""
    return channel.kind == "webhook" or _run(Errand(channel=channel, message=None)).ok


def _run(errand: Errand) -> Outcome:
    try:
        with _authorities(errand.channel.ca_file) as trusted:
            return _run_trusting(msgspec.structs.replace(errand, authorities=trusted))
    except OSError as error:
        return Outcome(ok=False, error=f"alerts.ca_file cannot be used: {error.strerror}")


@contextmanager
def _authorities(ca_file: str) -> Iterator[str]:
    """Give a file of those in *ca_file* and those that everybody trusts, for a block; nothing if there is no such."""
    if not ca_file:
        yield ""
        return
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(certifi.contents().encode() + b"\n" + Path(ca_file).read_bytes())
        file.flush()
        yield file.name


def _run_trusting(errand: Errand) -> Outcome:
    channel = errand.channel
    told = msgspec.json.encode(errand)
    argv = [sys.executable, "-m", "llm_one_api.books.reports.alerts.sender"]
    late = Outcome(ok=False, error=f"no answer within {channel.timeout:g} s")
    try:
        with subprocess.Popen(  # noqa: S603 (our own code)
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a library's log may hold the URL
            env=environment(channel.proxy, errand.authorities),
            start_new_session=True,
        ) as process:
            try:
                said, _ = process.communicate(told, channel.timeout + START_SECONDS)
            except subprocess.TimeoutExpired:
                return late
            finally:
                _end(process)
    except OSError as error:
        return Outcome(ok=False, error=f"no process for it: {error.strerror}")
    if process.returncode == -signal.SIGALRM:
        return late
    try:
        return msgspec.json.decode(said[:_SAID].rpartition(b"\n")[2], type=Outcome)
    except msgspec.MsgspecError:
        return Outcome(ok=False, error=f"its process ended with code {process.returncode}")


def environment(proxy: str, authorities: str = "", ours: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the environment of that process: proxy and authorities are those of the config, or none."""
    kept = {name: ours[name] for name in _KEPT if name in ours}
    given = {
        **dict.fromkeys(_PROXIES if proxy else (), proxy),
        **dict.fromkeys(_AUTHORITIES if authorities else (), authorities),
    }
    return {**kept, "NETRC": os.devnull, "PYTHONUNBUFFERED": "1", **given}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it, and whatever it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
