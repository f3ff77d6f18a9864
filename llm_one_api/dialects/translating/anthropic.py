"""OpenAI chat clients in front of an Anthropic upstream (`adapter: anthropic`): the face of the translation.

    request             messages → `system` and `messages`                    anthropic_messages, anthropic_parts
                        tools, tool_choice, parallel_tool_calls               anthropic_tools
                        max_tokens, max_completion_tokens (a limit is set where none is given: Anthropic wants one)
                        stop → stop_sequences · user, safety_identifier → metadata.user_id · stream
                        temperature, top_p from 0 to 1 (1, the default of both, is left unsaid)
                        reasoning_effort → output_config.effort and adaptive thinking; none → no thinking
                        response_format json_schema → output_config.format
                        service_tier default → standard_only
                        thinking, top_k, cache_control: Anthropic's own, as they are      anthropic_request
    answer, error       a message → a chat completion                         anthropic_answer
    Stream              its events → chunks                                   anthropic_stream

All else in a request is refused with its path, but what changes nothing at the value it has (`n` of 1, a penalty of 0)
and hints that never change an answer (`prompt_cache_key`, an image's `detail`).
"""

from __future__ import annotations

from llm_one_api.dialects.translating.anthropic_answer import answer, error
from llm_one_api.dialects.translating.anthropic_request import request
from llm_one_api.dialects.translating.anthropic_stream import Stream
from llm_one_api.dialects.translating.fields import Untranslatable

__all__ = ["Stream", "Untranslatable", "answer", "error", "request"]
