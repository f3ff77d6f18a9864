"""The memory plugin's last word: the block of the founding document, to the character."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from llm_one_api.plugins.logfile import printable
from llm_one_api.values import Value

_RULE = "=" * 60
_MICRO = 10**6


class Figures(Value, frozen=True, kw_only=True):
    """What one model was used for; `None`: no call told. An average is over the calls that told."""

    requests: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    total_known: int = 0
    """Calls whose total is known."""
    duration_us: int | None = None
    """Microseconds: whole numbers add up exactly."""
    duration_known: int = 0

    @property
    def duration(self) -> Decimal | None:
        """All seconds together."""
        return None if self.duration_us is None else Decimal(self.duration_us) / _MICRO

    @property
    def avg_tokens(self) -> Decimal | None:
        """Tokens a call."""
        return Decimal(self.total_tokens) / self.total_known if self.total_tokens is not None else None

    @property
    def avg_duration(self) -> Decimal | None:
        """Seconds a call."""
        return self.duration / self.duration_known if self.duration is not None else None

    def plain(self) -> dict[str, Any]:
        """Present them as JSON has them."""
        return {
            "requests": self.requests,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.total_tokens,
            "duration": _number(self.duration),
            "avg_tokens": _number(self.avg_tokens),
            "avg_duration": _number(self.avg_duration),
        }


class Run(Value, frozen=True, kw_only=True):
    """What the memory plugin knows of one run of the service."""

    since: str | None = None
    """The time of its first call."""
    models: tuple[tuple[str, Figures], ...] = ()
    """Most used first."""
    upto: int = 0
    """The `seq` of the last record in it."""

    @property
    def total_requests(self) -> int:
        """All models together."""
        return sum(figures.requests for _, figures in self.models)

    def plain(self) -> dict[str, Any]:
        """Present it as JSON has it."""
        return {
            "since": self.since,
            "total_requests": self.total_requests,
            "models": {model: figures.plain() for model, figures in self.models},
        }


def block(models: Sequence[tuple[str, Figures]]) -> str:
    """Write the summary; unknown figures are `-`."""
    lines = [_RULE, "📊 内存统计插件 - 最终统计数据", _RULE, f"总请求数: {sum(f.requests for _, f in models):,}", ""]
    for model, figures in models:
        lines += [
            f"模型: {printable(model)}",
            f"  ├─ 总请求数: {figures.requests:,}",
            f"  ├─ 输入 Token (prompt): {_count(figures.prompt_tokens)}",
            f"  ├─ 输出 Token (completion): {_count(figures.completion_tokens)}",
            f"  ├─ 总 Token: {_count(figures.total_tokens)}",
            f"  ├─ 总耗时: {_seconds(figures.duration)}",
            f"  ├─ 平均 Token/请求: {'-' if figures.avg_tokens is None else f'{figures.avg_tokens:.1f}'}",
            f"  └─ 平均耗时/请求: {_seconds(figures.avg_duration)}",
            "",
        ]
    return "\n".join([*lines, _RULE])


def _count(tokens: int | None) -> str:
    return "-" if tokens is None else f"{tokens:,}"


def _seconds(seconds: Decimal | None) -> str:
    return "-" if seconds is None else f"{seconds:.2f}s"


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(round(value, 6))
