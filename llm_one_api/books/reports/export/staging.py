"""Files of an export that are written, whole, and do not have their names yet."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack

from llm_one_api.books.reports.export.manifest import File
from llm_one_api.books.reports.export.target import Draft, Target
from llm_one_api.values import Value


class Staged(Value, frozen=True, kw_only=True):
    """A file that is written, and has not its name yet."""

    file: File
    draft: Draft


class Counted:
    """A draft whose bytes are counted."""

    def __init__(self, target: Target, drafts: ExitStack) -> None:
        """Begin it; at the end of *drafts* it is dropped, unless it has its name by then."""
        self.draft = target.draft()
        drafts.callback(self._drop)
        self._sha = hashlib.sha256()
        self._bytes = 0
        self._is_over = False

    def write(self, data: bytes) -> None:
        """Add to it. What comes when it is dropped goes nowhere: pyarrow ends its files whatever has happened."""
        if self._is_over:
            return
        self.draft.write(data)
        self._sha.update(data)
        self._bytes += len(data)

    def staged(self, name: str, kind: str, rows: int) -> Staged:
        """Finish it."""
        self.draft.finish()
        file = File(name=name, format=kind, rows=rows, bytes=self._bytes, sha256=self._sha.hexdigest())
        return Staged(file=file, draft=self.draft)

    def _drop(self) -> None:
        self._is_over = True
        self.draft.drop()
