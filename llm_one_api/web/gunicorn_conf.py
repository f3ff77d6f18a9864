"""gunicorn's settings, from ours. `config/gunicorn.conf.py` imports this; use whichever is at hand.

The reasons are in `docs/operations.md`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

from gunicorn.errors import HaltServer

from llm_one_api.errors import ConfigError
from llm_one_api.settings import load
from llm_one_api.web import own_relay

try:
    _settings = load()
except ConfigError as error:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(2) from None

_server = _settings.server
bind = f"[{_server.host}]:{_server.port}" if ":" in _server.host else f"{_server.host}:{_server.port}"
workers = _server.workers
worker_class = "llm_one_api.web.worker.GatewayWorker"
worker_connections = _server.max_streams + 200
"""More than calls, so that health, statistics and refusals are answered when calls are at their limit."""
graceful_timeout = int(_server.drain_timeout) + 5
timeout = 60
keepalive = 75
"""Seconds that an idle connection is kept: above the 60 s of common load balancers, so that they end it, not we."""
backlog = 2048
http_parser = "python"
control_socket_disable = True
forwarded_allow_ips = ",".join(map(str, _server.trusted_proxies))
forwarder_headers = ""
"""Nobody, not even a trusted proxy, may say with a header called `PATH_INFO` or `SCRIPT_NAME` which path is meant."""
max_requests = 0
preload_app = False
accesslog = None
errorlog = "-"
proc_name = "llm-one-api"


def on_starting(server: Any) -> None:
    """Have gunicorn end in order when a second process fails to load while the first one's failure is ending it.

    Its `stop` then raises for each such process, which would end as a traceback and exit status 1.
    """
    stop = server.stop

    def stop_whole(graceful: bool = True) -> None:
        for _ in range(workers):
            with suppress(HaltServer):
                stop(graceful)
                return
        stop(graceful)

    server.stop = stop_whole


def pre_fork(server: Any, worker: Any) -> None:  # noqa: ARG001 (gunicorn's)
    """Have the kernel end connections whose peer takes nothing for long, whatever is sent: they inherit the option.

    The gateway itself ends stalled streams, and records why; so this comes later.
    """
    milliseconds = int(2 * _server.client_stall_timeout + 1) * 1000
    for listener in server.LISTENERS:
        listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def when_ready(server: Any) -> None:
    """Have SIGHUP change nothing while the config has a fault: gunicorn ends all of us if one process cannot start."""
    reload = server.handle_hup

    def reload_if_good() -> None:
        try:
            check = subprocess.run(_CHECK, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 (our own command)
        except subprocess.TimeoutExpired:
            server.log.error("the config could not be checked in time: nothing is reloaded")
            return
        if check.returncode:
            server.log.error("nothing is reloaded: %s", check.stderr.strip())
        else:
            reload()

    server.handle_hup = reload_if_good


def on_exit(server: Any) -> None:  # noqa: ARG001 (gunicorn's)
    """Have the relay that one of us has started send the last records: a container would kill it with us.

    Where somebody runs us all, he ends the relay after us by himself.
    """
    if own_relay.LIFELINE not in os.environ:
        own_relay.end(_settings.journal_folder)


_CHECK = (sys.executable, "-m", "llm_one_api.cli", "check-config")
