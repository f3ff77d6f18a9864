"""A form (`multipart/form-data`) on its way through: it is read up to its `model`, the rest passes as it comes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from llm_one_api.dialects.multipart import BadForm, FormReader, boundary_of
from llm_one_api.errors import BadRequest, Overloaded
from llm_one_api.gateway.watch import Cut, Visit
from llm_one_api.values import Body

MOST_HELD = 256 * 1024
"""Bytes in front of the `model` field that wait in memory; more of them wait in a file without a name."""
PIECE = 128 * 1024

Offload = Callable[[Callable[[], object]], object]


class Upload:
    """One form. `begin` reads up to the model, `pieces` gives the whole form, once."""

    def __init__(self, body: Body, visit: Visit, *, seconds: float, folder: Path, offload: Offload) -> None:
        """Take the form of *body*; all of it has to come within *seconds*.

        What has to wait and is too much for memory waits in *folder*; *offload* runs what is done with that file
        elsewhere. Raises BadRequest.
        """
        boundary = boundary_of(body.content_type)
        if boundary is None:
            raise BadRequest("The form's content type has no usable boundary.", code="invalid_form")
        self.content_type = f'multipart/form-data; boundary="{boundary}"'
        self._reader = FormReader(boundary, ("model", "stream", "user"))
        self._body = body
        self._visit = visit
        self._until = time.monotonic() + seconds
        self._seconds = seconds
        self._folder = folder
        self._offload = offload
        self._held: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None
        self._renamed: str | None = None
        self.passed = False
        """Whether it has begun to go upstream, which it can only once."""
        self._over = False
        body.check()

    def begin(self) -> None:
        """Read until the model is known, or to the end. Raises a GatewayError."""
        while "model" not in self._reader.fields and self._next_into_hold():
            pass

    def field(self, name: str) -> str | None:
        """Give the value of a field, as far as the form has been read: at first, of those before the model."""
        found = self._reader.fields.get(name)
        return None if found is None else found.value

    @property
    def end_user(self) -> str | None:
        """The form's `user`, as far as it has been read."""
        user = self.field("user")
        return user and user[:200]

    @property
    def streams(self) -> bool:
        """Whether the form asks for a stream, as far as it has been read."""
        return (self.field("stream") or "").lower() == "true"

    def rename(self, model: str | None) -> None:
        """Send *model* upstream instead of what stands there; None: what stands there."""
        self._renamed = model

    @property
    def length(self) -> int | None:
        """Bytes that go upstream; None: it is not known."""
        length, found = self._body.length, self._reader.fields.get("model")
        if length is None or self._renamed is None or found is None:
            return length
        return length - (found.end - found.start) + len(self._renamed.encode())

    def pieces(self) -> Iterator[bytes]:
        """Give the form, from its start. Raises a GatewayError if the rest is not what it should be."""
        self.passed = True
        yield from self._waiting()
        while not self._over:
            piece = self._read()
            if piece:
                yield piece

    def close(self) -> None:
        """Forget what waits."""
        self._held.clear()
        if self._file is not None:
            self._file.close()

    def _waiting(self) -> Iterator[bytes]:
        """Give what was read to find the model, with the model renamed."""
        found = self._reader.fields.get("model")
        cut = (0, 0, b"")
        if found is not None and self._renamed is not None:
            cut = (found.start, found.end, self._renamed.encode())
        at = 0
        for piece in self._held_pieces():
            yield _replaced(piece, at, *cut)
            at += len(piece)
        self.close()

    def _held_pieces(self) -> Iterator[bytes]:
        file = self._file
        if file is None:
            yield from self._held
            return
        self._offload(lambda: file.seek(0))
        found: list[bytes] = []
        while True:
            self._offload(lambda: found.append(file.read(PIECE)))
            piece = found.pop()
            if not piece:
                return
            yield piece

    def _next_into_hold(self) -> bool:
        piece = self._read()
        if not piece:
            return False
        self._size += len(piece)
        if self._size <= MOST_HELD:
            self._held.append(piece)
            return True
        try:
            self._offload(lambda: self._to_file(piece))
        except OSError:
            raise Overloaded(
                "There is no room just now for a form whose `model` stands behind its file. Put `model` first, "
                "or try again.",
                code="no_room",
                retry_after=5,
            ) from None
        return True

    def _to_file(self, piece: bytes) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 (closed by `close`)
            self._file.writelines(self._held)
            self._held.clear()
        self._file.write(piece)

    def _read(self) -> bytes:
        """Read a piece and look it through, before anybody else sees it."""
        self._visit.wait("body", max(0.0, self._until - time.monotonic()))
        try:
            piece = self._body.piece()
        except Cut as cut:
            if cut.why != "body":
                raise
            raise BadRequest(f"The form did not arrive within {self._seconds:g} s.", code="body_timeout") from None
        finally:
            self._visit.go_on()
        try:
            if piece:
                self._reader.feed(piece)
            else:
                self._over = True
        except BadForm as error:
            raise BadRequest(f"The form cannot be used: {error}.", code="invalid_form") from None
        return piece


def _replaced(piece: bytes, at: int, start: int, end: int, by: bytes) -> bytes:
    """Put *by* in the place of what stands from *start* to *end* of the form, of which *piece* begins at *at*."""
    if end <= at or start >= at + len(piece) or start == end:
        return piece
    first, last = max(0, start - at), end - at
    # Of what is replaced the new value goes where the old one began.
    return piece[:first] + (by if start >= at else b"") + piece[last:]
