"""Models with several upstreams: what the config makes of them, and what it refuses."""

from __future__ import annotations

import pytest

from llm_one_api.plugins import manager
from llm_one_api.targets import Balance, ModelRoute
from tests.harness.records import record
from tests.unit.settings.loader import Loader

NO_WEIGHTS = (
    "does not go by weights, and upstreams.1 has one: use weighted or least_connections, or take the weights out "
    "(0 and 1 may stay: off and on)"
)
SAME_NAME = "is the same as that of upstreams.0: give each its own (without one, it is the host)"
TWO = "[{api_base: http://a}, {api_base: http://b}]"


def route(config: Loader, lines: str, **environ: str) -> ModelRoute:
    return config(f"models: {{m: {{{lines}}}, n: {{api_base: http://n}}}}", environ).routes()["m"]


def fault(config: Loader, lines: str) -> str:
    """Give the one thing that is wrong with a model, checked as `check-config` does it."""
    (told,) = config.faults(f"models:\n  n: {{api_base: http://n}}\n  m: {{{lines}}}", check=manager.check)
    return told.removeprefix("models.m.")


# --- what comes of it --------------------------------------------------------------------------------------------


def test_a_models_upstreams_are_its_targets_in_their_order(config: Loader) -> None:
    made = route(
        config, "upstreams: [{api_base: https://b.example/v1, weight: 3}, {name: west, api_base: http://a, weight: 0}]"
    )

    assert [(t.model, t.upstream.name, t.weight) for t in made.targets] == [("m", "b.example", 3), ("m", "west", 0)]


def test_an_upstream_takes_whatever_it_does_not_say_from_its_model(config: Loader) -> None:
    lines = """
        api_key: k, upstream_model: theirs, adapter: azure, api_version: "1", timeout: 1, connect_timeout: 2,
        first_byte_timeout: 3, idle_timeout: 4, max_concurrent: 5, proxy: http://p, tls_verify: false,
        upstreams: [
          {api_base: http://a},
          {api_base: http://b, api_key: l, upstream_model: mine, adapter: anthropic, default_max_tokens: 6, timeout: 7,
           connect_timeout: 8, first_byte_timeout: 9, idle_timeout: 10, max_concurrent: 11, proxy: none,
           tls_verify: true}]
    """

    first, second = (target.upstream for target in route(config, lines).targets)

    assert (first.api_key, first.adapter, first.api_version, first.max_concurrent) == ("k", "azure", "1", 5)
    assert (first.total_timeout, first.connect_timeout, first.first_byte_timeout, first.idle_timeout) == (1, 2, 3, 4)
    assert (first.link.proxy, first.link.verify) == ("http://p", False)
    assert (second.api_key, second.adapter, second.default_max_tokens) == ("l", "anthropic", 6)
    assert (second.total_timeout, second.connect_timeout, second.first_byte_timeout) == (7, 8, 9)
    assert (second.idle_timeout, second.max_concurrent) == (10, 11)
    assert (second.link.proxy, second.link.verify) == ("", True)
    assert [target.upstream_model for target in route(config, lines).targets] == ["theirs", "mine"]


def test_openai_and_azure_can_answer_under_one_name(config: Loader) -> None:
    made = route(
        config, "upstreams: [{api_base: https://o}, {api_base: https://z, adapter: azure, api_version: 2024-10-21}]"
    )

    told = [(target.upstream.adapter, target.upstream.api_version) for target in made.targets]
    assert told == [("openai", ""), ("azure", "2024-10-21")]


@pytest.mark.parametrize(
    ("lines", "strategy"),
    [
        ("api_base: http://a", "round_robin"),
        (f"upstreams: {TWO}", "round_robin"),
        ("upstreams: [{api_base: http://a}, {api_base: http://b, weight: 2}]", "weighted"),
        ("upstreams: [{api_base: http://a}, {api_base: http://b, weight: 0}]", "weighted"),
        (f"upstreams: {TWO}, load_balance_strategy: least_latency", "least_latency"),
        ("upstreams: [{api_base: http://a, weight: 4}], load_balance_strategy: least_connections", "least_connections"),
    ],
)
def test_calls_go_in_turn_or_by_weight_where_there_are_weights(config: Loader, lines: str, strategy: str) -> None:
    assert route(config, lines).balance.strategy == strategy


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ("api_base: http://a", None),
        ("upstreams: [{api_base: http://a}]", None),
        ("api_base: http://a, health_check_interval: 5", 5),
        (f"upstreams: {TWO}", 30),
        (f"upstreams: {TWO}, health_check_interval:", 30),
        (f"upstreams: {TWO}, health_check_interval: 1.5", 1.5),
        *((f"upstreams: {TWO}, health_check_interval: {off}", None) for off in ("0", "off", "Off", "no", "false")),
    ],
)
def test_several_upstreams_are_probed_unless_that_is_off(config: Loader, lines: str, seconds: float | None) -> None:
    assert route(config, lines).balance.health_check_interval == seconds


