"""A plugin that hangs where Python cannot end it, in a process of its own, with a real ledger."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.databases import give_tables
from tests.harness.plugins import install
from tests.harness.processes import Process, wait_until
from tests.harness.records import record

PLUGIN = """
from llm_one_api.plugins.interfaces import StatsPlugin

class Hanging(StatsPlugin):
    given = 0

    def record_response(self, response_info):
        Hanging.given += 1
        if Hanging.given == 3:
            import psycopg2
            psycopg2.connect(self.config["url"])
"""
DELIVERY = """
import sys
from pathlib import Path
from llm_one_api.books.deliver import deliver
from llm_one_api.plugins.running import StatsPlugins
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.records import context

url, folder, server = sys.argv[1:]
plugins = StatsPlugins(["hanging"], {"hanging": {"url": server}}, context(Path(folder)), call_timeout=0.3, grace=0.3)
deliver(Ledger(url), "hanging", plugins)
"""


def test_it_is_named_and_put_off_and_costs_its_process_within_the_time_that_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, tmp_path, {"stats": {"hanging": "a_strangers_module:Hanging"}})
    strangers = next(tmp_path.glob("strangers*"))
    (strangers / "a_strangers_module.py").write_text(PLUGIN)
    give_tables(tmp_path / "ledger.db")
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.ingest([record(number) for number in range(5)])
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never says a word
        server = f"postgresql://u:hunter2hunter2@127.0.0.1:{silent.getsockname()[1]}/d"
        process = Process(
            "delivery",
            [sys.executable, "-c", DELIVERY, str(ledger._engine.url), tmp_path, server],
            folder=tmp_path,
            env={"PYTHONPATH": ":".join([str(strangers), *sys.path])},
        )
        try:
            wait_until(lambda: not process.alive, what="the process has ended")
        finally:
            process.kill()

    position = ledger.cursors.position("hanging")
    put_off = ledger.cursors.lease("hanging", "next", 60) is None
    ledger.close()
    assert process.popen.returncode == 70
    assert "plugin.failed" in process.text()
    assert "hunter2" not in process.text()
    assert position
    assert (position.seq, position.failures) == (2, 1)
    assert position.error == "record_response took longer than 0.3 s and cannot be ended"
    assert put_off
