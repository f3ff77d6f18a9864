"""gunicorn's gevent worker, with what a streaming gateway needs beyond it.

* A reply that broke is aborted quietly: without the chunk that would make it look whole, without a traceback.
* SIGTERM begins the drain: streams get `server.drain_timeout`, idle connections are let go, and we end as soon as
  nobody is left (gunicorn's own loop waits for idle keep-alive connections until the graceful timeout).
* Head and body of a small answer go out in one `send`.
* HTTP/2 is never spoken, so that header policy and framing have one implementation.
"""

from __future__ import annotations

import errno
import gc
import resource
import socket
import sys
import time
from functools import cache
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn import http, util
from gunicorn.http import wsgi
from gunicorn.workers.ggevent import GeventWorker

from llm_one_api.gateway.http import send_all
from llm_one_api.gateway.reply import StreamBroken
from llm_one_api.gateway.watch import Cut

HEAD_SECONDS = 10.0
"""In which the head of a connection's first request must be there (later ones have `keepalive` seconds)."""
LATE_REQUEST_SECONDS = 0.5
"""While stopping, how long an idle connection may still bring a request; it is answered, and then closed."""
FILES_BESIDE_CALLS = 256
"""File descriptors for everything but calls; a call needs two."""
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF}


# One for all requests: gunicorn makes it anew for each, 4 % of a call's CPU time.
wsgi.WSGIErrorsWrapper = cache(wsgi.WSGIErrorsWrapper)


class Date:
    """The `Date` header's value, written once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def now(self) -> str:
        """Give it."""
        second = int(time.time())
        if second != self._second:
            self._second, self._text = second, util.http_date(second)
        return self._text


_date = Date()


class OneSend(wsgi.Response):  # type: ignore[misc]
    """Sends the head together with the first piece of the body."""

    def write(self, arg: bytes) -> None:
        """Send a piece; an empty one sends the head alone."""
        if not arg or self._omits_body:
            super().write(arg)
        elif not self.headers_sent:
            self._send_with_head(arg)
        elif self.chunked:
            send_all(self.sock, b"%X\r\n%b\r\n" % (len(arg), arg))
        else:
            super().write(arg)

    def default_headers(self) -> list[str]:
        """Give the head's first lines."""
        major, minor = self.req.version
        connection = "close" if self.should_close() else "keep-alive"
        lines = [
            f"HTTP/{major}.{minor} {self.status}\r\n",
            f"Server: {self.version}\r\nDate: {_date.now()}\r\nConnection: {connection}\r\n",
        ]
        if self.chunked:
            lines.append("Transfer-Encoding: chunked\r\n")
        return lines

    def _send_with_head(self, arg: bytes) -> None:
        head = "".join([*self.default_headers(), *[f"{k}: {v}\r\n" for k, v in self.headers], "\r\n"]).encode("latin-1")
        if self.response_length is not None:
            arg = arg[: self.response_length]
        self.headers_sent: bool = True
        self.sent = len(arg)
        send_all(self.sock, head + (b"%X\r\n%b\r\n" % (len(arg), arg) if self.chunked else arg))

    def _emit_body(self, data: bytes) -> None:
        """Put a piece of the body on the wire."""
        send_all(self.sock, b"%X\r\n%b\r\n" % (len(data), data) if self.chunked else data)


class GatewayWorker(GeventWorker):  # type: ignore[misc]
    """One gunicorn process of the gateway."""

    def init_process(self) -> None:
        """Raise the soft limit of open files before anything is opened."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        need = 2 * self.worker_connections + FILES_BESIDE_CALLS
        if hard != resource.RLIM_INFINITY and hard < need:
            self.log.error(
                "server.max_streams needs %d open files a process, but the hard limit is %d: "
                "raise it (ulimit -Hn, LimitNOFILE=) or lower server.max_streams",
                need,
                hard,
            )
            sys.exit(4)  # gunicorn's APP_LOAD_ERROR: the master stops instead of trying for ever
        if soft != resource.RLIM_INFINITY and soft < need:
            resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
        super().init_process()

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ARG002 (gunicorn's)
        """Begin the drain (SIGTERM)."""
        self.alive = False

    def run(self) -> None:
        """Serve until told to stop, then until nobody is left or the graceful timeout is over."""
        house = self.wsgi.house
        # What was imported lives for ever: it need not be looked through again. What a call leaves behind is freed by
        # its reference counts; cycles are rare, so they are looked for less often than Python's default.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
        house.start()
        self._idle: dict[Any, float] = {}
        pool = Pool(self.worker_connections)
        servers = []
        for listener in self.sockets:
            listener.setblocking(1)
            server = StreamServer(
                listener, handle=lambda sock, addr, at=listener: self.handle(at, sock, addr), spawn=pool
            )
            if self.cfg.workers > 1:
                server.max_accept = 1
            server.start()
            servers.append(server)
        while self.alive:
            self.notify()
            gevent.sleep(0.5)

        for server in servers:
            server.close()
        house.watch.drain(max(1.0, self.cfg.graceful_timeout - 5.0))
        until = time.monotonic() + self.cfg.graceful_timeout
        while len(pool) and time.monotonic() < until:
            self._let_idle_go()
            self.notify()
            gevent.sleep(0.1)
        if len(pool):
            self.log.warning("worker %s: %d connections left at the graceful timeout", self.pid, len(pool))
            pool.kill(timeout=2)
        house.stop()

    def _let_idle_go(self) -> None:
        late = time.monotonic() - LATE_REQUEST_SECONDS
        for greenlet in [g for g, since in self._idle.items() if since < late]:
            self._idle.pop(greenlet, None)
            greenlet.kill(block=False)

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection, request after request."""
        me = gevent.getcurrent()
        request = None
        patience = HEAD_SECONDS
        try:
            client.setblocking(1)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            parser = http.get_parser(self.cfg, client, addr)
            name = listener.getsockname()
            while True:
                request = None
                self._idle[me] = time.monotonic()
                with gevent.Timeout(patience, False):
                    request = next(parser)
                self._idle.pop(me, None)
                if not request:
                    break
                request.proxy_protocol_info = request.proxy_protocol_info or {}
                if not self.handle_request(name, request, client, addr):
                    break
                patience = self.cfg.keepalive
        except (StopIteration, http.errors.NoMoreData):
            pass
        except OSError as error:
            if error.errno not in _GONE:
                self.log.warning("connection failed: %s", type(error).__name__)
        except Exception as error:
            self.handle_error(request, client, addr, error)
        finally:
            self._idle.pop(me, None)
            util.close(client)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> bool:
        """Serve one request; tell whether another may follow on its connection."""
        response, environ = wsgi.create(req, sock, addr, listener_name, self.cfg, response_class=OneSend)
        environ["wsgi.multithread"] = True
        if not self.alive:
            response.force_close()
        body = self.wsgi(environ, response.start_response)
        try:
            for piece in body:
                response.write(piece)
            response.close()
        except (StreamBroken, Cut):
            return False  # the connection is closed without the body's end
        finally:
            if hasattr(body, "close"):
                body.close()
        return not response.should_close()
