"""One file that several processes write line by line, rotated at midnight or at a size, nothing lost.

Locking and rotation are concurrent-log-handler's. Four things it does not promise are added here:

* A line that could not be written is an error for the caller (the library prints it and goes on), so that the
  delivery repeats it.
* What is appended at a time is one `write`, whole or not at all. What a killed process leaves of a line is cut off
  before the next is written, so that no line is torn.
* Rotation by size renames the live file last and in one step. The library renames it to a random name first: a process
  killed in between leaves its lines in a file that nobody looks for.
* Midnight is the configured zone's, not the machine's.
"""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfo

from concurrent_log_handler import ConcurrentRotatingFileHandler, ConcurrentTimedRotatingFileHandler

from llm_one_api.plugins.interfaces import LogFile

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
_BREAKING = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    """Escape what would break a line or turn its order around: control characters, and Unicode's own line ends."""
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode("ascii") if unicodedata.category(c) in _BREAKING else c for c in text
    )


def size_of(rotate: str) -> int | None:
    """Tell the bytes in `size:100MB`; None: `daily`. Raises ValueError if *rotate* is neither."""
    if rotate == "daily":
        return None
    match = re.fullmatch(r"size:(\d+)(KB|MB|GB)", rotate, re.ASCII)
    if match is None or int(match[1]) == 0:
        raise ValueError(f"logging.rotate is {rotate!r}; it must be daily, or a size such as size:100MB")
    return int(match[1]) * _UNITS[match[2]]


class RotatingFile:
    """The file of `logging.file`, open for appending lines."""

    def __init__(self, log: LogFile, zone: ZoneInfo) -> None:
        """Open it; its folder is made if need be."""
        size = size_of(log.rotate)
        log.file.parent.mkdir(parents=True, exist_ok=True)
        self._path = log.file
        self._handler = _Daily(log.file, log.backup_count, zone) if size is None else _Sized(log.file, log, size)

    def write(self, *lines: str) -> None:
        """Append *lines*, all of them; raises OSError, leaving nothing of them behind, if that fails.

        They are locked for and written once, and go into the same file: to a rotation they are as one line.
        """
        self._handler.emit(logging.makeLogRecord({"msg": "\n".join(lines)}))

    def begin_kind(self, *, json: bool) -> None:
        """Begin a new file if the lines of the present one are of the other kind: JSON objects, or text."""
        self._handler.rotate_unless(json=json)

    def close(self) -> None:
        """Close it; a second time does nothing."""
        self._handler.close()


class _Careful(ConcurrentRotatingFileHandler):
    """Writes whole or not at all."""

    def __init__(self, path: Path, backup_count: int, size: int) -> None:
        # a+: the file's last byte is looked at.
        super().__init__(path, "a+", size, backup_count, encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> NoReturn:  # noqa: N802
        """Hand on the error in hand, which logging would only print."""
        del record
        raise  # noqa: PLE0704

    def do_write(self, msg: str) -> None:
        """Write what is one line, or several, with one system call. The lock is held."""
        if self.stream is None or self.stream.closed:
            self.stream = self.do_open()
        fd = self.stream.fileno()
        end = _cut_torn_line(fd)
        # What UTF-8 has no bytes for (half a surrogate pair) becomes \\udc80, which JSON knows too.
        line = (msg + "\n").encode("utf-8", "backslashreplace")
        try:
            written = os.write(fd, line)
        except OSError:
            os.ftruncate(fd, end)
            raise
        if written < len(line):
            os.ftruncate(fd, end)
            raise OSError(f"the disk took {written} of {len(line)} bytes")


class _Sized(_Careful):
    """Rotates when the file has reached a size: `x.log.1` is the newest of the old ones."""

    def __init__(self, path: Path, log: LogFile, size: int) -> None:
        super().__init__(path, log.backup_count, size)

    def doRollover(self) -> None:  # noqa: N802
        """Shift the old files by one, the oldest first, the live one last. The lock is held."""
        self._close()
        if self.backupCount == 0:
            # Removed, not emptied: `tail -F` follows the name and would take an emptied file for a torn one.
            os.unlink(self.baseFilename)  # noqa: PTH108
            return
        for number in range(self.backupCount - 1, 0, -1):
            if os.path.exists(f"{self.baseFilename}.{number}"):  # noqa: PTH110
                os.replace(f"{self.baseFilename}.{number}", f"{self.baseFilename}.{number + 1}")  # noqa: PTH105
        os.replace(self.baseFilename, f"{self.baseFilename}.1")  # noqa: PTH105

    def rotate_unless(self, *, json: bool) -> None:
        """Rotate if the file has lines, and they are of the other kind."""
        self._do_lock()
        try:
            if _is_json(self.baseFilename) is (not json):
                self.doRollover()
        finally:
            self._do_unlock()


class _Daily(ConcurrentTimedRotatingFileHandler):
    """Rotates at midnight in a zone: `x.log.2025-11-12` has the lines written on that day."""

    clh: ConcurrentRotatingFileHandler

    def __init__(self, path: Path, backup_count: int, zone: ZoneInfo) -> None:
        self._zone = zone
        # utc: the library's corrections for the machine's own daylight saving time are not wanted.
        super().__init__(path, "MIDNIGHT", backupCount=backup_count, encoding="utf-8", utc=True)

    def finalize_handler_configuration(self) -> None:
        """Put our writer in the place of the library's. Called once, before anything is opened."""
        self.clh.close()
        self.clh = _Careful(Path(self.baseFilename), self.backupCount, 0)

    def handleError(self, record: logging.LogRecord) -> NoReturn:  # noqa: N802
        """Hand on the error in hand, which logging would only print."""
        del record
        raise  # noqa: PLE0704

    def computeRollover(self, currentTime: int) -> int:  # noqa: N802, N803
        """Tell the next midnight of the zone."""
        today = datetime.fromtimestamp(currentTime, self._zone).date()
        midnight = datetime.combine(today + timedelta(days=1), time(), self._zone)
        # Through UTC: where the clock skips midnight, the day begins at the first moment that exists.
        return int(midnight.astimezone(UTC).timestamp())

    def rotation_filename(self, default_name: str) -> str:
        """Name the old file by its day in the zone."""
        del default_name
        day = datetime.fromtimestamp(self.rolloverAt - 1, self._zone).date()
        return f"{self.baseFilename}.{day.isoformat()}"

    def rotate(self, source: str, dest: str) -> None:
        """Move the old file away, or remove it if none is to be kept."""
        if self.backupCount == 0:
            Path(source).unlink(missing_ok=True)
        else:
            super().rotate(source, dest)

    def rotate_unless(self, *, json: bool) -> None:
        """Rotate if the file has lines, and they are of the other kind."""
        self.clh._do_lock()  # noqa: SLF001
        try:
            if _is_json(self.baseFilename) is (not json):
                self.doRollover()
        finally:
            self.clh._do_unlock()  # noqa: SLF001


def _is_json(path: str) -> bool | None:
    """Tell by the first byte of a file whether its lines are JSON objects; None: it has no lines."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            first = file.read(1)
    except FileNotFoundError:
        return None
    return first == b"{" if first else None


def _cut_torn_line(fd: int) -> int:
    """Cut off a last line that has no end, and tell the size of what is left."""
    size = os.fstat(fd).st_size
    if size == 0 or os.pread(fd, 1, size - 1) == b"\n":
        return size
    end = size
    while end > 0:
        start = max(0, end - 65536)
        found = os.pread(fd, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    os.ftruncate(fd, end)
    return end
