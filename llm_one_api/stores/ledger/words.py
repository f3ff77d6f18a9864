"""What a database said, in a line for the operator: without secrets, without a record's values."""

from __future__ import annotations

from urllib.parse import quote

from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from llm_one_api.stores.ledger.locking import SchemaBehind

_LONGEST = 300


def reason(error: Exception, url: str) -> str:
    """Say why the database at *url* could not be used; the URL's password is left out."""
    return _without_password(_words(error), url)[:_LONGEST]


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, SchemaBehind):
        return str(error)
    if not isinstance(error, DBAPIError) or error.orig is None:
        return type(error).__name__  # SQLAlchemy's own texts repeat what they were given
    cause = error.orig
    code = getattr(cause, "sqlstate", None)
    diagnosis = getattr(getattr(cause, "diag", None), "message_primary", None)
    # PostgreSQL's further lines, such as DETAIL, may hold a whole row.
    first = (diagnosis or str(cause)).strip().partition("\n")[0].strip()
    return f"{type(cause).__name__}{f' {code}' if code else ''}: {first}"


def _without_password(text: str, url: str) -> str:
    password = make_url(url).password
    for secret in {password, quote(password, safe="")} if password else ():
        text = text.replace(secret, "***")
    return text
