"""Dead letters handed over once more, and a plugin set back: by hand, while nobody else delivers to it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from llm_one_api.books.deliver.pace import Pace
from llm_one_api.books.deliver.turn import LostLeaseError, PluginError, Turn
from llm_one_api.plugins.interfaces import ResponseInfo
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.stores.ledger.cursors import Lease
from llm_one_api.stores.ledger.dead_letters import Letter
from llm_one_api.stores.ledger.ledger import Ledger
from llm_one_api.values import Value

WAIT = 90.0
"""Seconds that a delivery under way is waited for: longer than one lasts."""


class CannotReplay(Exception):
    """It was not begun, or broke off; the words say why."""


class Replayed(Value, frozen=True, kw_only=True):
    """What became of a dead letter."""

    letter: Letter
    error: str | None = None
    """Why it stays; None: it was taken, and is no dead letter any more."""


class Rewound(Value, frozen=True, kw_only=True):
    """How far a plugin was, and where it goes on now."""

    before: int
    now: int


class _NotNowError(Exception):
    """The letter cannot be handed over, for a reason that is not the plugin's refusal."""


def replay(
    ledger: Ledger,
    name: str,
    plugins: StatsPlugins,
    letters: Sequence[Letter],
    tell: Callable[[Replayed], object],
    *,
    wait: float = WAIT,
) -> None:
    """Hand *letters* to plugin *name* once more, one by one, and *tell* of each what became of it.

    Raises CannotReplay if the plugin cannot be made, is not to be had, or its turn is lost; what was not told of is as
    it was.
    """
    with _turn(ledger, name, plugins, wait) as turn:
        turn.plugin()
        for letter in letters:
            turn.keep_place()
            try:
                _hand_over(turn, letter)
            except _NotNowError as error:
                tell(Replayed(letter=letter, error=str(error)))
            except PluginError as error:
                if str(error).startswith(KeyboardInterrupt.__name__):
                    raise CannotReplay("interrupted") from None
                ledger.dead_letters.refused_again(letter, str(error))
                tell(Replayed(letter=letter, error=str(error)))
                turn.fresh()
            else:
                ledger.dead_letters.drop(name, [letter.id])
                tell(Replayed(letter=letter))


def replay_refused(ledger: Ledger, letters: Sequence[Letter], tell: Callable[[Replayed], object]) -> None:
    """Take *letters*, which the ledger refused, in once more, and *tell* of each what became of it."""
    for letter in letters:
        again = None
        if ledger.dead_letters.ingest(letter).refused:
            again = ledger.dead_letters.refusal(letter.request_id) or letter.reason
        tell(Replayed(letter=letter, error=again))


def rewind(ledger: Ledger, name: str, plugins: StatsPlugins, seq: int, *, wait: float = WAIT) -> Rewound:
    """Set plugin *name* back, so that it gets all after *seq* again; an exact one forgets and begins there.

    Raises CannotReplay if it cannot be done; then nothing was.
    """
    with _turn(ledger, name, plugins, wait) as turn:
        plugin, before = turn.plugin(), turn.lease.seq
        if plugin.exact is not None:
            if not plugin.restarts:
                raise CannotReplay(f"the plugin {name} keeps its place itself, and has no restart(since)")
            before = turn.call(plugin.position, turn.lease.since)
        if seq >= before:
            return Rewound(before=before, now=before)
        if plugin.exact is not None:
            turn.call(plugin.restart, seq)
        turn.go_on_with(ledger.dead_letters.rewind(turn.lease, seq))
        turn.place = seq
        return Rewound(before=before, now=seq)


@contextmanager
def _turn(ledger: Ledger, name: str, plugins: StatsPlugins, wait: float) -> Iterator[Turn[Lease]]:
    """Hold the plugin's lease, also if it failed and would be left alone yet."""
    turn: Turn[Lease] = Turn(ledger, name, plugins, Pace(), time.monotonic, os._exit)
    until = time.monotonic() + wait
    try:
        while True:
            with turn.held(at_once=True) as held:
                if held:
                    yield turn
                    return
            if time.monotonic() > until:
                raise CannotReplay(f"another process has been delivering to {name} for {wait:g} s")
            time.sleep(0.1)
    except PluginError as error:
        raise CannotReplay(f"the plugin {name} fails: {error}") from None
    except LostLeaseError:
        raise CannotReplay(f"another process took over the delivery to {name}") from None


def _hand_over(turn: Turn[Lease], letter: Letter) -> None:
    try:
        info = ResponseInfo.of(letter.record(), turn.plugins.context.zone)
    except msgspec.MsgspecError as error:
        raise _NotNowError(f"it is no record: {error}") from None
    plugin = turn.plugin()
    if plugin.exact is None:
        turn.call(plugin.record, info)
        return
    place, seq = turn.call(plugin.position, turn.lease.since), letter.seq or 0
    if seq <= turn.lease.since:
        raise _NotNowError(f"it is of a run that is over: {turn.name} has begun anew since, after {turn.lease.since}")
    if seq > place:
        raise _NotNowError(f"{turn.name} has not come so far yet, only to {place}")
    if not turn.call(plugin.record_batch, place, place, [info]):
        raise _NotNowError(f"{turn.name} was moved on by somebody else meanwhile")
