"""Label values are bounded, and what moves between them never looks like calls."""

from __future__ import annotations

from typing import Any

from llm_one_api.metrics.labels import Known

KNOWN = Known(["a", "b"], ["north"])


def of(known: Known, **group: Any) -> dict[str, str]:
    return dict(known.of(group))


def test_names_of_the_config_are_labels_and_all_else_is_other() -> None:
    assert of(KNOWN, model="a", upstream="north", stream=True) == {"model": "a", "upstream": "north", "stream": "true"}
    assert of(KNOWN, model="a", upstream="") == {"model": "a", "upstream": ""}
    assert of(KNOWN, model="(unknown)", outcome="rejected")["model"] == "other"
    assert of(KNOWN, model="a", upstream="elsewhere")["upstream"] == "other"
    assert (KNOWN.model("-"), KNOWN.upstream("elsewhere")) == ("other", "other")


def test_a_hundred_thousand_names_make_one_series() -> None:
    labels = {KNOWN.of({"model": f"model-{number}", "outcome": "rejected"}) for number in range(100_000)}

    assert len(labels) == 1


def test_other_begins_anew_when_the_config_names_other_models_and_only_then() -> None:
    same, larger = Known(["b", "a"], ["north"]), Known(["a", "b", "c"], ["north"])

    assert of(KNOWN, model="x") == of(same, model="x")
    assert of(KNOWN, model="x")["config"] != of(larger, model="x")["config"]
    assert of(KNOWN, model="a") == of(larger, model="a") == {"model": "a"}


def test_a_model_that_is_called_other_is_one() -> None:
    known = Known(["other"], [])

    assert of(known, model="other") == {"model": "other"}
    assert "config" in of(known, model="x")
