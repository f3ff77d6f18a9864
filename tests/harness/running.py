"""Which processes still run."""

from __future__ import annotations

import psutil


def runs(*pids: int) -> list[int]:
    """Give those of *pids* that still run; a zombie does not."""
    return [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        status: str = psutil.Process(pid).status()
    except psutil.NoSuchProcess:
        return False
    return status != str(psutil.STATUS_ZOMBIE)
