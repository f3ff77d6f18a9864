"""One process of ours, and what is left of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from signal import SIGKILL, Signals

from llm_one_api.lifetime import end_with


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What to run."""

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Added to our own environment. May hold secrets."""
    pass_fds: tuple[int, ...] = ()
    nice: int = 0
    """How far behind others it is in priority, up to 19."""


class Child:
    """A running part, leader of a session of its own, which ends with us whatever happens to us.

    So a Ctrl-C in the terminal reaches us alone. It is not reaped before `reap`: until then its process id, which is
    also its group's, cannot become somebody else's, and its group can be signalled safely.
    """

    def __init__(self, part: Part, *, started_at: float) -> None:
        """Start *part*; what it prints goes to our stderr."""
        self.part = part
        self.started_at = started_at
        us = os.getpid()
        self._popen = subprocess.Popen(  # noqa: S603 (ours)
            part.argv,
            env={**os.environ, **part.env},
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            pass_fds=part.pass_fds,
            start_new_session=True,
            preexec_fn=lambda: _begin(us, part.nice),  # noqa: PLW1509 (we have one thread)
        )

    @property
    def pid(self) -> int:
        """Its process id, and its group's."""
        return self._popen.pid

    def end(self) -> str | None:
        """Tell how it ended, in words; None: it has not."""
        if self._popen.returncode is not None:
            return _words(self._popen.returncode)
        state = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if state is None:
            return None
        return _words(state.si_status if state.si_code == os.CLD_EXITED else -state.si_status)

    @property
    def alive(self) -> bool:
        """Tell whether it still runs."""
        return self.end() is None

    def signal(self, number: Signals) -> None:
        """Send a signal to it alone."""
        if self._popen.returncode is None:
            os.kill(self.pid, number)

    def signal_group(self, number: Signals) -> None:
        """Send a signal to it and to all that it started in its group; also after its own end."""
        if self._popen.returncode is None:
            os.killpg(self.pid, number)

    def reap(self) -> None:
        """Kill whatever is left of it, and forget it."""
        self.signal_group(SIGKILL)
        self._popen.wait()


def _begin(parent: int, nice: int) -> None:
    end_with(parent)
    os.nice(nice)


def _words(status: int) -> str:
    return f"exit code {status}" if status >= 0 else f"killed by {Signals(-status).name}"
