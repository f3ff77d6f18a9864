"""Reads a form (`multipart/form-data`) as it passes: where its parts are, and what the small fields say. No I/O.

It is fed everything and keeps next to nothing: files are looked through for the boundary alone. Whether the form is
whole the upstream will judge.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.message import Message
from typing import NamedTuple

LONGEST_HEADERS, LONGEST_FIELD = 16 * 1024, 64 * 1024
_MISREADABLE = re.compile(rb"\r\n[ \t]|(?<!\r)\n|\r(?!\n)|^[ \t]|\x00")
"""What some read as the end of a header's line, or as its going on, and others do not."""
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")


class BadForm(Exception):
    """The body is not a form that every reader reads alike. Its text is for the caller; it has nothing of the body."""


class Field(NamedTuple):
    """A field's value, and where in the body it stands."""

    value: str
    start: int
    end: int


def boundary_of(content_type: str) -> str | None:
    """Give the boundary of a form's content type; None: it is no form, or has no usable boundary."""
    header = Message()
    header["content-type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/form-data" or boundary is None or not _BOUNDARY.fullmatch(boundary):
        return None
    return boundary


class FormReader:
    """Takes a form piece by piece. Raises BadForm."""

    def __init__(self, boundary: str, wanted: Iterable[str]) -> None:
        """Read the fields *wanted*; each may stand there once."""
        self._delimiter = b"\r\n--" + boundary.encode("latin-1")
        self._wanted = frozenset(wanted)
        self._held = b"\r\n"
        """What was not looked through yet. The first delimiter may lack its line break, so one is put before."""
        self._at = -2
        """Where in the body `_held` begins."""
        self._state = self._before
        self._name: str | None = None
        self._value: list[bytes] = []
        self._value_start = 0
        self.fields: dict[str, Field] = {}
        """Those of the wanted ones that have been read so far."""
        self.ended = False
        """The last boundary was seen."""

    def feed(self, data: bytes) -> None:
        """Look through another piece."""
        self._held += data
        while not self.ended and self._state():
            pass

    # Each state looks for its end in what is held; it gives True when it has found it and gone on to the next.

    def _before(self) -> bool:
        """Look for the first delimiter; what stands before it is nobody's."""
        at = self._held.find(self._delimiter)
        if at < 0:
            self._drop(max(0, len(self._held) - len(self._delimiter)))
            return False
        self._drop(at + len(self._delimiter))
        self._state = self._after_delimiter
        return True

    def _after_delimiter(self) -> bool:
        if self._held.startswith(b"--"):
            self.ended = True
            self._held = b""
            return False
        end = self._held.find(b"\r\n")
        if end < 0:
            self._bound(LONGEST_HEADERS)
            return False
        if self._held[:end].strip(b" \t"):
            raise BadForm("what stands behind a boundary is no line break")
        self._drop(end)  # the line break stays: it may be the first half of the blank line
        self._state = self._headers
        return True

    def _headers(self) -> bool:
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            self._bound(LONGEST_HEADERS)
            return False
        self._name = self._named(self._held[2:end])
        self._drop(end + 4)
        self._value, self._value_start = [], self._at
        self._state = self._body
        return True

    def _body(self) -> bool:
        at = self._held.find(self._delimiter)
        # What may be the beginning of a delimiter stays.
        upto = at if at >= 0 else max(0, len(self._held) - len(self._delimiter) + 1)
        if self._name is not None and upto:
            self._value.append(self._held[:upto])
            if self._at + upto - self._value_start > LONGEST_FIELD:
                raise BadForm(f"`{self._name}` is too long")
        end = self._at + upto
        self._drop(upto if at < 0 else at + len(self._delimiter))
        if at < 0:
            return False
        if self._name is not None:
            try:
                value = b"".join(self._value).decode()
            except UnicodeDecodeError:
                raise BadForm(f"`{self._name}` is not UTF-8") from None
            self.fields[self._name] = Field(value, self._value_start, end)
        self._state = self._after_delimiter
        return True

    def _named(self, head: bytes) -> str | None:
        """Read a part's headers; give its name if it is wanted, None: it is a file, or nobody's."""
        if _MISREADABLE.search(head):
            raise BadForm("a part's headers are folded, or a line break in them is half of one")
        told = Message()
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-disposition":
                told["content-disposition"] = value.decode("utf-8", "replace").strip()
        given = [name for name, _ in told.get_params([], "content-disposition")]
        if len(told) > 1 or given.count("name") > 1:
            raise BadForm("a part has two names")
        found = told.get_param("name", header="content-disposition")
        name_ = found[2] if isinstance(found, tuple) else found
        if not isinstance(name_, str):
            return None
        # Some take a backslash or a lone quote out of a name.
        plain = name_.lower().replace("\\", "").replace('"', "").strip()
        wanted = name_ if name_ in self._wanted else next((w for w in self._wanted if w == plain), None)
        if wanted is None:
            return None
        if wanted != name_ or wanted in self.fields or told.get_filename() is not None:
            raise BadForm(f"`{wanted}` must stand there once, as a plain field")
        return wanted

    def _drop(self, count: int) -> None:
        self._held = self._held[count:]
        self._at += count

    def _bound(self, most: int) -> None:
        if len(self._held) > most:
            raise BadForm("a part's headers are too long")
