"""Folders and URLs: what they promise, and what is said when they cannot be used."""

from __future__ import annotations

import hashlib
import io
import socket
import sys
from datetime import date
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from llm_one_api.books.reports.export.export import export_day
from llm_one_api.books.reports.export.manifest import File
from llm_one_api.books.reports.export.remote import Remote, target_of
from llm_one_api.books.reports.export.target import Folder, Target, TargetError, stale, temporary_name
from llm_one_api.settings import masked
from llm_one_api.stores.ledger.ledger import Ledger
from tests.harness.records import record
from tests.unit.books.export.files import contents, manifest

SECRET = "s3cr3t-key-0123456789"


def put(target: Target, name: str, text: bytes) -> None:
    draft = target.draft()
    draft.write(text)
    draft.finish()
    draft.put(name)


class TestEveryTarget:
    """What an export needs of a place, whatever it is."""

    def test_is_empty_before_anything_is_there(self, target: Target) -> None:
        assert target.names() == []
        assert (target.read("a"), target.size("a"), target.sha256("a")) == (None, None, None)
        target.remove("a")

    def test_has_a_file_once_it_has_its_name(self, target: Target) -> None:
        draft = target.draft()
        draft.write(b"one ")
        draft.write(b"two")
        draft.finish()
        before = "a.json" in target.names()
        draft.put("a.json")

        assert not before
        assert target.names() == ["a.json"]
        assert (target.read("a.json"), target.size("a.json")) == (b"one two", 7)
        assert target.sha256("a.json") == hashlib.sha256(b"one two").hexdigest()

    def test_puts_a_file_in_the_place_of_another(self, target: Target) -> None:
        put(target, "a.json", b"old and longer")
        put(target, "a.json", b"new")

        assert contents(target) == {"a.json": b"new"}

    def test_leaves_nothing_of_what_is_dropped(self, target: Target) -> None:
        draft = target.draft()
        draft.write(b"half")
        draft.drop()

        assert target.names() == []

    def test_dropping_what_has_its_name_takes_nothing_away(self, target: Target) -> None:
        draft = target.draft()
        draft.finish()
        draft.put("a.json")
        draft.drop()

        assert target.names() == ["a.json"]

    def test_tells_a_file_that_is_as_it_should_be_from_one_that_is_not(self, target: Target) -> None:
        put(target, "a.json", b"new")
        right = File(name="a.json", format="json", rows=1, bytes=3, sha256=hashlib.sha256(b"new").hexdigest())
        longer = File(name="a.json", format="json", rows=1, bytes=4, sha256=right.sha256)

        assert target.has(right, right)
        assert not target.has(longer, longer)


def test_a_folder_is_a_path_or_a_file_url(tmp_path: Path) -> None:
    for to in (str(tmp_path / "a b"), f"file://{tmp_path}/a%20b"):
        target = target_of(to, {}, masked)
        assert isinstance(target, Folder)
        assert target.where == str(tmp_path / "a b")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(TargetError, match=r"/file/exports: Not a directory"):
        Folder(tmp_path / "file" / "exports").draft()


def test_an_unreachable_url_is_told_without_its_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]

    with pytest.raises(TargetError) as told:
        target_of(f"ftp://user:{SECRET}@127.0.0.1:{port}/exports", {}, masked).names()

    assert "Connection refused" in str(told.value)
    assert SECRET not in str(told.value)


def test_no_value_of_a_urls_query_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of(f"memory://box/x?sv=1&sig={SECRET}%2B&key={SECRET}", {}, masked)
    assert isinstance(target, Remote)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(f"403 for box/x?sig={SECRET}%2B or {SECRET}+ or {SECRET}")

    monkeypatch.setattr(target._fs, "ls", refuse)
    with pytest.raises(TargetError) as told:
        target.names()

    assert target.where == "memory://box/x?sv=***&sig=***&key=***"
    assert SECRET not in str(told.value)


