"""The page on dialects names what there is."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from llm_one_api.gateway.endpoints import ENDPOINTS, Endpoint
from llm_one_api.settings.models import ModelSettings
from llm_one_api.targets import DIRECT, Adapter
from llm_one_api.values import Usage, UsageSource
from tests.harness.processes import ROOT

PAGE = (ROOT / "docs/dialects.md").read_text()
TABLE = PAGE.partition("## The endpoints")[2].partition("\n* ")[0]


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=[endpoint.name for endpoint in ENDPOINTS])
def test_every_endpoint_is_in_the_table(endpoint: Endpoint) -> None:
    [row] = re.findall(rf"^\| `{endpoint.name}` \| (.*)$", TABLE, re.MULTILINE)

    assert endpoint.path in row
    assert all(method in row for method in endpoint.methods)
    assert ("form" in row) == endpoint.forms


def test_nothing_else_is_in_that_table() -> None:
    assert re.findall(r"^\| `(\w+)`", TABLE, re.MULTILINE) == [endpoint.name for endpoint in ENDPOINTS]


def test_every_figure_source_and_adapter_is_named() -> None:
    words = {*Usage.__struct_fields__, *get_args(UsageSource), *get_args(Adapter)}

    assert {word for word in words if f"`{word}`" not in PAGE} == set()


def test_the_files_that_are_named_are_there() -> None:
    named = set(re.findall(r"`((?:llm_one_api|tests)/[\w/.]*)`", PAGE))

    assert named
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_the_default_that_is_told_is_the_one_that_is_sent() -> None:
    settings = ModelSettings.model_validate({"api_base": "http://h/v1", "adapter": "anthropic"})

    (target,) = settings.route("m", DIRECT).targets
    assert f"({target.upstream.default_max_tokens})" in PAGE
