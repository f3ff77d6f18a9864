"""Second stage: read the body, once, and parse the few fields that are needed; of a form, up to its model."""

from __future__ import annotations

from pathlib import Path

import msgspec

from llm_one_api.dialects import asked
from llm_one_api.dialects.openai_media import AUDIO
from llm_one_api.errors import BadRequest, GatewayError, Overloaded
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.upload import Offload, Upload
from llm_one_api.gateway.watch import Cut, Visit
from llm_one_api.values import Call, Value


class Request(Value, frozen=True, kw_only=True):
    """What the caller asks for."""

    model: str
    """Empty: the endpoint is about something made before."""
    body: bytes = b""
    asked: asked.Asked = asked.Asked()
    end_user: str | None = None
    stream: bool = False
    plain: bool = True
    """Whether the body may go on as it came; else a field stands in it twice, and it is written anew."""
    upload: Upload | None = None
    """The form that passes through instead of a body."""


class Read:
    """Reads requests."""

    def __init__(self, *, seconds: float, folder: Path, offload: Offload) -> None:
        """Give a body *seconds* to come; *folder* and *offload* are for forms (`Upload`)."""
        self._seconds = seconds
        self._folder = folder
        self._offload = offload

    def __call__(self, call: Call, endpoint: Endpoint, visit: Visit) -> Request:
        """Read and parse the request. Raises BadRequest (with a message that helps) or BodyTooLarge."""
        if endpoint.by_id:
            return Request(model="")
        try:
            if endpoint.forms and call.body.content_type.lower().startswith("multipart/"):
                return self._form(call, endpoint, visit)
            body = self._body(call, visit)
        except Cut as cut:
            raise not_come(cut, self._seconds) from None
        return _json(body, endpoint)

    def _body(self, call: Call, visit: Visit) -> bytes:
        visit.wait("body", self._seconds)
        try:
            return call.body.whole()
        finally:
            visit.go_on()

    def _form(self, call: Call, endpoint: Endpoint, visit: Visit) -> Request:
        upload = Upload(call.body, visit, seconds=self._seconds, folder=self._folder, offload=self._offload)
        try:
            upload.begin()
            model = _named(upload.field("model") or "", endpoint)
        except BaseException:
            upload.close()
            raise
        return Request(model=model, end_user=upload.end_user, stream=upload.streams, upload=upload)


def not_come(cut: Cut, seconds: float) -> GatewayError:
    """Say why a body did not come."""
    if cut.why == "client_gone":
        return BadRequest("The request's body ended before it was complete.", code="body_truncated")
    if cut.why == "draining":
        return Overloaded("The gateway is being stopped. Try again.", code="shutting_down", retry_after=1)
    return BadRequest(f"The request's body did not arrive within {seconds:g} s.", code="body_timeout")


def _json(body: bytes, endpoint: Endpoint) -> Request:
    try:
        if not body.isascii():
            body.decode()  # what stands in parts that we pass over must be UTF-8 too
        found = asked.read_request(body)
    except msgspec.ValidationError as error:
        raise _misshapen(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        name = asked.no_number(body)
        if name is not None:
            raise _miscounted(name) from None
        raise BadRequest(f"The request's body is not valid JSON: {_reason(error)}.", code="invalid_json") from None
    return Request(
        model=_named(found.model, endpoint),
        body=body,
        asked=found,
        end_user=endpoint.dialect.end_user(found.user, found.metadata),
        stream=bool(found.stream) or (endpoint.dialect is AUDIO and found.stream_format == "sse"),
        plain=asked.is_plain(body),
    )


def _named(model: str, endpoint: Endpoint) -> str:
    if model or endpoint.default_model:
        return model or endpoint.default_model
    raise BadRequest(
        "you must provide a model parameter: `model` is missing or empty.", code="missing_model", param="model"
    )


def _misshapen(reason: str) -> BadRequest:
    """Say which field is wrong. msgspec's messages name types and paths, never values."""
    if " - at `$." not in reason:
        return BadRequest(f"The request's body must be a JSON object: {reason}.", code="invalid_body")
    what, _, path = reason.partition(" - at `$.")
    name = path.rstrip("`")
    if name in asked.COUNTS:
        return _miscounted(name)
    return BadRequest(f"Invalid type for `{name}`: {what}.", code="invalid_type", param=name)


def _miscounted(name: str) -> BadRequest:
    return BadRequest(
        f"Invalid value for `{name}`: it must be a whole number between 1 and {asked.COUNTS[name]}, without quotes, "
        "point or exponent; or leave it out.",
        code="invalid_value",
        param=name,
    )


def _reason(error: Exception) -> str:
    """Word a decoding error without any of the body's text."""
    if isinstance(error, msgspec.DecodeError):
        return str(error).removeprefix("JSON is malformed: ")
    return "it is nested too deeply" if isinstance(error, RecursionError) else "it is not UTF-8"
