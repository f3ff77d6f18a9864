"""What goes back to the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


class StreamBroken(Exception):
    """Raised by a reply's body to have the caller's connection aborted: a clean end would be a lie."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer, ready for the web."""

    status: int
    headers: Mapping[str, str]
    body: Iterable[bytes]
    """If it has a `close`, WSGI calls that at the end, on an error and when the caller hangs up."""
    waited: float
    """Seconds of the time so far that others took (the upstream, the caller's own sending)."""
    length: int | None = None
    """Bytes of the body, if known."""
