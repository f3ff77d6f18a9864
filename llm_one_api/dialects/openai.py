"""How OpenAI's API speaks: what we read of requests, answers and streams. Bytes in, values out."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_one_api.dialects import sse
from llm_one_api.values import Usage

# ---- requests ----


class Asked(msgspec.Struct, frozen=True):
    """The few fields of a request's body that the gateway needs; the rest passes unread."""

    model: str
    stream: bool | None = None
    stream_options: msgspec.Raw = msgspec.Raw()
    """As it stands in the body; empty: it does not."""
    user: Any = None

    @property
    def end_user(self) -> str | None:
        """The body's `user`, if it is one."""
        return self.user[:200] if isinstance(self.user, str) else None

    @property
    def wants_usage(self) -> bool:
        """Tell whether the caller asked for the usage chunk of a stream."""
        if not bytes(self.stream_options):
            return False
        try:
            options = msgspec.json.decode(self.stream_options, type=_StreamOptions | None)
        except msgspec.ValidationError:
            return True  # not ours to judge: the upstream will
        return options is not None and options.include_usage is True


class _StreamOptions(msgspec.Struct):
    include_usage: Any = None


_asked = msgspec.json.Decoder(Asked)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_OURS = {"include_usage": True}


def read_request(body: bytes) -> Asked:
    """Read a request's body. Raises msgspec.DecodeError or msgspec.ValidationError (with a path) if it is none."""
    return _asked.decode(body)


def is_plain(body: bytes) -> bool:
    r"""Tell whether each field that decides something surely stands in *body* once, so that no parser can read another.

    A name may also be written with escapes (`"mod\u0065l"`), hence the second test.
    """
    count = body.count
    return (
        count(b'"model"') == 1 and count(b'"stream"') <= 1 and count(b'"stream_options"') <= 1 and b"\\u00" not in body
    )


def rewrite(body: bytes, *, model: str | None = None, ask_usage: bool = False) -> bytes:
    """Write the body anew: each member once, in order and as it was, but with *model*, and asking for usage."""
    members = _members.decode(body)
    if model is not None:
        members["model"] = msgspec.Raw(msgspec.json.encode(model))
    if ask_usage:
        options = members.get("stream_options")
        given = msgspec.json.decode(options) if options is not None else None
        members["stream_options"] = msgspec.Raw(msgspec.json.encode({**(given or {}), **_OURS}))
    return msgspec.json.encode(members)


def with_usage_asked(body: bytes) -> bytes:
    """Ask for the usage chunk in a body that has no `stream_options`, by adding a member in front."""
    brace = body.index(b"{")
    return body[: brace + 1] + b'"stream_options":{"include_usage":true},' + body[brace + 1 :]


# ---- usage ----


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    audio_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None
    audio_tokens: int | None = None
    accepted_prediction_tokens: int | None = None
    rejected_prediction_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


def usage_of(raw: dict[str, Any] | None) -> Usage | None:
    """Read a usage object of chat, completions or embeddings; None if it has no figures or cannot be believed."""
    if not raw:
        return None
    try:
        told = msgspec.convert(raw, _Usage)
    except msgspec.ValidationError:
        return None
    prompt, completion = told.prompt_tokens, told.completion_tokens
    if prompt is None and completion is None and told.total_tokens is None:
        return None
    inputs, outputs = told.prompt_tokens_details, told.completion_tokens_details
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=told.total_tokens
        if told.total_tokens is not None
        else (None if prompt is None or completion is None else prompt + completion),
        cache_read_tokens=inputs.cached_tokens if inputs else None,
        audio_input_tokens=inputs.audio_tokens if inputs else None,
        reasoning_tokens=outputs.reasoning_tokens if outputs else None,
        audio_output_tokens=outputs.audio_tokens if outputs else None,
        accepted_prediction_tokens=outputs.accepted_prediction_tokens if outputs else None,
        rejected_prediction_tokens=outputs.rejected_prediction_tokens if outputs else None,
    )


