"""What `llm-one-api up` takes signals for."""

from __future__ import annotations

import os
import signal

import pytest

from llm_one_api.cli.supervise.signals import Hurried, Signals


def test_a_hang_up_asks_for_a_reload_and_ends_the_wait() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGHUP)
        signals.wait(10)

        assert (signals.reload, signals.stopping) == (True, False)


def test_a_hang_up_hurries_no_stop() -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)

        assert signals.stopping
        with pytest.raises(Hurried):
            os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("there", "reload", "stopping"), [(True, True, False), (False, False, True)])
def test_a_hang_up_is_a_stop_where_the_terminal_is_gone(
    monkeypatch: pytest.MonkeyPatch, there: bool, reload: bool, stopping: bool
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _fd: True)
    with Signals() as signals:
        monkeypatch.setattr(os, "isatty", lambda _fd: there)

        os.kill(os.getpid(), signal.SIGHUP)

        assert (signals.reload, signals.stopping) == (reload, stopping)
