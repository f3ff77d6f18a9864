"""Whether limits can be relied on, as health tells it."""

from __future__ import annotations

import time

from llm_one_api.limiting import Limiting
from llm_one_api.settings import load
from tests.harness.services import Valkey


def test_limits_that_calls_do_not_reach_are_not_whole_though_the_store_answers(session_valkey: Valkey) -> None:
    settings = load(
        None, {"LLM_ONE_API__REDIS__URL": session_valkey.url, "LLM_ONE_API__RATE_LIMIT__REQUESTS_PER_MINUTE": "9"}
    )
    limiting, rules = Limiting(settings), settings.limit_rules()
    assert limiting.are_whole(rules)

    limiting.courier.away_since = time.time()

    assert not limiting.are_whole(rules)
