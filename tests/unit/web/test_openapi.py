"""`GET /v1/openapi.json` has all pages of ours, and says of the analysis what its own lists say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import schemathesis

from llm_one_api.gateway.endpoints import ENDPOINTS
from llm_one_api.reporting import layout, parameters
from llm_one_api.web.openapi.document import document
from tests.harness.processes import ROOT
from tests.harness.product import config

DOCUMENT = document()


def test_it_is_openapi_31_and_can_be_read() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    found = [each.ok() for each in schemathesis.openapi.from_dict(DOCUMENT).get_all_operations()]  # type: ignore[union-attr]

    assert len(found) == len({each.definition.raw["operationId"] for each in found}) == len(DOCUMENT["paths"])


def test_every_reference_leads_somewhere() -> None:
    for target in re.findall(r'"#/components/(\w+)/(\w+)"', json.dumps(DOCUMENT)):
        assert target[1] in DOCUMENT["components"][target[0]]


def test_every_page_of_ours_is_in_it_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(json.dumps(config("http://127.0.0.1:1/v1")))
    dump = "import json, wsgi; print(json.dumps([[r.rule, *r.methods] for r in wsgi.application.url_map.iter_rules()]))"
    env = {**os.environ, "LLM_ONE_API_CONFIG": str(tmp_path / "config.yaml"), "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", dump], cwd=tmp_path, env=env, capture_output=True, check=True)
    proxied = {endpoint.path for endpoint in ENDPOINTS}

    pages = {
        re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule) for rule, *methods in json.loads(told.stdout) if "GET" in methods
    }

    assert set(DOCUMENT["paths"]) == pages - proxied


def test_keys_are_wanted_everywhere_but_for_health() -> None:
    without = [path for path, page in DOCUMENT["paths"].items() if "security" in page["get"]]

    assert without == ["/health/live", "/health/ready"]
    assert DOCUMENT["security"] == [{"key": []}]


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("usage", parameters.USAGE),
        ("top", parameters.TOP_LIST),
        ("peak-hours", parameters.PEAK_HOURS),
        ("requests", parameters.REQUESTS),
        ("live", parameters.LIVE),
    ],
)
def test_it_has_the_parameters_that_are_read(path: str, asked: Any) -> None:
    page = DOCUMENT["paths"][f"/v1/stats/{path}"]["get"]

    assert [each["name"] for each in page["parameters"]] == [each.name for each in asked]
    assert set(page["responses"]["200"]["content"]) == {"application/json", "text/csv"}


def test_a_row_has_what_is_laid_out() -> None:
    row = DOCUMENT["components"]["schemas"]["Sums"]

    assert row["required"] == [*[field.name for field in layout.FIELDS], *layout.TIMES]
