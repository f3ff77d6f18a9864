"""OpenAI's responses, whole and as their typed events."""

from __future__ import annotations

from typing import Any, Literal

from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseContentPartAddedEvent,
    ResponseContentPartDoneEvent,
    ResponseCreatedEvent,
    ResponseError,
    ResponseErrorEvent,
    ResponseFailedEvent,
    ResponseFunctionCallArgumentsDeltaEvent,
    ResponseFunctionCallArgumentsDoneEvent,
    ResponseFunctionToolCall,
    ResponseIncompleteEvent,
    ResponseInProgressEvent,
    ResponseOutputItem,
    ResponseOutputItemAddedEvent,
    ResponseOutputItemDoneEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoningItem,
    ResponseStatus,
    ResponseTextDeltaEvent,
    ResponseTextDoneEvent,
    ResponseUsage,
)
from openai.types.responses.response import IncompleteDetails
from openai.types.responses.response_usage import InputTokensDetails, OutputTokensDetails

from llm_one_api.values import Usage
from tests.harness.answers import typed

MODEL = "gpt-scripted-2026-01-01"
ID = "resp_0a1b2c"
TOLD = ResponseUsage(
    input_tokens=36,
    input_tokens_details=InputTokensDetails(cached_tokens=12, cache_write_tokens=9),
    output_tokens=87,
    output_tokens_details=OutputTokensDetails(reasoning_tokens=64),
    total_tokens=123,
)
USAGE = Usage(
    prompt_tokens=36,
    completion_tokens=87,
    total_tokens=123,
    cache_read_tokens=12,
    cache_write_5m_tokens=9,
    reasoning_tokens=64,
)
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
THOUGHT = ResponseReasoningItem(id="rs_1", type="reasoning", summary=[])


def says(text: str, status: Literal["in_progress", "completed"] = "completed") -> ResponseOutputMessage:
    content: list[Any] = [ResponseOutputText(type="output_text", text=text, annotations=[])] if text else []
    return ResponseOutputMessage(id="msg_1", type="message", role="assistant", status=status, content=content)


def call(arguments: str = ARGUMENTS) -> ResponseFunctionToolCall:
    """Call the tool `weather`."""
    return ResponseFunctionToolCall(
        type="function_call", id="fc_1", call_id="call_1", name="weather", arguments=arguments, status="completed"
    )


def response(
    *output: ResponseOutputItem,
    status: ResponseStatus = "completed",
    usage: ResponseUsage | None = TOLD,
    error: ResponseError | None = None,
    incomplete: IncompleteDetails | None = None,
) -> Response:
    return Response(
        id=ID,
        object="response",
        created_at=1,
        status=status,
        error=error,
        incomplete_details=incomplete,
        model=MODEL,
        output=list(output),
        parallel_tool_calls=True,
        tool_choice="auto",
        tools=[],
        service_tier="default",
        usage=usage,
    )


_BEGUN = response(status="in_progress", usage=None)
CREATED = ResponseCreatedEvent(type="response.created", sequence_number=0, response=_BEGUN)
IN_PROGRESS = ResponseInProgressEvent(type="response.in_progress", sequence_number=1, response=_BEGUN)
START = (typed(CREATED), typed(IN_PROGRESS))
COMPLETED = typed(
    ResponseCompletedEvent(type="response.completed", sequence_number=9, response=response(says("Hi there.")))
)
CALLED = typed(ResponseCompletedEvent(type="response.completed", sequence_number=9, response=response(call())))
_CUT_SHORT = response(
    says("Hi"), status="incomplete", incomplete=IncompleteDetails(reason="max_output_tokens")
)  # fmt: skip
INCOMPLETE = typed(ResponseIncompleteEvent(type="response.incomplete", sequence_number=9, response=_CUT_SHORT))
_FAILED = response(
    status="failed", error=ResponseError(code="server_error", message="The model failed.")
)  # fmt: skip
FAILED = typed(ResponseFailedEvent(type="response.failed", sequence_number=9, response=_FAILED))
ERROR = typed(
    ResponseErrorEvent(
        type="error", sequence_number=9, code="server_error", message="The server had an error.", param=None
    )
)
"""The error as this API has it: flat, so that by itself the SDK takes it for an event like any other."""


def _words() -> list[bytes]:
    part = ResponseOutputText(type="output_text", text="", annotations=[])
    said = part.model_copy(update={"text": "Hi there."})
    where: dict[str, Any] = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[Any] = [
        ResponseOutputItemAddedEvent(
            type="response.output_item.added", sequence_number=2, output_index=0, item=says("", "in_progress")
        ),
        ResponseContentPartAddedEvent(type="response.content_part.added", sequence_number=3, part=part, **where),
        ResponseTextDeltaEvent(type="response.output_text.delta", sequence_number=4, delta="Hi ", logprobs=[], **where),
        ResponseTextDeltaEvent(
            type="response.output_text.delta", sequence_number=5, delta="there.", logprobs=[], **where
        ),
        ResponseTextDoneEvent(
            type="response.output_text.done", sequence_number=6, text="Hi there.", logprobs=[], **where
        ),
        ResponseContentPartDoneEvent(type="response.content_part.done", sequence_number=7, part=said, **where),
        ResponseOutputItemDoneEvent(
            type="response.output_item.done", sequence_number=8, output_index=0, item=says("Hi there.")
        ),
    ]
    return [typed(event) for event in events]


def _calls() -> list[bytes]:
    where: dict[str, Any] = {"item_id": "fc_1", "output_index": 0}
    events: list[Any] = [
        ResponseOutputItemAddedEvent(
            type="response.output_item.added", sequence_number=2, output_index=0, item=call("")
        ),
        *[
            ResponseFunctionCallArgumentsDeltaEvent(
                type="response.function_call_arguments.delta", sequence_number=n, delta=piece, **where
            )
            for n, piece in enumerate((ARGUMENTS[:9], ARGUMENTS[9:]), start=3)
        ],
        ResponseFunctionCallArgumentsDoneEvent(
            type="response.function_call_arguments.done",
            sequence_number=5,
            arguments=ARGUMENTS,
            name="weather",
            **where,
        ),
        ResponseOutputItemDoneEvent(type="response.output_item.done", sequence_number=6, output_index=0, item=call()),
    ]
    return [typed(event) for event in events]


WORDS, CALLS = _words(), _calls()
