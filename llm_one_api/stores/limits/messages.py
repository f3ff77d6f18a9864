"""What is asked of the limit store and what it answers: msgpack arrays, as the scripts read and write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

Kind = Literal["rpm", "tpm", "concurrent", "tokens", "requests", "cost", "throttle"]
Quota = tuple[str, int, int, int, int, int, int, int]
"""Window, limits of tokens, requests and nanos (-1: none), action, throttled to, begin and end in ms since 1970."""
Rate = tuple[str, str, int, int, int]
"""Scope, `rpm` or `tpm`, limit, amount, action. All `rpm` come before all `tpm`."""
Slot = tuple[str, int, int]
"""Scope, limit, action. An action is 0: reject, 1: throttle, 2: shadow."""
Standing = tuple[int, int, int]
"""Of a minute: its limit, what remains, and the milliseconds until all of it is free again."""


class Op(msgspec.Struct, array_like=True, tag_field="op", kw_only=True, frozen=True, gc=False):
    """Something to be done."""


class Admit(Op, tag="a", frozen=True, gc=False):
    """Reserve all that a call may use, or nothing."""

    id: str
    tokens: int
    nanos: int
    allow_unwhole: bool
    """Go on, without looking at the quotas, where the counters are not whole."""
    quotas: Sequence[Quota] = ()
    rates: Sequence[Rate] = ()
    concurrent: Sequence[Slot] = ()


class Renew(Op, tag="n", frozen=True, gc=False):
    """Begin a call's lease again; what it held comes back, should the store have lost it."""

    id: str
    tokens: int
    nanos: int
    windows: Sequence[str]
    concurrent: Sequence[str]


class Done(Op, tag="d", frozen=True, gc=False):
    """Take note that a call has ended: its place is free, and its minute is charged what it used."""

    id: str
    concurrent: Sequence[str]
    corrections: Sequence[tuple[str, int, int]] = ()
    """Scope, second, and by how much more (or less) it is than was reserved."""


class Cancel(Op, tag="c", frozen=True, gc=False):
    """Give back the places and what of quotas was reserved for a call that is not made. Its minute stays used."""

    id: str
    concurrent: Sequence[str]


class Reply(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What became of an admission."""

    code: Literal["admitted", "refused", "unwhole", "stale"]
    """`unwhole`: quotas cannot be looked at. `stale`: other windows are open by now. Only the first reserves."""
    now_ms: int
    """The store's clock."""
    whole: bool
    """Whether the counters of quotas are."""
    kind: Kind | Literal[""] = ""
    """What refused it."""
    index: int = 0
    """Which of its kind: of the rates of the kind, of `concurrent`, of `quotas`."""
    limit: int = 0
    used: int = 0
    """Booked and pending, or in the last minute."""
    held: int = 0
    """Reserved by calls under way."""
    retry_ms: int = 0
    requests: Sequence[int] = ()
    tokens: Sequence[int] = ()
    """The minute of which the least remains, as `Standing`; empty: none is limited."""
    shadows: Sequence[tuple[str, int]] = ()
    """Kind and index of what would have refused it."""


class Amount(NamedTuple):
    """Some use."""

    tokens: int = 0
    requests: int = 0
    nanos: int = 0


class Counts(NamedTuple):
    """What a window holds. Used is the sum of the three."""

    booked: Amount = Amount()
    pending: Amount = Amount()
    held: Amount = Amount()


class Used(NamedTuple):
    """What was used of a minute, or of places: how much, and the ms until all is free."""

    used: int
    reset_ms: int


class Pending(NamedTuple):
    """A call that was settled and is not booked."""

    windows: tuple[str, ...]
    amount: Amount


class State(NamedTuple):
    """That the counters are whole: since when, up to which record they were recounted, and on which server."""

    epoch: str
    seq: int
    run_id: str


class Boost(NamedTuple):
    """What is added to a limit, until when (ms since 1970)."""

    amount: int
    until_ms: int
