"""The HTTP side: `GET /metrics` for Prometheus, and nothing else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from llm_one_api.metrics.exporter import Exporter

MOST_AT_ONCE = 8
"""Scrapes at a time; what is beyond is told to come again."""
_PATIENCE = 10.0
"""Seconds for a request to arrive, and for each piece of the answer to be taken."""
_PLAIN = (("Content-Type", "text/plain; charset=utf-8"),)

Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the library's)
        """Log no request."""


class Server(ThreadingMixIn, WSGIServer):
    """A server with a thread for each request; they end with the process."""

    daemon_threads = True

    def server_bind(self) -> None:
        """Bind, without asking any name server who we are."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a caller that left."""


def application(exporter: Exporter) -> Wsgi:
    """Make what answers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(exporter)
    metrics: Wsgi = make_wsgi_app(registry)
    free = threading.BoundedSemaphore(MOST_AT_ONCE)

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            start_response("405 Method Not Allowed", [*_PLAIN, ("Allow", "GET, HEAD")])
            return [b"only GET\n"]
        if path == "/":
            start_response("200 OK", [*_PLAIN])
            return [b"LLM One API: figures for Prometheus are at /metrics\n"]
        if path != "/metrics":
            start_response("404 Not Found", [*_PLAIN])
            return [b"figures for Prometheus are at /metrics\n"]
        if not free.acquire(blocking=False):
            start_response("503 Service Unavailable", [*_PLAIN, ("Retry-After", "1")])
            return [b"too many scrapes at a time\n"]
        try:
            return metrics(environ, start_response)
        finally:
            free.release()

    return answer


def listen(host: str, port: int, app: Wsgi) -> Server:
    """Listen; `serve_forever` answers. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    class Listening(Server):
        address_family = family

    return make_server(host, port, app, Listening, _Handler)
