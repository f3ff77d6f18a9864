from __future__ import annotations

import random
from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.stores.journal.framing import HEADER_SIZE, MAGIC, MAX_PAYLOAD, frame, scan

PAYLOADS = [b"first", b"", MAGIC, b"x" * 300, MAGIC + b"\x03\x00\x00\x00abcd", b"last one"]
WHOLE = b"".join(frame(payload) for payload in PAYLOADS)
EDGES = [0, *accumulate(len(frame(payload)) for payload in PAYLOADS)]


def payloads(data: bytes, *, final: bool) -> list[bytes]:
    return [found.payload for found in scan(data, final=final).frames]


def test_what_was_framed_is_found_where_it_stands() -> None:
    result = scan(WHOLE, final=True)

    assert [(found.start, found.end) for found in result.frames] == list(pairwise(EDGES))
    assert [found.payload for found in result.frames] == PAYLOADS
    assert (result.consumed, result.corrupt, result.torn) == (len(WHOLE), 0, False)


def test_an_entry_torn_at_any_byte_costs_only_itself() -> None:
    for cut in range(len(WHOLE)):
        result = scan(WHOLE[:cut], final=True)

        whole = [edge for edge in EDGES if edge <= cut]
        assert [found.payload for found in result.frames] == PAYLOADS[: len(whole) - 1]
        assert result.torn == (cut not in EDGES)
        assert (result.consumed, result.corrupt) == (cut, 0)


def test_an_incomplete_tail_waits_for_its_rest_while_the_writer_lives() -> None:
    for cut in range(len(WHOLE)):
        first = scan(WHOLE[:cut], final=False)
        rest = scan(WHOLE[first.consumed :], final=True)

        assert first.consumed == max(edge for edge in EDGES if edge <= cut)
        assert [found.payload for found in [*first.frames, *rest.frames]] == PAYLOADS
        assert not first.corrupt


def test_a_flipped_bit_costs_one_entry_and_is_counted() -> None:
    for place in range(EDGES[4]):
        damaged = bytearray(WHOLE)
        damaged[place] ^= 1 << random.Random(place).randrange(8)  # any bit, the same in every run

        result = scan(bytes(damaged), final=True)

        hit = max(i for i, edge in enumerate(EDGES) if edge <= place)
        assert [found.payload for found in result.frames] == PAYLOADS[:hit] + PAYLOADS[hit + 1 :]
        assert result.corrupt == 1


def test_a_last_entry_that_is_damaged_is_not_taken_for_a_torn_one() -> None:
    for place in range(EDGES[-2] + HEADER_SIZE, EDGES[-1]):
        damaged = bytearray(WHOLE)
        damaged[place] ^= 1

        result = scan(bytes(damaged), final=True)

        assert (result.corrupt, result.torn) == (1, False)


def test_a_damaged_entry_and_a_torn_one_behind_it_are_told_apart() -> None:
    damaged = bytearray(WHOLE)
    damaged[EDGES[3] + HEADER_SIZE + 5] ^= 1

    result = scan(bytes(damaged[: EDGES[5] - 3]), final=True)

    assert [found.payload for found in result.frames] == [*PAYLOADS[:3], PAYLOADS[4]][:3]
    assert (result.corrupt, result.torn) == (1, True)


def test_a_damaged_length_is_not_waited_for_when_whole_entries_follow() -> None:
    damaged = bytearray(WHOLE)
    damaged[len(MAGIC) + 2] ^= 1  # the first entry now seems to be 64 KB long

    result = scan(bytes(damaged), final=False)

    assert [found.payload for found in result.frames] == PAYLOADS[1:]
    assert result.corrupt == 1


def test_garbage_between_entries_is_stepped_over() -> None:
    data = frame(b"one") + random.Random(1).randbytes(5000) + MAGIC[:2] + frame(b"two") + b"\0" * 100 + frame(b"three")

    result = scan(data, final=True)

    assert [found.payload for found in result.frames] == [b"one", b"two", b"three"]
    assert result.corrupt == 2


def test_an_impossible_length_is_damage_at_once() -> None:
    header = bytearray(frame(b"abc"))
    header[4:8] = (MAX_PAYLOAD + 1).to_bytes(4, "little")

    assert scan(bytes(header), final=False).consumed > HEADER_SIZE


@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_at_all_are_taken_without_an_error(data: bytes, final: bool) -> None:
    result = scan(data, final=final)

    assert 0 <= result.consumed <= len(data)
    if final:
        assert result.consumed == len(data)


@given(
    st.lists(st.binary(max_size=40) | st.just(MAGIC), max_size=8),
    st.lists(st.integers(0, 500), max_size=12),
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), max_size=2),
)
def test_how_the_reads_cut_the_file_never_matters(
    parts: list[bytes], cuts: list[int], damage: list[tuple[int, int]]
) -> None:
    data = bytearray(b"".join(frame(part) for part in parts))
    for place, bits in damage:
        if place < len(data):
            data[place] ^= bits
    expected = [(found.start, found.payload) for found in scan(bytes(data), final=True).frames]

    found, at = [], 0
    for end in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        result = scan(bytes(data[at:end]), final=False)
        found += [(at + item.start, item.payload) for item in result.frames]
        at += result.consumed
    found += [(at + item.start, item.payload) for item in scan(bytes(data[at:]), final=True).frames]

    assert found == expected
