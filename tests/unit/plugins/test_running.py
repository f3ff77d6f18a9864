"""The stats plugins of one process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


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
