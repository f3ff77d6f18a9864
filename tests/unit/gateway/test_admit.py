"""Whether a call may be made now: what is asked of the limit store, and what becomes of its replies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

import gevent
import msgspec
import pytest
import redis
from structlog.testing import capture_logs

from llm_one_api.dialects.asked import read_request
from llm_one_api.errors import LimitsUnavailable, QuotaExceeded, RateLimited
from llm_one_api.gateway import courier as courier_module
from llm_one_api.gateway.admit import Grant, Limited, UnpricedModel
from llm_one_api.gateway.courier import Courier
from llm_one_api.gateway.endpoints import ENDPOINTS
from llm_one_api.gateway.leases import Leases
from llm_one_api.gateway.local import Local
from llm_one_api.gateway.observed import Observed
from llm_one_api.gateway.plans import Plans
from llm_one_api.gateway.read import Request
from llm_one_api.limits.rules import Amounts, LimitSet, Rules
from llm_one_api.limits.windows import Calendar
from llm_one_api.stores.limits.messages import Admit, Cancel, Done, Op, Renew, Reply
from llm_one_api.targets import Target, Upstream
from llm_one_api.values import Call, Caller, Standing, Usage

ALICE = Caller(key="key_3f9a1c22", user="alice")
TARGET = Target(model="gpt-4o", upstream_model="gpt-4o", upstream=Upstream(name="u", base_url="http://u"))
BODY = b'{"model":"gpt-4o","max_tokens":100,"messages":[{"role":"user","content":"Hello, how are you?"}]}'
ENDPOINT = {endpoint.name: endpoint for endpoint in ENDPOINTS}
ZONE = ZoneInfo("Asia/Shanghai")


class Store:
    """Replies what it was told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.ops: list[Any] = []
        self.replies: list[Reply] = []
        self.away = False

    def run(self, ops: Sequence[Op]) -> list[Reply]:
        if self.away:
            raise redis.TimeoutError("no answer")
        self.ops += ops
        return [self._reply() for op in ops if isinstance(op, Admit)]

    def _reply(self) -> Reply:
        admitted = Reply("admitted", int(time.time() * 1000), whole=True)
        return self.replies.pop(0) if self.replies else admitted

    def asked(self, kind: type[Op]) -> list[Any]:
        return [op for op in self.ops if isinstance(op, kind)]


class Gate:
    """Admission by rules, over a store that does as it is told."""

    def __init__(
        self,
        rules: Rules,
        *,
        unpriced: Literal["refuse", "allow"] = "refuse",
        when_unavailable: Literal["allow", "refuse"] = "allow",
        price: Decimal | None = None,
        lease: float = 60.0,
    ) -> None:
        self.store = Store()
        courier, local, calendar = Courier(self.store), Local(1), Calendar(ZONE)
        self.courier = courier
        self.local = local
        self.leases = Leases(courier, local, seconds=lease)
        self.limits = Limited(
            Plans(rules, calendar),
            courier,
            self.leases,
            local,
            calendar=calendar,
            observed=Observed(default=None),
            price=lambda _target, _endpoint, _own, _out: price,
            unpriced=unpriced,
            when_unavailable=when_unavailable,
        )
        courier.start()
        self.leases.start()

    def stop(self) -> None:
        self.leases.stop()
        self.courier.stop()

    def ask(self, name: str = "id-1", *, endpoint: str = "chat", caller: Caller = ALICE, body: bytes = BODY) -> Grant:
        call = Call(id=name, started=0.0, endpoint=endpoint, api_key="sk", path="/", body=None)  # type: ignore[arg-type]
        request = Request(model="gpt-4o", body=body, asked=read_request(body))
        return self.limits.reserve(call, caller, ENDPOINT[endpoint], request, TARGET)

    def told(self, kind: type[Op]) -> list[Any]:
        with gevent.Timeout(5):
            while not self.store.asked(kind):
                gevent.sleep(0.005)
        return self.store.asked(kind)


@pytest.fixture
def gates() -> Iterator[list[Gate]]:
    made: list[Gate] = []
    yield made
    for gate in made:
        gate.stop()


def refused(kind: str, **said: Any) -> Reply:
    return Reply("refused", int(time.time() * 1000), whole=True, kind=kind, **said)  # type: ignore[arg-type]


