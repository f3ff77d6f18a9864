"""One probe of an upstream: whether it is there, asked in a way that costs no tokens.

It goes the way of a call: the same name, proxy, authorities and key. It asks for the list of models, and where that is
not served it only connects. Whatever is answered shows that somebody is there, unless it is a 5xx.
"""

from __future__ import annotations

from dataclasses import dataclass

import gevent

from llm_one_api.dialects.adapters import ADAPTERS
from llm_one_api.errors import GatewayError
from llm_one_api.gateway.http import BadAnswer, Connection, ConnectionEnded
from llm_one_api.gateway.pool import Origin, Pool
from llm_one_api.gateway.upstreams.faults import unanswered
from llm_one_api.targets import Upstream

GRACE = 0.2
"""Seconds more than a probe has, so that the pool, which knows what it waited for, says first that it took too long."""
LONGEST_BODY = 64 * 1024
_UNSERVED = frozenset({404, 405, 501})
_NOT_ILL = 501


class _TooLate(Exception):
    """A probe has taken all its time."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a probe has found."""

    error: str | None = None
    """What is wrong, as a code; None: it is there."""
    lists_models: bool = True


def ask(pool: Pool, upstream: Upstream, seconds: float, *, only_connects: bool = False) -> Found:
    """Probe *upstream*, which *pool* leads to, in so many *seconds*; *only_connects*: it is known to list no models."""
    waiting_for = "connect"
    connection: Connection | None = None
    try:
        with gevent.Timeout(seconds + GRACE, _TooLate):
            connection = pool.connect(seconds)
            if only_connects:
                connection.close()
                return Found()
            waiting_for = "first_byte"
            connection.send(_request(upstream), b"")
            connection.read_head()
            status = connection.status
            _take_rest(connection, pool)
    except GatewayError as error:
        return Found(error.code)
    except _TooLate:
        _close(connection)
        return Found(f"upstream_timeout_{waiting_for}")
    except (OSError, ConnectionEnded) as error:
        _close(connection)
        return Found(unanswered(error).code)
    except BadAnswer:
        _close(connection)
        return Found("upstream_bad_answer")
    except BaseException:
        _close(connection)
        raise
    ill = status >= 500 and status != _NOT_ILL  # noqa: PLR2004
    return Found(f"http_{status}" if ill else None, lists_models=status not in _UNSERVED)


def _request(upstream: Upstream) -> bytes:
    adapter = ADAPTERS[upstream.adapter]
    origin = Origin.of(upstream.base_url)
    lines = [
        f"GET {origin.path}{adapter.models_path(upstream)} HTTP/1.1",
        f"Host: {origin.host_header}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "User-Agent: llm-one-api",
        *(f"{name}: {value}" for name, value in adapter.headers(upstream)),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _take_rest(connection: Connection, pool: Pool) -> None:
    """Read what is left of the answer, and keep the connection if that is little. It has answered, whatever comes."""
    length = 0
    try:
        while length <= LONGEST_BODY and (piece := connection.read()):
            length += len(piece)
    except (OSError, ConnectionEnded, BadAnswer, _TooLate):
        pass
    pool.give_back(connection)


def _close(connection: Connection | None) -> None:
    if connection is not None:
        connection.close()
