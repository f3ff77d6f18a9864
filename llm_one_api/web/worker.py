"""gunicorn's gevent worker, with what a streaming gateway needs beyond it.

* A reply that broke is aborted quietly: without the chunk that would make it look whole, without a traceback.
* SIGTERM, or the end of gunicorn's main process, begins the drain: streams get `server.drain_timeout`, idle connections
  are let go, and we end as soon as nobody is left (gunicorn's own loop waits for idle keep-alive connections until the
  graceful timeout).
* Head and body of a small answer go out in one `send` (`sending.py`).
* What is no HTTP is answered as everything else is (`unparsed.py`); what is left of a body that nobody read is read
  away for a bounded time, so that its sender sees the answer.
* HTTP/2 is never spoken, so that header policy and framing have one implementation.
"""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket
import sys
import time
from contextlib import suppress
from typing import Any

import gevent
from gevent.pool import Pool
from gevent.server import StreamServer
from gunicorn import http, util
from gunicorn.http import wsgi
from gunicorn.workers.ggevent import GeventWorker

from llm_one_api.errors import ConfigError
from llm_one_api.gateway.reply import StreamBroken
from llm_one_api.gateway.watch import Cut
from llm_one_api.web import unparsed
from llm_one_api.web.sending import OneSend

HEAD_SECONDS = 10.0
"""In which the head of a connection's first request must be there (later ones have `keepalive` seconds)."""
LATE_REQUEST_SECONDS = 0.5
"""While stopping, how long an idle connection may still bring a request; it is answered, and then closed."""
FILES_BESIDE_CALLS = 256
"""File descriptors for everything but calls; a call needs two."""
REST_SECONDS = 5.0
"""For how long the rest of a request's body is read away after the answer, before the connection is closed."""
_REST_STEP = 4096
_APP_LOAD_ERROR = 4
"""gunicorn's: the master stops instead of trying for ever."""
_GONE = {errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF, errno.ETIMEDOUT}


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
            sys.exit(_APP_LOAD_ERROR)
        if soft != resource.RLIM_INFINITY and soft < need:
            resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))
        super().init_process()

    def load_wsgi(self) -> None:
        """Load the application; with a fault in the config the master stops, having told it."""
        try:
            super().load_wsgi()
        except ConfigError as error:
            self.log.error("%s", error)
            sys.exit(_APP_LOAD_ERROR)

    def handle_exit(self, sig: int, frame: Any) -> None:  # noqa: ARG002 (gunicorn's)
        """Begin the drain (SIGTERM)."""
        self.alive = False

    def notify(self) -> None:
        """Show that we live, every half second. Whom we show it to is gone: drain, where gunicorn's own worker exits.

        Nobody will ask us to, and calls that are under way are as good as any.
        """
        self.tmp.notify()
        if self.alive and self.ppid != os.getppid():
            self.log.warning("worker %s: the main process is gone, ending in order", self.pid)
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
        gc.unfreeze()  # else what is left at the interpreter's end is taken apart in an order that prints tracebacks

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
                keep = self.handle_request(name, request, client, addr)
                if not _read_away(parser) or not keep:
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

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:  # noqa: ARG002 (gunicorn's)
        """Answer what could not be parsed, or what failed before anything was sent."""
        response = getattr(req, "response", None)
        answer = unparsed.answer(exc)
        if response is None or not response.headers_sent:  # else nothing can be added: the connection is closed
            with suppress(OSError):
                client.sendall(answer)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> bool:
        """Serve one request; tell whether another may follow on its connection."""
        response, environ = wsgi.create(req, sock, addr, listener_name, self.cfg, response_class=OneSend)
        environ["wsgi.multithread"] = True
        if not self.alive:
            response.force_close()
        req.response = response
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


def _read_away(parser: Any) -> bool:
    """Read what is left of the request's body; False: where the next request starts is not known.

    In small steps, for a socket that always has something to read never lets anybody else run.
    """
    body = parser.mesg.body
    if getattr(body.reader, "length", None) == 0 and not body.failed:
        return True  # the usual case: all of it was read
    deadline = time.monotonic() + REST_SECONDS
    while not parser.finish_body(deadline=deadline, max_bytes=_REST_STEP):
        if body.failed or time.monotonic() >= deadline:
            return False
        gevent.sleep(0)
    return True
