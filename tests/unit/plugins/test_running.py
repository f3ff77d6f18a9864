"""The stats plugins of one process."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from llm_one_api.plugins.interfaces import ResponseInfo, StatsPlugin
from llm_one_api.plugins.running import StatsPlugins
from tests.harness.plugins import install
from tests.harness.records import context


def test_a_forked_process_makes_instances_of_its_own(tmp_path: Path) -> None:
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from llm_one_api.plugins.running import StatsPlugins\n"
        "from tests.harness.records import context, info\n"
        f"plugins = StatsPlugins(['log'], {{}}, context(Path({str(tmp_path)!r})))\n"
        "parent = plugins.get('log')\n"
        "if os.fork() == 0:\n"
        "    child = plugins.get('log')\n"
        "    child.record(info())\n"
        "    plugins.close()\n"
        "    os._exit(0 if child is not parent else 1)\n"
        "_, status = os.wait()\n"
        "plugins.get('log').record(info())\n"
        "plugins.close()\n"
        "sys.exit(status)\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "logs/llm-one-api.log").read_text().count('"event":"response"') == 2


class HalfOpen(StatsPlugin):
    """Cannot connect, and then has nothing to close."""

    def initialize(self) -> None:
        raise ConnectionRefusedError("no database on db:5432")

    def record_response(self, response_info: ResponseInfo) -> None:
        """Never called."""

    def cleanup(self) -> None:
        self.connection.close()  # type: ignore[attr-defined]


def test_why_one_cannot_be_initialized_is_told_and_not_what_its_cleanup_says_to_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path, {"stats": {"half_open": f"{__name__}:HalfOpen"}})

    with (
        closing(StatsPlugins(["half_open"], {}, context(tmp_path))) as plugins,
        pytest.raises(ConnectionRefusedError, match="no database on db:5432"),
    ):
        plugins.get("half_open")
