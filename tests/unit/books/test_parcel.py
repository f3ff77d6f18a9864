"""What travels to the workers: small, and the same when it is unpacked."""

from __future__ import annotations

import zlib
from base64 import b64encode

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.books import parcel
from tests.harness.records import record


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=1)))
def test_what_is_unpacked_is_what_was_packed(lines: list[str]) -> None:
    assert parcel.unpack(parcel.pack(lines)) == lines


def test_a_batch_becomes_small() -> None:
    lines = [msgspec.json.encode(record(number)).decode() for number in range(500)]

    packed = parcel.pack(lines)

    assert packed.isascii()
    assert len(packed) * 5 < sum(map(len, lines))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("not base64!", "base64"),
        (b64encode(b"not compressed").decode(), "no parcel"),
        (b64encode(zlib.compress(b"one\ntwo")[:-6]).decode(), "no whole parcel"),
        ("ä", "ASCII"),
    ],
)
def test_what_is_no_parcel_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"(?i){why}"):
        parcel.unpack(text)


def test_what_would_fill_the_memory_is_not_unpacked() -> None:
    bomb = b64encode(zlib.compress(bytes(parcel.MOST_BYTES + 1))).decode()

    with pytest.raises(ValueError, match="too large"):
        parcel.unpack(bomb)