def test_what_a_model_says_of_balance_and_failover_is_in_its_route(config: Loader) -> None:
    said = route(
        config,
        "api_base: http://a, max_failures: 5, cooldown: 7.5, max_retries: 0, queue_timeout: 0, max_queue: 0, "
        "fallbacks: [n]",
    )

    assert said.balance == Balance(max_failures=5, cooldown=7.5, max_retries=0, queue_timeout=0, max_queue=0)
    assert said.fallbacks == ("n",)
    assert route(config, "api_base: http://a").balance == Balance()
    assert route(config, "api_base: http://a, fallbacks: n").fallbacks == ("n",)


def test_two_models_may_stand_in_for_each_other(config: Loader) -> None:
    routes = config("models: {a: {api_base: http://h, fallbacks: b}, b: {api_base: http://h, fallbacks: a}}").routes()

    assert (routes["a"].fallbacks, routes["b"].fallbacks) == (("b",), ("a",))


def test_a_single_upstream_can_be_set_from_outside(config: Loader) -> None:
    made = route(
        config,
        f"upstreams: {TWO}",
        LLM_ONE_API__MODELS__M__UPSTREAMS__1__WEIGHT="0",
        LLM_ONE_API__MODELS__M__MAX_FAILURES="9",
    )

    assert [target.weight for target in made.targets] == [1, 0]
    assert made.balance.max_failures == 9


def test_an_upstream_with_a_name_of_its_own_is_priced_by_where_it_is(config: Loader) -> None:
    """Also where it answers in another model's place: the call stays one to the model that was asked for."""
    pricer = config(
        """
models:
  large:
    fallbacks: small
    upstreams: [{name: one, api_base: "https://api.openai.com/v1"}, {name: two, api_base: "https://api.x.ai/v1"}]
  small: {upstreams: [{name: three, api_base: "https://api.groq.com/openai/v1"}]}
"""
    ).pricer()

    def source(model: str, upstream: str, answered: str) -> str | None:
        called = record(1, model=model, upstream=upstream, response_model=answered, upstream_model=answered, cost=None)
        return pricer.price(called).price_source

    assert source("large", "one", "gpt-4o-mini") == "genai-prices"
    assert source("large", "three", "llama-3.1-8b-instant") == "genai-prices"
    assert source("small", "three", "llama-3.1-8b-instant") == "genai-prices"
    assert source("small", "one", "llama-3.1-8b-instant") is None


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("api_base: http://a, weight: 2", "weight (line 3): is a setting of an entry of upstreams: put it there"),
        (
            "api_base: http://a, name: x",
            "name (line 3): is a setting of an entry of upstreams: a model's name stands on the left of its colon",
        ),
        (
            "upstreams: [{api_base: http://a, cooldown: 2}]",
            "upstreams.0.cooldown (line 3): is a setting of the model, for all its upstreams: put it beside upstreams",
        ),
        ("upstreams: []", "upstreams (line 3): has no entry, so that no call could go anywhere"),
        (
            f"api_base: http://c, upstreams: {TWO}",
            "api_base (line 3): must not be given beside upstreams, whose entries have one each",
        ),
        (
            "timeout: 1",
            (
                "api_base (line 3): must be given: an http:// or https:// URL, such as https://api.openai.com/v1; "
                "or upstreams"
            ),
        ),
        (
            "upstreams: [{api_base: http://a}, {api_base: http://b}, {api_base: http://a/other}]",
            f"upstreams.2.name (line 3): {SAME_NAME}",
        ),
        (
            "upstreams: [{name: b, api_base: http://a}, {api_base: http://b}]",
            f"upstreams.1.name (line 3): {SAME_NAME}",
        ),
        (
            'upstreams: [{name: "a\\tb", api_base: http://a}]',
            "upstreams.0.name (line 3): must be a text of at most 200 characters, on one line, got 'a\\tb'",
        ),
        (
            "upstreams: [{api_base: http://a, weight: 0}, {api_base: http://b, weight: 00}]",
            "upstreams (line 3): all have weight 0, so that no call could go anywhere; give one of them another",
        ),
        (
            "upstreams: [{api_base: http://a}, {api_base: http://b, weight: 1.5}]",
            "upstreams.1.weight (line 3): must be a whole number between 0 and 1000000, got 1.5",
        ),
        *(
            (
                (
                    f"load_balance_strategy: {name}, upstreams: [{{api_base: http://a, weight: 1}}, "
                    "{api_base: http://b, weight: 2}]"
                ),
                f"load_balance_strategy (line 3): {name} {NO_WEIGHTS}",
            )
            for name in ("round_robin", "random", "least_latency")
        ),
        ("api_base: http://a, fallbacks: [o]", "fallbacks.0 (line 3): there is no such model in the section models"),
        (
            "api_base: http://a, fallbacks: nn",
            "fallbacks (line 3): there is no such model in the section models; did you mean n?",
        ),
        ("api_base: http://a, fallbacks: [n, m]", "fallbacks.1 (line 3): is the model itself; name another one"),
        ("api_base: http://a, fallbacks: [n, n]", "fallbacks.1 (line 3): stands twice"),
        (
            "api_base: http://a, fallbacks: {n: 1}",
            "fallbacks (line 3): must be a list of models, such as [gpt-4o-mini], got a section",
        ),
        *(
            (
                f"api_base: http://a, health_check_interval: {wrong}",
                f"health_check_interval (line 3): must be a number of seconds between 1 and 86400, or off, got {shown}",
            )
            for wrong, shown in (("often", "'often'"), ("0.5", "0.5"), ("90000", "90000"), ("nan", "'nan'"))
        ),
        (
            "api_base: http://a, max_failures: 0",
            "max_failures (line 3): must be a whole number between 1 and 1000, got 0",
        ),
        (
            "api_base: http://a, max_retries: -1",
            "max_retries (line 3): must be a whole number between 0 and 100, got -1",
        ),
        (
            "api_base: http://a, cooldown: 0",
            "cooldown (line 3): must be a number of seconds above 0, at most 86400, got 0",
        ),
        (
            "api_base: http://a, queue_timeout: nan",
            "queue_timeout (line 3): must be a number of seconds between 0 and 3600, got 'nan'",
        ),
        (
            "api_base: http://a, max_queue: 1e9",
            "max_queue (line 3): must be a whole number between 0 and 1000000, got '1e9'",
        ),
        (
            "api_base: http://a, max_concurrent: 0",
            "max_concurrent (line 3): must be a whole number of at least 1, got 0",
        ),
        (
            "adapter: azure, upstreams: [{api_base: http://a, api_version: v1}, {api_base: http://b}]",
            "api_version (line 3): must be given for adapter azure, such as 2024-10-21",
        ),
        (
            "upstreams: [{api_base: http://a}, {api_base: http://b, adapter: azure}]",
            "upstreams.1.api_version (line 3): must be given for adapter azure, such as 2024-10-21",
        ),
        (
            "upstreams: [{api_base: http://a, default_max_tokens: 5}]",
            "upstreams.0.default_max_tokens (line 3): is read for adapter anthropic only; leave it out",
        ),
        (
            "api_version: v1, upstreams: [{api_base: http://a, adapter: anthropic}]",
            "api_version (line 3): is read for adapter azure only; leave it out",
        ),
    ],
)
def test_what_would_have_no_effect_or_cannot_work_is_a_fault(config: Loader, lines: str, told: str) -> None:
    assert fault(config, lines) == told


