"""What a worker has room for, also after its broker was stalled.

A worker takes as many tasks as it has processes, and the next when one of them is acknowledged. Where the broker does
not answer to that in time, Celery logs `Couldn't ack` and goes on, but counts the task as taken for ever: a worker with
one process takes none any more, and nothing restarts it, for its connection is whole. So the room is given back here.
The broker still has the task, and hands it out again after the visibility timeout: all of ours may come twice.
"""

from __future__ import annotations

from typing import Any

import celery
from celery.worker import request
from kombu.transport.virtual import QoS


class Request(request.Request):  # type: ignore[misc]  # Celery has no types
    """A task that was taken. It takes up room until it is done, whatever the broker says to that."""

    def acknowledge(self) -> None:
        """Say that it is done."""
        super().acknowledge()
        self._give_room_back()

    def reject(self, requeue: bool = False) -> None:
        """Say that it is not, and will not be here."""
        super().reject(requeue)
        self._give_room_back()

    def _give_room_back(self) -> None:
        message: Any = self.message
        qos = getattr(message.channel, "qos", None)
        # RabbitMQ counts by itself, and a connection that does not answer is lost there.
        if not message.acknowledged and isinstance(qos, QoS):
            QoS.ack(qos, message.delivery_tag)  # type: ignore[no-untyped-call]  # kombu's


class Task(celery.Task):  # type: ignore[misc]
    """A task of ours."""

    Request = Request
