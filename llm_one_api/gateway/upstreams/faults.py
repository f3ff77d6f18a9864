"""What is told of an upstream that a connection, or an answer over it, could not be had from.

A caller learns a code and no address; the reason, which names no secret either, is for the operator's log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gevent import ssl

from llm_one_api.errors import GatewayError, UpstreamFailed, UpstreamTimeout

Code = Literal["upstream_unreachable", "upstream_tls", "upstream_proxy", "upstream_timeout_connect"]
Step = Literal[
    "reading the certificates", "connecting", "waiting for the proxy's answer to CONNECT", "the TLS handshake"
]
"""What is done first, then and last to have a connection."""


class ProxyFailed(OSError):
    """The proxy did not do what it is there for."""

    def __init__(self, reason: str, code: Code = "upstream_proxy") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code: Code = code


class Unusable(Exception):
    """The files that a link names cannot be used; says which, and why."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why there is no connection."""

    code: Code
    reason: str
    """For the operator."""

    def error(self) -> GatewayError:
        """Word it for the caller."""
        if self.code == "upstream_timeout_connect":
            message = "The model's upstream could not be connected to in time."
            return UpstreamTimeout(message, code="upstream_timeout_connect")
        if self.code == "upstream_tls":
            return UpstreamFailed("The model's upstream could not be trusted: TLS failed.", code="upstream_tls")
        if self.code == "upstream_proxy":
            message = "The proxy that leads to the model's upstream cannot be used."
            return UpstreamFailed(message, code="upstream_proxy")
        return UpstreamFailed("The model's upstream cannot be reached.", code="upstream_unreachable")


def why_not(error: Exception, step: Step, *, through_proxy: bool) -> Fault | None:
    """Tell why *step* failed; None: not for a reason that a connection can have.

    Until a proxy has answered, it is the proxy that is at fault.
    """
    unreachable: Code = "upstream_proxy" if through_proxy and step != "the TLS handshake" else "upstream_unreachable"
    if isinstance(error, Unusable):
        return Fault("upstream_tls", str(error))
    if isinstance(error, ProxyFailed):
        return Fault(error.code, error.reason)
    if isinstance(error, TimeoutError):
        # A proxy that has the connection may wait for the upstream itself.
        code: Code = "upstream_proxy" if through_proxy and step == "connecting" else "upstream_timeout_connect"
        return Fault(code, f"{step} took too long")
    if is_tls(error):
        return Fault("upstream_tls", tls_reason(error))
    if isinstance(error, (OSError, ValueError)):  # a ValueError: the host cannot be a name
        return Fault(unreachable, f"{step}: {getattr(error, 'strerror', None) or type(error).__name__}")
    return None


def is_tls(error: BaseException) -> bool:
    """Tell whether TLS is at fault, and not the connection under it, which was closed."""
    return isinstance(error, ssl.SSLError) and not isinstance(
        error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
    )


def tls_reason(error: BaseException) -> str:
    """Tell what TLS did not like, in OpenSSL's words: they hold no data of the connection."""
    told = getattr(error, "verify_message", None) or getattr(error, "reason", None) or type(error).__name__
    return str(told)[:200]


def unanswered(error: BaseException) -> GatewayError:
    """Word an end of the connection that came before an answer.

    In TLS 1.3 an upstream refuses our certificate, or that there is none, only when the handshake is over for us.
    """
    if is_tls(error):
        return Fault("upstream_tls", tls_reason(error)).error()
    if isinstance(error, ProxyFailed):
        return Fault(error.code, error.reason).error()
    return UpstreamFailed("The model's upstream closed the connection without an answer.", code="upstream_closed")
