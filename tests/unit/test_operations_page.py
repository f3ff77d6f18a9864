"""`docs/operations.md` names every setting and event that an operator can meet, and none that does not exist."""

from __future__ import annotations

import ast
import re

import pytest
from gunicorn.config import KNOWN_SETTINGS

from llm_one_api import broker
from llm_one_api.gateway import pool, stream
from llm_one_api.gateway.upstreams import addresses, probing
from llm_one_api.settings import document
from llm_one_api.stores.ledger import engine
from llm_one_api.web import house, stats, worker
from tests.harness.processes import ROOT

PAGE = (ROOT / "docs/operations.md").read_text()
CODE = "\n".join(path.read_text() for folder in ("llm_one_api", "workers") for path in (ROOT / folder).rglob("*.py"))
EVENTS = set(re.findall(r'\blog\.(?:info|warning|error)\(\s*"([a-z]+\.[a-z_]+)"', CODE))
TROUBLE = set(re.findall(r'\blog\.(?:warning|error)\(\s*"([a-z]+\.[a-z_]+)"', CODE))
CELERY = broker.celery_options("redis://localhost", "oneapi:")
RABBITMQ = broker.celery_options("amqp://localhost", "oneapi:")
FILES = {"relay.lock", "journal.id"}


def section(heading: str) -> str:
    return PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def test_every_setting_of_celery_has_its_reason() -> None:
    told = section("Celery's settings")
    settings = [name for options in (CELERY, RABBITMQ) for name in [*options, *options["broker_transport_options"]]]

    missing = [name for name in settings if f"`{name}`" not in told]

    assert missing == []


def test_every_setting_of_gunicorn_has_its_reason() -> None:
    top = ast.parse((ROOT / "llm_one_api/web/gunicorn_conf.py").read_text()).body
    names = {
        target.id
        for node in top
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    names |= {node.name for node in top if isinstance(node, ast.FunctionDef)}
    told = section("gunicorn's settings")

    missing = [each.name for each in KNOWN_SETTINGS if each.name in names and f"`{each.name}`" not in told]

    assert missing == []
    assert {"worker_class", "keepalive"} <= names


def test_every_event_that_tells_of_trouble_is_on_it() -> None:
    assert {event for event in TROUBLE if f"`{event}" not in PAGE} == set()
    assert {"relay.away", "plugin.failed", "journal.trouble"} <= TROUBLE


def test_no_event_is_on_it_that_nobody_logs() -> None:
    areas = "|".join({event.partition(".")[0] for event in EVENTS})
    named = set(re.findall(rf"`((?:{areas})\.[a-z_]+)[` ]", PAGE))
    settings = {path for path, _ in document.settings()}

    assert named - EVENTS - settings - FILES == set()


@pytest.mark.parametrize(
    "row",
    [
        f"the head of a connection's first request | {worker.HEAD_SECONDS:g} s |",
        f"the rest of a body that it answered without reading | {worker.REST_SECONDS:g} s |",
        f"the ledger, for `/v1/stats` | {stats.PATIENCE:g} s |",
        f"when it looks who is away | {house.PROBE_SECONDS:g} s |",
        f"after `[DONE]` | {stream.AFTER_DONE:g} s |",
        f"an unused upstream connection | {pool.IDLE_SECONDS:g} s |",
        f"the addresses of an upstream's name | {addresses.ADDRESS_SECONDS:g} s |",
        f"for a probe of an upstream | `connect_timeout`, at most {probing.LONGEST:g} s in all |",
        f"SQLite: {engine.BUSY_SECONDS:g} s for its lock",
        f"for a task | {broker.TASK_SOFT_LIMIT} s, then an exception; {broker.TASK_HARD_LIMIT} s, then",
        f"`visibility_timeout` | {CELERY['broker_transport_options']['visibility_timeout']} s |",
    ],
)
def test_its_times_are_those_of_the_code(row: str) -> None:
    assert row in PAGE
