"""A worker whose broker is stalled at the moment at which a task is done takes tasks afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu.connection import Connection
from kombu.message import Message

from llm_one_api.broker import broker_url, celery_options
from tests.harness.services import Valkey, valkey
from workers.slots import Request

QUEUE = "ingest"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Valkey]:
    """One of our own: it is stalled."""
    with valkey(tmp_path / "valkey") as it:
        yield it


@pytest.fixture
def app(broker: Valkey) -> Celery:
    made = Celery("test", set_as_current=False)
    made.conf.update(celery_options(broker.url, "oneapi:"))

    @made.task(name="stats.ingest", shared=False)  # type: ignore[untyped-decorator]  # Celery has no types
    def ingest() -> None:
        """Do nothing."""

    made.finalize()
    return made


@pytest.fixture
def channel(broker: Valkey) -> Iterator[Any]:
    """A worker's place at the broker, who gives it one task at a time."""
    with Connection(broker_url(broker.url), transport_options={"socket_timeout": 0.2}) as connection:  # type: ignore[no-untyped-call]
        it = connection.channel()
        it.basic_qos(0, 1, False)
        yield it


def take(app: Celery, channel: Any) -> Message:
    """Take a task as a worker does."""
    app.send_task("stats.ingest", queue=QUEUE)
    raw = channel._get(f"oneapi:{QUEUE}")
    message: Message = channel.message_to_python(raw)
    channel.qos.append(message, message.delivery_tag)
    return message


@pytest.mark.parametrize("end", ["acknowledge", "reject"])
def test_there_is_room_for_a_task_after_one_whose_end_the_broker_did_not_hear_of(
    app: Celery, broker: Valkey, channel: Any, end: str
) -> None:
    message = take(app, channel)
    request = Request(
        message, app=app, on_ack=message.ack_log_error, on_reject=message.reject_log_error,
        connection_errors=channel.connection_errors,
    )  # fmt: skip
    full = not channel.qos.can_consume()

    broker.pause()
    getattr(request, end)()
    broker.resume()

    assert full
    assert not message.acknowledged
    assert channel.qos.can_consume()


def test_what_the_broker_hears_of_is_acknowledged_once(app: Celery, broker: Valkey, channel: Any) -> None:
    message = take(app, channel)
    request = Request(message, app=app, on_ack=message.ack_log_error, on_reject=message.reject_log_error)

    request.acknowledge()
    request.acknowledge()

    with broker.client() as client:
        assert client.hlen("unacked") == 0
    assert message.acknowledged
    assert channel.qos.can_consume()
