"""The `log` plugin: one line a call, in the file of `logging.file` or on the console."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Literal, Protocol

import msgspec
from pydantic import BaseModel, ConfigDict

from llm_one_api.plugins.interfaces import PluginConfig, ResponseInfo, StatsPlugin
from llm_one_api.plugins.logfile import RotatingFile, printable
from llm_one_api.values import Usage

_FIRST_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
_PARTS = tuple(name for name in Usage.__struct_fields__ if name not in _FIRST_USAGE)
_FURTHER = (
    "request_id", "outcome", "status", "error", "finish_reason", "key", "group", "end_user", "tags",
    "client_request_id", "upstream", "upstream_model", "response_model", "service_tier", "provider_request_id",
)  # fmt: skip


_encode = msgspec.json.Encoder().encode


class LogSettings(BaseModel):
    """The section `stats.log`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    format: Literal["json", "text"] = "json"
    output: Literal["file", "console"] = "file"


class Lines(Protocol):
    """Where lines go."""

    def write(self, *lines: str) -> None:
        """Write all, or raise."""

    def close(self) -> None:
        """Stop writing."""


class Console:
    """Writes lines to the terminal that the process was started on."""

    def write(self, *lines: str) -> None:
        """Print *lines* in UTF-8, whatever the terminal claims to speak: they have Chinese words in them."""
        # Not sys.stdout: Celery puts a logger in its place, which would write something before each line.
        out = sys.__stdout__
        if out is None:
            return  # a process without a terminal
        out.flush()
        out.buffer.write("".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
        out.buffer.flush()

    def close(self) -> None:
        """Leave it open: it is not ours."""


class LogStatsPlugin(StatsPlugin):
    """Writes each call as one line, `format: json` or `format: text`."""

    config_model = LogSettings

    def __init__(self, config: PluginConfig) -> None:
        """Read the section; nothing is opened yet."""
        super().__init__(config)
        self.settings = LogSettings.model_validate(dict(config))
        self._line = json_line if self.settings.format == "json" else text_line
        self._lines: Lines | None = None

    def initialize(self) -> None:
        """Open the file."""
        self._opened()

    def record_response(self, response_info: ResponseInfo) -> None:
        """Write one line; raise if it could not be written."""
        self._opened().write(self._line(response_info))

    def record_responses(self, response_infos: Sequence[ResponseInfo]) -> None:
        """Write several lines at once; raise, having written none, if that fails."""
        self._opened().write(*map(self._line, response_infos))

    def cleanup(self) -> None:
        """Close the file."""
        if self._lines is not None:
            self._lines.close()
            self._lines = None

    def write_summary(self, run: dict[str, Any], block: str) -> None:
        """Write what the memory plugin says of a run: one event, or with `format: text` the *block*."""
        if self.settings.output == "console":
            return  # it is printed there anyway
        line = _json({"event": "memory.summary", **run}) if self.settings.format == "json" else block
        self._opened().write(line)

    def _opened(self) -> Lines:
        if self._lines is None:
            self._lines = self._open()
        return self._lines

    def _open(self) -> Lines:
        if self.settings.output == "console":
            return Console()
        context = self.config.context
        if context is None:
            raise ValueError("the log plugin needs to know its file: PluginConfig(section, context)")
        lines = RotatingFile(context.log_file, context.zone)
        lines.begin_kind(json=self.settings.format == "json")
        return lines


def json_line(info: ResponseInfo) -> str:
    """Write one call as a JSON object: the founding document's keys in its order, then ours."""
    usage: Usage = info["usage"]
    cost: Decimal | None = info["cost"]
    return _json({
        "event": info["event"],
        "model": info["model"],
        "user": info["user"],
        "endpoint": info["endpoint"],
        "stream": info["stream"],
        "duration": _rounded(info["duration"]),
        "timestamp": info["timestamp"],
        "tokens": {name: info["token_usage"][name] for name in _FIRST_USAGE},
        **{name: info[name] for name in _FURTHER},
        "attempts": len(info["attempts"]),
        "ttft": _rounded(info["ttft"]),
        "usage_source": info["usage_source"],
        "usage_parts": {name: value for name in _PARTS if (value := getattr(usage, name)) is not None},
        # With all its digits, as text: a JSON number would be read as a float.
        "cost": None if cost is None else format(cost, "f"),
        "price_source": info["price_source"],
        "price_date": info["price_date"],
    })  # fmt: skip


def text_line(info: ResponseInfo) -> str:
    """Write one call as the founding document's line; unknown figures are `-`."""
    tokens, duration = info["token_usage"], info["duration"]
    return (
        f"📊 响应统计 | 模型={printable(info['model'])} | 用户={printable(info['user'])}"
        f" | 耗时={'-' if duration is None else f'{duration:.2f}s'}"
        f" | 输入Token={_figure(tokens['prompt_tokens'])} | 输出Token={_figure(tokens['completion_tokens'])}"
        f" | 总Token={_figure(tokens['total_tokens'])} | 流式={info['stream']}"
    )


def _figure(tokens: int | None) -> str:
    return "-" if tokens is None else str(tokens)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def _json(event: dict[str, Any]) -> str:
    try:
        return _encode(event).decode()
    except UnicodeEncodeError:  # half a surrogate pair
        return json.dumps(event, ensure_ascii=False, separators=(",", ":"), default=str)
