"""Exports to a URL, by fsspec: `s3://bucket/folder`, `gs://…`, `sftp://…`, whatever it has a package for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from llm_one_api.books.reports.export.manifest import File
from llm_one_api.books.reports.export.target import PIECE, Folder, Target, TargetError, digest, temporary_name

_LONGEST = 300
_SHORTEST_SECRET = 4
_VALUE = re.compile(r"([?&][^=&]*=)[^&]*")
"""Of a URL's query: what is signed or a key is called by many names."""


def target_of(to: str, options: Mapping[str, Any], masked: Callable[[str], str]) -> Target:
    """Give the target that *to* names: a folder, or a URL, which is opened with *options*.

    It is shown *masked*, and without the values of its query.

    Raises TargetError where there is no such kind of URL, or its package is not installed.
    """
    scheme, colon, rest = to.partition("://")
    if not colon:
        return Folder(Path(to))
    if scheme.lower() in {"file", "local"}:
        return Folder(Path(unquote(rest)))
    return Remote(to, options, _VALUE.sub(r"\1***", masked(to)))


class Remote:
    """A place that fsspec reaches. Nothing is promised of what is written there but what its own server promises."""

    def __init__(self, url: str, options: Mapping[str, Any], where: str) -> None:
        """Find what reaches it; connections are made when they are needed, and are this object's own."""
        import fsspec  # only here: the gateway exports nothing

        self._where = where
        self._secrets = _secrets(url, options)
        scheme = url.partition("://")[0]
        try:
            with self._telling(ImportError):
                self._fs, path = fsspec.core.url_to_fs(
                    url, skip_instance_cache=True, use_listings_cache=False, **options
                )
        except ImportError as error:
            raise TargetError(f"{scheme}:// needs a package that is not installed: {_first_line(error)}") from None
        self._path = str(path).rstrip("/")

    @property
    def where(self) -> str:
        """Give the URL, masked."""
        return self._where

    @property
    def is_near(self) -> bool:
        """Who stores it may charge for reading."""
        return False

    def names(self) -> list[str]:
        """Name the files that are there."""
        with self._telling(FileNotFoundError):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._path, detail=True)
            except FileNotFoundError:
                return []
        return sorted(str(each["name"]).rsplit("/", 1)[-1] for each in found if each.get("type") != "directory")

    def read(self, name: str) -> bytes | None:
        """Read a small file."""
        with self._telling(FileNotFoundError):
            try:
                return bytes(self._fs.cat_file(self._at(name)))
            except FileNotFoundError:
                return None

    def size(self, name: str) -> int | None:
        """Tell how many bytes a file has."""
        with self._telling(FileNotFoundError):
            self._fs.invalidate_cache()
            try:
                return int(self._fs.info(self._at(name))["size"])
            except FileNotFoundError:
                return None

    def sha256(self, name: str) -> str | None:
        """Read it all, and give its digest."""
        with self._telling(FileNotFoundError):
            try:
                with self._fs.open(self._at(name), "rb", block_size=PIECE) as file:
                    return digest(file)
            except FileNotFoundError:
                return None

    def has(self, file: File, told: File | None) -> bool:
        """Go by its size and its manifest: to read it all again each day could cost money."""
        return told == file and self.size(file.name) == file.bytes

    def draft(self) -> RemoteDraft:
        """Begin a file."""
        with self._telling():
            self._fs.makedirs(self._path, exist_ok=True)
        return RemoteDraft(self._fs, self._at(temporary_name()), self._path, self._telling)

    def remove(self, name: str) -> None:
        """Take a file away."""
        with self._telling(FileNotFoundError):
            try:
                self._fs.rm_file(self._at(name))
            except FileNotFoundError:
                pass

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    @contextmanager
    def _telling(self, *through: type[Exception]) -> Iterator[None]:
        """Say that it was the target, in words without secrets; what is let *through* the caller answers itself."""
        try:
            yield
        except Exception as error:  # whatever the package behind it raises
            if isinstance(error, (TargetError, *through)):
                raise
            said = _first_line(error)
            for secret in self._secrets:
                said = said.replace(secret, "***")
            raise TargetError(
                f"{self._where}: {type(error).__name__}{f': {said}' if said else ''}"[:_LONGEST]
            ) from None


class RemoteDraft:
    """A file at a temporary name. That a move is one step is its server's to promise; an object store's copy is one."""

    def __init__(self, fs: Any, path: str, folder: str, telling: Callable[[], Any]) -> None:
        """Begin it."""
        self._fs, self._path, self._folder, self._telling = fs, path, folder, telling
        with telling():
            self._file = fs.open(path, "wb")

    def write(self, data: bytes) -> None:
        """Add to it."""
        with self._telling():
            self._file.write(data)

    def finish(self) -> None:
        """Have it sent, and see whether all of it came to be there."""
        with self._telling():
            self._file.close()

    def put(self, name: str) -> None:
        """Give it its name."""
        with self._telling():
            self._fs.mv(self._path, f"{self._folder}/{name}")

    def drop(self) -> None:
        """Take it away; what stands in the way of that is said elsewhere."""
        for step in (self._file.close, lambda: self._fs.rm_file(self._path)):
            with suppress(Exception):
                step()


def _secrets(url: str, options: Mapping[str, Any]) -> list[str]:
    """Name what must not be repeated."""
    try:
        parts = urlsplit(url)
        password, query = parts.password, parts.query
    except ValueError:
        password, query = None, url.partition("?")[2]
    found = [password, unquote(password)] if password else []
    values = [*_texts(options), *(value for _, value in parse_qsl(query)), *re.findall(r"=([^&]+)", query)]
    found += [value for value in values if len(value) >= _SHORTEST_SECRET]
    return sorted(found, key=len, reverse=True)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _first_line(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).partition("\n")[0]
