"""The sections `limits`, `quota` and `rate_limit`: whole sets for everybody, and every fault by its path."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from llm_one_api.limits.rules import Amounts, LimitSet, Rules
from llm_one_api.values import fingerprint
from tests.harness.processes import ROOT
from tests.unit.settings.loader import Loader, targets_of

TWO = "quota: {throttle: {requests_per_minute: 2}}\n"
MODELS = "models: {gpt-4o: {api_base: http://h}, gpt-4o-mini: {api_base: http://h}}\n"


def read(config: Loader, text: str) -> Rules:
    return config(text).limit_rules()


def test_nothing_is_limited_while_nothing_is_said(config: Loader) -> None:
    bare = read(config, "")
    documented = read(config, (ROOT / "config/llm-one-api.yaml").read_text())

    assert bare.are_none
    assert documented == bare == Rules()


def test_all_that_can_be_said(config: Loader) -> None:
    text = (
        MODELS
        + """\
limits:
  each_key:
    requests_per_minute: 60
    tokens_per_minute: 200_000
    max_concurrent: 20
    day: {tokens: 1, requests: 2, cost_usd: 0.000000001}
    month: {tokens: 4, requests: 5, cost_usd: 6.50}
    total: {tokens: 7, requests: 8, cost_usd: 5000000}
    action: throttle
    throttle: {requests_per_minute: 3}
  each_user: {max_concurrent: 1}
  each_group: {max_concurrent: 2}
  each_model: {max_concurrent: 3}
  everyone: {max_concurrent: 4}
  keys: {key_3f9a1c22: {max_concurrent: 5}}
  users: {alice: {max_concurrent: 6}}
  groups: {research: {max_concurrent: 7}}
  models: {gpt-4o: {max_concurrent: 8}}
  exempt: {keys: [key_00000000], users: [root, admin]}
"""
    )

    rules = read(config, text)

    assert rules.each["key"] == LimitSet(
        requests_per_minute=60,
        tokens_per_minute=200_000,
        max_concurrent=20,
        day=Amounts(tokens=1, requests=2, cost=Decimal("0.000000001")),
        month=Amounts(tokens=4, requests=5, cost=Decimal("6.50")),
        total=Amounts(tokens=7, requests=8, cost=Decimal(5_000_000)),
        action="throttle",
        throttled_to=3,
    )
    assert [rules.each[kind].max_concurrent for kind in ("user", "group", "model", "all")] == [1, 2, 3, 4]
    assert [{name: one.max_concurrent for name, one in sets.items()} for sets in rules.named.values()] == [
        {"key_3f9a1c22": 5},
        {"alice": 6},
        {"research": 7},
        {"gpt-4o": 8},
    ]
    assert rules.exempt_keys == {"key_00000000"}
    assert rules.exempt_users == {"root", "admin"}


def test_a_named_set_takes_what_it_does_not_say_from_those_of_its_kind(config: Loader) -> None:
    text = """\
limits:
  each_user:
    requests_per_minute: 60
    max_concurrent: 5
    day: {tokens: 1000, requests: 10}
    action: throttle
    throttle: {requests_per_minute: 7}
  each_key: {tokens_per_minute: 1}
  users:
    alice: {requests_per_minute: 120, day: {tokens: unlimited, cost_usd: 1}}
    bob: {max_concurrent: unlimited, action: shadow}
"""

    alice, bob = read(config, text).named["user"].values()

    assert alice == LimitSet(
        requests_per_minute=120,
        max_concurrent=5,
        day=Amounts(requests=10, cost=Decimal(1)),
        action="throttle",
        throttled_to=7,
    )
    assert bob == LimitSet(
        requests_per_minute=60, day=Amounts(tokens=1000, requests=10), action="shadow", throttled_to=7
    )


def test_whoever_is_unlimited_in_everything_has_a_set_without_limits(config: Loader) -> None:
    text = """\
limits:
  each_user: {requests_per_minute: 60, day: {tokens: 1000}}
  users: {alice: {requests_per_minute: unlimited, day: {tokens: unlimited}}}
