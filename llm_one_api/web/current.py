"""What of the config answers calls now: one reference, which a reload has name something else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llm_one_api.gateway.line import Line
from llm_one_api.limits.rules import Rules
from llm_one_api.values import Caller, Peer

Authenticate = Callable[[str, Peer], Caller]
"""What a page needs of the line: tell whose a key is. Raises InvalidKey, RateLimited."""


@dataclass(slots=True, kw_only=True, eq=False)
class Serving:
    """A config at work. Calls that began with it end with it, also when another one has taken its place."""

    line: Line
    rules: Rules
    max_body_bytes: int
    cleanup: Callable[[], None]
    """Closes what its plugins have opened, when no call asks them any more."""
    asking: int = 0
    """Calls whose answer has not begun: the plugins may be asked for them."""


class Current:
    """Names the one that calls begin with. Whoever takes a call reads it once, and goes on with what it read."""

    def __init__(self, serving: Serving) -> None:
        """Begin with *serving*."""
        self.serving = serving

    def authenticate(self, api_key: str, peer: Peer) -> Caller:
        """Tell who calls, as the config has it now."""
        return self.serving.line.authenticate(api_key, peer)

    def cleanup(self) -> None:
        """Close what its plugins have opened: the process ends."""
        self.serving.cleanup()
