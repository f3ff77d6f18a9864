"""Connections to upstreams: made, kept while nobody uses them, closed when that takes long.

A pool belongs to an origin and a `Link`, so that nobody's connection goes another way than its settings say. Names are
looked up in `upstreams/addresses.py`, TLS contexts are made in `upstreams/tls.py`, proxies are spoken to in
`upstreams/proxying.py`. Nothing here is read from the environment.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import gevent
import structlog
from gevent import socket

from llm_one_api.gateway.http import Connection
from llm_one_api.gateway.upstreams import addresses
from llm_one_api.gateway.upstreams.addresses import Address, Addresses, Resolve
from llm_one_api.gateway.upstreams.faults import Fault, Step, why_not
from llm_one_api.gateway.upstreams.proxying import Forwarded, Proxy, open_tunnel
from llm_one_api.gateway.upstreams.tls import Contexts
from llm_one_api.targets import DIRECT, Link, Upstream

log = structlog.get_logger()

IDLE_SECONDS = 30.0
"""How long an unused connection is kept: under the idle limits that servers and load balancers have."""
MOST_IDLE = 100
"""Unused connections that a pool keeps."""
UNUSED_SECONDS = 300.0
"""How long a pool without connections is kept: a reload may have made it useless."""
TOLD_AGAIN = 60.0
"""Seconds after which a fault that goes on is logged again."""
_SHORTEST_TRY = 0.05
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 60), (socket.TCP_KEEPCNT, 5))
"""An answer may be minutes away, and what stands between would forget a connection so silent."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an upstream listens."""

    host: str
    port: int
    tls: bool
    path: str
    """What stands before an endpoint's path, without a slash at its end."""

    @classmethod
    def of(cls, url: str) -> Origin:
        """Read it from a base URL."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        host = parts.hostname or ""
        if not host.isascii():
            try:
                host = host.encode("idna").decode()
            except UnicodeError:
                pass  # then it is not found
        return cls(host=host, port=parts.port or (443 if tls else 80), tls=tls, path=parts.path.rstrip("/"))

    @property
    def host_header(self) -> str:
        """The `Host` header's value."""
        return self._host if self.port == (443 if self.tls else 80) else self.place

    @property
    def place(self) -> str:
        """Host and port, as a proxy is told them."""
        return f"{self._host}:{self.port}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


class _NotOpened(Exception):
    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


