"""A wall clock that a test sets for the processes that it starts, and for no others."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """Shifts the wall clock of all processes that were started with `env`, whatever they are written in."""

    def __init__(self, folder: Path) -> None:
        """Compile the library into *folder*, if there is a compiler."""
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "offset"
        self._library = folder / "clock.so"
        self.by = 0.0
        self.set(0.0)
        self.works = self._compiles() and self._shifts()

    @property
    def env(self) -> Mapping[str, str]:
        """What a process must be started with."""
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._file)} if self.works else {}

    def set(self, by: float) -> None:
        """Have the clock be wrong *by* so many seconds, from now on."""
        self.by = by
        with self._file.open("r+b" if self._file.exists() else "wb") as file:
            file.write(struct.pack("q", round(by * 1e9)))  # in place, for it is mapped

    def _compiles(self) -> bool:
        compiler = shutil.which("cc")
        if compiler is None:
            return False
        argv = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(self._library), str(SOURCE), "-ldl"]
        return subprocess.run(argv, capture_output=True).returncode == 0

    def _shifts(self) -> bool:
        """Tell whether a process sees it: some C libraries bind their own clock too early."""
        self.set(-1e9)
        env = {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._file)}
        date = subprocess.run(["date", "-u", "+%Y"], env=env, capture_output=True, text=True)
        self.set(0.0)
        return date.stdout.strip() not in {"", _year()}


def _year() -> str:
    return subprocess.run(["date", "-u", "+%Y"], capture_output=True, text=True).stdout.strip()