def gate_of(gates: list[Gate], one: LimitSet, **options: Any) -> Gate:
    gates.append(Gate(Rules(each={"user": one}), **options))
    return gates[-1]


def test_who_is_not_limited_asks_nobody(gates: list[Gate]) -> None:
    gates.append(Gate(Rules(named={"user": {"bob": LimitSet(requests_per_minute=1)}})))

    grant = gates[0].ask()

    assert grant.permit.windows == ()
    assert gates[0].store.ops == []


def test_a_call_reserves_its_input_and_the_most_it_may_put_out(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(tokens_per_minute=10_000, day=Amounts(tokens=10**6)))

    grant = gate.ask()

    permit = grant.permit
    [asked] = gate.store.asked(Admit)
    assert permit.input_tokens > 0
    assert permit.tokens == permit.input_tokens + 100
    assert asked.tokens == permit.tokens
    assert asked.rates == [("user:alice", "tpm", 10_000, permit.tokens, 0)]
    assert permit.windows == tuple(quota[0] for quota in asked.quotas)


def test_what_shows_a_thing_of_before_is_a_request_and_charges_no_quota(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(requests_per_minute=10, tokens_per_minute=10, day=Amounts(tokens=10)))

    grant = gate.ask(endpoint="count_tokens")

    [asked] = gate.store.asked(Admit)
    assert grant.permit.windows == ()
    assert list(asked.quotas) == []
    assert [rate[3] for rate in asked.rates] == [1, 0]


def test_a_reply_says_how_the_minute_stands(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(requests_per_minute=10))
    gate.store.replies = [Reply("admitted", 0, whole=True, requests=[10, 9, 61_000])]

    grant = gate.ask()

    assert grant.standing == Standing(requests=[10, 9, 61_000], tokens=())


@pytest.mark.parametrize(
    ("one", "reply", "type_", "words"),
    [
        (LimitSet(requests_per_minute=5), refused("rpm", limit=5, used=5, retry_ms=1500), "requests",
         "user alice on requests per min (RPM): Limit 5, Used 5, Requested 1. Please try again in 1.5s."),
        (LimitSet(tokens_per_minute=500), refused("tpm", limit=500, used=450, retry_ms=900), "tokens",
         "user alice on tokens per min (TPM): Limit 500, Used 450, Requested "),
        (LimitSet(tokens_per_minute=50), refused("tpm", limit=50, used=0, retry_ms=60_000), "tokens",
         "Request too large for user alice on tokens per min (TPM): Limit 50, Requested "),
        (LimitSet(day=Amounts(tokens=5), action="throttle", throttled_to=3), refused("throttle", retry_ms=20_000),
         "requests", "user alice a day is used up, so that its rate is limited: Limit 3 requests per min."),
    ],
)  # fmt: skip
def test_a_used_up_minute_says_which_and_when_to_come_back(
    gates: list[Gate], one: LimitSet, reply: Reply, type_: str, words: str
) -> None:
    gate = gate_of(gates, one)
    gate.store.replies = [reply]

    with pytest.raises(RateLimited) as caught:
        gate.ask()

    assert caught.value.type == type_
    assert words in caught.value.message


def test_a_call_for_which_no_minute_has_room_is_not_to_be_repeated(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(tokens_per_minute=50))
    gate.store.replies = [refused("tpm", limit=50, retry_ms=60_000)]

    with pytest.raises(RateLimited) as caught:
        gate.ask()

    assert caught.value.headers == {"x-should-retry": "false"}


def test_a_used_up_quota_says_what_is_used_and_when_it_resets(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(month=Amounts(cost=Decimal(2))), price=Decimal("0.25"))
    gate.store.replies = [refused("cost", limit=2 * 10**9, used=1_900_000_000, held=50_000_000)]

    with pytest.raises(QuotaExceeded) as caught:
        gate.ask()

    message = caught.value.message
    assert "user alice may use 2 USD a month; 1.9 are used, 0.05 are reserved by calls under way" in message
    assert "this call may need 0.25. It resets at " in message
    assert "-01T00:00:00+08:00." in message


def test_a_caller_with_all_its_calls_under_way_is_asked_for_once_more(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(max_concurrent=1))
    gate.store.replies = [refused("concurrent", limit=1, used=1)]

    gate.ask()

    assert len(gate.store.asked(Admit)) == 2


