"""Second stage: read the body, once, and parse the few fields that are needed."""

from __future__ import annotations

import msgspec

from llm_one_api.dialects import openai
from llm_one_api.errors import BadRequest, Overloaded
from llm_one_api.gateway.watch import Cut, Visit
from llm_one_api.values import Call, Value

LONGEST_MODEL = 200


class Request(Value, frozen=True, kw_only=True):
    """What the caller asks for."""

    body: bytes
    asked: openai.Asked
    stream: bool
    plain: bool
    """Whether the body may go on as it came; else a field stands in it twice, and it is written anew."""


def read(call: Call, visit: Visit, *, timeout: float) -> Request:
    """Read and parse the body. Raises BadRequest (with a message that helps) or BodyTooLarge."""
    visit.wait("body", timeout)
    try:
        body = call.read_body()
    except Cut as cut:
        if cut.why == "client_gone":
            raise BadRequest("The request's body ended before it was complete.", code="body_truncated") from None
        if cut.why == "draining":
            raise Overloaded("The gateway is being stopped. Try again.", code="shutting_down", retry_after=1) from None
        raise BadRequest(f"The request's body did not arrive within {timeout:g} s.", code="body_timeout") from None
    finally:
        visit.go_on()
    try:
        if not body.isascii():
            body.decode()  # what stands in parts that we pass over must be UTF-8 too
        asked = openai.read_request(body)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The request's body is not valid JSON: {_reason(error)}.", code="invalid_json") from None
    if not asked.model:
        raise BadRequest("`model` is empty: name the model to use.", code="missing_model", param="model")
    return Request(body=body, asked=asked, stream=bool(asked.stream), plain=openai.is_plain(body))


def _misshapen(reason: str) -> BadRequest:
    """Say which field is wrong. msgspec's messages name types and paths, never values."""
    if "missing required field `model`" in reason:
        return BadRequest(
            "you must provide a model parameter: `model` is missing.", code="missing_model", param="model"
        )
    if " - at `$." not in reason:
        return BadRequest(f"The request's body must be a JSON object: {reason}.", code="invalid_body")
    what, _, path = reason.partition(" - at `$.")
    name = path.rstrip("`")
    return BadRequest(f"Invalid type for `{name}`: {what}.", code="invalid_type", param=name)


def _reason(error: Exception) -> str:
    """Word a decoding error without any of the body's text."""
    if isinstance(error, msgspec.DecodeError):
        return str(error).removeprefix("JSON is malformed: ")
    return "it is nested too deeply" if isinstance(error, RecursionError) else "it is not UTF-8"
