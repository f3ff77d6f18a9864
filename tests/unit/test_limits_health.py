"""Whether limits can be relied on, as health tells it."""

from __future__ import annotations

import time
from contextlib import closing

from llm_one_api.app import _are_whole
from llm_one_api.gateway.courier import Courier
from llm_one_api.settings import load
from llm_one_api.stores.limits import LimitStore
from tests.harness.services import Valkey


def test_limits_that_calls_do_not_reach_are_not_whole_though_the_store_answers(session_valkey: Valkey) -> None:
    settings = load(None, {"LLM_ONE_API__REDIS__URL": session_valkey.url})
    with closing(LimitStore(session_valkey.url, settings.redis.key_prefix)) as store:
        courier = Courier(store)
        assert _are_whole(settings, courier)

        courier.away_since = time.time()

        assert not _are_whole(settings, courier)
