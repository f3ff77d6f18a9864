"""Tells an error of a plugin without the plugin's secrets: psycopg2, for one, repeats a URL with its password."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from llm_one_api.plugins.interfaces import PluginContext
from llm_one_api.plugins.timelimit import CallCutError

_SHORT = 6
"""Shorter texts than this in a section are words such as `json`, but for passwords in URLs."""
_LONGEST = 500
_CALLERS = ("llm_one_api.books.", "llm_one_api.plugins.running", "llm_one_api.plugins.timelimit")
"""The modules that call a plugin, which say nothing of where it raised."""
_PASSWORD = re.compile(r"://[^/?#\s]*?:([^/?#\s]+)@")


def scrub(error: BaseException, section: Mapping[str, Any], context: PluginContext | None) -> str:
    """Name *error* in one line, with `***` for every text that stands in *section* and every password in a URL."""
    text = f"{type(error).__name__}: {_text(error)}"
    secrets = set(_secrets([section, context.redis_url if context else ""]))
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _PASSWORD.sub(lambda found: found[0].replace(found[1], "***"), text)
    return " ".join(text.split())[:_LONGEST]


def _text(error: BaseException) -> str:
    """Ask *error* what it says: that is the plugin's code too, and may fail."""
    try:
        text = str(error)
    except Exception as worse:
        return f"(its text cannot be had: {type(worse).__name__})"
    return text.encode("utf-8", "backslashreplace").decode()  # the name of a file may have no UTF-8


def place_of(error: BaseException) -> str:
    """Tell the plugin's file and line that raised; not more of a traceback, for its texts may hold secrets."""
    cut = error.__context__ if isinstance(error.__context__, CallCutError) else error
    trace, where = cut.__traceback__, ""
    while trace is not None:
        if not str(trace.tb_frame.f_globals.get("__name__")).startswith(_CALLERS):
            where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return where


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _secrets(part)
    elif isinstance(value, str):
        if len(value) >= _SHORT:
            yield value
        for password in _PASSWORD.findall(value):
            yield password
            yield unquote(password)
