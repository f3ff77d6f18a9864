"""Whether the limit store is back: it is when it can write, on each server."""

from __future__ import annotations

import pytest
import redis

from llm_one_api.gateway.courier import A_LOOK
from llm_one_api.stores.limits import LimitStore
from tests.harness.services import Valkey


def test_a_server_that_cannot_write_is_away(limit_server: Valkey, store: LimitStore) -> None:
    """Else it would seem to be back each second."""
    store.run([A_LOOK])
    with limit_server.client() as client:
        try:
            client.replicaof("127.0.0.1", "1")
            with pytest.raises(redis.ReadOnlyError):
                store.run([A_LOOK])
            client.replicaof("NO", "ONE")
            client.config_set("maxmemory", 1)
            with pytest.raises(redis.OutOfMemoryError):
                store.run([A_LOOK])
        finally:
            client.replicaof("NO", "ONE")
            client.config_set("maxmemory", 0)
