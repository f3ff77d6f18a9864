"""One message to one channel, by a process of its own.

What a library does there (hang, take memory, read the environment, leave a thread behind) ends with that process, and
after the channel's `timeout` it is ended. It inherits no proxy, no certificates, no `.netrc` from our environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping

import msgspec

from llm_one_api.books.reports.alerts.rules import Channel
from llm_one_api.books.reports.alerts.wording import Message
from llm_one_api.values import Value

START_SECONDS = 15.0
"""That it may take to begin: a busy machine needs some to load a library of 150 services."""
_KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "HOME", "PYTHONPATH", "LD_LIBRARY_PATH")
_PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
_SAID = 64 * 1024


class Errand(Value, frozen=True, kw_only=True):
    """What that process is told."""

    channel: Channel
    message: Message | None
    """None: only see whether the channel can be used."""


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
            env=environment(channel.proxy),
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


def environment(proxy: str, ours: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Give the environment of that process: a proxy is that of the config, or none."""
    kept = {name: ours[name] for name in _KEPT if name in ours}
    return {**kept, "NETRC": os.devnull, "PYTHONUNBUFFERED": "1", **dict.fromkeys(_PROXIES if proxy else (), proxy)}


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it, and whatever it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
