"""Full disks without a disk: the kernel cuts or refuses what a process would write beyond a size in any file."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


def fill(process: psutil.Process, largest_file: int = 0) -> None:
    """Let no file of *process* grow beyond *largest_file* bytes; needs no privilege and also takes its log files."""
    _, hard = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (largest_file, hard))


def free(process: psutil.Process) -> None:
    """Let it write again."""
    _, hard = process.rlimit(resource.RLIMIT_FSIZE)
    process.rlimit(resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond *size* for the length of a block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
