"""Which values labels may have: names that the config knows, and `other` for all else.

Prometheus keeps a series for each combination, so a name that callers can choose must never be one. A counter of
`other` begins anew, under another value of the label `config`, when the config names other models or upstreams: what
moves between `other` and a name of its own would else look like calls that just came, or like a restart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

OTHER = "other"
CONFIG = "config"

Labels = tuple[tuple[str, str], ...]
"""Names and values, in the order in which they are written."""


class Known:
    """The names that may be labels."""

    def __init__(self, models: Iterable[str], upstreams: Iterable[str]) -> None:
        """Know these."""
        self.models = frozenset(models)
        self._upstreams = frozenset(upstreams) | {""}
        told = "\n".join([*sorted(self.models), "", *sorted(self._upstreams)])
        self._version = sha256(told.encode("utf-8", "backslashreplace")).hexdigest()[:8]

    def model(self, name: str) -> str:
        """Give a model's label."""
        return name if name in self.models else OTHER

    def upstream(self, name: str) -> str:
        """Give an upstream's label."""
        return name if name in self._upstreams else OTHER

    def of(self, group: Mapping[Any, str | bool]) -> Labels:
        """Give the labels of a counter for the calls of *group* (dimensions and values)."""
        labels, folded = [], False
        for name, value in group.items():
            text = ("true" if value else "false") if isinstance(value, bool) else value
            known = {"model": self.models, "upstream": self._upstreams}.get(name)
            if known is not None and text not in known:
                text, folded = OTHER, True
            labels.append((name, text))
        return (*labels, (CONFIG, self._version)) if folded else tuple(labels)
