"""The calls of a stretch of time in the order in which they were admitted, and what they come to: for exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from operator import add

from sqlalchemy import Engine, RowMapping, and_, or_, select

from llm_one_api.stores.ledger.analysis.answers import Sums
from llm_one_api.stores.ledger.analysis.folding import as_sums
from llm_one_api.stores.ledger.analysis.reading import FIGURES, OUTCOMES
from llm_one_api.stores.ledger.rollup_tables import DIMENSIONS, ROLLUP_COUNTS, rollups_quarter
from llm_one_api.stores.ledger.rows import to_record
from llm_one_api.stores.ledger.sums import Sums as Adding
from llm_one_api.stores.ledger.tables import records
from llm_one_api.values import UsageRecord

_r = records.c
_PAGE = 2000
_STREAM, _OUTCOME = (1 + DIMENSIONS.index(name) for name in ("stream", "outcome"))
_STREAMS_AT = FIGURES.index("streams")
_OUTCOME_AT = {outcome: FIGURES.index(outcome) for outcome in OUTCOMES}
_COUNTS = len(ROLLUP_COUNTS)


class Tally:
    """Adds calls up as the ledger's sums do, page by page, so that it never grows."""

    def __init__(self) -> None:
        """Begin with none."""
        self._figures = [0] * len(FIGURES)

    def add(self, rows: Sequence[RowMapping]) -> None:
        """Add calls, given as their rows in `records`."""
        page = Adding()
        for row in rows:
            page.add(row)
        figures = self._figures
        quarters = next(rows for table, rows in page.tables() if table is rollups_quarter)
        for key, sums in quarters.items():
            figures[:_COUNTS] = map(add, figures[:_COUNTS], sums)
            if key[_STREAM]:
                figures[_STREAMS_AT] += sums[0]
            figures[_OUTCOME_AT[key[_OUTCOME]]] += sums[0]

    def sums(self) -> Sums:
        """Tell what they come to."""
        return as_sums(self._figures)


class DayReads:
    """Reads on one engine, in short transactions: a day may have millions of calls, and ingests go on meanwhile."""

    def __init__(self, reading: Engine) -> None:
        """Read over *reading*, an engine for transactions that write nothing."""
        self._reading = reading

    def pages(self, since: datetime, until: datetime, tally: Tally) -> Iterator[Sequence[UsageRecord]]:
        """Give the calls admitted from *since* until before *until*, and add them to *tally*.

        One that comes in meanwhile may be left out: what the sums say afterwards shows it.
        """
        asked = select(records).where(_r.at >= since, _r.at < until).order_by(_r.at, _r.seq).limit(_PAGE)
        behind: tuple[datetime, int] | None = None
        while True:
            page = asked
            if behind is not None:
                at, seq = behind
                page = asked.where(_r.at >= at, or_(_r.at > at, and_(_r.at == at, _r.seq > seq)))
            with self._reading.connect() as connection:
                rows = connection.execute(page).all()
            if rows:
                tally.add([row._mapping for row in rows])  # noqa: SLF001 (SQLAlchemy's, and public)
                yield [to_record(row) for row in rows]
                behind = rows[-1].at, rows[-1].seq
            if len(rows) < _PAGE:
                return
