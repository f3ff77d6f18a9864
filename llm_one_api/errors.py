"""What can be wrong, as far as somebody acts on it differently.

    GatewayError            has a status, a code and OpenAI's `type`; `web/errors.py` puts it into words on the wire
    ├── BadRequest   400    the caller's request cannot be used
    ├── BodyTooLarge 413    … because it is too large
    ├── InvalidKey   401    the key is wrong, missing, disabled or expired
    ├── UnknownModel 404    no such model, or not for this key
    ├── RateLimited  429    too much in too short a time; come back in a moment
    ├── QuotaExceeded 429   the day's, the month's or all that there was is used up
    ├── Overloaded   503    we cannot take the call now; come back
    │   └── LimitsUnavailable 503    … because its limits cannot be looked up
    ├── UpstreamFailed 502  no usable answer came
    │   └── UpstreamAuthFailed 502   the upstream refuses *our* key
    └── UpstreamTimeout 504 one of the upstream deadlines passed

    ConfigError             the settings cannot be used; carries all faults

A `GatewayError`'s message is read by callers: it never carries a key, a prompt or an upstream's address.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import msgspec

from llm_one_api.values import Standing


class GatewayError(Exception):
    """A call that ends here, with an answer of ours."""

    status: ClassVar[int] = 500
    code: str = "internal_error"
    type: str = "api_error"

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, retry_after: float | None = None
    ) -> None:
        """Say what is wrong in *message*; *param* names the field at fault; *retry_after* is in seconds."""
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.waited = 0.0
        """Seconds that others took before it came to this."""
        self.standing: Standing | None = None
        """What was left of the caller's minute; None: no such limit holds, or nobody can tell."""
        if code is not None:
            self.code = code

    @property
    def headers(self) -> dict[str, str]:
        """Give the headers that its answer has beside those of all answers: when to come back."""
        return {} if self.retry_after is None else come_back(self.retry_after)


def come_back(seconds: float) -> dict[str, str]:
    """Say when to come back: never too early, and in whole seconds not at once.

    The official SDKs wait for `retry-after-ms`, if it is there, and else for `retry-after`; 0 they take for no answer.
    """
    return {
        "retry-after": str(max(1, math.ceil(seconds))),
        "retry-after-ms": str(max(1, math.ceil(round(seconds * 1000, 3)))),
    }


class BadRequest(GatewayError):
    """The request cannot be used as it is."""

    status, code, type = 400, "invalid_request", "invalid_request_error"


class BodyTooLarge(GatewayError):
    """The body is larger than `server.max_body_bytes`."""

    status, code, type = 413, "request_too_large", "invalid_request_error"


class InvalidKey(GatewayError):
    """The key is wrong, missing, disabled or expired."""

    status, code, type = 401, "invalid_api_key", "invalid_request_error"


class UnknownModel(GatewayError):
    """There is no such model, or this key may not use it."""

    status, code, type = 404, "model_not_found", "invalid_request_error"


class RateLimited(GatewayError):
    """The caller's last minute is used up, or it has all the calls under way that it may have."""

    status, code = 429, "rate_limit_exceeded"

    def __init__(
        self,
        message: str,
        *,
        of: Literal["requests", "tokens"],
        retry_after: float | None = None,
        never: bool = False,
    ) -> None:
        """Say of what there were too many; *never*: no time would have room for the call, so a retry is in vain."""
        super().__init__(message, retry_after=retry_after)
        self.type = of
        self._never = never

    @property
    def headers(self) -> dict[str, str]:
        """Say when to come back, or not to."""
        return _IN_VAIN if self._never else super().headers


class QuotaExceeded(GatewayError):
    """What may be used in a day, a month or in all is used up: no retry of a client will change that."""

    status, code, type = 429, "insufficient_quota", "insufficient_quota"

    @property
    def headers(self) -> dict[str, str]:
        """Say that a retry is in vain; but where only calls under way are in the way, when to come back."""
        return _IN_VAIN if self.retry_after is None else super().headers


_IN_VAIN = {"x-should-retry": "false"}
"""What the official SDKs obey: else they try again after any 429."""


class Overloaded(GatewayError):
    """The call cannot be taken now."""

    status, code, type = 503, "overloaded", "server_error"


class LimitsUnavailable(Overloaded):
    """The limits cannot be looked up just now, and the settings want no call without."""

    code = "limits_unavailable"


class UpstreamFailed(GatewayError):
    """The upstream gave no usable answer."""

    status, code, type = 502, "upstream_unreachable", "api_error"


class UpstreamAuthFailed(UpstreamFailed):
    """The upstream refuses our credentials: the operator's matter, not the caller's."""

    code = "upstream_auth_failed"


class UpstreamTimeout(GatewayError):
    """One of the deadlines for the upstream passed."""

    status, code, type = 504, "upstream_timeout", "api_error"


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong in the settings."""

    path: str
    """Such as `server.port`."""
    message: str
    """What is wrong and what was expected."""
    line: int | None = None
    """In the config file, from 1."""
    variable: str | None = None
    """The environment variable that it came from, instead of a line."""

    def __str__(self) -> str:
        place = self.variable or (f"line {self.line}" if self.line else "")
        where = f" ({place})" if place else ""
        return f"{self.path}{where}: {self.message}"


class ConfigError(Exception):
    """The settings cannot be used; all faults at once."""

    def __init__(self, faults: Sequence[Fault], source: str = "config") -> None:
        """Keep *faults*; *source* names the file."""
        self.faults = tuple(faults)
        self.source = source
        super().__init__(f"{source}: {len(self.faults)} fault(s)\n" + "\n".join(f"  {fault}" for fault in self.faults))
