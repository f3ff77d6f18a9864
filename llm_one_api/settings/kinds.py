"""The kinds of values that settings have: what each accepts, and how that is said to a person."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError


@dataclass(frozen=True, slots=True)
class Expect:
    """What a setting must be, in words that follow "must be"."""

    text: str
    secret: bool = False
    """Whether a value that is refused must not be shown."""
    size: bool = False
    """Whether it is a number of bytes."""


def fault(message: str, *, field: str | None = None) -> PydanticCustomError:
    """Make an error whose message is told as it stands; *field* is put behind the path."""
    # A brace in the message would be taken for a place to fill in.
    return PydanticCustomError("told", "{told}", {"told": message, "field": field})


def faults(found: Iterable[tuple[tuple[str | int, ...], str]]) -> ValidationError:
    """Make one error of several faults, each told at a path below the section that raises it."""
    return ValidationError.from_exception_data(
        "faults", [InitErrorDetails(type=fault(message), loc=path, input=None) for path, message in found]
    )


# --- numbers -----------------------------------------------------------------------------------------------------

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def bytes_of(text: Any) -> Any:
    """Turn `32MiB` into bytes; leaves anything that is no text to the next check."""
    if not isinstance(text, str):
        return text
    match = re.fullmatch(r"\s*(\d+)\s*([A-Za-z]*)\s*", text, re.ASCII)
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError("not a size")
    return int(match[1]) * _UNITS[match[2].upper()]


Port = Annotated[int, Field(ge=1, le=65535), Expect("a whole number between 1 and 65535")]
Count = Annotated[int, Field(ge=1, le=10**9), Expect("a whole number between 1 and 1000000000")]
CountOrNone = Annotated[int | None, Field(ge=1), Expect("a whole number of at least 1")]
Processes = Annotated[int, Field(ge=1, le=1024), Expect("a whole number between 1 and 1024")]
Batch = Annotated[int, Field(ge=1, le=5000), Expect("a whole number between 1 and 5000")]
Window = Annotated[int, Field(ge=1, le=10000), Expect("a whole number between 1 and 10000")]
BatchWait = Annotated[int, Field(ge=1, le=10000), Expect("milliseconds between 1 and 10000")]
BackupCount = Annotated[int, Field(ge=0, le=100000), Expect("a whole number between 0 and 100000")]
Hours = Annotated[float, Field(ge=0, le=87600, allow_inf_nan=False), Expect("hours between 0 and 87600")]
Seconds = Annotated[
    float, Field(gt=0, le=86400, allow_inf_nan=False), Expect("a number of seconds above 0, at most 86400")
]
CallSeconds = Annotated[
    float, Field(gt=0, le=60, allow_inf_nan=False), Expect("a number of seconds above 0, at most 60")
]
SecondsOrNone = Annotated[
    float | None, Field(gt=0, le=86400, allow_inf_nan=False), Expect("a number of seconds above 0, at most 86400")
]
_SIZE = "a size of at least {} with a unit, such as 32MiB or 100MB, or a number of bytes"
Size = Annotated[int, BeforeValidator(bytes_of), Field(ge=1024), Expect(_SIZE.format("1KiB"), size=True)]
SizeOrNone = Annotated[int | None, BeforeValidator(bytes_of), Field(ge=1024), Expect(_SIZE.format("1KiB"), size=True)]
SizeOrZero = Annotated[int, BeforeValidator(bytes_of), Field(ge=0), Expect(_SIZE.format("0"), size=True)]

# --- texts -------------------------------------------------------------------------------------------------------


def _is_header_safe(secret: SecretStr) -> SecretStr:
    value = secret.get_secret_value()
    if not re.fullmatch(r"[\x21-\x7e]*", value):
        raise fault(
            "has a space, a line break or a character beyond ASCII in it, which no key has "
            "(a file's last line break, perhaps?)"
        )
    return secret


def _is_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        near = get_close_matches(name, available_timezones(), 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise fault(f"must be the name of a time zone, such as UTC or Asia/Shanghai, got {name[:40]!r}{hint}") from None
    return name


def _is_rotation(text: str) -> str:
    match = re.fullmatch(r"daily|size:0*([1-9]\d{0,9})(KB|MB|GB)", text, re.ASCII)
    if match is None:
        raise ValueError("no rotation")
    return text


def _network(text: str) -> str:
    if "/" in text:
        return str(ipaddress.ip_network(text, strict=False))
    return str(ipaddress.ip_address(text))


def _is_path(text: Any) -> Any:
    if isinstance(text, str) and not (text.strip() and text.isprintable()):
        raise ValueError("no path")
    return text


def listed(text: Any) -> Any:
    """Take one name for a list of one; the founding document writes lists."""
    return [part.strip() for part in text.split(",") if part.strip()] if isinstance(text, str) else text


def _one_each(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise fault("names a plugin twice")
    return names


def _some(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise fault("names no plugin, so that no call could be served; leave it out for the default")
    return names


Text = Annotated[str, Field(min_length=1, max_length=1000), Expect("a text")]
TextOrNone = Annotated[str | None, Field(min_length=1, max_length=200), Expect("a text of at most 200 characters")]
Host = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9.:_-]{1,255}\z"), Expect("an address or a host name, without a port or brackets")
]
KeyPrefix = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9:._-]{1,64}\z"), Expect("1 to 64 letters, digits and : . _ -, such as oneapi:")
]
ModelName = Annotated[str, Field(min_length=1, max_length=200), Expect("a name of a model has 1 to 200 characters")]
Folder = Annotated[Path, BeforeValidator(_is_path), Expect("a path")]
FolderOrNone = Annotated[Path | None, BeforeValidator(_is_path), Expect("a path")]
TimeZone = Annotated[str, AfterValidator(_is_zone), Expect("the name of a time zone, such as UTC or Asia/Shanghai")]
Rotation = Annotated[
    str, AfterValidator(_is_rotation), Expect("daily, or size: with a number and KB, MB or GB, such as size:100MB")
]
Proxy = Annotated[str, AfterValidator(_network), Expect("an address or a network, such as 10.0.0.0/8")]
Proxies = Annotated[
    tuple[Proxy, ...], BeforeValidator(listed), Expect("a list of addresses and networks, such as [10.0.0.0/8]")
]
PluginNames = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(listed),
    AfterValidator(_one_each),
    Expect("a list of plugin names, such as [log, memory]"),
]
OneOrMorePluginNames = Annotated[PluginNames, AfterValidator(_some)]
ApiKey = Annotated[SecretStr, AfterValidator(_is_header_safe), Expect("a text", secret=True)]
ApiKeyOrNone = Annotated[
    SecretStr | None, AfterValidator(lambda key: key and _is_header_safe(key)), Expect("a text", secret=True)
]

# --- URLs --------------------------------------------------------------------------------------------------------


class Url(str):
    """A URL whose `repr` hides the password, for settings are printed by way of `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(masked(self))


def masked(url: str) -> str:
    """Write *url* without its password."""
    url = re.sub(r"(?<=://)([^:@]*)(:?).*@", lambda m: f"{m[1]}:***@" if m[2] else "***@", str(url), flags=re.DOTALL)
    return re.sub(r"([?&][^=&]*(?:pass|secret|token)[^=&]*=)[^&]*", r"\1***", url, flags=re.IGNORECASE)


def _parts(url: str) -> tuple[str, str, str]:
    """Split *url* into scheme, host and path; ValueError if it cannot be a URL."""
    if not url.isprintable() or " " in url:
        raise ValueError("not a URL")
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc.rpartition("@")[2], parts.path


def _has_port(url: str) -> None:
    if urlsplit(url).port == 0:  # raises ValueError itself for what is no port
        raise ValueError("no port")


def _is_api_base(url: str) -> str:
    scheme, _, _ = _parts(url)
    parts = urlsplit(url)
    if scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("no http URL")
    if "@" in parts.netloc:
        raise fault("must not hold a user or a password; the key goes into api_key")
    if "?" in url or "#" in url:
        raise fault("must not have a query or a fragment (?… or #…): an endpoint's path is put behind it")
    _has_port(url)
    return url.rstrip("/")


def _is_redis(url: str) -> Url:
    scheme, host, path = _parts(url)
    if scheme != "unix":
        _has_port(url)
    if not (host if scheme in {"redis", "rediss"} else path.strip("/") if scheme == "unix" else ""):
        raise ValueError("no Redis URL")
    return Url(url)


def _is_broker(url: str) -> Url:
    scheme, host, _ = _parts(url)
    _has_port(url)
    return Url(url) if scheme in {"amqp", "amqps"} and host else _is_redis(url)


def _is_ledger(url: str) -> Url:
    scheme, host, path = _parts(url)
    if scheme == "sqlite":
        if host or not path.strip("/") or ":memory:" in path or "mode=memory" in url:
            raise fault("must name a file that all processes share: sqlite:///data/ledger.db (three slashes: relative)")
        return Url(url)
    if re.search(r":\d+,", host):
        raise fault(
            "must name several hosts that have ports at its end: "
            "postgresql://user:password@/database?host=one:5432&host=two:5432"
        )
    _has_port(url)
    if scheme not in {"postgresql", "postgresql+psycopg"} or not path.strip("/"):
        raise ValueError("no ledger URL")
    if urlsplit(url).netloc.count("@") > 1:
        raise fault("must have no @ in its user or password; write it as %40")
    return Url(url)


_API_BASE = "an http:// or https:// URL without key or query, such as https://api.openai.com/v1"
_REDIS = "a Redis URL: redis://host:6379/0, rediss://… or unix:///path/to/socket"
ApiBaseOrNone = Annotated[
    str | None, AfterValidator(lambda url: url and _is_api_base(url)), Expect(_API_BASE, secret=True)
]
RedisUrlOrNone = Annotated[str | None, AfterValidator(lambda url: url and _is_redis(url)), Expect(_REDIS, secret=True)]
BrokerUrlOrNone = Annotated[
    str | None,
    AfterValidator(lambda url: url and _is_broker(url)),
    Expect("a Redis URL (redis://, rediss://, unix://) or a RabbitMQ URL (amqp://, amqps://)", secret=True),
]
LedgerUrl = Annotated[
    str,
    AfterValidator(_is_ledger),
    Expect("sqlite:///path/to/file or postgresql://user:password@host/database", secret=True),
]
