"""A plugin that forks: what it leaves behind is no second worker."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.plugins import entry_points
from tests.harness.processes import ROOT
from tests.harness.records import record

PLUGIN = """
import os, sys
from llm_one_api.plugins.interfaces import StatsPlugin

class Forks(StatsPlugin):
    def record_response(self, response_info):
        with open(self.config["out"], "a") as out:
            print(response_info["request_id"], file=out)
        if response_info["request_id"].endswith("2") and (child := os.fork()):
            os.waitpid(child, 0)
        elif response_info["request_id"].endswith("2") and self.config["how"] == "exits":
            sys.exit()
"""

DELIVERY = """
import sys
from pathlib import Path
from llm_one_api.books.deliver import deliver
from llm_one_api.plugins.running import StatsPlugins
from tests.harness.records import context, record
from tests.unit.books.shelf import Shelf

folder, how = Path(sys.argv[1]), sys.argv[2]
plugins = StatsPlugins(["forks"], {"forks": {"out": str(folder / "out"), "how": how}}, context(folder))
print(deliver(Shelf(map(record, range(1, 5))), "forks", plugins))
plugins.close()
"""


@pytest.mark.parametrize("how", ["exits", "returns"])
def test_the_copy_of_the_process_does_not_deliver(tmp_path: Path, how: str) -> None:
    path = entry_points(tmp_path, {"stats": {"forks": "forking_plugin:Forks"}})
    (path / "forking_plugin.py").write_text(PLUGIN)

    done = subprocess.run(
        [sys.executable, "-c", DELIVERY, tmp_path, how],
        cwd=ROOT,
        env={"PYTHONPATH": f"{path}:{ROOT}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert done.stdout.count("Delivered(records=4, set_aside=0, more=False, error=None)") == 1
    assert done.stdout.count("Delivered(") == 1
    assert (tmp_path / "out").read_text().split() == [record(number).request_id for number in range(1, 5)]
