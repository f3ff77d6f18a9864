"""`docs/how-a-request-travels.md` names every outcome and every error code of ours."""

from __future__ import annotations

import re
import typing

from llm_one_api.values import FAILED, Outcome
from llm_one_api.web import unparsed
from tests.harness.processes import ROOT

PAGE = (ROOT / "docs/how-a-request-travels.md").read_text()
CODE = "\n".join(
    path.read_text()
    for folder in ("llm_one_api/gateway", "llm_one_api/web", "llm_one_api/dialects")
    for path in (ROOT / folder).rglob("*.py")
)
DEADLINES = ("connect", "first_byte", "idle", "total")


def test_every_outcome_is_on_it_with_whether_it_is_an_error() -> None:
    shown = re.findall(r"^\| `(\w+)` \| (\S+) \|", PAGE.split("\n## Outcomes\n")[1].split("\n#")[0], re.MULTILINE)

    assert {name for name, _ in shown} == set(typing.get_args(Outcome))
    assert {name for name, error in shown if error == "**yes**"} == FAILED


def test_every_error_code_is_on_it() -> None:
    codes = set(re.findall(r'\bcode="(\w+)"', CODE)) | {f"upstream_timeout_{why}" for why in DEADLINES}
    codes |= {code for _, _, code, _ in unparsed._KINDS}

    assert {code for code in codes if f"`{code}`" not in PAGE} == set()
    assert {"upstream_tls", "journal_full", "plugin_off"} <= codes
