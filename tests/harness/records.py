"""Finished calls to test with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from llm_one_api.plugins.interfaces import LogFile, PluginContext, ResponseInfo
from llm_one_api.values import Attempt, Usage, UsageRecord

AT = datetime(2025, 11, 12, 10, 0, 0, 123456, tzinfo=UTC)
"""The moment of the founding document's example."""


def record(number: int = 1, **changes: Any) -> UsageRecord:
    """Make the founding document's example call, or another that differs by *changes*."""
    example = UsageRecord(
        request_id=f"0193-{number:08}",
        at=AT + timedelta(seconds=number - 1),
        model="gpt-3.5-turbo",
        upstream_model="gpt-3.5-turbo-0125",
        user="sk-test-123",
        key="key_3f9a1c22",
        endpoint="chat",
        outcome="success",
        status=200,
        finish_reason="stop",
        upstream="openai",
        attempts=(Attempt(upstream="openai", status=200, duration=0.5),),
        duration=2.5,
        ttft=0.25,
        usage=Usage(prompt_tokens=50, completion_tokens=120, total_tokens=170),
        usage_source="reported",
        cost=Decimal("0.000315"),
    )
    return msgspec.structs.replace(example, **changes)


def bare(number: int = 1, **changes: Any) -> UsageRecord:
    """Make a call of which next to nothing is known: what a killed gateway leaves."""
    return UsageRecord(**{
        "request_id": f"0193-{number:08}", "at": AT, "model": "m", "user": "u", "key": "key_00000000",
        "endpoint": "chat", "outcome": "aborted", **changes,
    })  # fmt: skip


def info(number: int = 1, zone: str = "UTC", **changes: Any) -> ResponseInfo:
    """Make a call as plugins see it."""
    return ResponseInfo.of(record(number, **changes), ZoneInfo(zone))


def context(folder: Path, *, redis_url: str = "redis://127.0.0.1:1/0", zone: str = "UTC", **log: Any) -> PluginContext:
    """Tell plugins that the log file is `<folder>/logs/llm-one-api.log`."""
    file = LogFile(file=folder / "logs" / "llm-one-api.log", **log)
    return PluginContext(zone=ZoneInfo(zone), log_file=file, redis_url=redis_url)
