"""`docs/configuration.md` cannot lie."""

from __future__ import annotations

import pytest
from pydantic.fields import FieldInfo

from llm_one_api.settings import document
from llm_one_api.settings.faults import expectation
from tests.harness.processes import ROOT

PAGE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
SETTINGS = list(document.settings())


def test_the_page_is_up_to_date() -> None:
    assert document.page() == PAGE, "run `make docs`"


@pytest.mark.parametrize(("path", "field"), SETTINGS, ids=[path for path, _ in SETTINGS])
def test_every_setting_says_what_it_is_for_and_what_it_must_be(path: str, field: FieldInfo) -> None:
    assert field.description
    assert field.description.endswith(".")
    assert expectation(field)
    assert f"| `{path}" in PAGE


def test_every_section_says_what_it_is_for() -> None:
    for heading, model, _ in document.sections():
        assert model.__doc__, heading


def test_settings_of_every_kind_are_there() -> None:
    paths = {path for path, _ in SETTINGS}

    assert {"timezone", "server.port", "models.<name>.api_base", "monitoring.prometheus.enabled"} <= paths
    assert "| `server.max_body_bytes` | `32MiB` |" in PAGE
    assert "| `monitoring.prometheus.enabled` | `false` |" in PAGE


def test_a_section_that_stands_in_many_places_is_described_once() -> None:
    paths = {path for path, _ in SETTINGS}

    assert "limits.each_key.day.tokens" in paths
    assert not {path for path in paths if path.startswith(("limits.each_user.", "limits.users.", "limits.everyone."))}
    assert "| `limits.users.<name>` |  | a section like `limits.each_key` |" in PAGE
    assert "| `limits.each_key.month` |  | a section like `limits.each_key.day` |" in PAGE
