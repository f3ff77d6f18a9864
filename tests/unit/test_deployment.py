"""The compose file and the image, as far as they can be seen without Docker.

`tests/functional/test_compose_parts.py` runs the parts' commands and health checks.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from llm_one_api.books.deliver import Pace
from llm_one_api.plugins import manager
from llm_one_api.settings import Settings, load
from llm_one_api.web.worker import FILES_BESIDE_CALLS
from tests.harness.compose import SECRETS, NotSetError, compose, seconds, services, words
from tests.harness.processes import BIN, ROOT

OURS = ("gateway", "worker-ingest", "worker-deliver", "beat", "upgrade", "metrics")
LASTING = (
    "gateway",
    "worker-ingest",
    "worker-deliver",
    "beat",
    "metrics",
    "redis",
    "postgres",
    "prometheus",
    "grafana",
)
DOCKERFILE = (ROOT / "Dockerfile").read_text()
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()


@pytest.fixture(scope="module")
def parts() -> dict[str, dict[str, Any]]:
    return services()


@pytest.fixture(scope="module")
def settings(parts: dict[str, dict[str, Any]]) -> Settings:
    """What the gateway's container makes of its environment."""
    environ = {**parts["gateway"]["environment"], "LLM_ONE_API_CONFIG": str(ROOT / "config/production.yaml")}
    return load(environ=environ, check=manager.check)


def mounted(part: dict[str, Any], path: PurePosixPath) -> str | None:
    """Name the volume that *path* is on."""
    for volume in part.get("volumes", []):
        name, _, target = volume.partition(":")
        if path.is_relative_to(target):
            return str(name)
    return None


def workdir() -> PurePosixPath:
    return PurePosixPath(re.findall(r"^WORKDIR (\S+)", DOCKERFILE, re.MULTILINE)[-1])


# -- the compose file --


def test_it_has_the_parts_of_up_and_an_upgrade(parts: dict[str, dict[str, Any]]) -> None:
    assert set(parts) == {*OURS, *LASTING}


@pytest.mark.parametrize("name", LASTING)
def test_a_part_is_looked_after(parts: dict[str, dict[str, Any]], name: str) -> None:
    part = parts[name]

    assert part["restart"] == "unless-stopped"
    assert part["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert {"interval", "timeout", "retries", "start_period"} < set(part["healthcheck"])
    assert seconds(part["stop_grace_period"]) >= 10


@pytest.mark.parametrize("name", [*LASTING, "upgrade"])
def test_no_part_is_root_or_can_write_beside_its_volumes(parts: dict[str, dict[str, Any]], name: str) -> None:
    part = parts[name]

    assert part["user"].partition(":")[0] not in {"", "0", "root"}
    assert part["read_only"] is True
    assert part["cap_drop"] == ["ALL"]
    assert part["security_opt"] == ["no-new-privileges:true"]
    assert "/tmp" in part["tmpfs"]
    assert "privileged" not in part
    assert not [volume for volume in part.get("volumes", []) if volume.startswith(("/", "."))]


def test_what_must_outlive_a_container_is_on_a_volume(parts: dict[str, dict[str, Any]], settings: Settings) -> None:
    gateway, deliver = parts["gateway"], parts["worker-deliver"]

    assert mounted(gateway, workdir() / settings.journal_folder) == "journal"
    assert mounted(deliver, workdir() / settings.logging.file) == "logs"
    assert mounted(parts["postgres"], PurePosixPath("/var/lib/postgresql/data")) == "database"
    assert mounted(parts["redis"], PurePosixPath("/data")) == "redis"
    assert mounted(parts["prometheus"], PurePosixPath("/prometheus")) == "prometheus"
    assert mounted(parts["grafana"], PurePosixPath("/var/lib/grafana")) == "grafana"
    assert set(compose()["volumes"]) == {"journal", "logs", "database", "redis", "prometheus", "grafana"}
    assert compose()["name"], "the volumes' names would follow the folder's"


def test_only_the_gateway_and_grafana_can_be_reached_and_from_this_machine_alone_unless_told(
    parts: dict[str, dict[str, Any]],
) -> None:
    assert {name for name, part in parts.items() if "ports" in part} == {"gateway", "grafana"}
    assert parts["gateway"]["ports"] == ["127.0.0.1:8000:8000"]
    assert parts["grafana"]["ports"] == ["127.0.0.1:3000:3000"]
    assert services({**SECRETS, "LISTEN": "0.0.0.0:80"})["gateway"]["ports"] == ["0.0.0.0:80:8000"]


@pytest.mark.parametrize("name", sorted(SECRETS))
def test_a_secret_that_is_missing_is_named_and_none_is_written_down(name: str) -> None:
    without = {key: value for key, value in SECRETS.items() if key != name}

    with pytest.raises(NotSetError, match=f"{name}: set it to"):
        compose(without)


def test_the_production_config_is_good_in_it_and_finds_the_other_parts(
    parts: dict[str, dict[str, Any]], settings: Settings
) -> None:
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 8000)
    assert settings.ledger.url == "postgresql://llm_one_api:postgrespassword0003@postgres:5432/llm_one_api"
    assert settings.redis_url == "redis://:redispassword0004@redis:6379/0"
    assert parts["postgres"]["environment"] == {
        "POSTGRES_USER": "llm_one_api",
        "POSTGRES_DB": "llm_one_api",
        "POSTGRES_PASSWORD": "postgrespassword0003",
    }
    assert parts["redis"]["environment"] == {"VALKEYCLI_AUTH": "redispassword0004"}
    assert all(parts[name]["environment"].items() >= parts["upgrade"]["environment"].items() for name in OURS)


