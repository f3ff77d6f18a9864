"""What a model usually puts out."""

from __future__ import annotations

from llm_one_api.gateway.observed import UNTIL_KNOWN, Observed


def test_before_enough_was_seen_a_round_figure_is_taken() -> None:
    observed = Observed(default=None)

    for _ in range(19):
        observed.saw("m", 5)

    assert observed.usual("m") == observed.usual("never seen") == UNTIL_KNOWN


def test_ninety_five_of_a_hundred_calls_stay_within_it() -> None:
    observed = Observed(default=None)

    for tokens in range(1, 101):
        observed.saw("m", tokens)

    assert observed.usual("m") == 95


def test_each_model_has_its_own() -> None:
    observed = Observed(default=None)

    for _ in range(20):
        observed.saw("short", 5)
        observed.saw("long", 5000)

    assert (observed.usual("short"), observed.usual("long")) == (5, 5000)


def test_what_was_long_ago_is_forgotten() -> None:
    observed = Observed(default=None)
    for _ in range(1000):
        observed.saw("m", 9000)

    for _ in range(200):
        observed.saw("m", 10)

    assert observed.usual("m") == 10


def test_something_is_reserved_for_a_model_that_puts_out_nothing() -> None:
    observed = Observed(default=None)

    for _ in range(20):
        observed.saw("m", 0)

    assert observed.usual("m") == 1


def test_what_the_operator_says_holds_for_every_model() -> None:
    observed = Observed(default=800)

    for _ in range(50):
        observed.saw("m", 5)

    assert observed.usual("m") == observed.usual("other") == 800


def test_however_many_models_there_are_memory_is_bounded() -> None:
    observed = Observed(default=None)

    for number in range(3000):
        for _ in range(20):
            observed.saw(f"m{number}", 5)

    assert observed.usual("m0") == 5
    assert observed.usual("m2999") == UNTIL_KNOWN