"""

    alice = read(config, text).named["user"]["alice"]

    assert not alice.has_rates
    assert not alice.has_quotas


@pytest.mark.parametrize(
    ("text", "throttled_to"),
    [
        ("limits: {each_key: {day: {tokens: 1}}}", 6),
        ("limits: {each_key: {day: {tokens: 1}, requests_per_minute: 60}}", 6),
        ("limits: {each_key: {day: {tokens: 1}, requests_per_minute: 61}}", 7),
        ("limits: {each_key: {day: {tokens: 1}, requests_per_minute: 1}}", 1),
        ("limits: {each_key: {day: {tokens: 1}, requests_per_minute: unlimited}}", 6),
        (TWO + "limits: {each_key: {day: {tokens: 1}, requests_per_minute: 61}}", 2),
        (TWO + "limits: {each_key: {day: {tokens: 1}, throttle: {requests_per_minute: 3}}}", 3),
        ("limits: {each_key: {day: {tokens: 1}}}\nrate_limit: {requests_per_minute: 100}", 10),
    ],
)  # fmt: skip
def test_a_throttled_caller_keeps_a_tenth_of_its_rate_if_nothing_else_is_said(
    config: Loader, text: str, throttled_to: int
) -> None:
    assert read(config, text).each["key"].throttled_to == throttled_to


def test_a_named_sets_own_rate_decides_on_its_tenth(config: Loader) -> None:
    text = "limits: {each_user: {requests_per_minute: 60, day: {tokens: 9}}, users: {a: {requests_per_minute: 600}}}"

    assert read(config, text).named["user"]["a"].throttled_to == 60


def test_the_section_quota_says_the_action_where_a_set_does_not(config: Loader) -> None:
    text = """\
