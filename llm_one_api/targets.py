"""Where calls go: upstreams, how they are reached, and which of them answer for a model. Frozen, as all values."""

from __future__ import annotations

from typing import Literal

from llm_one_api.values import Value

Adapter = Literal["openai", "anthropic", "azure"]
"""How an upstream speaks: `dialects/adapters.py` has a class for each."""


class Link(Value, frozen=True, kw_only=True):
    """How connections to an upstream are made. Nothing of it comes from the environment by itself."""

    proxy: str = ""
    """An HTTP proxy that they go through, such as `http://user:password@proxy:3128`; empty: none. A secret."""
    ca_file: str = ""
    """A PEM file of certificate authorities that are trusted, beside those that everybody trusts."""
    client_certificate: str = ""
    """A PEM file that shows the upstream who we are; it may hold the key too."""
    client_key: str = ""
    """The PEM file of that certificate's key."""
    verify: bool = True
    """Whether the upstream has to show a certificate that is trusted and that is its own."""

    def __repr__(self) -> str:
        """Show nothing of the proxy but that there is one."""
        return f"Link(proxy={bool(self.proxy)}, ca_file={self.ca_file!r}, verify={self.verify})"

    __str__ = __repr__


DIRECT = Link()
"""No proxy, and the authorities that everybody trusts."""


class Upstream(Value, frozen=True, kw_only=True):
    """One place that answers for a model. Times are in seconds; None: no limit."""

    name: str
    base_url: str
    """Such as `https://api.openai.com/v1`: what an endpoint's path is put behind."""
    api_key: str = ""
    """The key that it is called with; empty: none is sent. A secret."""
    adapter: Adapter = "openai"
    """How it speaks."""
    api_version: str = ""
    """Azure's `api-version`."""
    default_max_tokens: int = 4096
    """What Anthropic is told as `max_tokens`, which it wants, where an OpenAI caller says none."""
    connect_timeout: float = 10.0
    first_byte_timeout: float = 300.0
    idle_timeout: float = 120.0
    """Silence between two reads of an answer."""
    total_timeout: float = 1800.0
    link: Link = DIRECT
    max_concurrent: int | None = None
    """Calls that it is given at a time, by all processes together."""

    def __repr__(self) -> str:
        """Name it without its key, for it may stand in a traceback."""
        return f"Upstream({self.name!r}, {self.base_url!r})"

    __str__ = __repr__


class Target(Value, frozen=True, kw_only=True):
    """Where a call goes: the model as the caller names it, and as the upstream does."""

    model: str
    upstream_model: str
    upstream: Upstream
    max_output_tokens: int | None = None
    """The most tokens that the model puts out in one answer; None: it is not known."""
    weight: int = 1
    """Its share of the model's calls, as far as the strategy goes by it. 0: it gets none."""


class Balance(Value, frozen=True, kw_only=True):
    """How a model's calls are spread over its upstreams, and when one of them gets none. Times are in seconds."""

    strategy: str = "round_robin"
    """The name of a strategy (`balancing/`; a stranger's is an entry point in `llm_one_api.load_balance`)."""
    max_retries: int = 2
    """Upstreams that a call is tried at after the first, at most."""
    max_failures: int = 3
    """Failures one after the other, after which an upstream rests."""
    cooldown: float = 30.0
    """How long it rests, before one call at a time may try whether it is well again."""
    health_check_interval: float | None = None
    """From one probe of an upstream to the next; None: it is not probed."""
    queue_timeout: float = 5.0
    """How long a call waits while all upstreams have as many calls as they may (`Upstream.max_concurrent`)."""
    max_queue: int = 100
    """Calls that wait so in one process, at most."""


class ModelRoute(Value, frozen=True, kw_only=True):
    """Where calls to a model may go. The upstreams' names differ."""

    model: str
    targets: tuple[Target, ...]
    balance: Balance = Balance()
    fallbacks: tuple[str, ...] = ()
    """Models that answer in its place when none of its upstreams does, or when a context is too long for it."""
