"""The section `export`: files of each day's statistics and calls."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from llm_one_api.settings.kinds import Expect, Url, fault, listed
from llm_one_api.settings.sections import Section, Switch

_MOST_DAYS = 366


def _is_target(text: str) -> Url:
    if not text.strip() or not text.isprintable():
        raise ValueError("no target")
    scheme, colon, rest = text.partition("://")
    if colon and not (scheme.replace("+", "").isalnum() and rest):
        raise ValueError("no URL")
    return Url(text)


def _once_each(formats: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(formats)) != len(formats):
        raise fault("names a format twice")
    return formats


Target = Annotated[
    str | None,
    AfterValidator(lambda to: to and _is_target(to)),
    Expect("a folder, or a URL such as s3://bucket/folder", secret=True),
]
Formats = Annotated[
    tuple[Literal["json", "jsonl", "csv", "parquet", "focus"], ...],
    BeforeValidator(listed),
    AfterValidator(_once_each),
    Expect("a list of json, jsonl, csv, parquet and focus"),
]


class ExportSettings(Section):
    """Files of each day that is over: a summary, its calls, and a manifest of both. `docs/exports.md` shows them."""

    enabled: Switch = False
    """Whether workers write them, ten minutes after midnight in `timezone`. By hand they can be written anyway."""
    to: Target = None
    """Where they go. Nothing: `exports` in `data_dir`, on the machine of the worker that writes them."""
    formats: Formats = ("jsonl",)
    """What the calls are written as. An empty list: there is the summary alone."""
    look_back_days: Annotated[
        int, Field(ge=1, le=_MOST_DAYS), Expect(f"a whole number between 1 and {_MOST_DAYS}")
    ] = 7  # fmt: skip
    """So many days back, each hour, missed exports are made up for, and those that late calls or prices made untrue."""
    storage_options: Annotated[dict[str, Any], Expect("what fsspec takes for the URL, as name: value", secret=True)] = (
        Field(default={}, repr=False)
    )
    """What the package behind a URL takes, such as `endpoint_url`, `key` and `secret` of s3. Never shown."""