def test_a_part_gets_the_time_that_it_needs_to_stop(parts: dict[str, dict[str, Any]], settings: Settings) -> None:
    delivery = Pace().run_for + settings.delivery.call_timeout

    assert seconds(parts["gateway"]["stop_grace_period"]) > settings.server.drain_timeout + 10
    assert seconds(parts["worker-deliver"]["stop_grace_period"]) > delivery + 10


def test_the_gateway_may_open_as_many_files_as_its_calls_need(
    parts: dict[str, dict[str, Any]], settings: Settings
) -> None:
    need = 2 * (settings.server.max_streams + 200) + FILES_BESIDE_CALLS

    assert parts["gateway"]["ulimits"]["nofile"]["hard"] >= need


def test_the_workers_wait_for_the_tables_and_the_gateway_for_nobody(parts: dict[str, dict[str, Any]]) -> None:
    for name in ("worker-ingest", "worker-deliver", "beat"):
        assert parts[name]["depends_on"]["upgrade"] == {"condition": "service_completed_successfully"}
        assert parts[name]["depends_on"]["redis"] == {"condition": "service_healthy"}
    assert parts["upgrade"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert parts["upgrade"]["restart"] == "no"
    assert "depends_on" not in parts["gateway"]


def test_redis_keeps_what_it_has_and_drops_nothing(parts: dict[str, dict[str, Any]]) -> None:
    command = " ".join(parts["redis"]["command"])

    assert "--appendonly yes" in command
    assert "--maxmemory-policy noeviction" in command
    assert SECRETS["REDIS_PASSWORD"] not in command, "arguments can be read by everybody on the machine"


# -- commands and pages --


@pytest.mark.parametrize("name", OURS)
def test_a_command_exists_and_stands_in_the_operators_page(parts: dict[str, dict[str, Any]], name: str) -> None:
    command = words(parts[name]["command"])

    assert (BIN / command[0]).exists()
    assert " ".join(command) in " ".join(OPERATIONS.replace("\\\n", " ").split())


def test_the_commands_of_the_readme_are_those_of_the_compose_file(parts: dict[str, dict[str, Any]]) -> None:
    section = README.split("## In production")[1].split("\n## ")[0]
    blocks = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    shown = [line.split() for line in re.findall(r"^(?:llm-one-api|gunicorn|celery) .*$", blocks, re.MULTILINE)]
    run = [words(parts[name]["command"]) for name in OURS]

    assert len(shown) >= len(OURS)
    for command in shown:
        assert any(_has_in_order(whole, command) for whole in run), command


def _has_in_order(whole: list[str], part: list[str]) -> bool:
    rest = iter(whole)
    return all(word in rest for word in part)


# -- the image --


def test_the_image_takes_what_is_there_and_nothing_that_is_not_named() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }

    assert copied == allowed
    assert all((ROOT / name).exists() for name in copied)
    assert "*" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_image_is_made_from_the_lock_file_and_runs_as_nobody_in_particular(
    parts: dict[str, dict[str, Any]],
) -> None:
    users = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)

    assert "--require-hashes -r requirements.lock" in DOCKERFILE
    assert "--no-deps --no-build-isolation ." in DOCKERFILE
    assert users == [parts["gateway"]["user"]]
    assert not re.search(r"KEY|PASSWORD|TOKEN|SECRET", DOCKERFILE)


def test_the_image_has_the_python_that_the_project_asks_for_and_the_production_config() -> None:
    wanted = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    config = re.search(r"LLM_ONE_API_CONFIG=(\S+)", DOCKERFILE)

    assert wanted
    assert f"ARG PYTHON={wanted[1]}\n" in DOCKERFILE
    assert config
    assert (ROOT / Path(config[1]).relative_to(workdir())).exists()
