"""The calls themselves, the newest first, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Engine, and_, or_, select

from llm_one_api.stores.ledger.analysis.questions import Dimension
from llm_one_api.stores.ledger.rows import to_record
from llm_one_api.stores.ledger.sums import UNKNOWN_MODEL
from llm_one_api.stores.ledger.tables import records
from llm_one_api.values import UsageRecord

_r = records.c
_NO_MODEL_OF_THAT_NAME = and_(_r.outcome == "rejected", _r.error == "model_not_found")
"""What stands under `UNKNOWN_MODEL` in the sums."""
_A_MODEL_OF_THAT_NAME = or_(_r.outcome != "rejected", _r.error.is_distinct_from("model_not_found"))


class Cursor(NamedTuple):
    """The place of the last call of a page: the next page begins behind it, whatever comes in meanwhile."""

    at: datetime
    seq: int


def latest(
    engine: Engine,
    where: Mapping[Dimension, Sequence[str]],
    key: str | None,
    *,
    before: Cursor | None,
    limit: int,
    since: datetime | None,
    until: datetime | None,
) -> tuple[list[UsageRecord], Cursor | None]:
    """Give a page, and where the next one begins (None: this is the last)."""
    asked = select(records).order_by(_r.at.desc(), _r.seq.desc()).limit(limit + 1)
    asked = asked.where(*conditions(where))
    if key is not None:
        asked = asked.where(_r.key == key)
    if since is not None:
        asked = asked.where(_r.at >= since)
    if until is not None:
        asked = asked.where(_r.at < until)
    if before is not None:
        asked = asked.where(_r.at <= before.at, or_(_r.at < before.at, and_(_r.at == before.at, _r.seq < before.seq)))
    with engine.connect() as connection:
        found = connection.execute(asked).all()
    page = [to_record(row) for row in found[:limit]]
    following = Cursor(found[limit - 1].at, found[limit - 1].seq) if len(found) > limit else None
    return page, following


def conditions(where: Mapping[Dimension, Sequence[str]]) -> Iterator[ColumnElement[bool]]:
    """Say in SQL that a record has one of the values, in each dimension named: those that the sums have it under."""
    for name, values in where.items():
        if name == "stream":
            yield _r.stream.in_(sorted({value == "true" for value in values}))
        elif name == "upstream" and "" in values:
            yield or_(_r.upstream.is_(None), _r.upstream.in_(values))
        elif name == "model":
            named = and_(_r.model.in_(values), _A_MODEL_OF_THAT_NAME)
            yield or_(named, _NO_MODEL_OF_THAT_NAME) if UNKNOWN_MODEL in values else named
        else:
            yield _r[name].in_(values)
