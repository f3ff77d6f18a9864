"""Counts of many processes that go on when a process ends, and what each machine tells of its journal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from llm_one_api.stores.gateways.messages import JournalFigures
from llm_one_api.stores.scripting import Client, Script

FRESH_SECONDS = 30.0
"""What a journal was told to be so long ago is no longer true."""
FORGET_SECONDS = 3600.0
"""How long it is kept how far a process has counted that tells nothing any more."""

_TELL, _READ = (Script("llm_one_api.stores.gateways", name) for name in ("tell", "read"))
_encode = msgspec.msgpack.Encoder().encode
_figures = msgspec.msgpack.Decoder(JournalFigures)


class Heard(NamedTuple):
    """What all processes have told."""

    counts: Mapping[str, int]
    journals: Mapping[str, JournalFigures]


class GatewayStore:
    """The store in one Redis or Valkey. Connects at the first need; for one thread or greenlet at a time.

    All methods raise redis.RedisError or OSError where there is no answer in time.
    """

    def __init__(self, url: str, key_prefix: str, *, timeout: float = 1.0) -> None:
        """Use the server at *url* (a secret) with keys under *key_prefix*."""
        self._client = Client(url, timeout)
        self._prefix = f"{key_prefix}gateways:"

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
        self._client.redis.close()

    def tell(
        self,
        process: str,
        counts: Mapping[str, tuple[int, int]],
        journal: tuple[str, JournalFigures] | None = None,
    ) -> None:
        """Say how far *process* has counted: by name, how far it knows to be told already, and how far it is now.

        May be said again after an error, with what was known before: nothing is counted twice.
        """
        name, told = ("", b"") if journal is None else (journal[0], _encode(journal[1]))
        self._client.call(
            _TELL,
            {
                "prefix": self._prefix,
                "process": process,
                "counts": [(each, *count) for each, count in counts.items()],
                "journal": name,
                "forget_ms": round(FORGET_SECONDS * 1000),
            },
            told,
        )

    def read(self) -> Heard:
        """Give what was told."""
        counts, names, journals = self._client.call(
            _READ, {"prefix": self._prefix, "fresh_ms": round(FRESH_SECONDS * 1000)}
        )
        return Heard(
            counts={name.decode(): int(count) for name, count in zip(counts[::2], counts[1::2], strict=True)},
            journals={
                name.decode(): _figures.decode(packed)
                for name, packed in zip(names, journals, strict=True)
                if packed is not None
            },
        )
