"""Slices of a text have as many tokens as the whole of it."""

# ruff: noqa: RUF001 (characters that look like others are among those to be told apart)

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiktoken import Encoding

from llm_one_api.tokens.encodings import Name
from llm_one_api.tokens.slices import SLICE, Slicer, is_sure, slices
from tests.unit.tokens.conftest import NAMES
from tests.unit.tokens.texts import TEXTS

PLAIN = (
    "aZéǅʰßжЖ中日한ก٣5½Ⅷ_-/.,;!'’\"、。“”+€°^"
    " \t\n\r\u00a0\u3000\u2028\x85\u200b\u0301\u0489\x00\x1c😀\U0001f3fd\u200d\u2460\u180e\ufeff"
)
NASTY = st.text(alphabet=st.sampled_from(PLAIN), max_size=40)
CONTRACTIONS = st.sampled_from(
    ["'s", "'LL", "it's", "I've ", " 's", "''", "'ſ", "\r\n", "\n/", "/\n", "  ", " \n ", "123", "1234"]
)
MIXED = st.lists(
    st.one_of(NASTY, CONTRACTIONS, st.sampled_from(list(TEXTS.values())).map(lambda t: t[:30])), max_size=8
)
ANY = st.one_of(MIXED.map("".join), st.text(max_size=60))


def tokens(encoding: Encoding, text: str) -> int:
    return len(encoding.encode(text, disallowed_special=()))


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=600)
@given(text=ANY)
@example(text="a \n\nb c\n \nd")
def test_no_token_goes_over_a_place_that_is_sure(official: Mapping[Name, Encoding], name: Name, text: str) -> None:
    encoding = official[name]
    whole = tokens(encoding, text)

    for place in range(1, len(text)):
        if is_sure(text[place - 1], text[place]):
            assert tokens(encoding, text[:place]) + tokens(encoding, text[place:]) == whole, (text, place)


@pytest.mark.parametrize("name", NAMES)
def test_no_two_characters_are_wrongly_taken_for_sure(official: Mapping[Name, Encoding], name: Name) -> None:
    encoding = official[name]
    around = ["", "a", "A", " ", "\n", "!", "1", "'", "/", "中", "\u0301"]

    wrong = [
        (before, left, right, after)
        for left in PLAIN
        for right in PLAIN
        if is_sure(left, right)
        for before in around
        for after in around
        if tokens(encoding, before + left) + tokens(encoding, right + after)
        != tokens(encoding, before + left + right + after)
    ]

    assert wrong == []


@pytest.mark.parametrize(
    "text",
    ["a b", "a\nb", "a.b", "word,word", "1a", "a1", "1.5", "中文,中文", "x\n中", "\n#", "😀 😀", "a\r\nb", "a\u3000b"],
)
def test_ordinary_texts_have_sure_places(text: str) -> None:
    assert any(is_sure(a, b) for a, b in pairwise(text))


@settings(deadline=None)
@given(text=ANY, cuts=st.sets(st.integers(1, 60)), size=st.integers(1, 20))
def test_how_a_text_comes_never_changes_its_slices(text: str, cuts: set[int], size: int) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]

    cut = list(slices((text[a:b] for a, b in pairwise(edges)), size))

    assert cut == list(slices([text], size))
    assert "".join(cut) == text
    assert all(0 < len(part) <= size for part in cut[:-1])
    assert len(cut[-1]) <= size


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_how_a_stream_was_cut_never_changes_the_count(official: Mapping[Name, Encoding], name: Name, text: str) -> None:
    encoding, slicer = official[name], Slicer()
    count = 0

    for start in range(0, len(text), 7):
        count += sum(tokens(encoding, part) for part in slicer.feed(text[start : start + 7]))
    count += tokens(encoding, slicer.end())

    assert count == tokens(encoding, text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "text", ["x" * 50_000, "中" * 50_000, " " * 50_000, "😀" * 20_000, "aB" * 20_000, "'s" * 20_000]
)
def test_a_text_without_a_sure_place_is_a_little_off_and_no_more(
    official: Mapping[Name, Encoding], name: Name, text: str
) -> None:
    encoding = official[name]
    parts = list(slices([text]))

    off = sum(tokens(encoding, part) for part in parts) - sum(
        tokens(encoding, text[start : start + 10 * SLICE]) for start in range(0, len(text), 10 * SLICE)
    )

    assert abs(off) <= 2 * len(parts)
    assert max(map(len, parts)) == SLICE
