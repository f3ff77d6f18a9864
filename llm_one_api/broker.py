"""Celery's settings, the same for who sends and for who works, each with its reason; and a sender by name.

The numbers behind the reasons were measured; `docs/operations.md` repeats them for operators.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from celery import Celery
from kombu.entity import Queue

INGEST, DELIVER, JOBS = "ingest", "deliver", "jobs"
QUEUES = (INGEST, DELIVER, JOBS)

TASK_HARD_LIMIT = 300
TASK_SOFT_LIMIT = 240
_VISIBILITY = 900


def broker_url(url: str) -> str:
    """Give *url* as kombu spells it: `unix:///p?db=1`, Redis's way to name a socket, is `redis+socket:///p` there."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    database = query.pop("db", None)
    if database is not None:
        query["virtual_host"] = database
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    return f"redis+socket://{login}{parts.path}{'?' + urlencode(query) if query else ''}"


def celery_options(url: str, key_prefix: str) -> dict[str, Any]:
    """Give all of Celery's settings for the broker at *url*, as our settings spell it."""
    converted = broker_url(url)
    is_rabbitmq = converted.startswith("amqp")
    return {
        "broker_url": converted,
        **(_RABBITMQ if is_rabbitmq else {"broker_transport_options": _redis_transport(key_prefix)}),
        # The default blocks for ever when all connections are in use.
        "broker_pool_acquire_timeout": 1.0,
        # A worker waits for its broker as long as it takes (the default gives up after 100 tries).
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A publish that timed out may have arrived: repeating it at once doubles it. The relay repeats, with backoff.
        # With RabbitMQ, trying once more is what replaces a connection that is broken (Redis's is by itself).
        "task_publish_retry_policy": {"max_retries": 1 if is_rabbitmq else 0, "interval_start": 0},
        # Acked when done: a child that is killed gives its task back (without the second option it would be acked).
        # A task that always kills its child does not loop for ever: its message has an expiry.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # Both far below the visibility timeout, beyond which a running task would be handed out a second time.
        "task_time_limit": TASK_HARD_LIMIT,
        "task_soft_time_limit": TASK_SOFT_LIMIT,
        # Nothing waits in a worker's memory behind a long task, where a kill -9 would hide it for minutes.
        "worker_prefetch_multiplier": 1,
        # After a broken connection the broker hands a late-acked task out again: stop the copy that runs here.
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        # SIGQUIT lets running tasks finish for this long before it stops them.
        "worker_soft_shutdown_timeout": 5.0,
        "worker_enable_soft_shutdown_on_idle": True,
        # No results are kept: the ledger is the result, and a result backend's connections are trouble after a fork.
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        # JSON only: a pickle in a queue is somebody else's code.
        "accept_content": ["json"],
        "task_serializer": "json",
        "event_serializer": "json",
        # No remote control, no events: what nobody listens to needs no keys in Redis and opens no door.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "task_send_sent_event": False,
        # Plain lists named as the queues: a binding that Redis lost would make a publish vanish without an error.
        # Classic, also where RabbitMQ's default is another: what a queue loses with its node is sent again, and
        # Celery's prefetching is for classic ones.
        "task_queues": [
            Queue(name, exchange="", routing_key=name, queue_arguments={"x-queue-type": "classic"})  # type: ignore[no-untyped-call]
            for name in QUEUES
        ],
        "task_default_queue": JOBS,
        "task_default_exchange": "",
        "task_default_routing_key": JOBS,
        "task_create_missing_queues": False,
        # `llm_one_api.logs` has set logging up; Celery must not replace it, nor turn prints into warnings.
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "enable_utc": True,
        "timezone": "UTC",
    }


def sender(url: str, key_prefix: str) -> Celery:
    """Make an application that publishes tasks by name: `sender(…).send_task("stats.deliver", ["log"], queue=DELIVER)`.

    A publish takes a few seconds at most, whatever the broker does, then raises. Use it in one thread, after a fork.
    """
    app = Celery("llm-one-api", set_as_current=False)
    options = celery_options(url, key_prefix)
    hurried = _RABBITMQ_HURRIED if "broker_transport" in options else _REDIS_HURRIED
    app.conf.update({**options, "broker_transport_options": {**options["broker_transport_options"], **hurried}})
    return app


def waiting(app: Celery, queue: str) -> int:
    """Count the messages in *queue* that no worker has taken. Bounded in time like a publish, and raises like one."""
    with app.connection_or_acquire() as connection:
        try:
            declared = app.amqp.queues[queue].bind(connection.default_channel).queue_declare()
        except Exception:
            connection.collect()  # the next one begins anew: a channel that RabbitMQ has closed stays closed
            raise
    return int(declared.message_count)


_RABBITMQ: dict[str, Any] = {
    # Ends a connection on which an answer is missing: see there.
    "broker_transport": "llm_one_api.amqp_transport:Transport",
    "broker_transport_options": {
        # A publish returns when the broker has the message; without, it returns when the kernel has.
        "confirm_publish": True,
        # None: a publish to a broker that is stalled, or that has run out of memory, never returns.
        "read_timeout": 5.0,
        "write_timeout": 5.0,
    },
    "broker_connection_timeout": 2.0,
    # A worker notices within some 20 s that a broker, or the way to it, is gone without a word.
    "broker_heartbeat": 10,
    # Not written to the broker's disk, for which each confirmation would wait: the journal is the queue.
    "task_default_delivery_mode": "transient",
}

_REDIS_HURRIED = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0}
_RABBITMQ_HURRIED = {"read_timeout": 2.0, "write_timeout": 2.0}
"""For who sends, and has other things to do."""


def _redis_transport(key_prefix: str) -> dict[str, Any]:
    return {
        "global_keyprefix": key_prefix,
        # How long a task may run before Redis's copy of it is handed out again. The shortest of all applications
        # on a Redis wins, so every one of ours takes it from here.
        "visibility_timeout": _VISIBILITY,
        # With the defaults, what a killed worker held came back 100 s later than it should.
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        # Without a timeout a publish to a broker that is stalled, not dead, never returns.
        "socket_timeout": 5.0,
        "socket_connect_timeout": 2.0,
        "socket_keepalive": True,
        "health_check_interval": 15,
        # No blind replay of an LPUSH whose answer did not come.
        "retry_on_timeout": False,
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.2,
    }