def test_where_only_reservations_are_in_the_way_it_is_asked_once_more_and_may_come_back(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(day=Amounts(tokens=1000)))
    full = refused("tokens", limit=1000, used=100, held=850)
    gate.store.replies = [full, full]

    with pytest.raises(QuotaExceeded) as caught:
        gate.ask()

    assert len(gate.store.asked(Admit)) == 2
    assert caught.value.headers["retry-after"] == "1"
    assert "x-should-retry" not in caught.value.headers


def test_a_spent_quota_is_asked_once_and_not_to_be_tried_again(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(day=Amounts(tokens=1000)))
    gate.store.replies = [refused("tokens", limit=1000, used=950, held=0)]

    with pytest.raises(QuotaExceeded) as caught:
        gate.ask()

    assert len(gate.store.asked(Admit)) == 1
    assert caught.value.headers == {"x-should-retry": "false"}


def test_windows_that_are_over_for_the_store_are_named_anew(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(day=Amounts(tokens=10**6)))
    tomorrow = int((time.time() + 86400) * 1000)
    gate.store.replies = [Reply("stale", tomorrow, whole=True)]

    grant = gate.ask()

    first, second = gate.store.asked(Admit)
    assert first.quotas[0][0] != second.quotas[0][0]
    assert grant.permit.windows == (second.quotas[0][0],)


def test_an_unpriced_model_is_refused_where_the_cost_is_limited(gates: list[Gate]) -> None:
    one = LimitSet(month=Amounts(cost=Decimal(2)))

    with pytest.raises(UnpricedModel, match="The cost of user alice is limited"):
        gate_of(gates, one).ask()
    allowed = gate_of(gates, one, unpriced="allow").ask()

    assert allowed.permit.nanos == 0


def test_limits_that_only_tell_refuse_no_unpriced_model(gates: list[Gate]) -> None:
    trial, real = LimitSet(day=Amounts(cost=Decimal(2)), action="shadow"), LimitSet(month=Amounts(cost=Decimal(2)))

    with capture_logs() as logs:
        assert gate_of(gates, trial).ask().permit.nanos == 0
    both = Gate(Rules(each={"key": trial, "user": real}), price=None)
    gates.append(both)
    with pytest.raises(UnpricedModel, match="The cost of user alice is limited"):
        both.ask()

    assert {"event": "limits.would_refuse", "scope": "user:alice", "kind": "cost", "log_level": "info"} in logs


def test_no_call_can_ask_for_more_than_the_store_can_be_told(gates: list[Gate]) -> None:
    one = LimitSet(tokens_per_minute=1000, month=Amounts(cost=Decimal(2)))
    gate = gate_of(gates, one, price=Decimal(10) ** 30)
    prompts = b",".join([b'""'] * 100_000)
    body = b'{"model":"gpt-4o","max_tokens":2147483648,"n":128,"prompt":[' + prompts + b"]}"

    gate.ask(endpoint="completions", body=body)

    assert msgspec.msgpack.encode(gate.store.asked(Admit))


def test_a_cost_is_reserved_rounded_up(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(month=Amounts(cost=Decimal(2))), price=Decimal("0.0000000011"))

    assert gate.ask().permit.nanos == 2


def test_counters_that_are_not_whole_are_as_a_store_that_is_away(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(day=Amounts(tokens=10**6)), when_unavailable="refuse")
    gate.store.replies = [Reply("unwhole", 0, whole=False)]

    with pytest.raises(LimitsUnavailable):
        gate.ask()

    assert gate.store.asked(Admit)[0].allow_unwhole is False


def test_without_the_store_quotas_follow_the_policy(gates: list[Gate]) -> None:
    one = LimitSet(day=Amounts(tokens=10**6))
    allowing, refusing = gate_of(gates, one), gate_of(gates, one, when_unavailable="refuse")
    allowing.store.away = refusing.store.away = True

    grant = allowing.ask()
    with pytest.raises(LimitsUnavailable):
        refusing.ask()

    assert grant.permit.windows  # so that it is charged when the store is back
    assert allowing.local.without == 1


def test_without_the_store_what_no_quota_is_asked_for_passes(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(day=Amounts(tokens=10**6)), when_unavailable="refuse")
    gate.store.away = True

    assert not gate.ask(endpoint="count_tokens").permit.windows


