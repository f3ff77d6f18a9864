"""OpenAI's chats, completions and embeddings."""

from __future__ import annotations

import base64
import struct
from typing import Any, Literal

from openai.types import Completion, CompletionChoice, CompletionUsage, CreateEmbeddingResponse, Embedding
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat import ChatCompletionMessageFunctionToolCall as ToolCall
from openai.types.chat.chat_completion import Choice
from openai.types.chat.chat_completion_chunk import (
    Choice as ChunkChoice,
)
from openai.types.chat.chat_completion_chunk import (
    ChoiceDelta,
    ChoiceDeltaToolCall,
    ChoiceDeltaToolCallFunction,
)
from openai.types.chat.chat_completion_message_function_tool_call import Function
from openai.types.completion_usage import CompletionTokensDetails, PromptTokensDetails
from openai.types.create_embedding_response import Usage as EmbeddingUsage

from llm_one_api.values import Usage
from tests.harness.answers import event
from tests.harness.upstream import DONE, Script, stream

Finish = Literal["stop", "length", "tool_calls", "content_filter"]

MODEL = "gpt-scripted-2026-01-01"
TOLD = CompletionUsage(
    prompt_tokens=50,
    completion_tokens=120,
    total_tokens=170,
    prompt_tokens_details=PromptTokensDetails(cached_tokens=7, cache_write_tokens=5, audio_tokens=3, image_tokens=2),
    completion_tokens_details=CompletionTokensDetails(
        reasoning_tokens=64, audio_tokens=11, accepted_prediction_tokens=4, rejected_prediction_tokens=6
    ),
)
USAGE = Usage(
    prompt_tokens=50,
    completion_tokens=120,
    total_tokens=170,
    cache_read_tokens=7,
    cache_write_5m_tokens=5,
    audio_input_tokens=3,
    image_tokens=2,
    reasoning_tokens=64,
    audio_output_tokens=11,
    accepted_prediction_tokens=4,
    rejected_prediction_tokens=6,
)
"""The same, as it is kept."""
RECORDED = {
    "usage": USAGE,
    "usage_source": "reported",
    "usage_raw": TOLD.model_dump(exclude_unset=True),
    "usage_faults": (),
    "outcome": "success",
    "status": 200,
    "response_model": MODEL,
    "service_tier": "default",
    "finish_reason": "stop",
}
ARGUMENTS = '{"city":"Paris","unit":"°C"}'


def chat(text: str | None = "Hi there.", *calls: ToolCall, finish: Finish = "stop") -> ChatCompletion:
    message = ChatCompletionMessage(role="assistant", content=text, refusal=None)
    if calls:
        message.tool_calls = list(calls)
    return ChatCompletion(
        id="chatcmpl-1",
        object="chat.completion",
        created=1,
        model=MODEL,
        service_tier="default",
        system_fingerprint="fp_1",
        choices=[Choice(index=0, message=message, finish_reason=finish, logprobs=None)],
        usage=TOLD,
    )


def call(number: int, arguments: str = ARGUMENTS) -> ToolCall:
    """Call the tool `weather`."""
    return ToolCall(id=f"call_{number}", type="function", function=Function(name="weather", arguments=arguments))


def _chunk(*choices: ChunkChoice, usage: CompletionUsage | None = None) -> bytes:
    return event(
        ChatCompletionChunk(
            id="chatcmpl-1",
            object="chat.completion.chunk",
            created=1,
            model=MODEL,
            service_tier="default",
            system_fingerprint="fp_1",
            choices=list(choices),
            usage=usage,
        )
    )


def says(text: str) -> bytes:
    """Write a chunk that brings some text."""
    return delta(ChoiceDelta(content=text))


def delta(delta: ChoiceDelta, finish: Finish | None = None) -> bytes:
    """Write a chunk."""
    return _chunk(ChunkChoice(index=0, delta=delta, finish_reason=finish, logprobs=None))


def call_delta(index: int, arguments: str, *, opens: bool = False) -> bytes:
    """Write a piece of a call to the tool `weather`; the one that *opens* it has its name and id."""
    function = ChoiceDeltaToolCallFunction(arguments=arguments)
    piece = ChoiceDeltaToolCall(index=index, function=function)
    if opens:
        function.name = "weather"
        piece.id, piece.type = f"call_{index}", "function"
    return delta(ChoiceDelta(tool_calls=[piece]))


ROLE = delta(ChoiceDelta(role="assistant", content="", refusal=None))
WORDS = (says("Hi "), says("there."))
FINISH = delta(ChoiceDelta(), "stop")
CALLS = (
    call_delta(0, "", opens=True),
    call_delta(0, ARGUMENTS[:9]),
    call_delta(0, ARGUMENTS[9:]),
    call_delta(1, "", opens=True),
    call_delta(1, ARGUMENTS),
)
USAGE_CHUNK = _chunk(usage=TOLD)
_FILTERED: dict[str, Any] = {
    "id": "",
    "object": "",
    "created": 0,
    "model": "",
    "choices": [],
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": {}}],
}
FILTERED = event(ChatCompletionChunk.model_construct(**_FILTERED))
"""What Azure begins with: no choices, as the usage chunk, but no usage."""


def chat_stream(*events: bytes, finish: Finish = "stop") -> Script:
    """Answer with a stream as it is for those who asked for its usage: the last chunk has it, and no choices."""
    return stream(ROLE, *(events or WORDS), delta(ChoiceDelta(), finish), USAGE_CHUNK, DONE)


def completion(text: str, finish: Literal["stop"] | None = "stop", *, usage: bool = True) -> Completion:
    """Write a completion, or a chunk of a stream of one, which has the same shape."""
    choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": finish, "logprobs": None}
    return Completion(
        id="cmpl-1",
        object="text_completion",
        created=1,
        model=MODEL,
        choices=[CompletionChoice.model_construct(**choice)],
        usage=TOLD if usage else None,
    )


def completion_stream() -> Script:
    last = completion("", None)
    last.choices = []
    texts = [completion("Hi ", None, usage=False), completion("there.", usage=False)]
    return stream(*map(event, [*texts, last]), DONE)


VECTOR = [0.25, -0.5, 1.0]


def embeddings(*, base64_format: bool) -> CreateEmbeddingResponse:
    """Write an embedding as it was asked for: as numbers, or packed, as the SDK wants them unless it is told."""
    packed = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
    one: dict[str, Any] = {"object": "embedding", "index": 0, "embedding": packed if base64_format else VECTOR}
    return CreateEmbeddingResponse(
        object="list",
        model="embed-scripted",
        data=[Embedding.model_construct(**one)],
        usage=EmbeddingUsage(prompt_tokens=8, total_tokens=8),
    )
