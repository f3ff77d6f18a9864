"""Runs the suite: `python -m tests.chaos --seed 7 --seeds 20`.

Exit code 0: all is in order. 1: something was lost, doubled, wrong or late. 3: a fault did not hit, so that the run
shows nothing.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.broker_minute import broker_minute
from tests.chaos.deal import Hand, deal, hand
from tests.chaos.faults import DECK
from tests.chaos.report import table, told
from tests.chaos.run import Run, run

WRONG, VOID, TERMINATED = 1, 3, 143


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="the first seed; else one by the time")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--fault", action="append", help="instead of what a seed deals: those with this in their name")
    parser.add_argument("--broker-minute", action="store_true", help="the broker away for a minute, and no faults")
    parser.add_argument("--keep", type=Path, help="the folder in which what they leave is kept")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # else PostgreSQL would go on without us
    if given.broker_minute:
        return _broker_minute(given.keep)
    first = int(time.time()) % 1_000_000 if given.seed is None else given.seed
    runs = [_run(_hand(seed, given.fault), given.keep) for seed in range(first, first + given.seeds)]
    print(f"\nseeds {first} to {first + given.seeds - 1}\n\n{table(runs)}\n")
    if given.seeds > 1 and _broker_minute(given.keep):
        return WRONG
    if any(each.wrong for each in runs):
        return WRONG
    return VOID if any(each.void for each in runs) else 0


def _broker_minute(keep: Path | None) -> int:
    with _folder(keep, "broker-minute") as folder:
        minute = broker_minute(folder)
    print(f"{minute.table()}\n")
    for fault in minute.faults:
        print(f"  WRONG  {fault}")
    return WRONG if minute.faults else 0


def _hand(seed: int, words: list[str] | None) -> Hand:
    if words is None:
        return deal(seed)
    return hand(seed, [fault for fault in DECK if any(word in fault.name for word in words)])


def _run(hand: Hand, keep: Path | None) -> Run:
    print(f"seed {hand.seed}: {', '.join(fault.name for fault in hand.faults)}", flush=True)
    with _folder(keep, str(hand.seed)) as folder:
        done = run(hand, folder)
    print(told(done), flush=True)
    return done


@contextmanager
def _folder(keep: Path | None, name: str) -> Iterator[Path]:
    """Have an empty one for the length of a block; what an earlier run of the same name left is removed."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    shutil.rmtree(keep / name, ignore_errors=True)
    (keep / name).mkdir(parents=True)
    yield (keep / name).resolve()


if __name__ == "__main__":
    sys.exit(main())
