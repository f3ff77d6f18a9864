"""What is read of a request, and that an upstream reads the same, whatever parser it has."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llm_one_api.dialects import asked
from llm_one_api.dialects.asked import COUNTS, is_plain, no_number, read_request, rewrite


@pytest.mark.parametrize("name", COUNTS)
def test_how_much_is_wanted_is_read_and_nothing_is_as_left_out(name: str) -> None:
    given, nothing = read_request(b'{"%b": 7}' % name.encode()), read_request(b'{"%b": null}' % name.encode())

    assert getattr(given, name) == 7
    assert nothing == read_request(b"{}")


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize(
    "number", ["0", "-1", "-0", "1.0", "5.5", "1e3", "1e309", "true", '"5"', "[5]", "{}", "9" * 400]
)
def test_what_is_no_whole_number_is_refused_with_its_name(name: str, number: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        read_request(b'{"%b": %b}' % (name.encode(), number.encode()))

    assert str(caught.value).endswith(f" - at `$.{name}`")


@pytest.mark.parametrize(("name", "most"), COUNTS.items())
def test_what_is_wanted_has_a_bound(name: str, most: int) -> None:
    assert getattr(read_request(b'{"%b": %d}' % (name.encode(), most)), name) == most
    with pytest.raises(msgspec.ValidationError, match=name):
        read_request(b'{"%b": %d}' % (name.encode(), most + 1))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "+5", ".5", "05", "-01", "5."])
def test_a_number_that_json_does_not_know_is_found(number: str) -> None:
    body = b'{"model": "m", "max_tokens" : %b}' % number.encode()

    with pytest.raises(msgspec.DecodeError):
        read_request(body)
    assert no_number(body) == "max_tokens"


@pytest.mark.parametrize(
    "body", [b'{"x": NaN}', b'{"max_tokens": 5,}', b'{"n": 0', b'{"text": "\\"n\\": NaN"}', b'{"n": 10, "x": 0.5}']
)
def test_other_faults_are_not_blamed_on_a_number(body: bytes) -> None:
    assert no_number(body) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"max_tokens":1,"max_tokens":9000}',
        b'{"max_tokens":9000, "max_tokens":1}',
        b'{"max_tokens":1,"MAX_TOKENS":9000}',
        b'{"Max_Tokens":9000}',
        b'{"max\\u005ftokens":9000,"max_tokens":1}',
        '{"max_toKens":9000}'.replace("K", "\u212a").encode(),
        '{"max_token\u017f":9000}'.encode(),
        b'{"max_to\\u212aens":9000}',
        b'{"n":1,"n":100}',
        b'{"N":100}',
        b'{"best_of":1, "Best_Of":100}',
        b'{"prompt":["a","b","c"],"prompt":"a"}',
        b'{"Stream_Options":{}}',
        b'{"a":1,"b":2,"a":3,"n":1,"n":2}',
        b' {"n":1,\n"n":2}',
    ],
)
def test_what_one_parser_may_read_otherwise_than_another_does_not_go_on_as_it_is(body: bytes) -> None:
    read = read_request(body)

    sent = rewrite(body)

    assert not is_plain(body)
    assert is_plain(sent)
    assert read_request(sent) == read
    names = [name for name, _ in json.loads(sent, object_pairs_hook=list)]
    assert len({name.casefold() for name in names}) == len(names)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","max_tokens":5,"n":1,"stream":true}',
        b'{"model": "m", "max_tokens": 5, "n": 1, "stream": true}',
        b'{\n  "model": "m",\n  "max_tokens": 5,\n  "stream": true\n}\n',
        b'{"model":"m","messages":[{"content":"\\"n\\": 5, \\"max_tokens\\": 6"}],"max_tokens":7}',
        b'{"model":"m","messages":[{"content":"\\u4f60\\u597d \\u0041"}]}',
        '{"模型":"m","model":"m"}'.encode(),
        b"{}",
        b"{ }",
    ],
)
def test_what_all_read_alike_goes_on_to_the_byte(body: bytes) -> None:
    assert is_plain(body)


WORDS = ["model", "MODEL", "n", "N", "max_tokens", "Max_Tokens", "stream", "x", 'a"b', "é"]
MEMBERS = st.lists(
    st.tuples(st.sampled_from(WORDS), st.sampled_from([1, 22, "m", "n", '"n":1', {"n": 1}, [1, 2], "  ", True])),
    max_size=6,
)
BLANKS = st.sampled_from([(",", ":"), (", ", ": "), (" , ", ":"), (",\n", ": "), (", ", ":"), (",", ": ")])


@example([("n", "n"), ('a"b', 1)], (", ", ": "), "")
@given(MEMBERS, BLANKS, st.sampled_from(["", " ", "\n"]))
def test_nothing_that_stands_twice_is_ever_taken_for_plain(
    members: list[tuple[str, Any]], blanks: tuple[str, str], edge: str
) -> None:
    comma, colon = blanks
    text = comma.join(json.dumps(name) + colon + json.dumps(value) for name, value in members)
    body = (edge + "{" + edge + text + edge + "}" + edge).encode()
    deciding = [name for name, _ in members if name.casefold() in {"model", "n", "max_tokens", "stream"}]

    plain = is_plain(body)

    if plain:
        assert len(set(deciding)) == len(deciding)
        assert all(name == name.casefold() for name in deciding)
    elif blanks in {(",", ":"), (", ", ": ")} and not edge:
        assert (
            len(set(deciding)) < len(deciding) or any(name != name.casefold() for name in deciding) or _twice(members)
        )


def _twice(members: list[tuple[str, Any]]) -> bool:
    """Whether some name stands twice or with escapes: then it may be that a deciding one cannot be told from a text."""
    names = [name for name, _ in members]
    return len(set(names)) < len(names) or any(json.dumps(name) != f'"{name}"' for name in names)


def test_the_members_of_a_rewritten_body_stay_in_order_and_as_they_were() -> None:
    body = b'{"x": 1.50, "model": "a", "MODEL": "b", "y": {"MODEL": 1e400}, "n": 2}'

    assert asked.rewrite(body, model="c") == b'{"x":1.50,"model":"c","y":{"MODEL": 1e400},"n":2}'
