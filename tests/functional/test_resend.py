"""The ledger was lost and a backup of yesterday was put in its place: `relay resend` brings back what is missing."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from llm_one_api.stores.journal.segments import ACKED, list_segments
from tests.harness import commands
from tests.harness.parts import Parts, parts
from tests.harness.processes import wait_until
from tests.harness.product import KEY, config
from tests.harness.services import Valkey
from tests.harness.upstream import CHAT, Upstream, json_answer, scripted


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        it.answer(json_answer(200, CHAT))
        yield it


def call(running: Parts, count: int) -> list[str]:
    """Make calls; gives their ids."""
    headers = {"Authorization": f"Bearer {KEY}"}
    body = {"model": "m", "messages": []}
    answers = [
        requests.post(f"{running.url}/v1/chat/completions", json=body, headers=headers, timeout=10)
        for _ in range(count)
    ]
    assert {answer.status_code for answer in answers} == {200}
    return [answer.headers["x-request-id"] for answer in answers]


def kept(ledger: Path) -> Counter[str]:
    with closing(sqlite3.connect(ledger)) as connection:
        return Counter(name for (name,) in connection.execute("SELECT request_id FROM records"))


def all_kept(ledger: Path, calls: list[str]) -> None:
    wait_until(lambda: set(calls) <= set(kept(ledger)), what="all calls are in the ledger")


def resend(running: Parts, since: str) -> subprocess.CompletedProcess[str]:
    config_file = running.folder / "config.yaml"
    return commands.run("relay", "resend", "--config", config_file, "--since", since, folder=running.folder)


def test_after_a_restored_backup_every_call_is_in_the_ledger_once(
    upstream: Upstream, tmp_path: Path, redis_url: str, session_valkey: Valkey
) -> None:
    made = config(
        upstream.url,
        redis={"url": redis_url},
        timezone="Asia/Shanghai",
        plugins={"stats": ["log"]},
        journal={"segment_bytes": 8000},
    )
    with parts(tmp_path / "parts", made) as running:
        ledger, backup = running.folder / "data" / "ledger.db", tmp_path / "backup.db"
        running.tables()
        running.gateway()
        worker = running.worker("ingest")
        calls = call(running, 10)
        all_kept(ledger, calls)
        with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
        backed_up_at = datetime.now(UTC) - timedelta(seconds=1)

        calls += call(running, 20)
        all_kept(ledger, calls)
        wait_until(lambda: any((running.journal / ACKED).iterdir()), what="some of it is acked")
        worker.stop()
        for path in ledger.parent.glob("ledger.db*"):
            path.unlink()
        shutil.copy(backup, ledger)
        calls += call(running, 3)  # the gateway does not notice

        first = resend(running, backed_up_at.isoformat(timespec="seconds"))
        second = resend(running, f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}")
        running.worker("ingest", "another")
        all_kept(ledger, calls)
        wait_until(lambda: len(list_segments(running.journal)) == 1, what="nothing waits but what is written to")

        assert kept(ledger) == Counter(calls)
        assert (first.returncode, first.stderr) == (0, "")
        assert "calls from " in first.stdout
        assert first.stdout.count("+08:00") == 2
        assert second.returncode == 0


def test_it_says_what_cannot_be(tmp_path: Path, upstream: Upstream, redis_url: str) -> None:
    with parts(tmp_path / "parts", config(upstream.url, redis={"url": redis_url})) as running:
        no_journal = resend(running, "2026-01-01")
        running.journal.mkdir(parents=True)
        future = resend(running, f"{datetime.now(UTC) + timedelta(days=2):%Y-%m-%d}")
        nonsense = resend(running, "yesterday")
        nothing = resend(running, "2026-01-01T10:00")

    assert (no_journal.returncode, "there is no journal at" in no_journal.stderr) == (1, True)
    assert (future.returncode, "it is in the future" in future.stderr) == (2, True)
    assert (nonsense.returncode, "is no time such as" in nonsense.stderr) == (2, True)
    assert (nothing.returncode, nothing.stdout) == (0, "Nothing is kept that was acknowledged since then.\n")
    assert "Nobody knows whether all" in nothing.stderr