def test_without_the_store_rates_hold_in_this_process(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(requests_per_minute=2, max_concurrent=2), when_unavailable="refuse")
    gate.store.away = True
    first = gate.ask("id-1")
    first.release(None)
    gate.ask("id-2")

    with pytest.raises(RateLimited) as caught:
        gate.ask("id-3")

    assert caught.value.retry_after is not None
    assert 0 < caught.value.retry_after <= 61


def test_without_the_store_calls_at_a_time_hold_in_this_process(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(max_concurrent=1))
    gate.store.away = True
    first = gate.ask("id-1")

    with pytest.raises(RateLimited, match="concurrent requests: Limit 1"):
        gate.ask("id-2")
    first.release(None)

    gate.ask("id-3")


def test_the_end_of_a_call_gives_its_place_back_and_corrects_its_minute(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(tokens_per_minute=10_000, max_concurrent=1))
    gate.store.replies = [Reply("admitted", 77_000, whole=True)]
    grant = gate.ask()
    [asked] = gate.store.asked(Admit)

    grant.release(Usage(prompt_tokens=5, completion_tokens=7, total_tokens=12))
    grant.release(None)

    [done] = gate.told(Done)
    assert done.id == "id-1"
    assert list(done.concurrent) == ["user:alice"]
    assert list(done.corrections) == [("user:alice", 77, 12 - asked.rates[0][3])]


def test_a_call_that_is_not_made_gives_all_of_it_back(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(day=Amounts(tokens=10**6)))

    gate.ask().cancel()

    assert gate.told(Cancel)[0].id == "id-1"


def test_the_lease_of_a_long_call_is_renewed_and_that_of_an_ended_one_is_not(gates: list[Gate]) -> None:
    gate = gate_of(gates, LimitSet(day=Amounts(tokens=10**6)), lease=0.05)
    grant, ended = gate.ask("id-1"), gate.ask("id-2")
    ended.release(None)

    renewed = gate.told(Renew)

    assert {renewal.id for renewal in renewed} == {"id-1"}
    assert renewed[0].tokens == grant.permit.tokens
    assert tuple(renewed[0].windows) == grant.permit.windows


def test_what_the_store_got_to_know_of_a_call_that_began_without_it_is_given_back(
    gates: list[Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have done what it did not answer, and a lease that is renewed takes a place there."""
    monkeypatch.setattr(courier_module, "LOOK_EVERY", 0.02)
    gate = gate_of(gates, LimitSet(day=Amounts(tokens=10**6), max_concurrent=2), lease=0.05)
    gate.store.away = True
    ended, left = gate.ask("sent"), gate.ask("not sent")
    gate.store.away = False

    assert [(cancel.id, list(cancel.concurrent)) for cancel in gate.told(Cancel)] == [("sent", ["user:alice"])]
    while not {"sent", "not sent"} <= {renewal.id for renewal in gate.told(Renew)}:
        gevent.sleep(0.01)
    ended.release(None)
    assert [(done.id, list(done.concurrent)) for done in gate.told(Done)] == [("sent", ["user:alice"])]
    left.cancel()
    gate.stop()
    assert [cancel.id for cancel in gate.told(Cancel)] == ["sent", "not sent"]


def test_a_call_that_is_refused_without_the_store_holds_nothing_of_it(
    gates: list[Gate], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier_module, "LOOK_EVERY", 0.02)
    gate = gate_of(gates, LimitSet(day=Amounts(tokens=10**6)), when_unavailable="refuse")
    gate.store.away = True
    with pytest.raises(LimitsUnavailable):
        gate.ask("sent")
    with pytest.raises(LimitsUnavailable):
        gate.ask("not sent")

    gate.store.away = False

    assert [cancel.id for cancel in gate.told(Cancel)] == ["sent"]


def test_quotas_that_only_tell_refuse_nothing_while_they_cannot_be_looked_at(gates: list[Gate]) -> None:
    trial = LimitSet(day=Amounts(tokens=10**6), action="shadow")
    gate = gate_of(gates, trial, when_unavailable="refuse")
    gate.ask("id-1")
    gate.store.away = True

    gate.ask("id-2")

    assert gate.store.asked(Admit)[0].allow_unwhole is True
