"""Redis: the one place that makes a client, and the little that is kept there under names of our own."""

from __future__ import annotations

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

ACKS_KEPT_SECONDS = 24 * 60 * 60
"""A relay that stays away longer sends its batches again, which costs work and loses nothing."""


def connect(url: str, *, timeout: float = 0.5, decode_responses: bool = True) -> redis.Redis:
    """Make a client for *url* that neither repeats a command nor waits long; it connects at its first command.

    redis-py's default repeats a timed-out command up to ten times and reports success, so an increment is applied
    twice. Here a command that got no answer raises after *timeout* seconds; it may have been applied.
    """
    return redis.Redis.from_url(
        url,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=timeout,
        decode_responses=decode_responses,
        socket_connect_timeout=timeout,
    )


class Acks:
    """Tells each relay which of its batches are in the ledger: a list a journal, pushed by ingest, popped by the relay.

    An ack may be lost (then the batch comes again) and may be doubled; it never comes before the commit.
    """

    def __init__(self, client: redis.Redis, key_prefix: str) -> None:
        """Use *client*, with all keys under *key_prefix*."""
        self._client = client
        self._prefix = key_prefix

    def send(self, journal_id: str, batch_id: str) -> None:
        """Say that *batch_id* is in the ledger. Raises redis.RedisError if that cannot be said."""
        key = self._key(journal_id)
        with self._client.pipeline(transaction=False) as pipe:
            pipe.rpush(key, batch_id)
            pipe.expire(key, ACKS_KEPT_SECONDS)
            pipe.execute()

    def take(self, journal_id: str, count: int) -> list[str]:
        """Take up to *count* acks, oldest first. Raises redis.RedisError; then some may have been lost."""
        taken = self._client.lpop(self._key(journal_id), count)
        return list(taken) if taken else []  # type: ignore[arg-type]  # redis-py types sync and async answers as one

    def _key(self, journal_id: str) -> str:
        return f"{self._prefix}acks:{journal_id}"