def test_what_is_exported_is_for_its_owner_and_whom_the_folder_is_given_to(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o750)

    for path in (tmp_path / "new" / "exports", shared):
        draft = Folder(path).draft()
        draft.finish()
        draft.put("a.json")
        assert (path / "a.json").stat().st_mode & 0o777 == 0o640

    assert (tmp_path / "new" / "exports").stat().st_mode & 0o777 == 0o700
    assert shared.stat().st_mode & 0o777 == 0o750


def test_a_missing_package_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("s3fs", "boto3", "aiobotocore"):
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(TargetError, match=r"s3:// needs a package that is not installed: Install s3fs"):
        target_of("s3://bucket/llm", {"key": SECRET}, masked)


def test_an_unknown_kind_of_url_is_told() -> None:
    with pytest.raises(TargetError, match="Protocol not known: nothing"):
        target_of("nothing://bucket", {}, masked)


class Breaking(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Breaks when a file is to be moved, or after so many bytes, with words that repeat a secret."""

    protocol = "breaking"
    store: dict[str, Any] = {}  # noqa: RUF012 (fsspec's)
    pseudo_dirs = [""]  # noqa: RUF012
    left: int | None = None

    def mv(self, *_: Any, **__: Any) -> None:
        raise RuntimeError(f"403 for AWS secret {SECRET}\nsecond line")

    def open(self, *arguments: Any, **named: Any) -> Any:
        if self.left == 0:
            raise FileNotFoundError("The specified bucket does not exist")
        file = super().open(*arguments, **named)
        if self.left is not None:
            file.write = self._write_until_it_breaks(file)
        return file

    def _write_until_it_breaks(self, file: Any) -> Any:
        def write(data: bytes) -> int:
            if io.BytesIO.tell(file) + len(data) > (self.left or 0):
                raise OSError(28, "No space left on device")
            return io.BytesIO.write(file, data)

        return write


@pytest.fixture
def breaking() -> Remote:
    fsspec.register_implementation("breaking", Breaking, clobber=True)
    Breaking.store.clear()
    Breaking.left = None
    target = target_of("breaking://exports", {"secret": SECRET}, masked)
    assert isinstance(target, Remote)
    return target


def test_what_a_package_says_is_told_without_secrets_and_in_a_line(ledger: Ledger, breaking: Remote) -> None:
    ledger.ingest([record(1)])

    with pytest.raises(TargetError) as told:
        export_day(ledger, breaking, date(2025, 11, 12), ZoneInfo("UTC"), ["jsonl"])

    assert str(told.value) == "breaking://exports: RuntimeError: 403 for AWS secret ***"
    assert breaking.names() == []


def test_a_url_that_breaks_midway_has_no_part_of_a_file_at_a_name(
    ledger: Ledger, breaking: Remote, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.ingest([record(n) for n in range(1, 300)])
    monkeypatch.setattr(Breaking, "left", 5000)

    with pytest.raises(TargetError, match="No space left on device"):
        export_day(ledger, breaking, date(2025, 11, 12), ZoneInfo("UTC"), ["jsonl", "csv", "parquet"])

    assert breaking.names() == []


def test_a_bucket_that_is_not_there_is_told(breaking: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaking, "left", 0)

    with pytest.raises(TargetError, match="FileNotFoundError: The specified bucket does not exist"):
        breaking.draft()


def test_calls_reach_a_url_as_they_reach_a_folder(ledger: Ledger, folder: Folder) -> None:
    ledger.ingest([record(n) for n in range(1, 30)])
    url = target_of("memory://as/a/folder", {}, masked)

    for target in (folder, url):
        export_day(ledger, target, date(2025, 11, 12), ZoneInfo("UTC"), ["jsonl", "parquet", "focus"])

    assert contents(url) == contents(folder)
    assert manifest(url)["requests"] == 29


def test_temporary_files_are_stale_after_a_day() -> None:
    old, new = temporary_name(now=1000), temporary_name(now=80_000)

    assert stale([old, new, ".export-x.tmp", "a.tmp"], now=90_000) == [old]
