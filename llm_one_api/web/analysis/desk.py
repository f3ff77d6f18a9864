"""What the pages of the analysis have in common: who asks, for what, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import msgspec
import structlog
from flask import Response, request
from gevent.monkey import get_original

from llm_one_api.errors import BadRequest, Overloaded
from llm_one_api.reporting import sheet
from llm_one_api.reporting.asking import Asking
from llm_one_api.reporting.reading import NotUnderstood
from llm_one_api.reporting.sheet import Cell
from llm_one_api.stores.ledger.analysis import NotAnswerable
from llm_one_api.stores.ledger.ledger import DatabaseError
from llm_one_api.web.current import Authenticate
from llm_one_api.web.door import credentials
from llm_one_api.web.off_hub import Threads
from llm_one_api.web.stats import PATIENCE

log = structlog.get_logger()

T = TypeVar("T")

MOST_ROWS = 20_000
"""Of one answer."""
CSV, JSON = "text/csv", "application/json"

_in_sums = Threads(4)
"""For questions, so that large ones hold up none of the other pages."""
_let_others = get_original("time", "sleep")
_AT_ONCE = 50
"""Rows that are laid out before the calls of this process have their turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """An answer before it is written."""

    head: Mapping[str, Any]
    """What JSON has beside the rows."""
    rows: Sequence[Any]
    fields: Callable[[Any], Mapping[str, Any]]
    """Lays a row out as JSON."""
    columns: Sequence[str]
    cells: Callable[[Mapping[str, Any]], list[Cell]]
    """Takes the cells of a sheet out of what was laid out."""
    called: str = "rows"
    tail: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What somebody asks for."""

    asking: Asking
    admin: bool
    wants_csv: bool

    @property
    def scope(self) -> str:
        """Whose calls are told of."""
        return "all" if self.admin else "own"

    def read(self, how: Callable[[Asking], T]) -> T:
        """Read it. Raises BadRequest, with every fault."""
        try:
            return how(self.asking)
        except NotUnderstood as error:
            raise BadRequest(str(error), param=error.faults[0].param) from None


class Desk:
    """Takes questions, and answers them."""

    def __init__(self, authenticate: Authenticate, zone: ZoneInfo) -> None:
        """Show times in *zone* unless a question names another."""
        self._authenticate = authenticate
        self.zone = zone

    def asked(self) -> Asked:
        """Take what the request asks for that is being answered. Raises InvalidKey, RateLimited."""
        caller = self._authenticate(*credentials(request.environ))
        given = request.args.to_dict(flat=False)
        return Asked(
            asking=Asking(given, self.zone, key=None if caller.admin else caller.key),
            admin=caller.admin,
            wants_csv=given.get("format", [_accepted()]) == ["csv"],
        )

    def answer(self, name: str, asked: Asked, make: Callable[[], Page]) -> Response:
        """Ask the books by *make*, and write what it gives; both in a thread. Raises BadRequest, Overloaded."""
        try:
            page, body = _in_sums(lambda: _made(make, as_csv=asked.wants_csv), within=PATIENCE)
        except NotAnswerable as error:
            raise BadRequest(f"That cannot be told: {error}.", param="bucket") from None
        except (DatabaseError, OSError) as error:
            log.warning("stats.ledger_unavailable", kind=type(error).__name__)
            raise Overloaded("The ledger does not answer just now.", code="ledger_unavailable", retry_after=5) from None
        return respond(name, body, as_csv=asked.wants_csv, links=page.links)


def respond(name: str, body: bytes, *, as_csv: bool, links: Mapping[str, str] | None = None) -> Response:
    """Answer with a body that is written."""
    response = Response(body, content_type=f"{CSV}; charset=utf-8; header=present" if as_csv else JSON)
    response.headers["vary"] = "accept"
    if as_csv:
        response.headers["content-disposition"] = f'attachment; filename="{name}.csv"'
    for relation, target in (links or {}).items():
        response.headers.add("link", f'<{target}>; rel="{relation}"')
    return response


def written(page: Page, *, as_csv: bool) -> bytes:
    """Write an answer."""
    return b"".join(_csv(page) if as_csv else _json(page))


def _made(make: Callable[[], Page], *, as_csv: bool) -> tuple[Page, bytes]:
    page = make()
    return page, written(page, as_csv=as_csv)


def _json(page: Page) -> Iterator[bytes]:
    """Write JSON row by row: a large text made at once would hold up this process's calls."""
    head = msgspec.json.encode(page.head)
    yield head[:-1] + b',"' + page.called.encode() + b'":['
    for number, row in enumerate(_laid_out(page)):
        yield b"," + msgspec.json.encode(row) if number else msgspec.json.encode(row)
    tail = msgspec.json.encode(page.tail)
    yield b"]" + (b"," + tail[1:] if page.tail else b"}")


def _csv(page: Page) -> Iterator[bytes]:
    for line in sheet.rows(page.columns, map(page.cells, _laid_out(page))):
        yield line.encode()


def _laid_out(page: Page) -> Iterator[Mapping[str, Any]]:
    for number, row in enumerate(page.rows):
        if number % _AT_ONCE == _AT_ONCE - 1:
            _let_others(0)
        yield page.fields(row)


def _accepted() -> str:
    """Tell which of both the caller would rather have."""
    return "csv" if request.accept_mimetypes.best_match([JSON, CSV], JSON) == CSV else "json"
