"""Moderations and reranks: answers that tell little of themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_one_api.dialects.dialect import Dialect, Shape, code_of, usage_object, word
from llm_one_api.dialects.told import Told
from llm_one_api.dialects.usage import Measured, of_rerank


class PlainShape(Shape):
    """An answer of which only the model, a usage and an error are looked at."""

    model: Any = None
    usage: msgspec.Raw = msgspec.Raw()
    meta: msgspec.Raw = msgspec.Raw()
    error: Any = None

    def told(self) -> Told:
        """Sum up; Cohere says in `meta` what it counted."""
        return Told(
            model=word(self.model) if isinstance(self.model, str) else None,
            error=code_of(self.error),
            usage_raw=usage_object(self.usage) or usage_object(self.meta),
        )


class Plain(Dialect):
    """The dialect of `/v1/moderations`."""

    shape = PlainShape


class Rerank(Plain):
    """The dialect of `/v1/rerank`, as Jina, Cohere and vLLM speak it."""

    ends = ("model", "usage", "meta")

    def usage_of(self, raw: Mapping[str, Any] | None) -> Measured:
        """Read it from Jina's or Cohere's."""
        return of_rerank(raw)


PLAIN, RERANK = Plain(), Rerank()