# ---- answers ----


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class Told(msgspec.Struct):
    """What an answer, or one chunk of a stream, tells of itself."""

    model: str | None = None
    service_tier: str | None = None
    usage: dict[str, Any] | None = None
    choices: list[_Choice] | None = None
    error: Any = None

    @property
    def finish_reason(self) -> str | None:
        """The first choice's reason to end."""
        return next((c.finish_reason for c in self.choices or () if c.finish_reason), None)

    @property
    def error_code(self) -> str | None:
        """The provider's code for its error, else its type; never its message."""
        if not isinstance(self.error, dict):
            return "upstream_error" if self.error else None
        for name in ("code", "type"):
            code = self.error.get(name)
            if isinstance(code, (str, int)) and str(code):
                return str(code)[:100]
        return "upstream_error"


_told = msgspec.json.Decoder(Told)


def read_answer(body: bytes) -> Told | None:
    """Read a JSON answer; None if it is none, or not of this shape."""
    try:
        return _told.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _marks(batch: bytes) -> int:
    """Count what may be usage, a finish reason, an error or the end, six times faster than a pattern does."""
    return (
        batch.count(b'"usage"')
        - batch.count(b'"usage":null')
        + batch.count(b'"finish_reason"')
        - batch.count(b'"finish_reason":null')
        + batch.count(b"[DONE]")
        + batch.count(b'"error"')
    )


class StreamReader:
    """Reads a chat or completions stream by the way: usage, model, finish reason, an error inside it, its end.

    Only events that can tell something are parsed: the first, and those of usage, a finish reason, an error, the end.
    """

    __slots__ = ("_hide_usage", "_started", "done", "error", "finish_reason", "model", "service_tier", "usage_raw")

    def __init__(self, *, hide_usage: bool) -> None:
        """With *hide_usage* take out the event of empty `choices` and usage: the caller did not ask."""
        self._hide_usage = hide_usage
        self._started = False
        self.model: str | None = None
        self.service_tier: str | None = None
        self.usage_raw: dict[str, Any] | None = None
        self.finish_reason: str | None = None
        self.error: str | None = None
        self.done = False

    def feed(self, batch: bytes) -> bytes:
        """Read a batch of complete events; give what the caller is to get of it."""
        if not self._started:
            self._begin(batch)
        marks = _marks(batch)
        if not marks:
            return batch
        # What tells something stands at the end, so the search goes backwards and ends when all marks are found.
        telling = []
        for start, end in sse.spans_backwards(batch):
            found = _marks(batch[start:end])
            if found:
                telling.append((start, end))
                marks -= found
                if marks <= 0:
                    break
        for start, end in reversed(telling):
            if self._read(sse.data_of(batch[start:end])):
                return self._without(batch, telling)
        return batch

    def _begin(self, batch: bytes) -> None:
        for event in sse.events(batch):
            data = sse.data_of(event)
            if data:
                told = read_answer(data)
                if told is not None:
                    self._started = True
                    self.model, self.service_tier = told.model, told.service_tier
                return

    def _without(self, batch: bytes, telling: list[tuple[int, int]]) -> bytes:
        """Take the events to hide out of *batch*; reads on to the last telling one."""
        kept, at = [], 0
        for start, end in reversed(telling):
            if self._read(sse.data_of(batch[start:end])):
                kept.append(batch[at:start])
                at = end
        kept.append(batch[at:])
        return b"".join(kept)

    def _read(self, data: bytes) -> bool:
        """Take in one event's data; tell whether the event is to be hidden."""
        if not data:
            return False
        if data == b"[DONE]":
            self.done = True
            return False
        told = read_answer(data)
        if told is None:
            return False
        self.model = told.model or self.model
        self.service_tier = told.service_tier or self.service_tier
        self.finish_reason = told.finish_reason or self.finish_reason
        self.error = told.error_code or self.error
        if told.usage is None:
            return False
        self.usage_raw = told.usage
        return self._hide_usage and not told.choices