def test_a_strategy_that_nobody_has_is_told_where_it_stands_with_those_that_there_are(config: Loader) -> None:
    told = fault(config, "api_base: http://a, load_balance_strategy: least_latencies")

    assert told.startswith(
        "load_balance_strategy (line 3): there is no load_balance plugin 'least_latencies'; did you mean least_latency?"
    )
    assert "installed: least_connections, least_latency, random, round_robin, weighted" in told


@pytest.mark.parametrize("name", ["round_robin", "random", "weighted", "least_connections", "least_latency"])
def test_the_strategies_of_ours_are_there(config: Loader, name: str) -> None:
    settings = config(f"models: {{m: {{api_base: http://a, load_balance_strategy: {name}}}}}", check=manager.check)

    assert settings.routes()["m"].balance.strategy == name


def test_all_of_it_is_told_at_once(config: Loader) -> None:
    text = """\
models:
  m:
    adapter: azure
    fallbacks: [m]
    load_balance_strategy: random
    max_failures: 0
    upstreams:
      - {api_base: http://a, weight: 2}
      - {api_base: http://a, wieght: 2}
  n:
    adapter: azure
    default_max_tokens: 4
    upstreams: [{api_base: http://a}, {api_base: http://b, adapter: openai, api_version: v1}]
"""

    told = [line.split(": ")[0] for line in config.faults(text)]

    assert told == [
        "models.m.fallbacks.0 (line 4)",
        "models.m.load_balance_strategy (line 5)",
        "models.m.max_failures (line 6)",
        "models.m.upstreams.1.name (line 9)",
        "models.m.upstreams.1.wieght (line 9)",
        "models.n.api_version (line 10)",
        "models.n.default_max_tokens (line 12)",
        "models.n.upstreams.1.api_version (line 13)",
    ]


def test_a_variable_that_is_not_set_is_the_only_fault_that_is_told_of_it(config: Loader) -> None:
    told = config.faults("models: {m: {api_base: http://a, fallbacks: ['${F}'], load_balance_strategy: '${S}'}}")

    assert [line.split(":")[1].split(" is")[0] for line in told] == [
        " the environment variable F",
        " the environment variable S",
    ]


def test_models_that_another_router_knows_can_stand_in(config: Loader) -> None:
    settings = config("plugins: {model_route: [mine, default_router]}\nmodels: {m: {api_base: http://a, fallbacks: x}}")

    assert settings.routes()["m"].fallbacks == ("x",)
