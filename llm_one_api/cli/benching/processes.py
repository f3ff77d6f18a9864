"""What processes take of the machine, from `/proc`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from llm_one_api.cli.own_gateway import children
from llm_one_api.values import Value

_TICKS = os.sysconf("SC_CLK_TCK")


class Taken(Value, frozen=True, kw_only=True):
    """What the processes of one name took."""

    name: str
    processes: int
    cpu_seconds: float
    peak_mb: float
    """The most that one of them had in memory."""


class Processes:
    """Follows processes by name; those that end meanwhile stay in the sums with what was last seen of them."""

    def __init__(self) -> None:
        """Know of none yet."""
        self._cpu: dict[tuple[str, int], float] = {}
        self._peak: dict[tuple[str, int], float] = {}
        self._before: dict[tuple[str, int], float] = {}

    def look(self, name: str, pid: int | None, *, has_pool: bool = False) -> None:
        """Take note of process *pid*; with *has_pool* of its children too, as `<name>, pool`."""
        if pid is None:
            return
        self._look((name, pid))
        if has_pool:
            for child in children(pid):
                self._look((f"{name}, pool", child))

    def begin(self) -> None:
        """Count CPU time from here; what has been seen was for starting."""
        self._before = dict(self._cpu)

    def taken(self) -> list[Taken]:
        """Tell what was taken, by name."""
        names = dict.fromkeys(name for name, _ in self._cpu)
        return [
            Taken(
                name=name,
                processes=sum(one == name for one, _ in self._cpu),
                cpu_seconds=sum(cpu - self._before.get(at, 0.0) for at, cpu in self._cpu.items() if at[0] == name),
                peak_mb=max(peak for at, peak in self._peak.items() if at[0] == name),
            )
            for name in names
        ]

    def _look(self, at: tuple[str, int]) -> None:
        folder = Path(f"/proc/{at[1]}")
        with suppress(OSError, StopIteration):  # it may end meanwhile
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            status = (folder / "status").read_text().splitlines()
            peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
            self._cpu[at] = (int(fields[11]) + int(fields[12])) / _TICKS
            self._peak[at] = max(peak, self._peak.get(at, 0.0))


class Machine:
    """How busy the machine's cores are, with whatever: also with a database that is not ours to follow."""

    def __init__(self) -> None:
        """Count from here."""
        self._idle, self._all = _cores()

    def busy(self) -> float:
        """Tell the share of all cores' time that was not idle, from 0 to 1."""
        idle, total = _cores()
        return 1 - (idle - self._idle) / max(1, total - self._all)


def _cores() -> tuple[int, int]:
    figures = [int(figure) for figure in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return figures[3] + figures[4], sum(figures)
