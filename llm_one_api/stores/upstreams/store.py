"""The processes' common knowledge of the upstreams, as one of them writes and reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from llm_one_api.stores.scripting import Client, Script
from llm_one_api.stores.upstreams.messages import Condition, ProcessFigures, Standing, Told, Turn

ALIVE_SECONDS = 3.0
"""A process that is silent for so long has nothing under way any more."""
FIGURES_SECONDS = 20.0
"""How long its figures are shown then."""
KEPT_SECONDS = 3600.0
"""How long a condition is kept that nobody changes, and whatever nobody writes any more."""

_TURN, _READ, _LEAVE = (Script("llm_one_api.stores.upstreams", name) for name in ("turn", "read", "leave"))
_encode = msgspec.msgpack.Encoder().encode
_standings = msgspec.msgpack.Decoder(list[Standing])
_condition = msgspec.msgpack.Decoder(Condition)
_figures = msgspec.msgpack.Decoder(ProcessFigures)


class UpstreamStore:
    """The store in one Redis or Valkey. Connects at the first need; for one thread or greenlet at a time, but `claim`.

    All methods raise redis.RedisError or OSError where there is no answer within *timeout* seconds; what they should
    do may have been done then.
    """

    def __init__(self, url: str, key_prefix: str, *, timeout: float = 0.25) -> None:
        """Use the server at *url* (a secret) with keys under *key_prefix*."""
        self._client = Client(url, timeout)
        self._prefix = f"{key_prefix}upstreams:"
        self.ahead_ms = 0
        """By how much the store's clock is moved: for tests."""

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._client.redis.close()

    def turn(
        self,
        process: str,
        standings: Sequence[Standing],
        changed: Mapping[str, Condition],
        *,
        version: str = "",
        figures: ProcessFigures | None = None,
    ) -> Turn:
        """Say how *process* sees things, and hear how the others do.

        *standings* and *figures* stand in place of those before; without *figures* those that it told last stay. Of
        two conditions of an upstream, the one that was found later stays. Conditions are told where *version* is not
        the present one.
        """
        now, new_version, others, found, conditions = self._call(
            _TURN,
            _encode(standings) if standings else b"",
            b"" if figures is None else _encode(figures),
            *map(_encode, changed.values()),
            process=process,
            changed=[
                (key, one.since, round(KEPT_SECONDS * 1000) + max(0, one.until - one.since) // 1000)
                for key, one in changed.items()
            ],
            version=version,
            kept_ms=round(KEPT_SECONDS * 1000),
        )
        return Turn(
            now=int(now),
            version=bytes(new_version).decode(),
            others=others,
            standings=[_standings.decode(packed) for packed in found],
            conditions=_conditions(conditions),
        )

    def leave(self, process: str) -> None:
        """Say that *process* ends: it has nothing under way any more, and its figures are shown no longer."""
        self._call(_LEAVE, process=process)

    def read(self) -> Told:
        """Give what pages show."""
        now, names, figures, standings, conditions = self._call(_READ)
        return Told(
            now=int(now),
            processes={
                name.decode(): _figures.decode(packed)
                for name, packed in zip(names, figures, strict=True)
                if packed is not None
            },
            standings=[_standings.decode(packed) for packed in standings],
            conditions=_conditions(conditions),
        )

    def claim(self, key: str, seconds: float) -> bool:
        """Tell whether nobody has claimed *key* yet, which is then claimed for so many *seconds*."""
        name = sha256(key.encode()).hexdigest()[:32]
        return bool(
            self._client.redis.set(f"{self._prefix}probe:{name}", "1", nx=True, px=max(1, round(seconds * 1000)))
        )

    def _call(self, script: Script, *more: bytes, **message: Any) -> Any:
        return self._client.call(
            script,
            {
                "prefix": self._prefix,
                "ahead": self.ahead_ms,
                "alive_ms": round(ALIVE_SECONDS * 1000),
                "figures_ms": round(FIGURES_SECONDS * 1000),
                **message,
            },
            *more,
        )


def _conditions(pairs: Sequence[bytes]) -> dict[str, Condition]:
    """Read names and what stands under them: a time, a blank, and the condition."""
    names, packed = pairs[::2], pairs[1::2]
    return {
        name.decode(): _condition.decode(one[one.index(b" ") + 1 :]) for name, one in zip(names, packed, strict=True)
    }
