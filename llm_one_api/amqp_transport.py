"""RabbitMQ's connections, with an end to each wait. Named in `broker.py`; kombu imports it when it is needed.

py-amqp knows no time limit for the answers to most of its questions. Where the socket has one, a connection on which
an answer did not come in time is still used: what comes later is then taken for the answer to the next question.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import pyamqp


class Connection(pyamqp.Connection):
    """A connection that ends with the first answer that does not come within `read_timeout`."""

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Read a frame; *timeout* is that of a caller who knows what to do when there is none yet."""
        try:
            return super().blocking_read(timeout)
        except TimeoutError:
            if timeout is not None:
                raise
            self.collect()
            raise ConnectionAbortedError(f"no answer from the broker within {self.read_timeout} s") from None


class Transport(pyamqp.Transport):
    """kombu's, with such connections."""

    Connection = Connection
