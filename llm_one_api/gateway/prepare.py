"""Fifth stage: what goes upstream. The caller's own body, byte for byte, unless a field must change."""

from __future__ import annotations

import time
from collections.abc import Callable

from llm_one_api.dialects import asked
from llm_one_api.dialects.adapters import ADAPTERS, Translation
from llm_one_api.dialects.dialect import Dialect
from llm_one_api.dialects.translating.anthropic import Untranslatable
from llm_one_api.errors import BadRequest
from llm_one_api.gateway.endpoints import Endpoint, upstream_path
from llm_one_api.gateway.pool import Origin
from llm_one_api.gateway.read import Request
from llm_one_api.gateway.upload import Upload
from llm_one_api.targets import Target, Upstream
from llm_one_api.values import Call

REMEMBERED = 3600.0
"""Seconds for which it is remembered that an upstream refuses `stream_options`; it may have been updated since."""


class Unsupported(BadRequest):
    """This upstream cannot be told what was asked; one that speaks otherwise may."""


class Outgoing:
    """A request, ready to be sent."""

    __slots__ = (
        "body", "dialect", "has_body", "head", "hides_usage", "include_usage", "model", "translation", "unasked",
        "upload", "upstream",
    )  # fmt: skip

    def __init__(self, *, head: bytes, body: bytes, upstream: Upstream, model: str, dialect: Dialect) -> None:
        self.head = head
        """All of the head but `Content-Length` and the blank line."""
        self.body = body
        self.upstream = upstream
        self.model = model
        """What the upstream calls it."""
        self.dialect = dialect
        """How the upstream answers."""
        self.upload: Upload | None = None
        """A form that passes through, instead of the body."""
        self.translation: Translation | None = None
        self.include_usage = False
        """Whether a translated stream tells its usage."""
        self.hides_usage = False
        """Whether we ask for usage on the caller's behalf, so that the caller must not see it."""
        self.has_body = True
        """False: the request has none, nor says so."""
        self.unasked: Callable[[], bytes] = bytes
        """Makes the body again without our asking for usage."""


class Prepare:
    """Makes requests ready."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing of the upstreams yet."""
        self._clock = clock
        self._heads: dict[tuple[str | bool, ...], bytes] = {}
        self._refusing: dict[tuple[str, str], float] = {}

    def __call__(self, call: Call, endpoint: Endpoint, request: Request, target: Target) -> Outgoing:
        """Make the request ready. Raises Unsupported if the upstream cannot be told what was asked."""
        upstream = target.upstream
        adapter = ADAPTERS[upstream.adapter]
        own = upstream_path(endpoint, call.path, call.query)
        path = adapter.path(endpoint.name, own, upstream, target.upstream_model)
        if path is None:
            raise Unsupported(
                f"The model `{target.model}` is served by an upstream (adapter: {upstream.adapter}) that has no "
                f"{endpoint.path}.",
                code="unsupported_endpoint",
                param="model",
            )
        translation = adapter.translation(endpoint.name)
        theirs = call.headers
        if translation is not None:  # of the translated request the caller knows no version
            theirs = tuple([header for header in theirs if not header[0].startswith("anthropic-")])
        ready = Outgoing(
            head=self._head(call, path, request.upload, upstream, theirs),
            body=b"",
            upstream=upstream,
            model=target.upstream_model,
            dialect=endpoint.dialect if translation is None else translation.dialect,
        )
        if request.upload is not None:
            ready.upload = request.upload
            request.upload.rename(target.upstream_model if target.upstream_model != request.model else None)
        elif translation is not None:
            ready.translation = translation
            ready.include_usage = request.asked.wants_usage
            ready.body = _translated(translation, request, upstream, target.upstream_model)
        elif endpoint.by_id:
            ready.has_body = False
        else:
            ready.hides_usage = endpoint.asks_usage and request.stream and self._asks(upstream, target, request)
            ready.body = body_of(request, target, ask_usage=ready.hides_usage)
            if ready.hides_usage:
                ready.unasked = lambda: body_of(request, target, ask_usage=False)
        return ready

    def forget_heads(self) -> None:
        """Keep no upstream's key that the config may not have any more: heads are made anew when they are needed."""
        self._heads.clear()

    def refused(self, ready: Outgoing) -> None:
        """Remember that the upstream refuses `stream_options` for this model."""
        self._refusing[ready.upstream.base_url, ready.model] = self._clock() + REMEMBERED

    def _asks(self, upstream: Upstream, target: Target, request: Request) -> bool:
        """Tell whether usage has to be asked for, and may be."""
        if request.asked.wants_usage:
            return False
        if not self._refusing:
            return True
        until = self._refusing.get((upstream.base_url, target.upstream_model))
        return until is None or self._clock() >= until

    def _head(
        self, call: Call, path: str, upload: Upload | None, upstream: Upstream, theirs: tuple[tuple[str, str], ...]
    ) -> bytes:
        """Write the head. What is the same for each call is kept: it is made for each endpoint and upstream once."""
        method = call.method
        versioned = upstream.adapter == "anthropic" and any(name == "anthropic-version" for name, _ in theirs)
        known = (method, path, upstream.base_url, upstream.api_key, upstream.adapter, versioned, upload is None)
        head = self._heads.get(known)
        if head is None:
            origin = Origin.of(upstream.base_url)
            lines = [
                f"{method} {origin.path}{path} HTTP/1.1",
                f"Host: {origin.host_header}",
                "Accept-Encoding: identity",
            ]
            if method == "POST" and upload is None:
                lines.append("Content-Type: application/json")  # it was read as that, whatever the caller calls it
            ours = ADAPTERS[upstream.adapter].headers(upstream)
            # A version that the caller names goes before ours.
            lines += [f"{name}: {value}" for name, value in ours if not (versioned and name == "anthropic-version")]
            head = ("\r\n".join(lines) + "\r\n").encode("latin-1")
            if method == "POST" and not call.query:
                self._heads[known] = head
        if upload is not None:
            head += f"Content-Type: {upload.content_type}\r\n".encode("latin-1")
        return head + "".join([f"{name}: {value}\r\n" for name, value in theirs]).encode("latin-1")


def body_of(request: Request, target: Target, *, ask_usage: bool) -> bytes:
    """Give the body to send: the caller's own, unless a field must change.

    Those are the model's name upstream, `stream_options`, or a field that stands in it twice (so that the upstream
    reads what we read).
    """
    given = request.asked
    model = target.upstream_model if target.upstream_model != given.model else None
    if not given.model and target.upstream_model == request.model:
        model = None  # none was named, and the provider takes the same
    if model is None and request.plain:
        if not ask_usage:
            return request.body
        if not bytes(given.stream_options):
            return asked.with_usage_asked(request.body)
    return asked.rewrite(request.body, model=model, ask_usage=ask_usage)


def _translated(translation: Translation, request: Request, upstream: Upstream, model: str) -> bytes:
    try:
        return translation.request(request.body, upstream, model)
    except Untranslatable as error:
        raise Unsupported(error.message, code="unsupported_parameter", param=error.param) from None
