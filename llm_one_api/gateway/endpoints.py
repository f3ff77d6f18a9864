"""The endpoints that are proxied: a row each. A new one is a row here, and a dialect if it speaks another."""

from __future__ import annotations

import re
from typing import Literal

from llm_one_api.dialects.adapters import ADAPTERS
from llm_one_api.dialects.anthropic import COUNT_TOKENS, MESSAGES
from llm_one_api.dialects.dialect import Dialect
from llm_one_api.dialects.openai_chat import CHAT, EMBEDDINGS
from llm_one_api.dialects.openai_media import AUDIO, IMAGES
from llm_one_api.dialects.openai_responses import RESPONSES
from llm_one_api.dialects.plain import PLAIN, RERANK
from llm_one_api.targets import Target
from llm_one_api.values import Value

Method = Literal["GET", "POST", "DELETE"]


class Endpoint(Value, frozen=True, kw_only=True):
    """One endpoint: where callers find it, what it is called upstream, and how it is read."""

    name: str
    """As records and statistics name it."""
    path: str
    """`{id}` at the end stands for an id, which goes upstream too."""
    upstream_path: str
    """Behind the upstream's `api_base`."""
    dialect: Dialect
    methods: tuple[Method, ...] = ("POST",)
    asks_usage: bool = False
    """Whether a stream tells its usage only where `stream_options.include_usage` asks for it."""
    counts: str = ""
    """How the input is counted where usage is not told (`tokens/`); empty: it is not."""
    counts_output: bool = False
    """Whether the text of the answer is output that can be counted."""
    metered: bool = True
    """False: it shows what was used and counted before, and is never counted again."""
    forms: bool = False
    """Whether the body may be a form (multipart), which passes through as it comes."""
    default_model: str = ""
    """What the provider takes where no model is named; empty: it has to be."""
    takes_query: bool = False
    """Whether the query goes upstream."""

    @property
    def by_id(self) -> bool:
        """Whether it is about something made before, so that no model is named."""
        return self.path.endswith("{id}")

    def is_served_by(self, target: Target) -> bool:
        """Whether *target*'s upstream has it: not all adapters have all of them."""
        upstream = target.upstream
        return ADAPTERS[upstream.adapter].path(self.name, "", upstream, target.upstream_model) is not None


ENDPOINTS = (
    Endpoint(name="chat", path="/v1/chat/completions", upstream_path="/chat/completions", dialect=CHAT,
             asks_usage=True, counts="chat", counts_output=True),
    Endpoint(name="completions", path="/v1/completions", upstream_path="/completions", dialect=CHAT,
             asks_usage=True, counts="completions", counts_output=True),
    Endpoint(name="embeddings", path="/v1/embeddings", upstream_path="/embeddings",
             dialect=EMBEDDINGS, counts="embeddings"),
    Endpoint(name="responses", path="/v1/responses", upstream_path="/responses", dialect=RESPONSES,
             counts="responses", counts_output=True),
    Endpoint(name="response", path="/v1/responses/{id}", upstream_path="/responses/{id}", dialect=RESPONSES,
             methods=("GET", "DELETE"), metered=False, takes_query=True),
    Endpoint(name="messages", path="/v1/messages", upstream_path="/messages", dialect=MESSAGES,
             counts="messages", counts_output=True, takes_query=True),
    Endpoint(name="count_tokens", path="/v1/messages/count_tokens", upstream_path="/messages/count_tokens",
             dialect=COUNT_TOKENS, metered=False, takes_query=True),
    Endpoint(name="moderations", path="/v1/moderations", upstream_path="/moderations", dialect=PLAIN,
             counts="moderations", default_model="omni-moderation-latest"),
    Endpoint(name="rerank", path="/v1/rerank", upstream_path="/rerank", dialect=RERANK, counts="rerank"),
    Endpoint(name="images", path="/v1/images/generations", upstream_path="/images/generations", dialect=IMAGES,
             counts="images", default_model="dall-e-2"),
    Endpoint(name="image_edits", path="/v1/images/edits", upstream_path="/images/edits", dialect=IMAGES,
             forms=True, default_model="dall-e-2"),
    Endpoint(name="image_variations", path="/v1/images/variations", upstream_path="/images/variations",
             dialect=IMAGES, forms=True, default_model="dall-e-2"),
    Endpoint(name="speech", path="/v1/audio/speech", upstream_path="/audio/speech", dialect=AUDIO, counts="speech"),
    Endpoint(name="transcriptions", path="/v1/audio/transcriptions", upstream_path="/audio/transcriptions",
             dialect=AUDIO, counts_output=True, forms=True),
    Endpoint(name="translations", path="/v1/audio/translations", upstream_path="/audio/translations",
             dialect=AUDIO, counts_output=True, forms=True),
)  # fmt: skip

_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
_LONGEST_QUERY = 2000
_QUERY = re.compile(r"[\x21-\x7e]*")


class Table:
    """Finds the endpoint that a request is for."""

    def __init__(self, endpoints: tuple[Endpoint, ...] = ENDPOINTS) -> None:
        """Index *endpoints* by their paths."""
        self.endpoints = endpoints
        self._exact: dict[tuple[str, str], Endpoint] = {
            (e.path, method): e for e in endpoints if not e.by_id for method in e.methods
        }
        self._by_id: dict[tuple[str, str], Endpoint] = {
            (e.path.removesuffix("{id}"), method): e for e in endpoints if e.by_id for method in e.methods
        }

    def find(self, path: str, method: str) -> Endpoint | None:
        """Give the endpoint at *path*; None: there is none for this method."""
        found = self._exact.get((path, method))
        if found is None and method != "POST":
            folder, slash, name = path.rpartition("/")
            found = self._by_id.get((folder + slash, method))
            if found is not None and not _ID.fullmatch(name):
                return None
        return found


def upstream_path(endpoint: Endpoint, path: str, query: str) -> str:
    """Write the path that goes upstream for a request of *path* and *query*."""
    own = endpoint.upstream_path
    if endpoint.by_id:
        own = own.removesuffix("{id}") + path.rpartition("/")[2]
    if query and endpoint.takes_query and len(query) <= _LONGEST_QUERY and _QUERY.fullmatch(query):
        own += "?" + query
    return own
