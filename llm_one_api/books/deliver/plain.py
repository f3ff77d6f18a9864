"""Delivery to a plugin that keeps no place: the cursor follows what it has had."""

from __future__ import annotations

from collections.abc import Sequence

from llm_one_api.books.deliver.protocols import Kept, L
from llm_one_api.books.deliver.turn import PluginError, Turn


def plain(turn: Turn[L]) -> bool:
    """Deliver until there is nothing more (True) or the time is over (False)."""
    turn.plugin()
    had = look_ahead(turn) if turn.is_in_doubt else None
    chunk = turn.pace.chunk
    while kept := turn.ledger.read(turn.place, chunk):
        if turn.plugin().takes_several and not turn.careful:
            turn.call(turn.plugin().record_several, [turn.info(one) for one in kept])
            turn.place = kept[-1].seq
            turn.records += len(kept)
        elif not _one_by_one(turn, kept, had):
            return False
        if len(kept) < chunk:
            return True
        turn.keep_place()
        if turn.is_over:
            return False
    return True


def look_ahead(turn: Turn[L]) -> int | None:
    """Find out whether the refused record is at fault or the plugin, by those behind it.

    If one is taken (its place is given: it shall not come again), the refused one and those that failed meanwhile are
    suspects, which get one more try. If none is, it is the plugin. Without a record behind there is nothing to compare
    with, so nothing is suspected: nobody is harmed by waiting for one.
    """
    first, *behind = turn.ledger.read(turn.place, 1 + turn.pace.look_ahead) or (None,)
    if first is None or not behind:
        return None
    tried = turn.lease.refusals + turn.lease.deaths
    # One of them may be what ended the process, and the first ones may hang until the time is over: so it begins with
    # another each time.
    start = (turn.lease.fence if turn.lease.after_death else tried - turn.pace.tries) % len(behind)
    suspects = {first.seq: tried}
    end = turn.clock() + turn.pace.look_for
    for one in behind[start:] + behind[:start]:
        if turn.clock() >= end:
            break
        turn.keep_place()
        try:
            turn.call(turn.plugin().record, turn.info(one))
        except PluginError:
            suspects[one.seq] = 1
            turn.fresh()
        else:
            turn.suspects = suspects
            turn.records += 1
            return one.seq
    return None


def _one_by_one(turn: Turn[L], kept: Sequence[Kept], had: int | None) -> bool:
    """Hand *kept* over; False: the time is over. Not before *had* is passed: it would come again."""
    moved = turn.clock()
    for one in kept:
        if turn.give_up_the_deadly(one) or one.seq == had:
            turn.place = one.seq
            continue
        with_care = turn.careful > 0
        if with_care:
            turn.keep_place(in_hand=one)
            turn.careful -= 1
        _hand_over(turn, one)
        if with_care or turn.clock() - moved >= turn.pace.chunk_seconds:
            if not with_care:
                turn.keep_place()
            moved = turn.clock()
            if turn.is_over and one.seq >= (had or 0):
                return False
    return True


def _hand_over(turn: Turn[L], one: Kept) -> None:
    turn.in_hand = one
    try:
        turn.call(turn.plugin().record, turn.info(one))
    except PluginError as error:
        if one.seq not in turn.suspects:
            turn.plugins.drop(turn.name)
            turn.keep_place()  # what it has had it shall not get again
            raise
        turn.give_up(one, str(error), turn.suspects[one.seq] + 1)
        turn.fresh()
    else:
        turn.records += 1
    turn.in_hand = None
    turn.place = one.seq
