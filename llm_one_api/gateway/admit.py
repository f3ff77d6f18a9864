"""Fourth stage: whether the call may be made now."""

from __future__ import annotations

from typing import Protocol

from llm_one_api.values import Caller, Permit, Target


class Limits(Protocol):
    """What admit needs from rate limits and quotas."""

    def reserve(self, caller: Caller, target: Target) -> Permit:
        """Reserve all that the call may use, or nothing. Raises a GatewayError if it may not be made."""


class Unlimited:
    """For installations that set no limits."""

    _permit = Permit()

    def reserve(self, caller: Caller, target: Target) -> Permit:  # noqa: ARG002 (the protocol's)
        """Reserve nothing."""
        return self._permit


class Admit:
    """Reserve what the call may use."""

    def __init__(self, limits: Limits) -> None:
        """Keep the limits."""
        self._limits = limits

    def __call__(self, caller: Caller, target: Target) -> Permit:
        """Give the permit. Raises a GatewayError if the call may not be made now."""
        return self._limits.reserve(caller, target)
