"""The limit store, as the gateway, the relay, ingest and the quota check use it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import msgspec
import redis

from llm_one_api.limits.charging import Booking, Charge
from llm_one_api.stores.limits.messages import Amount, Boost, Counts, Op, Pending, Reply, State, Used
from llm_one_api.stores.scripting import Client, Script

_RUN, _SETTLE, _BOOK, _RECOUNT, _READ = (
    Script("llm_one_api.stores.limits", name) for name in ("run", "settle", "book", "recount", "read")
)
_replies = msgspec.msgpack.Decoder(list[Reply])
_AT_ONCE = 100
"""Calls or windows in one script at most: the server does nothing else meanwhile."""
_PAGE = 1000


class LimitStore:
    """What may still be used, in one Redis or Valkey. Connects at the first need; for one thread at a time.

    All methods raise redis.RedisError or OSError where there is no answer within *timeout* seconds; what they should
    do may have been done then.
    """

    def __init__(self, url: str, key_prefix: str, *, lease: float = 60.0, timeout: float = 0.5) -> None:
        """Use the server at *url* (a secret) with keys under *key_prefix*; a call's lease lasts *lease* seconds."""
        self._client = Client(url, timeout)
        self._prefix = f"{key_prefix}limits:"
        self._lease_ms = round(lease * 1000)
        self.ahead_ms = 0
        """By how much the store's clock is moved: for tests."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._client.redis.close()

    # -- the gateway's --

    def run(self, ops: Sequence[Op]) -> list[Reply]:
        """Do all of *ops*, in their order, each wholly or not at all; gives a reply for each admission."""
        return _replies.decode(self._call(_RUN, ops=ops))

    # -- the relay's --

    def settle(
        self,
        segment: str,
        charges: Sequence[tuple[int, Charge]],
        *,
        adopted: bool = False,
        freed: Sequence[str] = (),
    ) -> str | None:
        """Charge calls that ended: what they held becomes pending. Each call once, however often it is said.

        *charges* come with the offset of their end in *segment*, in its order: what is not behind its mark is known.
        Those *adopted* from a dead process have none. *freed* segments will not be read again. Gives the epoch of the
        counters; None: they are not whole.
        """
        epoch = b""
        for first in range(0, max(1, len(charges)), _AT_ONCE):
            rows = [(end, c.id, c.windows, c.tokens, c.nanos) for end, c in charges[first : first + _AT_ONCE]]
            epoch = self._call(_SETTLE, segment=segment, charges=rows, adopted=adopted, freed=freed)
            freed = ()
        return epoch.decode() or None

    # -- the books' --

    def book(self, bookings: Sequence[Booking]) -> None:
        """Take note of what the ledger has by now: pending becomes booked. May be said again."""
        for first in range(0, len(bookings), _AT_ONCE):
            rows = [
                (b.charge.id, b.charge.windows, b.charge.tokens, b.charge.nanos, b.seq, b.new)
                for b in bookings[first : first + _AT_ONCE]
            ]
            self._call(_BOOK, bookings=rows)

    def recount(
        self,
        seq: int,
        booked: Mapping[str, Amount],
        *,
        among: Collection[str] | None = None,
        in_ledger: Collection[str] = (),
        boosts: Mapping[str, Boost] | None = None,
    ) -> str:
        """Set what is booked to what the ledger says up to record *seq*, beyond which it does not grow meanwhile.

        Windows *among* these (None: all that there are) and not in *booked* are booked nothing. Pending calls that are
        *in_ledger* are pending no more. The counters are whole then. Gives their epoch, a new one if they were not
        whole or the server began anew. Raises redis.DataError if the server lost its data meanwhile.
        """
        named = self.all_windows() if among is None else among
        rows = [(window, *booked.get(window, Amount())) for window in {*named, *booked}]
        drop = list(in_ledger)
        pieces = range(0, max(1, len(rows), len(drop)), _AT_ONCE)
        ours, run_id = uuid4().hex, self.run_id()
        epoch = b""
        for first in pieces:
            is_last = first == pieces[-1]
            epoch = self._call(
                _RECOUNT,
                first=first == 0,
                last=is_last,
                seq=seq,
                booked=rows[first : first + _AT_ONCE],
                drop=drop[first : first + _AT_ONCE],
                boosts=[(n, f"{b.amount} {b.until_ms}") for n, b in (boosts or {}).items()] if is_last else (),
                epoch=ours,
                run_id=run_id,
            )
            if not epoch:
                raise redis.DataError("the limit store lost its data while it was recounted")
        return epoch.decode()

    def pending(self) -> Iterator[dict[str, Pending]]:
        """Give the calls that are settled and not booked, by id, in pages; one may come twice."""
        cursor: int | None = None
        while cursor != 0:
            cursor, page = self._client.redis.hscan(f"{self._prefix}pending", cursor or 0, count=_PAGE)
            yield {_text(name): _pending(packed) for name, packed in page.items()}

    def all_windows(self) -> list[str]:
        """Name all windows that there are."""
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", f"{self._prefix}w:") + "*"
        skip = len(self._prefix) + 2
        return [_text(key)[skip:] for key in self._client.redis.scan_iter(match=pattern, count=_PAGE)]

    def state(self) -> State | None:
        """Tell about the counters; None: they are not whole."""
        found = self._client.redis.hmget(f"{self._prefix}state", "epoch", "seq", "run_id")
        epoch, seq, run_id = (_text(value) if value is not None else None for value in found)
        return None if epoch is None or seq is None else State(epoch, int(seq), run_id or "")

    def run_id(self) -> str:
        """Name the present run of the server: another one may have begun with counters of the past."""
        return str(self._client.redis.info("server")["run_id"])

    # -- whoever looks --

    def windows(self, names: Sequence[str]) -> dict[str, Counts]:
        """Tell what windows hold."""
        found: dict[str, Counts] = {}
        for first in range(0, len(names), _AT_ONCE):
            some = names[first : first + _AT_ONCE]
            for name, c in zip(some, self._read(windows=some)["windows"], strict=True):
                found[name] = Counts(Amount(*c[:3]), Amount(*c[3:6]), Amount(*c[6:]))
        return found

    def minutes(self, which: Sequence[tuple[str, str]]) -> list[Used]:
        """Tell what minutes were used for, by scope and kind (`rpm`, `tpm`, `throttle`)."""
        return [Used(*one) for one in self._read(minutes=which)["minutes"]]

    def places(self, scopes: Sequence[str]) -> list[int]:
        """Count the calls under way of scopes whose number is limited."""
        return list(self._read(places=scopes)["places"])

    def boosts(self) -> dict[str, Boost]:
        """Give the boosts by `{scope}:{period}:{unit}`, also those that are over."""
        found = self._client.redis.hgetall(f"{self._prefix}boosts")
        parts = {_text(name): _text(text).split() for name, text in found.items()}
        return {name: Boost(int(amount), int(until)) for name, (amount, until) in parts.items()}

    def set_boost(self, name: str, boost: Boost) -> None:
        """Add to a limit for a time."""
        self._client.redis.hset(f"{self._prefix}boosts", name, f"{boost.amount} {boost.until_ms}")

    def _read(self, **what: Any) -> Any:
        return msgspec.msgpack.decode(self._call(_READ, **{"windows": (), "minutes": (), "places": (), **what}))

    def _call(self, script: Script, **message: Any) -> bytes:
        answer = self._client.call(
            script, {"prefix": self._prefix, "lease": self._lease_ms, "ahead": self.ahead_ms, **message}
        )
        return answer if isinstance(answer, bytes) else str(answer).encode()


def _pending(packed: bytes) -> Pending:
    windows, tokens, nanos = msgspec.msgpack.decode(packed)
    return Pending(tuple(windows or ()), Amount(tokens, 1, nanos))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
