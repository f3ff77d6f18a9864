"""What the pages of the analysis have in common: who asks, for what, and how it is answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import unquote_to_bytes, urlencode
from zoneinfo import ZoneInfo

import structlog
from flask import Response, request
from gevent.monkey import get_original

from llm_one_api.errors import BadRequest, Overloaded
from llm_one_api.reporting.asking import Asking
from llm_one_api.reporting.page import Page, written
from llm_one_api.reporting.reading import NotUnderstood, shown
from llm_one_api.stores.ledger.analysis import NotAnswerable
from llm_one_api.stores.ledger.ledger import DatabaseError
from llm_one_api.web.current import Authenticate
from llm_one_api.web.door import credentials
from llm_one_api.web.off_hub import Threads
from llm_one_api.web.stats import PATIENCE

log = structlog.get_logger()

T = TypeVar("T")

CSV, JSON = "text/csv", "application/json"

_in_sums = Threads(4)
"""For questions, so that large ones hold up none of the other pages."""
_let_others = get_original("time", "sleep")


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
        """Take what the request asks for that is being answered. Raises InvalidKey, RateLimited, BadRequest."""
        caller = self._authenticate(*credentials(request.environ))
        _check_text(request.query_string)
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
        return respond(name, body, as_csv=asked.wants_csv, following=_link(page))


def respond(name: str, body: bytes, *, as_csv: bool, following: str | None = None) -> Response:
    """Answer with a body that is written; *following*: the query of the next page."""
    response = Response(body, content_type=f"{CSV}; charset=utf-8; header=present" if as_csv else JSON)
    response.headers["vary"] = "accept"
    if as_csv:
        response.headers["content-disposition"] = f'attachment; filename="{name}.csv"'
    if following is not None:
        response.headers["link"] = f'<{following}>; rel="next"'
    return response


def _check_text(query: bytes) -> None:
    """Refuse bytes that are no UTF-8: Werkzeug would take them for what stands there, such as `%FF`."""
    for pair in query.split(b"&"):
        try:
            unquote_to_bytes(pair).decode()
        except UnicodeDecodeError:
            name = unquote_to_bytes(pair.partition(b"=")[0]).decode(errors="replace")
            raise BadRequest(f"`{shown(name)}` is no text in UTF-8.", param=shown(name)) from None


def _made(make: Callable[[], Page], *, as_csv: bool) -> tuple[Page, bytes]:
    page = make()
    return page, written(page, as_csv=as_csv, between=partial(_let_others, 0))


def _link(page: Page) -> str | None:
    """Give the query of the next page."""
    if page.behind is None:
        return None
    given = [(name, value) for name, value in request.args.items(multi=True) if name != "before"]
    return "?" + urlencode([*given, ("before", page.behind)])


def _accepted() -> str:
    """Tell which of both the caller would rather have."""
    return "csv" if request.accept_mimetypes.best_match([JSON, CSV], JSON) == CSV else "json"
