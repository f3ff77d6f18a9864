"""Delivery to a plugin that keeps its place itself: the cursor only shows it."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from llm_one_api.books.deliver.protocols import Kept, L
from llm_one_api.books.deliver.turn import PluginError, Turn
from llm_one_api.plugins.running import Running

log = structlog.get_logger()


def exact(turn: Turn[L]) -> bool:
    """Deliver until there is nothing more (True) or the time is over (False)."""
    _find_place(turn)
    if turn.is_in_doubt:
        _see_whether_it_works(turn)
    chunk = turn.pace.chunk
    while kept := turn.ledger.read(turn.place, most := 1 if turn.careful else chunk):
        if _hand_over(turn, kept) and len(kept) < most:
            return True
        turn.keep_place()
        if turn.is_over:
            return False
    return True


def _find_place(turn: Turn[L]) -> None:
    since = turn.lease.since
    turn.place = turn.call(turn.plugin().position, since)
    if turn.place <= turn.ledger.last_seq():
        return
    # It counted in another ledger: without this it would wait until this one had grown as long.
    log.warning("plugin.place_unknown", plugin=turn.name, place=turn.place, going_back_to=since)
    plugin = turn.plugin()
    if plugin.restarts:
        turn.call(plugin.restart, since)
    else:
        turn.call(plugin.record_batch, turn.place, since, [])
    turn.place = turn.call(plugin.position, since)


def _see_whether_it_works(turn: Turn[L]) -> None:
    """Find out whether the refused record is at fault or the plugin, by a batch with nothing in it.

    It goes to its store for that. (A record behind would be no test: what it takes cannot be taken back.) If it does,
    the record is a suspect, which gets one more try; if not, it is the plugin that fails.
    """
    turn.call(turn.plugin().record_batch, turn.place, turn.place, [])
    for first in turn.ledger.read(turn.place, 1):
        turn.suspects = {first.seq: turn.lease.refusals + turn.lease.deaths}


def _hand_over(turn: Turn[L], kept: Sequence[Kept]) -> bool:
    """Hand *kept* over, with care a single one; False: it has to be looked at again."""
    first, upto = kept[0], kept[-1].seq
    with_care = turn.careful > 0
    if not turn.give_up_the_deadly(first) and with_care:
        turn.keep_place(in_hand=first)
    # What is set aside is not counted, though the place may still be before it, or be there again.
    aside = turn.ledger.dead_letters.places(turn.name, turn.place, upto) if turn.place < turn.lease.seq else set()
    given = [one for one in kept if one.seq not in aside]
    turn.in_hand = first if with_care and given else None
    try:
        done = turn.call(turn.plugin().record_batch, turn.place, upto, [turn.info(one) for one in given])
    except PluginError as error:
        if first.seq not in turn.suspects:
            raise
        if not _has_moved(turn, turn.fresh()):  # it may have kept the record, and raised all the same
            turn.give_up(first, str(error), turn.suspects.pop(first.seq) + 1)
        return False
    turn.in_hand = None
    if done:
        turn.place = upto
        turn.records += len(given)
        turn.careful -= with_care
    elif not _has_moved(turn, turn.plugin()):
        raise PluginError("record_batch did not return True, and position is what it was")
    return bool(done)


def _has_moved(turn: Turn[L], plugin: Running) -> bool:
    before, turn.place = turn.place, turn.call(plugin.position, turn.lease.since)
    return turn.place != before
