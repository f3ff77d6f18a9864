"""The section `export`."""

from __future__ import annotations

import pytest

from tests.unit.settings.loader import Loader


def test_nothing_is_exported_by_itself_until_it_is_switched_on(config: Loader) -> None:
    settings = config("data_dir: /srv/data")

    assert not settings.export.enabled
    assert settings.export_to == "/srv/data/exports"
    assert (settings.export.formats, settings.export.look_back_days) == (("jsonl",), 7)


def test_formats_are_a_list_or_one_and_may_be_none(config: Loader) -> None:
    assert config("export: {formats: [csv, focus]}").export.formats == ("csv", "focus")
    assert config("export: {formats: parquet}").export.formats == ("parquet",)
    assert config("export: {formats: []}").export.formats == ()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("export: {formats: [xls]}", "export.formats"),
        ("export: {formats: [csv, csv]}", "export.formats (line 1): names a format twice"),
        ("export: {to: 's3://'}", "export.to (line 1): must be a folder, or a URL such as s3://bucket/folder"),
        ("export: {look_back_days: 0}", "export.look_back_days (line 1): must be a whole number between 1 and 366"),
        ("export: {folder: x}", "export.folder"),
        (
            "export: {enabled: true}\nledger: {keep_records_days: 7}",
            "ledger.keep_records_days (line 2): must be more than export.look_back_days (7)",
        ),
        ("export: {storage_options: [a]}", "export.storage_options (line 1): must be "),
    ],
)
def test_what_cannot_be_is_told(config: Loader, text: str, fault: str) -> None:
    (told,) = config.faults(text)

    assert told.startswith(fault)


def test_calls_may_be_kept_for_as_short_as_you_like_where_nothing_is_exported(config: Loader) -> None:
    assert config("ledger: {keep_records_days: 1}").ledger.keep_records_days == 1
    assert config("export: {enabled: true}\nledger: {keep_records_days: 8}").export.enabled


def test_its_secrets_are_not_printed(config: Loader) -> None:
    settings = config("export: {to: 'ftp://me:S3CRET@host/x', storage_options: {secret: S3CRET, deep: {key: S3CRET}}}")
    (fault,) = config.faults("export: {to: 'S3CRET://', enabled: false}")

    assert settings.export.storage_options["deep"] == {"key": "S3CRET"}
    assert "S3CRET" not in f"{settings!r} {settings.export}"
    assert "S3CRET" not in fault