limits: {each_key: {day: {tokens: 1}}, everyone: {day: {tokens: 1}, action: reject}}
quota: {action: shadow}
"""

    rules = read(config, text)

    assert (rules.each["key"].action, rules.each["all"].action) == ("shadow", "reject")


def test_quotas_have_defaults(config: Loader) -> None:
    quota = config().quota
    given = config("quota: {lease: 5, unpriced: allow, when_unavailable: refuse, default_output_tokens: 800}").quota

    assert (quota.action, quota.unpriced, quota.when_unavailable) == ("reject", "refuse", "allow")
    assert (quota.lease, quota.default_output_tokens) == (60, None)
    assert (given.lease, given.unpriced, given.when_unavailable, given.default_output_tokens) == (
        5,
        "allow",
        "refuse",
        800,
    )


@pytest.mark.parametrize(
    "text",
    [
        "rate_limit: {enabled: true, requests_per_minute: 60}",
        "rate_limit: {requests_per_minute: 60}",
        "limits: {each_key: {requests_per_minute: 60}}",
        "limits: {each_key: {requests_per_minute: 60}}\nrate_limit: {enabled: false}",
    ],
)
def test_the_founding_documents_rate_limit_is_that_of_each_key(config: Loader, text: str) -> None:
    assert read(config, text) == Rules(each={"key": LimitSet(requests_per_minute=60, throttled_to=6)})


@pytest.mark.parametrize("text", ["rate_limit: {enabled: false, requests_per_minute: 60}", "rate_limit: {enabled: no}"])
def test_a_rate_limit_that_is_off_is_none(config: Loader, text: str) -> None:
    assert read(config, text).are_none


def test_wrong_keys_are_limited_whether_or_not_anything_else_is(config: Loader) -> None:
    assert config("rate_limit: {enabled: false}").rate_limit.failed_auth_per_minute == 600
    assert config("rate_limit: {failed_auth_per_minute: 9}").rate_limit.failed_auth_per_minute == 9


def test_a_named_key_takes_the_short_form_too(config: Loader) -> None:
    text = "rate_limit: {requests_per_minute: 60}\nlimits: {keys: {key_3f9a1c22: {max_concurrent: 1}}}"

    assert read(config, text).named["key"]["key_3f9a1c22"].requests_per_minute == 60


def test_limits_can_be_set_from_the_environment(config: Loader) -> None:
    environ = {
        "LLM_ONE_API__LIMITS__EACH_KEY__REQUESTS_PER_MINUTE": "5",
        "LLM_ONE_API__LIMITS__USERS": "{alice: {day: {cost_usd: 0.1}}}",
    }

    rules = config("limits: {each_key: {requests_per_minute: 60}}", environ).limit_rules()

    assert rules.each["key"].requests_per_minute == 5
    assert rules.named["user"]["alice"].day.cost == Decimal("0.1")


@pytest.mark.parametrize("user", ["alice", "组/一", "a:b:day:c", "key_3f9a1c22", "with space", "1", "null", "u" * 200])
def test_a_user_may_have_any_name(config: Loader, user: str) -> None:
    rules = read(config, f'limits: {{users: {{"{user}": {{max_concurrent: 1}}}}, exempt: {{users: "{user}"}}}}')

    assert list(rules.named["user"]) == [user]
    assert rules.exempt_users == {user}


NO_NUMBERS = [
    "nan", ".nan", "inf", ".inf", "1e309", "1e3", "5.0", "5.5", "-1", "0", "-0", "+5", "true", "yes", "0x10", "''",
    "1000000000000001", "9" * 400, "five", "'1,000'", "[5]", "{a: 1}", "\u0665", "1 000", "none", "Unlimited", "_",
    "1__0",
]  # fmt: skip


@pytest.mark.parametrize("written", NO_NUMBERS)
@pytest.mark.parametrize("name", ["requests_per_minute", "max_concurrent", "day.tokens", "total.requests"])
def test_a_limit_is_a_whole_number_that_can_be_kept(config: Loader, name: str, written: str) -> None:
    section, _, inner = name.rpartition(".")
    limit = f"{{{section}: {{{inner}: {written}}}}}" if section else f"{{{inner}: {written}}}"

    faults = config.faults(f"limits:\n  users:\n    alice: {limit}")

    assert len(faults) == 1
    assert faults[0].startswith(
        f"limits.users.alice.{name} (line 3): must be a whole number between 1 and 1000000000000000, or unlimited, got "
    )


@pytest.mark.parametrize(
    "written",
    ["nan", "inf", "1e309", "1e-3", "-1", "0", "0.0", "0.0000000001", "1.0000000001", "5000000.01", "true", "$5",
     "'1,5'", "5 USD", "[1]", "''", ".", "1.", ".5"],
)  # fmt: skip
def test_an_amount_of_money_is_exact(config: Loader, written: str) -> None:
    [fault] = config.faults(f"limits: {{everyone: {{month: {{cost_usd: {written}}}}}}}")

    assert fault.startswith(
        "limits.everyone.month.cost_usd (line 1): must be an amount in USD above 0, at most 5000000, "
    )


@hypothesis(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.integers(1, 5 * 10**15))
def test_money_is_read_to_the_last_of_nine_decimals(config: Loader, nanos: int) -> None:
    amount = Decimal(nanos).scaleb(-9)

    rules = read(config, f"limits: {{everyone: {{total: {{cost_usd: {amount:f}}}}}}}")

    assert rules.each["all"].total.cost == amount


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("limits: {each_kye: {}}", "limits.each_kye (line 1): unknown setting; did you mean each_key?"),
        ("limits: {each_key: {rpm: 5}}", "limits.each_key.rpm (line 1): unknown setting"),
        ("limits: {each_key: {day: {cost: 5}}}", "day.cost (line 1): unknown setting; did you mean cost_usd?"),
        ("limits: {each_key: {day: 5}}", "limits.each_key.day (line 1): must be a section"),
        ("limits: {users: {alice: 5}}", "limits.users.alice (line 1): must be a section"),
        ("limits: {users: [alice]}", "limits.users (line 1): must be a section"),
        ("limits: {users: {'': {}}}", "(line 1): a name has 1 to 200 characters"),
        ("limits: {each_key: {action: stop}}", "each_key.action (line 1): must be reject, throttle or shadow"),
        (
            "limits: {each_key: {action: reject, throttle: {requests_per_minute: 5}}}",
            "limits.each_key.throttle (line 1): is read for action throttle only, and here it is reject",
        ),
        ("limits: {each_key: {throttle: {requests_per_minute: x}}}", "requests_per_minute (line 1): must be a whole"),
        ("limits: {models: {gpt-4: {}}}", "limits.models.gpt-4 (line 1): there is no such model in the section models"),
        (
            MODELS + "limits: {models: {gpt-4o-mni: {}}}",
            "gpt-4o-mni (line 2): there is no such model in the section models; did you mean gpt-4o-mini?",
        ),
        ("limits: {exempt: {keys: {a: b}}}", "limits.exempt.keys (line 1): must name keys by their fingerprints"),
        ("limits: {exempt: {users: {a: b}}}", "limits.exempt.users (line 1): must be a list of names"),
        ("limits: {exempt: {users: ['']}}", "limits.exempt.users.0 (line 1): must be a list of names"),
        ("quota: {enabled: true}", "quota.enabled (line 1): unknown setting"),
        ("quota: {daily_tokens: 5}", "quota.daily_tokens (line 1): unknown setting"),
        ("quota: {action: stop}", "quota.action (line 1): must be reject, throttle or shadow, got 'stop'"),
        ("quota: {unpriced: no}", "quota.unpriced (line 1): must be refuse or allow, got 'no'"),
        ("quota: {when_unavailable: deny}", "quota.when_unavailable (line 1): must be allow or refuse, got 'deny'"),
        ("quota: {lease: 4}", "quota.lease (line 1): must be a number of seconds between 5 and 3600, got 4"),
        ("quota: {lease: nan}", "quota.lease (line 1): must be a number of seconds between 5 and 3600"),
        ("quota: {default_output_tokens: 1.5}", "quota.default_output_tokens (line 1): must be a whole number"),
        ("quota: {default_output_tokens: true}", "quota.default_output_tokens (line 1): must be a whole number"),
        ("rate_limit: {requests_per_minute: 0}", "rate_limit.requests_per_minute (line 1): must be a whole number"),
        ("rate_limit: {requests_per_minute: 1e309}", "rate_limit.requests_per_minute (line 1): must be a whole number"),
        ("rate_limit: {failed_auth_per_minute: 0}", "failed_auth_per_minute (line 1): must be a whole number"),
        ("rate_limit: {enabled: true}", "rate_limit.requests_per_minute (line 1): must be given where enabled is true"),
        (
            "limits: {each_key: {requests_per_minute: 5}}\nrate_limit: {requests_per_minute: 5}",
            "rate_limit.requests_per_minute (line 2): is the same as limits.each_key.requests_per_minute: give one of",
        ),
        ("models: {m: {api_base: http://h, max_output_tokens: 0}}", "max_output_tokens (line 1): must be a whole"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told(config: Loader, text: str, fault: str) -> None:
    faults = config.faults(text)

    assert len(faults) == 1, faults
    assert fault in faults[0]


@pytest.mark.parametrize("place", ["keys: {%s: {max_concurrent: x}}", "exempt: {keys: [%s]}", "exempt: {keys: %s}"])
def test_a_key_where_its_fingerprint_should_stand_is_not_printed(config: Loader, place: str) -> None:
    key = "sk-S3CRET-S3CRET-S3CRET"

    [fault] = config.faults(f"limits: {{{place % key}}}")

    assert "S3CRET" not in fault
    assert "must name keys by their fingerprints, never by themselves" in fault
    assert fault.endswith(f"if it is a key that stands there, write {fingerprint(key)}")


@pytest.mark.parametrize("inside", ["{max_concurrent: '${NO_SUCH}'}", "{<<: 5}", "{a: 1, a: 2}", "!x 5"])
def test_nor_is_it_where_something_else_is_wrong_too(config: Loader, inside: str) -> None:
    faults = config.faults(f"limits:\n  keys:\n    sk-S3CRET: {inside}\n    sk-S3CRET: {{}}\n")

    assert "S3CRET" not in "\n".join(faults)
    assert {fault.partition(" ")[0] for fault in faults} == {"limits.keys"}


@pytest.mark.parametrize(
    "text",
    ["users: {sk-S3CRET: {a: 1}}", "groups: {sk-S3CRET: 5}", "models: {sk-S3CRET: {}}", "each_key: {sk-S3CRET: 1}"],
)
def test_nor_is_one_that_stands_where_a_name_should(config: Loader, text: str) -> None:
    [fault] = config.faults(f"limits: {{{text}}}")

    assert "S3CRET" not in fault
    assert ".sk-…" in fault


@pytest.mark.parametrize("name", ["key_3f9a1c2", "key_3F9A1C22", "key_3f9a1c223", "key_", "''"])
def test_a_slip_in_a_fingerprint_is_taken_for_one(config: Loader, name: str) -> None:
    [fault] = config.faults(f"limits: {{keys: {{{name}: {{}}}}}}")

    assert fault == (
        "limits.keys (line 1): must name keys by their fingerprints: key_ and 8 of 0-9 and a-f, such as key_3f9a1c22"
    )


def test_models_of_other_routers_can_be_limited_by_any_name(config: Loader) -> None:
    text = "plugins: {model_route: [default_router, mine]}\nlimits: {models: {elsewhere: {max_concurrent: 1}}}"

    assert list(read(config, text).named["model"]) == ["elsewhere"]


def test_a_model_can_say_how_much_it_puts_out_at_most(config: Loader) -> None:
    targets = targets_of(config("models: {m: {api_base: http://h, max_output_tokens: 4096}, n: {api_base: http://h}}"))

    assert (targets["m"].max_output_tokens, targets["n"].max_output_tokens) == (4096, None)
