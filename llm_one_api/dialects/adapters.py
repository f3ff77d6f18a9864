"""How the upstreams differ that serve OpenAI's endpoints: where a call goes, how the key is shown, what is translated.

An adapter is a class here and a word in `values.Adapter`. It does no I/O.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote

from llm_one_api.dialects.anthropic import MESSAGES
from llm_one_api.dialects.dialect import Dialect
from llm_one_api.dialects.translating import anthropic as translating
from llm_one_api.targets import Upstream

Headers = tuple[tuple[str, str], ...]

ANTHROPIC_VERSION = "2023-06-01"


class StreamTranslation(Protocol):
    """Turns an upstream's events into the caller's."""

    def feed(self, batch: bytes, whole: bool = True) -> bytes:
        """Translate whole events. Raises ValueError if they are not."""


class Translation:
    """A chat for an upstream that speaks Anthropic's Messages."""

    upstream_path = "/messages"
    dialect: Dialect = MESSAGES
    """How the upstream answers."""

    def request(self, body: bytes, upstream: Upstream, model: str) -> bytes:
        """Translate a request. Raises `translating.Untranslatable`, which names the field."""
        return translating.request(body, model=model, max_tokens=upstream.default_max_tokens)

    def answer(self, body: bytes, status: int, *, model: str, created: int) -> bytes:
        """Translate an answer or an error. Raises ValueError if it is no answer."""
        if status >= 400:  # noqa: PLR2004
            return translating.error(body, status)
        return translating.answer(body, model=model, created=created)

    def stream(self, *, model: str, created: int, include_usage: bool) -> StreamTranslation:
        """Make the translation of one stream."""
        return translating.Stream(model=model, created=created, include_usage=include_usage)


class OpenAI:
    """The default: every endpoint as it is, with the key as a bearer token."""

    def path(self, endpoint: str, upstream_path: str, upstream: Upstream, model: str) -> str | None:  # noqa: ARG002
        """Tell what is put behind the base for *endpoint*; None: such an upstream has no such endpoint."""
        return upstream_path

    def models_path(self, upstream: Upstream) -> str:  # noqa: ARG002
        """Tell where it lists its models: what is asked to see whether it is there, for that costs no tokens."""
        return "/models"

    def headers(self, upstream: Upstream) -> Headers:
        """Give the headers that show our key."""
        return (("Authorization", f"Bearer {upstream.api_key}"),) if upstream.api_key else ()

    def translation(self, endpoint: str) -> Translation | None:  # noqa: ARG002
        """Give what has to be translated for *endpoint*; None: nothing, it speaks as the caller does."""
        return None


class Anthropic(OpenAI):
    """Anthropic's Messages; chats are translated."""

    _own = frozenset({"messages", "count_tokens"})
    _chat = Translation()

    def path(self, endpoint: str, upstream_path: str, upstream: Upstream, model: str) -> str | None:  # noqa: ARG002
        """Serve messages as they are, and chats as messages."""
        if endpoint == "chat":
            return self._chat.upstream_path
        return upstream_path if endpoint in self._own else None

    def headers(self, upstream: Upstream) -> Headers:
        """Show the key as Anthropic wants it, and name the version; a caller's own version goes before ours."""
        key = (("x-api-key", upstream.api_key),) if upstream.api_key else ()
        return (*key, ("anthropic-version", ANTHROPIC_VERSION))

    def translation(self, endpoint: str) -> Translation | None:
        """Translate chats."""
        return self._chat if endpoint == "chat" else None


class Azure(OpenAI):
    """Azure OpenAI: a deployment has a path of its own, `api-version` stands in the query, the key in `api-key`."""

    _deployed = frozenset({
        "chat", "completions", "embeddings", "images", "image_edits", "speech", "transcriptions", "translations",
    })  # fmt: skip
    _others = frozenset({"responses", "response"})

    def path(self, endpoint: str, upstream_path: str, upstream: Upstream, model: str) -> str | None:
        """Put the deployment, which is what the upstream calls the model, before the path."""
        if endpoint in self._deployed:
            upstream_path = f"/deployments/{quote(model, safe='')}{upstream_path}"
        elif endpoint not in self._others:
            return None
        return self._versioned(upstream_path, upstream)

    def models_path(self, upstream: Upstream) -> str:
        """Tell where it lists its models, which no deployment's path stands before."""
        return self._versioned("/models", upstream)

    @staticmethod
    def _versioned(path: str, upstream: Upstream) -> str:
        root = "" if upstream.base_url.endswith("/openai") else "/openai"
        mark = "&" if "?" in path else "?"
        return f"{root}{path}{mark}api-version={upstream.api_version}"

    def headers(self, upstream: Upstream) -> Headers:
        """Show the key as Azure wants it."""
        return (("api-key", upstream.api_key),) if upstream.api_key else ()


ADAPTERS = {"openai": OpenAI(), "anthropic": Anthropic(), "azure": Azure()}
