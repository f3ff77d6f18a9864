"""OpenAI's images and audio: answers that may be large or no JSON at all, billed by tokens, by length or by count."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_one_api.dialects.batches import decode_events
from llm_one_api.dialects.dialect import Dialect, Shape, code_of, joined, usage_object
from llm_one_api.dialects.reader import StreamReader
from llm_one_api.dialects.told import Told

# ---- images ----


class ImagesShape(Shape):
    """Images, each an item of `data`; in a stream each is an event of its own."""

    type: str = ""
    data: list[msgspec.Raw] | None = None
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None

    def told(self) -> Told:
        """Sum up, with the count of the images."""
        return Told(
            error=code_of(self.error),
            usage_raw=usage_object(self.usage),
            images=None if self.data is None else len(self.data),
        )


class Images(Dialect):
    """The dialect of `/v1/images/…`."""

    shape = ImagesShape
    ends = ("usage",)
    counted = b'"b64_json"'

    def read_ends(self, first: bytes, last: bytes, count: int = 0) -> Told | None:
        """Take the count of what was seen on the way."""
        told = super().read_ends(first, last)
        return msgspec.structs.replace(told, images=count) if told is not None and count else told

    def reader(self, *, hide_usage: bool = False) -> StreamReader:  # noqa: ARG002
        """Make a reader for one stream."""
        return ImagesReader(self)


class ImagesReader(StreamReader):
    """Reads a stream of images: partial ones, and `….completed` for each that is made."""

    __slots__ = ()

    marks = (b".completed", b'"error"', b"[DONE]")

    def take(self, data: bytes) -> bool:
        """Take in an event."""
        super().take(data)
        self._count(data[:_HEAD])
        return False

    def take_ends(self, first: bytes, last: bytes) -> None:
        """Take in an event that is too long to be read: images are."""
        super().take_ends(first, last)
        self._count(first[:_HEAD])

    def _count(self, head: bytes) -> None:
        if b".completed" in head:
            self.images = (self.images or 0) + 1
            self.finish_reason = "stop"


_HEAD = 2048
"""Of a long event so much is looked at for its type."""


# ---- audio ----


class AudioShape(Shape):
    """A transcription, a translation, or an event of one."""

    type: str = ""
    duration: Any = None
    """Seconds, in `verbose_json`; some write it as a text."""
    usage: msgspec.Raw = msgspec.Raw()
    error: Any = None

    def told(self) -> Told:
        """Sum up; the event that says `done` ends a stream."""
        return Told(
            error=code_of(self.error),
            usage_raw=usage_object(self.usage),
            audio_seconds=_seconds(self.duration),
            finish_reason="stop" if self.type.endswith(".done") else None,
        )


class Audio(Dialect):
    """The dialect of `/v1/audio/…`. What is spoken is no JSON, and tells nothing of itself."""

    shape = AudioShape
    ends = ("usage", "duration")

    def text_of(self, body: bytes) -> str:
        """Give what was heard; an answer of plain text or of subtitles is it."""
        try:
            if not body.lstrip().startswith(b"{"):
                return body.decode()
            return joined([_text_decoder.decode(body).text])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return ""

    def reader(self, *, hide_usage: bool = False) -> StreamReader:  # noqa: ARG002
        """Make a reader for one stream."""
        return AudioReader(self)


class AudioReader(StreamReader):
    """Reads the events of a transcription or of speech."""

    __slots__ = ()

    marks = (b".done", b'"error"', b"[DONE]")

    def texts(self, batch: bytes) -> str:
        """Give what was heard; what is spoken comes as sound."""
        found = decode_events(batch, _heard_decoder, _heard_list_decoder)
        return joined([event.delta for event in found if event.type == "transcript.text.delta"])


class _Heard(msgspec.Struct):
    type: str = ""
    delta: Any = None


class _Text(msgspec.Struct):
    text: Any = None


def _seconds(duration: Any) -> float | None:
    try:
        seconds = float(duration) if isinstance(duration, int | float | str) else -1.0
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None


_heard_decoder = msgspec.json.Decoder(_Heard)
_heard_list_decoder = msgspec.json.Decoder(list[_Heard])
_text_decoder = msgspec.json.Decoder(_Text)


IMAGES, AUDIO = Images(), Audio()
