"""The present moment: what processes tell of their calls, added up."""

from __future__ import annotations

import msgspec

from llm_one_api.stores.upstreams.live import Live, live
from llm_one_api.stores.upstreams.messages import CallFigures, ProcessFigures, Told


def told(*processes: dict[str, tuple[int, int]]) -> Told:
    figures = [ProcessFigures(config_read_at=1, models=[], calls=CallFigures(keys=keys)) for keys in processes]
    return Told(0, {str(number): one for number, one in enumerate(figures)}, [], {})


def test_calls_of_all_processes_and_keys_are_added_up() -> None:
    now = live(told({"a": (2, 30), "b": (0, 30)}, {"a": (1, 60)}, {}))

    assert now == Live(processes=3, in_flight=3, requests=120)
    assert now.qps == 2.0


def test_one_keys_are_its_own() -> None:
    both = told({"a": (2, 30), "b": (0, 30)}, {"a": (1, 60)})

    assert live(both, key="a") == Live(processes=2, in_flight=3, requests=90)
    assert live(both, key="c") == Live(processes=2, in_flight=0, requests=0)


def test_processes_of_different_versions_hear_each_other() -> None:
    """While an upgrade rolls over them, one tells no calls, and one cannot read them."""
    new = ProcessFigures(config_read_at=7, models=[], calls=CallFigures(keys={"a": (1, 2)}))
    packed = msgspec.msgpack.encode(new)

    old = msgspec.msgpack.decode(msgspec.msgpack.encode((7, [])), type=ProcessFigures)

    assert msgspec.msgpack.decode(packed, type=ProcessFigures) == new
    assert old.calls.keys == {}
    assert msgspec.msgpack.decode(packed)[:2] == [7, []]
