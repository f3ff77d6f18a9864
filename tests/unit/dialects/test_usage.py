"""The one canonical usage: what each provider reports comes out as the same figures, and what cannot be is told."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_one_api.dialects.openai_chat import EMBEDDINGS
from llm_one_api.dialects.usage import faults_of, of_anthropic, of_openai, of_rerank
from llm_one_api.values import Usage

CHAT = {
    "prompt_tokens": 100,
    "completion_tokens": 60,
    "total_tokens": 160,
    "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 8},
    "completion_tokens_details": {
        "reasoning_tokens": 50,
        "audio_tokens": 1,
        "accepted_prediction_tokens": 2,
        "rejected_prediction_tokens": 3,
    },
}


def test_a_chats_usage_is_kept_with_all_its_parts() -> None:
    assert of_openai(CHAT) == (
        Usage(
            prompt_tokens=100,
            completion_tokens=60,
            total_tokens=160,
            cache_read_tokens=40,
            audio_input_tokens=8,
            reasoning_tokens=50,
            audio_output_tokens=1,
            accepted_prediction_tokens=2,
            rejected_prediction_tokens=3,
        ),
        (),
    )


def test_responses_say_the_same_in_other_words() -> None:
    raw = {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 6},
        "output_tokens": 87,
        "output_tokens_details": {"reasoning_tokens": 12},
        "total_tokens": 123,
    }

    usage = Usage(
        prompt_tokens=36, completion_tokens=87, total_tokens=123, cache_read_tokens=6, reasoning_tokens=12
    )  # fmt: skip
    assert of_openai(raw) == (usage, ())


def test_images_tell_the_tokens_of_images_apart() -> None:
    raw = {
        "input_tokens": 50,
        "output_tokens": 1056,
        "total_tokens": 1106,
        "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
        "output_tokens_details": {"text_tokens": 0, "image_tokens": 1056},
    }

    assert of_openai(raw) == (
        Usage(prompt_tokens=50, completion_tokens=1056, total_tokens=1106, image_tokens=40, image_output_tokens=1056),
        (),
    )


def test_audio_is_told_in_tokens_or_in_seconds() -> None:
    tokens = {
        "type": "tokens",
        "input_tokens": 14,
        "input_token_details": {"text_tokens": 4, "audio_tokens": 10},
        "output_tokens": 45,
        "total_tokens": 59,
    }

    assert of_openai(tokens).usage == Usage(
        prompt_tokens=14, completion_tokens=45, total_tokens=59, audio_input_tokens=10
    )
    assert of_openai({"type": "duration", "seconds": 27}).usage == Usage(audio_seconds=27.0)


@pytest.mark.parametrize("seconds", [-1, "27", True, None, float("nan")])
def test_a_length_that_cannot_be_is_told(seconds: Any) -> None:
    assert of_openai({"type": "duration", "seconds": seconds}) == (None, ("seconds is no length",))


@pytest.mark.parametrize(
    "raw",
    [
        {"prompt_tokens": 279, "completion_tokens": 6, "total_tokens": 374},  # xAI
        {"prompt_tokens": 279, "completion_tokens": 95, "total_tokens": 374},  # OpenAI
    ],
)
def test_reasoning_is_in_the_output_also_where_the_provider_counts_it_beside(raw: dict[str, Any]) -> None:
    usage, faults = of_openai({**raw, "completion_tokens_details": {"reasoning_tokens": 89}})

    assert usage
    assert (usage.completion_tokens, usage.total_tokens, usage.reasoning_tokens, faults) == (95, 374, 89, ())


@pytest.mark.parametrize(
    "told", [{"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}, {"cached_tokens": 64}]
)
def test_cached_tokens_are_found_where_others_tell_them(told: dict[str, int]) -> None:
    usage, _ = of_openai({"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101, **told})

    assert usage
    assert (usage.prompt_tokens, usage.cache_read_tokens) == (100, 64)


def test_anthropics_input_is_put_together_with_its_cache() -> None:
    raw = {
        "input_tokens": 10,
        "cache_creation_input_tokens": 300,
        "cache_read_input_tokens": 2000,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 30},
    }

    assert of_anthropic(raw) == (
        Usage(
            prompt_tokens=2310,
            completion_tokens=50,
            total_tokens=2360,
            cache_read_tokens=2000,
            cache_write_5m_tokens=100,
            cache_write_1h_tokens=200,
            reasoning_tokens=30,
        ),
        (),
    )


def test_a_cache_write_of_unknown_length_is_the_short_one() -> None:
    usage, _ = of_anthropic({"input_tokens": 10, "cache_creation_input_tokens": 5, "output_tokens": 1})

    assert usage == Usage(prompt_tokens=15, completion_tokens=1, total_tokens=16, cache_write_5m_tokens=5)


def test_parts_of_a_cache_write_that_do_not_add_up_are_told() -> None:
    parts = {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 1}

    usage, faults = of_anthropic({"input_tokens": 1, "cache_creation_input_tokens": 5, "cache_creation": parts})

    assert faults == ("cache_creation_input_tokens is not the sum of its parts",)
    assert usage
    assert (usage.prompt_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (6, 4, 1)


@pytest.mark.parametrize(
    "raw", [{"total_tokens": 9}, {"prompt_tokens": 9, "total_tokens": 9}], ids=["voyage", "openai"]
)
def test_all_that_an_embedding_uses_is_input(raw: dict[str, Any]) -> None:
    assert EMBEDDINGS.usage_of(raw) == (Usage(prompt_tokens=9, total_tokens=9), ())


@pytest.mark.parametrize(
    ("raw", "usage"),
    [
        ({"total_tokens": 815}, Usage(prompt_tokens=815, total_tokens=815)),
        ({"prompt_tokens": 815, "total_tokens": 815}, Usage(prompt_tokens=815, total_tokens=815)),
        (
            {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": 9, "output_tokens": 2}},
            Usage(prompt_tokens=9, completion_tokens=2, total_tokens=11),
        ),
        ({"billed_units": {"search_units": 1}}, None),
    ],
    ids=["jina", "vllm", "cohere", "cohere-units"],
)
def test_a_rerank_is_input_alone(raw: dict[str, Any], usage: Usage | None) -> None:
    assert of_rerank(raw) == (usage, ())


NO_COUNT: list[Any] = [2**63 + 1, 1.5, True, "7", [], {}]
WRONG = [(-5, "negative"), *[(wrong, "no count") for wrong in NO_COUNT]]


@pytest.mark.parametrize(("wrong", "why"), WRONG)
def test_a_figure_that_cannot_be_is_unknown_and_costs_the_others_nothing(wrong: Any, why: str) -> None:
    raw = {
        "prompt_tokens": wrong,
        "completion_tokens": 3,
        "total_tokens": 8,
        "completion_tokens_details": {"reasoning_tokens": 2, "audio_tokens": wrong},
    }

    usage, faults = of_openai(raw)

    assert usage == Usage(completion_tokens=3, total_tokens=8, reasoning_tokens=2)
    assert set(faults) == {f"prompt_tokens is {why}", f"audio_tokens is {why}"}


def test_absent_is_unknown_and_not_zero() -> None:
    assert of_openai({"prompt_tokens": 5, "completion_tokens": None, "total_tokens": 5}) == (
        Usage(prompt_tokens=5, total_tokens=5),
        (),
    )
    assert of_openai({"prompt_tokens": 0, "completion_tokens": 0}).usage == Usage(
        prompt_tokens=0, completion_tokens=0, total_tokens=0
    )
    assert of_openai({}) == of_openai(None) == of_anthropic({}) == of_rerank(None) == (None, ())


def test_a_whole_number_written_as_a_fraction_is_one() -> None:
    assert of_openai({"prompt_tokens": 5.0, "completion_tokens": 3.0}).usage == Usage(
        prompt_tokens=5, completion_tokens=3, total_tokens=8
    )


@pytest.mark.parametrize("details", ["a text", 5, [], {"cached_tokens": None}])
def test_details_of_another_shape_cost_the_figures_nothing(details: Any) -> None:
    raw = {"prompt_tokens": 5, "total_tokens": 5, "prompt_tokens_details": details}

    assert of_openai(raw) == (Usage(prompt_tokens=5, total_tokens=5), ())


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"cache_read_tokens": 101}, "cache_read_tokens > prompt_tokens"),
        ({"cache_write_1h_tokens": 101}, "cache_write_1h_tokens > prompt_tokens"),
        ({"cache_read_tokens": 60, "cache_write_5m_tokens": 60}, "cache tokens > prompt_tokens"),
        ({"audio_input_tokens": 101}, "audio_input_tokens > prompt_tokens"),
        ({"image_tokens": 101}, "image_tokens > prompt_tokens"),
        ({"reasoning_tokens": 61}, "reasoning_tokens > completion_tokens"),
        ({"audio_output_tokens": 61}, "audio_output_tokens > completion_tokens"),
        ({"image_output_tokens": 61}, "image_output_tokens > completion_tokens"),
        ({"accepted_prediction_tokens": 61}, "accepted_prediction_tokens > completion_tokens"),
        ({"rejected_prediction_tokens": 61}, "rejected_prediction_tokens > completion_tokens"),
        ({"total_tokens": 161}, "total_tokens != prompt_tokens + completion_tokens"),
    ],
)
def test_each_thing_that_cannot_be_true_between_the_figures_is_told(changes: dict[str, int], fault: str) -> None:
    sound = Usage(prompt_tokens=100, completion_tokens=60, total_tokens=160)

    assert faults_of(sound) == ()
    assert faults_of(msgspec.structs.replace(sound, **changes)) == (fault,)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_names = st.sampled_from([*CHAT, "input_tokens", "output_tokens", "cache_creation", "tokens", "type", "seconds"])


@given(raw=st.dictionaries(_names, _json, max_size=6))
def test_whatever_stands_in_a_usage_object_no_figure_is_negative_or_a_lie(raw: dict[str, Any]) -> None:
    for read in (of_openai, of_anthropic, of_rerank):
        usage, _ = read(raw)

        figures = [] if usage is None else [getattr(usage, name) for name in usage.__struct_fields__]
        assert all(figure is None or (figure >= 0 and type(figure) in {int, float}) for figure in figures)