class Pool:
    """The connections to one origin over one link. Those in use are not bounded: `server.max_streams` is."""

    def __init__(
        self,
        origin: Origin,
        link: Link = DIRECT,
        contexts: Contexts | None = None,
        *,
        resolve: Resolve = addresses.look_up,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open nothing yet."""
        self.origin = origin
        self.link = link
        self.retired = False
        """Whether nobody will take a connection from it any more."""
        self.used = clock()
        self._contexts = contexts or Contexts()
        self._proxy = Proxy.of(link.proxy)
        self._clock = clock
        self._idle: deque[Connection] = deque()
        host, port = (self._proxy.host, self._proxy.port) if self._proxy else (origin.host, origin.port)
        self._addresses = Addresses(host, port, resolve=resolve, clock=clock)
        self._fault: Fault | None = None
        self._told = float("-inf")

    # -- connections that are kept --

    @property
    def idle(self) -> int:
        """Unused connections."""
        return len(self._idle)

    def take_idle(self) -> Connection | None:
        """Give the connection that was used last and is still good, if there is one."""
        now = self.used = self._clock()
        if self._idle:
            self._addresses.refresh()
        while self._idle:
            connection = self._idle.pop()
            if (
                now - connection.idle_since < IDLE_SECONDS
                and self._addresses.include(connection.peer)
                and connection.still_good()
            ):
                connection.renew()
                return connection
            connection.close()
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep *connection* for the next call if it can carry one, else close it."""
        if self.retired or not connection.reusable():
            connection.close()
            return
        connection.idle_since = self._clock()
        self._idle.append(connection)
        if len(self._idle) > MOST_IDLE:
            self._idle.popleft().close()

    def close_idle(self) -> None:
        """Close the connections that nobody has used for `IDLE_SECONDS`."""
        now = self._clock()
        while self._idle and now - self._idle[0].idle_since >= IDLE_SECONDS:
            self._idle.popleft().close()

    def retire(self) -> None:
        """Keep no connection any more: nobody will take one."""
        self.retired = True
        while self._idle:
            self._idle.popleft().close()

    # -- new ones --

    def connect(self, timeout: float) -> Connection:
        """Open a new connection, within *timeout* seconds for all addresses together.

        Raises UpstreamFailed or UpstreamTimeout; its code says what could not be had.
        """
        self.used = self._clock()
        end = self.used + timeout
        try:
            where = self._addresses.give(timeout)
        except TimeoutError as error:
            fault = Fault("upstream_proxy" if self._proxy else "upstream_timeout_connect", str(error))
        except OSError as error:
            fault = Fault("upstream_proxy" if self._proxy else "upstream_unreachable", f"looking its name up: {error}")
        else:
            for number, address in enumerate(where):
                seconds = max(_SHORTEST_TRY, (end - self._clock()) / (len(where) - number))
                try:
                    connection = self._open(address, seconds)
                except _NotOpened as failed:
                    fault = failed.fault
                    continue
                if number:
                    self._addresses.worked(address)
                self._worked()
                return connection
            self._addresses.suspect()
        self._failed(fault)
        raise fault.error()

    def _open(self, address: Address, seconds: float) -> Connection:
        """Try one address. Raises _NotOpened."""
        origin, proxy = self.origin, self._proxy
        step: Step = "reading the certificates"
        sock: Any = None
        try:
            with gevent.Timeout(seconds, TimeoutError):
                context = self._contexts.of(self.link) if origin.tls else None
                step = "connecting"
                family, where = address
                sock = socket.socket(family, socket.SOCK_STREAM)
                sock.connect(where)
                _set_up(sock)
                if proxy is not None and origin.tls:
                    step = "waiting for the proxy's answer to CONNECT"
                    open_tunnel(sock, origin.place, proxy)
                if context is not None:
                    step = "the TLS handshake"
                    sock = context.wrap_socket(sock, server_hostname=origin.host, do_handshake_on_connect=False)
                    sock.do_handshake()
        except BaseException as error:
            if sock is not None:
                sock.close()
            if isinstance(error, Exception):
                fault = why_not(error, step, through_proxy=proxy is not None)
                if fault is not None:
                    raise _NotOpened(fault) from None
            raise
        if proxy is not None and not origin.tls:
            connection: Connection = Forwarded(sock, origin.host_header, proxy)
        else:
            connection = Connection(sock)
        connection.peer = address
        return connection

    # -- telling --

    def _failed(self, fault: Fault) -> None:
        """Log what is wrong, but not for each call."""
        now = self._clock()
        if fault != self._fault or now - self._told >= TOLD_AGAIN:
            self._fault, self._told = fault, now
            log.warning(
                "upstream.no_connection",
                to=self.origin.place,
                through_proxy=self._proxy is not None,
                code=fault.code,
                reason=fault.reason,
            )

    def _worked(self) -> None:
        if self._fault is not None:
            self._fault = None
            log.info("upstream.connected_again", to=self.origin.place, through_proxy=self._proxy is not None)


class Pools:
    """The pools of all upstreams, of this process."""

    def __init__(self, *, resolve: Resolve = addresses.look_up, clock: Callable[[], float] = time.monotonic) -> None:
        """Open nothing yet."""
        self._resolve = resolve
        self._clock = clock
        self._contexts = Contexts()
        self._pools: dict[tuple[str, int, bool, Link], Pool] = {}
        self._known: dict[tuple[str, Link], Pool] = {}

    def __len__(self) -> int:
        return len(self._pools)

    def of(self, upstream: Upstream) -> Pool:
        """Give the pool of *upstream*: models at the same origin share one."""
        pool = self._known.get((upstream.base_url, upstream.link))
        if pool is None:
            origin = Origin.of(upstream.base_url)
            key = origin.host, origin.port, origin.tls, upstream.link
            pool = self._pools.get(key)
            if pool is None:
                pool = Pool(origin, upstream.link, self._contexts, resolve=self._resolve, clock=self._clock)
                self._pools[key] = pool
                if origin.tls and not upstream.link.verify:
                    log.warning("tls.unverified", to=origin.place)
            self._known[upstream.base_url, upstream.link] = pool
        return pool

    def close_idle(self) -> None:
        """Close what was not used for long. To be called every few seconds."""
        now = self._clock()
        for key, pool in list(self._pools.items()):
            pool.close_idle()
            if not pool.idle and now - pool.used >= UNUSED_SECONDS:
                pool.retire()
                del self._pools[key]
        if any(pool.retired for pool in self._known.values()):
            # Names that were given for them before are forgotten too, or they would be used again.
            self._known = {key: pool for key, pool in self._known.items() if not pool.retired}
            self._contexts.keep({pool.link for pool in self._pools.values()})


def _set_up(sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
