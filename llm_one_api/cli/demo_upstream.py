"""`llm-one-api demo-upstream`: answers like a provider, over plain HTTP, so that a first call needs no account."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import click

from llm_one_api.cli import demo_answers as answers

MOST_BYTES = 64 * 2**20
PACE = 0.02
"""Seconds between two words of a stream."""

Json = dict[str, Any]
WHOLE: Mapping[str, Callable[[answers.Body], Json]] = {
    "/v1/chat/completions": answers.chat,
    "/v1/completions": answers.completion,
    "/v1/embeddings": answers.embeddings,
}
EVENTS: Mapping[str, Callable[[answers.Body], Iterator[Json]]] = {
    "/v1/chat/completions": answers.chat_events,
    "/v1/completions": answers.completion_events,
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "llm-one-api-demo"
    disable_nagle_algorithm = True
    timeout = 75

    def do_GET(self) -> None:
        if self.path.partition("?")[0] == "/v1/models":
            self._whole(200, answers.models())
        else:
            self._refuse(404, f"the demo has no {self.path}")

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        body = self._body()
        if body is None:
            return
        if path not in WHOLE:
            self._refuse(404, f"the demo has no {path}")
            return
        try:
            if body.get("stream") is True and path in EVENTS:
                self._events(list(EVENTS[path](body)))
            else:
                self._whole(200, WHOLE[path](body))
        except answers.UnusableError as error:
            self._refuse(400, str(error))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Print nothing: the gateway tells of each call."""

    def _body(self) -> Json | None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self.close_connection = True
            self._refuse(411, "a Content-Length of at most 64 MiB is needed")
            return None
        try:
            body = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            self._refuse(400, "the body is not JSON")
            return None
        if not isinstance(body, dict):
            self._refuse(400, "the body is not a JSON object")
            return None
        return body

    def _whole(self, status: int, answer: Json) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def _events(self, events: list[Json]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events:
            self._chunk(b"data: " + json.dumps(event).encode() + b"\n\n")
            time.sleep(PACE)
        self._chunk(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _refuse(self, status: int, message: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        self._whole(status, {"error": error})


class Server(ThreadingHTTPServer):
    """Serves on a socket that it is handed, one thread a connection."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, listening: socket.socket) -> None:
        super().__init__(listening.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()[:2]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Be silent about callers that leave."""


def listen(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """Open a listening socket; port 0 takes a free one."""
    return socket.create_server((host, port), backlog=Server.request_queue_size)


@click.command("demo-upstream")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=9100, show_default=True, type=click.IntRange(0, 65535))
@click.option("--fd", type=int, hidden=True, help="Serve on this inherited listening socket instead.")
def command(host: str, port: int, fd: int | None) -> None:
    """Answer like a provider, for trying things out: chat/completions, completions, embeddings, models."""
    try:
        listening = socket.socket(fileno=fd) if fd is not None else listen(host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None
    if fd is None:
        click.echo(f"The demo upstream listens on http://{host}:{listening.getsockname()[1]}/v1", err=True)
    with Server(listening) as server, suppress(KeyboardInterrupt):
        server.serve_forever()
