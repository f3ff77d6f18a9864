"""The `default_auth` plugin: the keys of the config file.

A key is looked up by its SHA-256, so nothing that a caller can time depends on how much of a key was right, and the
process keeps no key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from llm_one_api.plugins.interfaces import AuthPlugin, AuthResult, PluginConfig
from llm_one_api.values import OnClientGone

_UNKNOWN = AuthResult(authenticated=False, error="Incorrect API key provided.")
_DISABLED = AuthResult(authenticated=False, error="This API key is disabled.")


def _fault(message: str) -> PydanticCustomError:
    return PydanticCustomError("told", "{told}", {"told": message})


class _Again(NamedTuple):
    """Stands in the place of a key that an entry before has too."""

    first: int


class ApiKey(BaseModel):
    """One entry of `api_keys`: a key, or its SHA-256, and what it may do."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    key: SecretStr | None = None
    key_sha256: str | None = Field(None, repr=False)
    """64 hex digits, for those who keep no keys in files."""
    user: str | None = Field(None, min_length=1, max_length=200)
    group: str | None = Field(None, min_length=1, max_length=200)
    models: frozenset[str] | None = None
    admin: bool = False
    enabled: bool = True
    on_client_gone: OnClientGone | None = None
    """What this caller's leaving means: `cut` or `drain`. None: as `server.on_client_gone` says."""
    expires: datetime | date | None = None
    """A date is the last day on which the key works, in the configured zone; a time needs its offset."""

    @model_validator(mode="before")
    @classmethod
    def _is_an_entry(cls, entry: Any) -> Any:
        if not isinstance(entry, dict | ApiKey):
            raise _fault("must be a key (in quotes, if it looks like a number), or a section with key or key_sha256")
        return entry

    @field_validator("key", "key_sha256", mode="before")
    @classmethod
    def _is_not_there_yet(cls, key: Any) -> Any:
        if isinstance(key, _Again):
            raise _fault(f"is the same key as that of entry {key.first} (counted from 0)")
        return key

    @field_validator("key")
    @classmethod
    def _usable(cls, key: SecretStr | None) -> SecretStr | None:
        text = None if key is None else key.get_secret_value()  # an empty secret is falsy
        if text == "":
            raise _fault("is empty: with it, a call without a key would get in")
        if text is not None and not re.fullmatch(r"[\x21-\x7e]+", text):
            raise _fault("has a space, a line break or a character beyond ASCII in it, which no caller can send")
        return key

    @field_validator("key_sha256")
    @classmethod
    def _is_sha256(cls, digest: str | None) -> str | None:
        if digest is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", digest):
            raise _fault("must be 64 hex digits, such as `printf %s KEY | sha256sum` prints")
        if digest is not None and digest.lower() == hashlib.sha256(b"").hexdigest():
            raise _fault("is that of an empty key: with it, a call without a key would get in")
        return digest and digest.lower()

    @field_validator("expires", mode="before")
    @classmethod
    def _is_time(cls, expires: Any) -> Any:
        if isinstance(expires, str):
            text = expires.strip()
            try:
                is_day = re.fullmatch(r"\d{4}-\d\d-\d\d", text)
                expires = date.fromisoformat(text) if is_day else datetime.fromisoformat(text)
            except ValueError:
                raise _fault("must be a date such as 2030-12-31, or a time such as 2030-12-31T18:00:00+08:00") from None
        if expires is not None and not isinstance(expires, date):
            raise _fault("must be a date such as 2030-12-31, or a time such as 2030-12-31T18:00:00+08:00")
        if isinstance(expires, datetime) and expires.tzinfo is None:
            raise _fault("must say which zone it is in, such as 2030-12-31T18:00:00+08:00")
        return expires

    @model_validator(mode="after")
    def _is_one(self) -> ApiKey:
        if (self.key is None) == (self.key_sha256 is None):
            raise _fault("must have either key or key_sha256")
        return self

    @property
    def digest(self) -> str:
        """The key's SHA-256 in hex."""
        return self.key_sha256 or _sha256("" if self.key is None else self.key.get_secret_value())

    def ends(self, zone: tzinfo) -> datetime | None:
        """Tell the first moment at which the key does not work any more."""
        if self.expires is None or isinstance(self.expires, datetime):
            return self.expires
        return datetime.combine(self.expires + timedelta(days=1), time(), zone)


class AuthSettings(BaseModel):
    """The section `auth.default_auth`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    api_keys: tuple[ApiKey, ...] = ()

    @field_validator("api_keys", mode="before")
    @classmethod
    def _plain(cls, entries: Any) -> Any:
        """Take a bare text for a key with nothing more to say; mark each key that was there before."""
        if not isinstance(entries, list | tuple):
            return entries
        seen: dict[str, int] = {}
        return [
            _marked({"key": entry} if isinstance(entry, str) else entry, number, seen)
            for number, entry in enumerate(entries)
        ]


def _marked(entry: Any, number: int, seen: dict[str, int]) -> Any:
    """Give *entry* with `_Again` for a key whose digest is in *seen*; where it was first is kept there."""
    if not isinstance(entry, dict):
        return entry
    marked = dict(entry)
    for name in ("key", "key_sha256"):
        key = entry.get(name)
        if key and isinstance(key, str):
            first = seen.setdefault(_sha256(key) if name == "key" else key.lower(), number)
            marked[name] = key if first == number else _Again(first)
    return marked


class DefaultAuthPlugin(AuthPlugin):
    """Knows the keys of `auth.default_auth.api_keys`."""

    config_model = AuthSettings

    def __init__(self, config: PluginConfig, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Take the keys' digests from the section; the keys themselves are not kept."""
        super().__init__(PluginConfig(None, config.context))
        settings = AuthSettings.model_validate(dict(config))
        zone = config.context.zone if config.context else UTC
        self._clock = clock
        self._known = {entry.digest: (_granted(entry), entry.ends(zone)) for entry in settings.api_keys}

    def authenticate(self, api_key: str) -> AuthResult:
        """Tell who has *api_key*; the error of a refusal has no key in it."""
        result, ends = self._known.get(_sha256(api_key), (_UNKNOWN, None))
        if ends is not None and result.authenticated and self._clock() >= ends:
            return AuthResult(authenticated=False, error="This API key has expired.")
        return result


def _granted(entry: ApiKey) -> AuthResult:
    if not entry.enabled:
        return _DISABLED
    return AuthResult(
        authenticated=True,
        user=entry.user,
        group=entry.group,
        models=entry.models,
        admin=entry.admin,
        on_client_gone=entry.on_client_gone,
    )


def _sha256(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
