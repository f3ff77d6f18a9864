"""The parts of an OpenAI message as Anthropic's content blocks.

- A text that has nothing but white space is left out: Anthropic refuses such blocks, and it says nothing.
- An image's `detail` is a hint at what the picture is worth in tokens, not a part of the question. Anthropic has no
  such notion and looks at all pictures closely, so it is left out.
- `cache_control`, Anthropic's own, passes as it is. OpenAI's `prompt_cache_breakpoint` promises other lifetimes, and is
  refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llm_one_api.dialects.translating.fields import (
    Untranslatable,
    inside,
    malformed,
    members,
    name,
    nothing_left,
    plain_object,
    text,
    unsayable,
)

Block = dict[str, Any]
Rest = dict[str, Any]
"""The members of a part; those that were taken are no longer there."""


def blocks(content: Any, path: str, kinds: Mapping[str, Kind]) -> list[Block]:
    """Translate a message's content: a string, or a list of parts of *kinds*."""
    if isinstance(content, str):
        return _texts(content)
    if not isinstance(content, list):
        raise malformed(path, "a string or a list of parts")
    return [block for i, part in enumerate(content) for block in _part(part, f"{path}[{i}]", kinds)]


def _part(part: Any, path: str, kinds: Mapping[str, Kind]) -> list[Block]:
    rest = members(part, path)
    kind = name(rest.pop("type", None), inside(path, "type"))
    if kind not in kinds:
        raise unsayable(inside(path, kind))
    found = kinds[kind](rest, path)
    cache = rest.pop("cache_control", None)
    if cache is not None:
        cache = plain_object(cache, inside(path, "cache_control"))
        found = [{**block, "cache_control": cache} for block in found]
    nothing_left(rest, path)
    return found


def _texts(said: str) -> list[Block]:
    return [{"type": "text", "text": said}] if said and not said.isspace() else []


def _text(rest: Rest, path: str) -> list[Block]:
    return _texts(text(rest.pop("text", None), inside(path, "text")))


def _refusal(rest: Rest, path: str) -> list[Block]:
    """Translate a refusal: to Anthropic it is what the assistant said, and nothing else."""
    return _texts(text(rest.pop("refusal", None), inside(path, "refusal")))


# ---- images ----

_DETAILS = frozenset({"auto", "low", "high", "original"})
_IMAGES = {f"image/{kind}": f"image/{kind}" for kind in ("jpeg", "png", "gif", "webp")} | {"image/jpg": "image/jpeg"}
"""What Anthropic takes, and a frequent slip."""


def _image(rest: Rest, path: str) -> list[Block]:
    path = inside(path, "image_url")
    image = members(rest.pop("image_url", None), path)
    url = name(image.pop("url", None), inside(path, "url"))
    if text(image.pop("detail", "auto"), inside(path, "detail")) not in _DETAILS:
        raise malformed(inside(path, "detail"), "auto, low, high or original")
    nothing_left(image, path)
    if url[:8].lower().startswith(("http://", "https://")):
        return [{"type": "image", "source": {"type": "url", "url": url}}]
    kind, data = _inline(url, inside(path, "url"))
    if kind not in _IMAGES:
        raise unsayable(inside(path, "url"), "send it as image/jpeg, image/png, image/gif or image/webp")
    return [{"type": "image", "source": {"type": "base64", "media_type": _IMAGES[kind], "data": data}}]


# ---- files ----


def _file(rest: Rest, path: str) -> list[Block]:
    path = inside(path, "file")
    file = members(rest.pop("file", None), path)
    if "file_id" in file:
        raise unsayable(inside(path, "file_id"), "send the file itself as `file_data`")
    kind, data = _inline(name(file.pop("file_data", None), inside(path, "file_data")), inside(path, "file_data"))
    if kind != "application/pdf":
        raise unsayable(inside(path, "file_data"), "send it as application/pdf, or its text as a part of type text")
    title = file.pop("filename", None)
    nothing_left(file, path)
    block: Block = {"type": "document", "source": {"type": "base64", "media_type": kind, "data": data}}
    if title is not None:
        block["title"] = name(title, inside(path, "filename"))
    return [block]


def _inline(url: str, path: str) -> tuple[str, str]:
    """Give the media type and the base64 text of a `data:` URL."""
    head, comma, data = url.partition(",")
    scheme, _, kind = head.partition(":")
    kind, *parameters = kind.lower().split(";")
    if not comma or not data or scheme.lower() != "data" or parameters[-1:] != ["base64"]:
        raise _no_inline(path)
    return kind, data


def _no_inline(path: str) -> Untranslatable:
    return malformed(path, "a URL of http or https (of an image), or data:MEDIA/TYPE;base64,…")


# ---- which parts a role may have ----

Kind = Callable[[Rest, str], list[Block]]

SYSTEM: Mapping[str, Kind] = {"text": _text}
ASSISTANT: Mapping[str, Kind] = {"text": _text, "refusal": _refusal}
USER: Mapping[str, Kind] = {"text": _text, "image_url": _image, "file": _file}
"""Also of a tool's result, where OpenAI takes text alone and Anthropic these as well."""
