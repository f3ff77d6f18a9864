"""libyaml and PyYAML's own code make the same of a config."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.settings.reading import _Loader, _QuickLoader
from tests.harness.processes import ROOT

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.dates() | st.text(max_size=20)
CONFIGS = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
FILES = [*(ROOT / "config").glob("*.yaml"), *(ROOT / "docs").glob("*.yaml"), ROOT / "docker-compose.yml"]
BY_HAND = [
    "a: &x {b: 1}\nc: *x\nd: {<<: *x, e: 2}\n",
    "url: http://a:8000/v1\nlist: [http://b/v1, 'c: d', \"e\\u00e9\"]\n",
    "text: |\n  one\n  two\n\nfolded: >-\n  three\n  four\n",
    "# nothing\n",
    "",
    "a:\n- b\n- - c\n  - d: e\n    f:\n? g\n: h\n",
    "'on': yes\nn: 0o17\nt: 2026-11-30\nz: 007\nk: ~\n",
    "windows: 1\r\nlines: 2\r\n",
]


def tree(node: Any) -> Any:
    """Give all of a node that is read of it."""
    if node is None:
        return None
    line = node.start_mark.line
    if isinstance(node, yaml.MappingNode):
        return node.tag, line, [(tree(key), tree(value)) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return node.tag, line, [tree(value) for value in node.value]
    return node.tag, line, node.value


def same(text: str) -> bool:
    return bool(tree(_QuickLoader(text).get_single_node()) == tree(_Loader(text).get_single_node()))


@given(CONFIGS, st.booleans(), st.sampled_from([None, '"', "'", "|", ">"]), st.booleans())
def test_they_read_the_same(config: Any, flow: bool, style: str | None, beyond_ascii: bool) -> None:
    assert same(yaml.safe_dump(config, default_flow_style=flow, default_style=style, allow_unicode=beyond_ascii))


@pytest.mark.parametrize("text", BY_HAND)
def test_they_read_the_same_of_what_a_person_writes(text: str) -> None:
    assert same(text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_they_read_the_same_of_the_files_that_there_are(file: Any) -> None:
    assert same(file.read_text())


def test_libyaml_is_there() -> None:
    assert yaml.__with_libyaml__
