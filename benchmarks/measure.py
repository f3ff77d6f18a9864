"""Measures the gateway's speed with the tools of a bench folder (`upstream.c`, `streamload.c`, `wrk.lua`, `run.py`).

    .venv/bin/python benchmarks/measure.py --tools ../shared/bench [--rounds 3] [--seconds 10] [--nginx]

The gunicorn process is pinned to core 0 and counted alone. The upstream, the load, Valkey, the relay and the Celery
workers run on core 1, relay and workers behind the others in priority, as `up` runs them. Everything is on: recording
to the journal, the key check, the ledger, `log` and `memory`. At the end the whole product's CPU time is told too.
Needs gcc and wrk (and nginx with --nginx), and a quiet machine: figures are CPU seconds, but caches are shared.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from llm_one_api.lifetime import BEHIND_CALLS
from tests.harness.processes import BIN, Process, free_port, wait_until
from tests.harness.services import valkey

KEY, UPSTREAM_KEY = "sk-bench-0123456789abcdef", "sk-upstream"
GATEWAY_CORE, LOAD_CORE = "0", "1"
TICKS = os.sysconf("SC_CLK_TCK")
DELTAS = 100
PACED_STREAMS = 400
_RATES = {"requests_per_minute": 10**8, "tokens_per_minute": 10**9, "max_concurrent": 10**6}
LIMITS = {"each_key": {**_RATES, "day": {"tokens": 10**12}}, "each_user": {"month": {"tokens": 10**12}}}
"""With `--limits`: some of each kind, of which none is reached."""
NGINX = {
    "CPU s per 1,000 requests": "cpu_1k",
    "CPU s per 100k events, fast": "cpu_100k_fast",
    "CPU s per 100k events, paced": "cpu_100k_paced",
}
BODIES = {"body_stream.json": "usage asked", "body_stream_plain.json": "usage not asked"}


def pinned(core: str, *argv: str | Path) -> list[str | Path]:
    return ["taskset", "-c", core, *argv]


def get(port: int, path: str, key: str = "") -> Any:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def cpu_of(pids: list[int]) -> float:
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / TICKS


def children(pid: int) -> list[int]:
    found = [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [grandchild for child in found for grandchild in children(child)]


def resident_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


class Bench:
    """The tools, the upstream, and the whole product, running."""

    def __init__(self, tools: Path, folder: Path, stack: ExitStack, *, limits: bool) -> None:
        self.tools, self.folder = tools, folder
        for name in ("upstream", "streamload"):
            subprocess.run(["gcc", "-O2", "-o", folder / name, tools / f"{name}.c"], check=True)
        for name in ("body", "body_stream"):
            shutil.copy(tools / f"{name}.json", folder)
        body = json.loads((folder / "body_stream.json").read_text())
        del body["stream_options"]
        (folder / "body_stream_plain.json").write_text(json.dumps(body))
        self.upstream_port, self.port = free_port(), free_port()
        redis = stack.enter_context(valkey(folder / "valkey"))
        upstream = {"api_base": f"http://127.0.0.1:{self.upstream_port}/v1", "api_key": UPSTREAM_KEY}
        settings = {
            "server": {"port": self.port, "workers": 1},
            "auth": {"default_auth": {"api_keys": [{"key": KEY, "user": "bench", "admin": True}]}},
            "models": {"gpt-4o-mini": upstream},
            "stats": {"log": {"format": "json"}},
            "redis": {"url": redis.url},
            "limits": LIMITS if limits else {},
        }
        (folder / "config.yaml").write_text(json.dumps(settings))
        env = {"LLM_ONE_API_CONFIG": str(folder / "config.yaml")}
        python = Path(sys.executable)

        def start(name: str, core: str, *argv: str | Path) -> Process:
            process = Process(name, pinned(core, *argv), folder=folder, env=env)
            stack.callback(process.kill)
            return process

        assert redis.process is not None
        self.others_base = redis.process
        os.sched_setaffinity(redis.process.pid, {int(LOAD_CORE)})
        self.upstream = start(
            "upstream", LOAD_CORE, folder / "upstream", "--port", str(self.upstream_port), "--key", UPSTREAM_KEY
        )
        subprocess.run([BIN / "llm-one-api", "db", "upgrade"], cwd=folder, env={**os.environ, **env}, check=True)
        behind = ("nice", "-n", str(BEHIND_CALLS))
        celery = (python, "-m", "celery", "-A", "workers.celery_app", "worker", "-Q")
        self.others = [
            start("relay", LOAD_CORE, *behind, python, "-m", "llm_one_api.cli", "relay"),
            start("ingest", LOAD_CORE, *behind, *celery, "ingest", "-c", "1"),
            start("deliver", LOAD_CORE, *behind, *celery, "deliver,jobs", "-c", "2"),
        ]
        self.gunicorn = start(
            "gunicorn",
            GATEWAY_CORE,
            python, "-m", "gunicorn", "-c", "python:llm_one_api.web.gunicorn_conf", "wsgi:application",
        )  # fmt: skip
        wait_until(self._ready, timeout=60, what="the gateway is ready")
        self.worker = children(self.gunicorn.pid)[0]
        self.idle_mb = resident_mb(self.worker)

    def _ready(self) -> bool:
        try:
            return bool(get(self.port, "/health/ready", KEY)["missing"] == [])
        except (OSError, KeyError):
            return False

    def gateway_cpu(self) -> float:
        return cpu_of([self.gunicorn.pid, self.worker])

    def product_cpu(self) -> float:
        pids = [p for part in self.others for p in (part.pid, *children(part.pid))]
        return self.gateway_cpu() + cpu_of([*pids, self.others_base.pid])

    def pace(self, interval_us: int) -> None:
        get(self.upstream_port, f"/_ctl?n={DELTAS}&interval={interval_us}&ttft=0&delay=0&status=0")

    def events(self) -> int:
        return int(get(self.upstream_port, "/_stats")["events"])

    def wrk(self, connections: int, seconds: int, port: int | None = None, key: str = KEY) -> dict[str, Any]:
        env = {**os.environ, "BENCH_BODY": str(self.folder / "body.json"), "BENCH_KEY": key}
        url = f"http://127.0.0.1:{port or self.port}/v1/chat/completions"
        argv = pinned(LOAD_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", self.tools / "wrk.lua", url)
        out = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout
        found = re.search(r"^JSON (.*)$", out, re.MULTILINE)
        assert found, out
        result: dict[str, Any] = json.loads(found[1])
        return result

    def streams(self, body: str, count: int, seconds: int, ramp_ms: int) -> dict[str, Any]:
        """Run streams; the result has `peak_mb`, the most memory that the gateway's process had meanwhile."""
        argv = pinned(LOAD_CORE, self.folder / "streamload", "--port", str(self.port))
        argv += ["--path", "/v1/chat/completions", "--key", KEY, "--body", self.folder / body, "-c", str(count)]
        argv += ["-t", str(seconds), "--ramp-ms", str(ramp_ms), "--drain-s", "6"]
        argv += ["--expect-chars", str(DELTAS * 6), "--need-done", "1"]
        peak = 0.0
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as load:
            while load.poll() is None:
                peak = max(peak, resident_mb(self.worker))
                time.sleep(0.25)
            assert load.stdout is not None and load.returncode == 0  # noqa: PT018
            return {**json.loads(load.stdout.read()), "peak_mb": peak}

    def round(self, seconds: int) -> dict[str, float]:
        """Measure all phases once, the gentle ones first: while the process is small, and no backlog is worked off."""
        self.pace(0)
        self.wrk(8, 2)
        self.settle()
        figures: dict[str, float] = {"errors": 0}
        direct = self.wrk(1, 3, self.upstream_port, UPSTREAM_KEY)
        alone = self.wrk(1, max(4, seconds // 2))
        figures["added latency p50, ms"] = alone["p50_ms"] - direct["p50_ms"]
        figures["added latency p99, ms"] = alone["p99_ms"] - direct["p99_ms"]
        self.settle()
        shares = self.own_share(4)
        for percent in (50, 99):
            figures[f"the gateway's own share of it p{percent}, ms"] = shares[len(shares) * percent // 100]
        self.settle()
        for body, name in BODIES.items():
            before_mb = resident_mb(self.worker)
            paced = self._stream_phase(figures, f"paced, {name}", body, seconds, interval_us=20000)
            figures[f"TTFT p50, ms, {name}"] = paced["ttft_ms"]["p50"]
            figures[f"gap p99, ms, {name}"] = paced["gap_ms"]["p99"]
            figures.setdefault("KB an open stream", (paced["peak_mb"] - before_mb) * 1024 / PACED_STREAMS)
        for body, name in BODIES.items():
            self._stream_phase(figures, f"fast, {name}", body, seconds, interval_us=0)
        cpu, whole = self.gateway_cpu(), self.product_cpu()
        self.pace(0)
        load = self.wrk(32, seconds)
        figures["CPU s per 1,000 requests"] = (self.gateway_cpu() - cpu) / load["requests"] * 1000
        self.settle()
        figures["whole product: CPU s per 1,000 requests"] = (self.product_cpu() - whole) / load["requests"] * 1000
        figures["requests/s, 32 connections"] = load["rps"]
        figures["errors"] += load["err_status"]
        figures["memory idle, MB a process"] = self.idle_mb
        return figures

    def _stream_phase(
        self, figures: dict[str, float], name: str, body: str, seconds: int, *, interval_us: int
    ) -> dict[str, Any]:
        self.pace(interval_us)
        events, cpu = self.events(), self.gateway_cpu()
        result = (
            self.streams(body, PACED_STREAMS, seconds, 2000) if interval_us else self.streams(body, 100, seconds, 0)
        )
        per_event = (self.gateway_cpu() - cpu) / (self.events() - events)
        figures[f"CPU s per 100k events, {name}"] = per_event * 1e5
        figures["errors"] += result["errors"]
        self.settle()
        return result

    def own_share(self, seconds: int) -> list[float]:
        """Call over one connection; give what each answer says of the gateway's own share, in ms, in order of size."""
        body = (self.folder / "body.json").read_bytes()
        headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        shares, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            connection.request("POST", "/v1/chat/completions", body, headers)
            answer = connection.getresponse()
            answer.read()
            shares.append(float(answer.headers["x-llm-one-api-overhead-ms"]))
        connection.close()
        return sorted(shares)

    def settle(self) -> None:
        """Wait until the records are in the ledger and delivered, so that phases do not overlap."""
        seen: list[int] = []

        def quiet() -> bool:
            memory = get(self.port, "/v1/stats/memory", KEY)["total_requests"]
            seen.append(int(memory))
            return len(seen) > 10 and len(set(seen[-10:])) == 1

        wait_until(quiet, timeout=300, every=0.2, what="the records are delivered")


@contextmanager
def running(tools: Path, *, limits: bool) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        yield Bench(tools, Path(folder), stack, limits=limits)


def nginx(tools: Path, seconds: int) -> dict[str, float]:
    """Measure nginx with run.py, for the machine's speed just now."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        copy = Path(folder) / "tools"
        shutil.copytree(tools, copy)
        env = {**os.environ, "BENCH_UPORT": str(free_port()), "BENCH_PORT": str(free_port())}
        argv: list[str | Path] = [sys.executable, copy / "run.py", "nginx", "--rounds", "1", "--secs", str(seconds)]
        out = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout
    told = json.loads(out.splitlines()[0])
    return {figure: told[theirs] for figure, theirs in NGINX.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tools", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--nginx", action="store_true", help="measure nginx before each round, for the ratios")
    parser.add_argument("--limits", action="store_true", help="set limits of each kind")
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    rounds, references = [], []
    for number in range(chosen.rounds):
        tools = chosen.tools.resolve()
        if chosen.nginx:
            references.append(nginx(tools, chosen.seconds))
        with running(tools, limits=chosen.limits) as bench:
            rounds.append(bench.round(chosen.seconds))
        print(f"round {number + 1}: {rounds[-1]} {references[-1:]}", file=sys.stderr, flush=True)
    print("| figure | median | best | rounds |\n|---|---|---|---|")
    for name in rounds[0]:
        values = [r[name] for r in rounds]
        print(f"| {name} | {statistics.median(values):.3g} | {min(values):.3g} | {len(values)} |")
    for name in references[0] if references else ():
        ours = [r[k] for r in rounds for k in r if k.startswith(name) and "whole" not in k]
        theirs = [r[name] for r in references]
        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"| nginx: {name} | {statistics.median(theirs):.3g} | {min(theirs):.3g} | ratio {ratio:.2f} |")


if __name__ == "__main__":
    main()
