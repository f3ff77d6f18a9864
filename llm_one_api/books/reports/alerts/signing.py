"""Signatures by Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable

PREFIX = "whsec_"
LEAST, MOST = 24, 64
"""Bytes of a secret."""


def headers(uid: str, seconds: int, body: bytes, secrets: Iterable[str]) -> dict[str, str]:
    """Give the headers that let a receiver know that *body* comes from us, and whether it has had it before.

    One signature for each secret: a receiver takes what fits the one that it knows, while secrets are replaced.
    """
    name = f"msg_{uid}"
    signed = f"{name}.{seconds}.".encode() + body
    signatures = [hmac.digest(key_of(secret), signed, "sha256") for secret in secrets]
    return {
        "webhook-id": name,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in signatures),
    }


def key_of(secret: str) -> bytes:
    """Read a secret as it is handed out: `whsec_` and base64. Raises ValueError, which does not show it."""
    if not secret.startswith(PREFIX):
        raise ValueError("no webhook secret")
    text = secret.removeprefix(PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        raise ValueError("no webhook secret") from None
    if not LEAST <= len(key) <= MOST:
        raise ValueError("too short, or too long")
    return key
