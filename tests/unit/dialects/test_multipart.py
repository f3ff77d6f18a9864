"""Forms on their way through: what is read of them, however they are cut, and what is not believed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.sansio.multipart import Data, Epilogue, Field, MultipartDecoder, NeedData

from llm_one_api.dialects.multipart import LONGEST_FIELD, LONGEST_HEADERS, BadForm, FormReader, boundary_of

BOUNDARY = "xYzZY"


def part(name: str, value: bytes, *more: str) -> bytes:
    head = "\r\n".join([f'Content-Disposition: form-data; name="{name}"' + "".join(f"; {m}" for m in more)])
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + value + b"\r\n"


def named(disposition: bytes) -> bytes:
    """Write a form with a model, and with another one in a part that not everybody reads alike."""
    head = f"--{BOUNDARY}\r\nContent-Disposition: ".encode()
    return part("model", b"m") + head + disposition + b"\r\n\r\nanother\r\n" + END


END = f"--{BOUNDARY}--\r\n".encode()
FILE = part("file", b"\x00\r\n--xYzZ\r\n\r\nmodel\xff" * 50, 'filename="a.mp3"\r\nContent-Type: audio/mpeg')
FORM = FILE + part("model", b"whisper-1") + part("language", b"model") + part("stream", b"true") + END


def read(form: bytes, cuts: set[int] = frozenset()) -> FormReader:  # type: ignore[assignment]
    reader = FormReader(BOUNDARY, ("model", "stream", "user"))
    for start, end in pairwise([0, *sorted(cuts), len(form)]):
        reader.feed(form[start:end])
    return reader


@given(cuts=st.sets(st.integers(1, len(FORM) - 1), max_size=60))
def test_how_the_network_cuts_a_form_never_matters(cuts: set[int]) -> None:
    reader = read(FORM, cuts)

    assert {name: field.value for name, field in reader.fields.items()} == {"model": "whisper-1", "stream": "true"}
    found = reader.fields["model"]
    assert FORM[found.start : found.end] == b"whisper-1"


@given(value=st.binary(max_size=200).filter(lambda v: b"xYzZY" not in v), cut=st.integers(0, 400))
def test_a_field_has_the_value_that_another_reader_finds(value: bytes, cut: int) -> None:
    form = part("other", value) + part("model", b"m") + part("user", "é".encode()) + END
    decoder = MultipartDecoder(BOUNDARY.encode())
    decoder.receive_data(form)
    theirs: dict[str, bytes] = {}
    name = ""
    while not isinstance(event := decoder.next_event(), Epilogue | NeedData):
        if isinstance(event, Field):
            name = event.name
        elif isinstance(event, Data):
            theirs[name] = theirs.get(name, b"") + event.data

    reader = read(form, {cut} & set(range(1, len(form))))

    assert {name: field.value.encode() for name, field in reader.fields.items()} == {
        name: theirs[name] for name in ("model", "user")
    }


def test_the_model_is_known_before_the_rest_has_come() -> None:
    reader = FormReader(BOUNDARY, ("model",))

    reader.feed(part("model", b"m") + b"--")
    before = "model" in reader.fields
    reader.feed(BOUNDARY.encode())

    assert not before
    assert reader.fields["model"].value == "m"
    assert not reader.ended


def test_a_file_of_megabytes_is_not_kept() -> None:
    reader = FormReader(BOUNDARY, ("model",))
    reader.feed(part("file", b"", 'filename="a"')[:-2])

    for _ in range(64):
        reader.feed(b"\r\n--x" * 16384)

    assert len(reader._held) < 100


@pytest.mark.parametrize(
    ("form", "why"),
    [
        (part("model", b"m") + part("model", b"dear") + END, "`model` must stand there once"),
        (part("model", b"m") + part("MODEL", b"dear") + END, "`model` must stand there once"),
        (part("model", b"m", 'filename="f"') + END, "`model` must stand there once, as a plain field"),
        (named(b'form-data;\r\n name="model"'), "folded"),
        (named(b'form-data; x=y\nContent-Disposition: form-data; name="model"'), "half of one"),
        (named(b'form-data; x=y\rContent-Disposition: form-data; name="model"'), "half of one"),
        (named(b'form-data; name="x"\r\nContent-Disposition: form-data; name="model"'), "two names"),
        (named(b'form-data; name="x"; name="model"'), "two names"),
        (named(b'form-data; name="mo\\del"'), "`model` must stand there once"),
        (named(b'form-data; name="model'), "`model` must stand there once"),
        (part("model", b"m" * (LONGEST_FIELD + 1)) + END, "`model` is too long"),
        (part("model", b"\xff") + END, "`model` is not UTF-8"),
        (f"--{BOUNDARY}\r\n".encode() + b"x: " + b"y" * (LONGEST_HEADERS + 9), "headers are too long"),
        (f"--{BOUNDARY}junk\r\n".encode(), "no line break"),
    ],
)
def test_a_form_that_another_might_read_otherwise_is_refused(form: bytes, why: str) -> None:
    with pytest.raises(BadForm, match=why):
        read(form)


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=abc", "abc"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b:c"', "a b:c"),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ('multipart/form-data; boundary="a\r\nb"', None),
        ("multipart/form-data; boundary=" + "x" * 71, None),
        ("multipart/form-data; boundary=é", None),
        ("multipart/mixed; boundary=abc", None),
        ("application/json", None),
        ("", None),
    ],
)
def test_a_boundary_that_could_be_misread_is_none(content_type: str, boundary: str | None) -> None:
    assert boundary_of(content_type) == boundary
