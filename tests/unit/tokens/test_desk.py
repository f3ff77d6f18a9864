"""Many tasks on one desk: each has its turn, none is held up by another."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_one_api.tokens.count import input_tokens, text_tokens
from llm_one_api.tokens.desk import Desk
from llm_one_api.tokens.encodings import load, name_for
from llm_one_api.tokens.slices import SLICE
from llm_one_api.tokens.wire import FRAME, TEXT, Answer, Counted, Done, Drop, Piece

CHAT = json.dumps({"messages": [{"role": "user", "content": "你好, world"}]}).encode()
STREAMED = ("Hello 世界 👍🏽 it's 12345 " * 40).encode()


def text(task: int, data: bytes, *, last: bool = True, model: str = "gpt-4o") -> Piece:
    return Piece(task, model, TEXT, memoryview(data), last)


def body(task: int, data: bytes, *, last: bool = True, kind: str = "chat", model: str = "gpt-4o") -> Piece:
    return Piece(task, model, kind, memoryview(data), last)


@pytest.fixture
def desk() -> Desk:
    return Desk(lambda model: load(name_for(model)))


def finish(desk: Desk) -> list[Answer]:
    answers: list[Answer] = []
    while desk.busy:
        answers += desk.step()
    return answers


def test_texts_and_bodies_are_counted_with_the_encoding_of_their_model(desk: Desk) -> None:
    words = "你好世界,天气 antidisestablishmentarianism"
    for task in (
        text(1, words.encode()),
        text(2, words.encode(), model="gpt-4"),
        body(3, CHAT),
        body(4, CHAT, model="gpt-4"),
    ):
        desk.take(task)

    answers = finish(desk)

    old, new = load("cl100k_base"), load("o200k_base")
    assert sorted(answers, key=lambda answer: answer.task) == [  # type: ignore[union-attr]
        Counted(1, text_tokens(words, new)),
        Counted(2, text_tokens(words, old)),
        Counted(3, input_tokens("chat", CHAT, new)),
        Counted(4, input_tokens("chat", CHAT, old)),
    ]
    assert text_tokens(words, new) != text_tokens(words, old)


def test_a_small_task_is_over_while_large_ones_before_it_are_going_on(desk: Desk) -> None:
    desk.take(text(1, b"x" * 2_000_000))
    desk.take(body(2, json.dumps({"messages": [{"role": "user", "content": "y" * 2_000_000}]}).encode()))
    for _ in range(10):
        desk.step()
    desk.take(body(3, CHAT))
    desk.take(text(4, b"small"))

    steps = 0
    small: list[Answer] = []
    while len(small) < 2:
        small += desk.step()
        steps += 1

    assert [type(answer) for answer in small] == [Counted, Counted]
    assert {answer.task for answer in small} == {3, 4}  # type: ignore[union-attr]
    assert steps <= 4 * 4
    assert {answer.task for answer in finish(desk)} == {1, 2}  # type: ignore[union-attr]


def test_a_turn_is_no_more_than_a_slice(desk: Desk) -> None:
    messages = [{"role": "user", "content": "a b"}] * 5000
    desk.take(text(1, b"z" * (20 * SLICE)))
    desk.take(body(2, json.dumps({"messages": messages}).encode()))

    steps = 0
    while desk.busy:
        desk.step()
        steps += 1

    assert steps >= 20 + 5000 * len("user" + "a b") / SLICE


@settings(deadline=None)
@given(cuts=st.sets(st.integers(1, len(STREAMED) - 1), max_size=30), eager=st.booleans())
def test_how_a_text_or_a_body_was_cut_never_changes_the_count(cuts: set[int], eager: bool) -> None:
    desk = Desk(lambda model: load(name_for(model)))
    content = json.dumps({"messages": [{"role": "user", "content": STREAMED.decode()}]}).encode()
    edges = [0, *sorted(cuts)]
    answers: list[Answer] = []

    for start, end in pairwise([*edges, len(STREAMED)]):
        desk.take(text(1, STREAMED[start:end], last=end == len(STREAMED)))  # also in the middle of a character
        answers += finish(desk) if eager else []
    for start, end in pairwise([*edges, len(content)]):
        desk.take(body(2, content[start:end], last=end == len(content)))
    answers += finish(desk)

    counted = {answer.task: answer.tokens for answer in answers if isinstance(answer, Counted)}
    encoding = load("o200k_base")
    assert counted == {1: text_tokens(STREAMED.decode(), encoding), 2: input_tokens("chat", content, encoding)}


def test_what_was_worked_off_of_a_text_is_told_as_it_goes(desk: Desk) -> None:
    desk.take(text(1, b"a " * (FRAME // 2), last=False))
    desk.take(text(1, b"b", last=False))

    assert finish(desk) == [Done(1, FRAME), Done(1, 1)]
    desk.take(text(1, b"", last=True))
    assert finish(desk) == [Counted(1, text_tokens("a " * (FRAME // 2) + "b", load("o200k_base")))]


def test_of_a_text_that_was_counted_only_its_end_is_kept(desk: Desk) -> None:
    desk.take(text(1, b"some words " * 5000, last=False))
    finish(desk)

    assert len(desk._tasks[1]._slicer._rest) <= SLICE  # type: ignore[union-attr]
    assert not desk._tasks[1].has_work


def test_a_task_that_is_dropped_is_never_heard_of_again(desk: Desk) -> None:
    desk.take(text(1, b"x" * (10 * SLICE)))
    desk.take(body(2, b'{"messages":[', last=False))
    desk.take(text(3, b"go on"))
    desk.step()
    for task in (1, 2, 99):
        desk.take(Drop(task))

    assert finish(desk) == [Counted(3, 2)]
    assert desk._tasks == {}


def test_a_task_that_is_over_is_forgotten(desk: Desk) -> None:
    desk.take(text(1, b"a"))
    desk.take(body(2, CHAT))

    finish(desk)

    assert desk._tasks == {}


@pytest.mark.parametrize(("kind", "data"), [("chat", b"{"), ("unheard of", CHAT), ("chat", b'{"messages":[1]}')])
def test_a_body_that_does_not_fit_has_no_figure(desk: Desk, kind: str, data: bytes) -> None:
    desk.take(body(1, data, kind=kind))

    assert finish(desk) == [Counted(1, None)]


def test_bytes_that_are_no_text_are_counted_as_what_they_would_be_shown_as(desk: Desk) -> None:
    desk.take(text(1, b"ab\xff\xfec\xe4\xbd"))

    assert finish(desk) == [Counted(1, text_tokens("ab\ufffd\ufffdc\ufffd", load("o200k_base")))]
