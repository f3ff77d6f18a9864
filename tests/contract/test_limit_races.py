"""Many at once at what is left, on each server: so many get it as there is, and nobody is told anything else."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from llm_one_api.limits.charging import Booking, Charge
from llm_one_api.stores.limits import LimitStore
from llm_one_api.stores.limits.messages import Admit, Amount
from tests.harness.services import Valkey

CALLERS, TURNS, LEFT = 8, 12, 5
DAY = "user:alice:day:2026-11-24"
FOREVER = 2**52


def at_once(server: Valkey, work: Callable[[int, LimitStore], None]) -> None:
    """Have *work* done by many threads, each with a connection of its own, that begin together."""
    begin = threading.Barrier(CALLERS)
    failed: list[BaseException] = []

    def one(number: int) -> None:
        with closing(LimitStore(server.url, "t:", lease=60, timeout=10)) as store:
            try:
                store.run([])
                begin.wait(30)
                work(number, store)
            except BaseException as error:
                failed.append(error)
                raise

    threads = [threading.Thread(target=one, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []


@pytest.mark.parametrize(
    "asked",
    [
        {"quotas": [(DAY, -1, LEFT, -1, 0, 1, 0, FOREVER)]},
        {"quotas": [(DAY, LEFT * 10, -1, -1, 0, 1, 0, FOREVER)]},
        {"quotas": [(DAY, 0, -1, -1, 1, LEFT, 0, FOREVER)]},
        {"rates": [("user:alice", "rpm", LEFT, 1, 0)]},
        {"rates": [("user:alice", "tpm", LEFT * 10, 10, 0)]},
        {"concurrent": [("user:alice", LEFT, 0)]},
    ],
    ids=["requests", "tokens", "throttle", "rpm", "tpm", "concurrent"],
)
def test_as_many_are_admitted_as_there_is_room_for(store: LimitStore, limit_server: Valkey, asked: Any) -> None:
    codes: Counter[str] = Counter()

    def call(number: int, store: LimitStore) -> None:
        for turn in range(TURNS):
            ops = [Admit(id=f"{number}-{turn}-{n}", tokens=10, nanos=0, allow_unwhole=False, **asked) for n in range(2)]
            codes.update([reply.code for reply in store.run(ops)])

    at_once(limit_server, call)

    assert codes == {"admitted": LEFT, "refused": CALLERS * TURNS * 2 - LEFT}


def test_relays_and_books_that_say_the_same_at_once_charge_it_once(store: LimitStore, limit_server: Valkey) -> None:
    charges = [Charge(id=f"call-{n}", windows=(DAY,), tokens=3, nanos=5) for n in range(40)]

    def say(number: int, store: LimitStore) -> None:
        for seq, charge in enumerate(charges, 1):
            if number % 2:
                store.settle("segment", [(seq, charge)])
            else:
                store.book([Booking(charge=charge, seq=seq, new=number == 0)])

    at_once(limit_server, say)
    store.book([Booking(charge=charge, seq=seq, new=False) for seq, charge in enumerate(charges, 1)])

    booked, pending, held = store.windows([DAY])[DAY]
    assert (booked, pending, held) == (Amount(120, 40, 200), Amount(), Amount())
