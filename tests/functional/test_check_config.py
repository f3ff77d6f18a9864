"""`llm-one-api check-config`, what it says and how it ends."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.harness import commands
from tests.harness.processes import ROOT


def check_config(
    folder: Path, *arguments: str | Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command in *folder* with nothing of ours in its environment but *environ*."""
    return commands.run("check-config", *arguments, folder=folder, env=environ)


def test_the_documented_default_is_good_as_it_is(tmp_path: Path) -> None:
    file = ROOT / "config/llm-one-api.yaml"

    done = check_config(tmp_path, "--config", file)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{file}: good\n")
    assert "http://127.0.0.1:8000" in done.stdout


def test_without_any_file_the_packaged_default_is_good(tmp_path: Path) -> None:
    done = check_config(tmp_path)

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("packaged default")


def test_a_config_with_which_no_key_works_says_so(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("timezone: UTC\n")

    done = check_config(tmp_path, "c.yaml")

    assert done.returncode == 0
    assert "none: every call is answered with 401" in done.stdout


def test_it_says_for_whom_there_are_limits(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("""\
limits:
  each_key: {requests_per_minute: 60}
  everyone: {max_concurrent: 100}
  users: {alice: {}, bob: {day: {tokens: 5}}}
  exempt: {users: [root], keys: [key_3f9a1c22]}
""")
    (tmp_path / "none.yaml").write_text("timezone: UTC\n")

    limited, unlimited = check_config(tmp_path, "c.yaml"), check_config(tmp_path, "none.yaml")

    assert "  limits   each key, everyone, 2 user(s), 2 exempt\n" in limited.stdout
    assert "  limits   none\n" in unlimited.stdout


def test_a_good_file_is_summed_up_without_its_secrets(tmp_path: Path) -> None:
    environ = {
        "LLM_ONE_API_CONFIG": str(ROOT / "config/production.yaml"),
        "LLM_ONE_API_KEY": "sk-S3CRET",
        "LLM_ONE_API_TEAM_KEY_SHA256": "0" * 64,
        "OPENAI_API_KEY": "sk-S3CRET",
        "DATABASE_URL": "postgresql://llm:S3CRET@db/llm",
        "REDIS_URL": "redis://:S3CRET@cache:6379/0",
    }

    done = check_config(tmp_path, environ=environ)

    assert (done.returncode, done.stderr) == (0, "")
    assert "gpt-4o-mini → api.openai.com" in done.stdout
    assert "stats: log, memory" in done.stdout
    assert "postgresql://llm:***@db/llm" in done.stdout
    assert "redis://:***@cache:6379/0" in done.stdout
    assert "S3CRET" not in done.stdout


def test_it_says_where_calls_to_a_model_of_several_upstreams_go(tmp_path: Path) -> None:
    file = tmp_path / "several.yaml"
    file.write_text(
        """\
upstreams: {proxy: "http://user:S3CRET@proxy:3128"}
models:
  large:
    api_key: sk-S3CRET
    fallbacks: [small]
    upstreams:
      - {api_base: https://api.openai.com/v1, weight: 3}
      - {name: west, adapter: azure, api_version: "2024-10-21", api_base: https://west.openai.azure.com,
         upstream_model: my-large, proxy: none, max_concurrent: 20}
      - {name: old, api_base: https://10.0.0.9/v1, tls_verify: false, proxy: none, weight: 0}
  small:
    api_base: http://127.0.0.1:11434/v1
    proxy: none
    fallbacks: large
"""
    )

    done = check_config(tmp_path, "several.yaml")

    assert "S3CRET" not in done.stdout + done.stderr
    assert (
        """\
  models   large → 3 upstreams, weighted; else to small
             api.openai.com, through proxy:3128, weight 3
             west at west.openai.azure.com (azure) as my-large, 20 calls at a time, weight 1
             old at 10.0.0.9, whoever answers there (tls_verify is false), off
           small → 127.0.0.1:11434, without a key; else to large
"""
        in done.stdout
    )


def test_a_bad_file_exits_with_2_and_tells_everything_that_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(
        """\
server:
  host: 0.0.0.0
  port: 99999
  wrokers: 2
rate_limit: {enabled: true}
plugins:
  stats: [log, memroy]
auth:
  default_auth:
    api_keys: [sk-local-dev, {key: sk-S3CRET, admn: true}]
stats:
  log: {format: sjon}
  memory: {anything: goes}
  mmeory: {max_records: 5}
models:
  gpt-4o:
    api_base: https://api.openai.com/v1
    api_key: ${NO_SUCH_VARIABLE}
"""
    )

    done = check_config(tmp_path, file, environ={"LLM_ONE_API__RELAY__WINDOW": "0"})

    assert (done.returncode, done.stdout) == (2, "")
    for part in (
        "server.port (line 3): must be a whole number between 1 and 65535, got 99999",
        "server.wrokers (line 4): unknown setting; did you mean workers?",
        "rate_limit.requests_per_minute (line 5): must be given where enabled is true",
        "plugins.stats.1 (line 7): there is no stats plugin 'memroy'; did you mean memory?",
        "stats.mmeory (line 14): there is no stats plugin 'mmeory'; did you mean memory?",
        "auth.default_auth.api_keys.0 (line 10): is the published sample key",
        "admn",
        "stats.log.format (line 12)",
        "models.gpt-4o.api_key (line 18): the environment variable NO_SUCH_VARIABLE is not set",
        "relay.window (LLM_ONE_API__RELAY__WINDOW): must be a whole number between 1 and 10000, got 0",
    ):
        assert part in done.stderr
    assert "anything" not in done.stderr
    assert "S3CRET" not in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_exits_with_2(tmp_path: Path) -> None:
    done = check_config(tmp_path, "--config", "missing.yaml")

    assert done.returncode == 2
    assert done.stderr == "missing.yaml: 1 fault(s)\n  the file: cannot be read: No such file or directory\n"


def test_one_file_is_named_once(tmp_path: Path) -> None:
    done = check_config(tmp_path, "a.yaml", "--config", "b.yaml")

    assert done.returncode == 2
    assert "Give the file once" in done.stderr
