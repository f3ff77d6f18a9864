"""What a call costs, from the upstream's answer to the statistics; calls without a cost, listed and priced later."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.harness import commands
from tests.harness.processes import wait_until
from tests.harness.product import OTHER_KEY, Product, config, product
from tests.harness.upstream import Conversation, Upstream, json_answer, scripted

PRICING = {"gpt-3.5-turbo": {"per": "1K", "prompt": 0.0015, "completion": 0.002}}


def answer(talk: Conversation) -> None:
    """Answer as the model that is asked for does: with the founding document's 50 and 120 tokens."""
    model = json.loads(talk.body)["model"]
    usage: dict[str, Any] = {"prompt_tokens": 50, "completion_tokens": 120, "total_tokens": 170}
    if model == "vendor/model":
        usage["cost"] = 0.00014
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    body = {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}
    json_answer(200, json.dumps(body).encode())(talk)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with scripted() as it:
        it.answer(answer)
        yield it


def settings(upstream: Upstream, **more: Any) -> dict[str, Any]:
    made = config(upstream.url, pricing=PRICING, **more)
    base = made["models"]["m"]
    names = {"own": "gpt-3.5-turbo", "told": "vendor/model", "public": "gpt-4o-mini-2024-07-18", "new": "house-model-1"}
    made["models"] |= {name: {**base, "upstream_model": asked} for name, asked in names.items()}
    return made


@pytest.fixture(scope="module")
def installed(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with product(tmp_path_factory.mktemp("prices"), settings(upstream)) as it:
        yield it


def cli(it: Product, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `llm-one-api prices` in the installation's folder, to its end."""
    return commands.run("prices", *words, "--config", it.config, folder=it.folder)


def called(it: Product, model: str) -> dict[str, Any]:
    return it.record(it.call(model=model).headers["x-request-id"])


def sums(it: Product, model: str) -> tuple[str | None, int, int]:
    for found in it.get("/v1/stats")["models"]:
        if found["model"] == model:
            return found["cost"], found["requests_priced"], found["requests_unpriced"]
    return None, 0, 0


def plus(before: str | None, cost: str) -> str:
    return f"{(Decimal(before or 0) + Decimal(cost)).normalize():f}"


@pytest.mark.parametrize(
    ("model", "cost", "source"),
    [("own", "0.000315", "configured"), ("told", "0.00014", "reported")],
)
def test_a_call_has_its_cost_in_the_statistics_with_where_it_comes_from(
    installed: Product, model: str, cost: str, source: str
) -> None:
    before, priced, unpriced = sums(installed, model)

    record = called(installed, model)

    assert (record["cost"], record["price_source"], record["price_date"]) == (cost, source, record["at"][:10])
    assert sums(installed, model) == (plus(before, cost), priced + 1, unpriced)


def test_a_call_for_which_there_is_nothing_else_has_the_public_price(installed: Product) -> None:
    record = called(installed, "public")

    assert record["price_source"] == "genai-prices"
    assert Decimal(record["cost"]) > 0
    assert record["price_date"] <= record["at"][:10]


def test_a_call_that_nobody_knows_a_price_for_has_none_and_is_counted(installed: Product) -> None:
    cost, priced, unpriced = sums(installed, "m")

    record = called(installed, "m")

    assert (record["cost"], record["price_source"], record["price_date"]) == (None, None, None)
    assert sums(installed, "m") == (cost, priced, unpriced + 1)


def test_the_cost_is_in_the_log(installed: Product) -> None:
    record = called(installed, "own")

    log = installed.folder / "logs/llm-one-api.log"
    line = wait_until(
        lambda: log.exists() and next((x for x in log.read_text().splitlines() if record["request_id"] in x), ""),
        what="the call's line",
    )

    logged = json.loads(line)
    assert (logged["cost"], logged["price_source"], logged["price_date"]) == (
        "0.000315", "configured", record["price_date"],
    )  # fmt: skip


def test_calls_without_a_cost_are_listed_and_get_one_when_the_config_has_a_price(
    installed: Product, upstream: Upstream
) -> None:
    for _ in range(3):
        called(installed, "new")
    listed = cli(installed, "missing")
    installed.config.write_text(
        json.dumps(settings(upstream) | {"pricing": {**PRICING, "house-*": {"per": "1M", "input": 2, "output": 5}}})
    )

    listed_now = cli(installed, "missing")
    dry = cli(installed, "reprice", "--since", "2026-01-01", "--dry-run")
    still = sums(installed, "new")
    done = cli(installed, "reprice", "--since", "2026-01-01")
    again = cli(installed, "reprice", "--since", "2026-01-01")

    assert listed.returncode == 0
    assert "house-model-1 (asked for as new), at 127.0.0.1" in listed.stdout
    assert "3 calls" in listed.stdout
    assert "150 input and 360 output tokens" in listed.stdout
    assert "  house-model-1:\n    per: 1M\n    input:\n    output:\n" in listed.stdout
    assert "output tokens\n    there is a price for them by now\n" in listed_now.stdout
    assert "  house-model-1:\n    per" not in listed_now.stdout
    assert "3 calls without a cost would get one: $0.0021 together." in dry.stdout
    assert still == (None, 0, 3)
    assert "3 calls without a cost got one: $0.0021 together." in done.stdout
    assert sums(installed, "new") == ("0.0021", 3, 0)
    assert "0 calls without a cost got one: $0 together." in again.stdout
    assert "house-model-1" not in cli(installed, "missing").stdout


def test_calls_that_have_a_cost_change_only_when_all_are_asked_for(installed: Product, upstream: Upstream) -> None:
    record = called(installed, "told")
    before = sums(installed, "told")
    dear = {"vendor/model": {"per": "1K", "input": 1, "output": 1}}
    installed.config.write_text(json.dumps(settings(upstream) | {"pricing": dear}))

    cli(installed, "reprice", "--since", "2026-01-01")
    unchanged = sums(installed, "told")
    done = cli(installed, "reprice", "--since", "2026-01-01", "--all")

    assert unchanged == before
    assert f"of told changed from ${before[0]} to ${sums(installed, 'told')[0]}." in done.stdout
    assert installed.record(record["request_id"])["cost"] == "0.17"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["reprice"], "Missing option '--since'"),
        (["reprice", "--since", "yesterday"], "'yesterday' is no day such as 2026-11-24"),
        (["reprice", "--since", "2026-02-30"], "'2026-02-30' is no day such as 2026-11-24"),
        (["reprice", "--since", "2026-02-02", "--until", "2026-02-01"], "--until is before --since"),
        (["missing", "--since", "9999-12-31"], "is no day such as 2026-11-24"),
    ],
)
def test_days_that_cannot_be_are_refused_in_a_sentence(installed: Product, words: list[str], says: str) -> None:
    said = cli(installed, *words)

    assert said.returncode == 2
    assert says in said.stderr
    assert "Traceback" not in said.stderr


def test_other_callers_see_the_cost_of_their_own_calls_alone(installed: Product) -> None:
    installed.record(installed.call(key=OTHER_KEY).headers["x-request-id"])

    models = installed.get("/v1/stats", OTHER_KEY)["models"]

    assert [(each["model"], each["requests_unpriced"]) for each in models] == [("m", 1)]


def test_a_ledger_in_which_all_have_a_cost_says_so_and_one_that_is_away_too(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"

    file.write_text("ledger: {url: 'sqlite:///ledger.db'}")
    empty = commands.run("prices", "missing", "--config", file, folder=tmp_path)
    file.write_text("ledger: {url: 'postgresql://me:s3cret@127.0.0.1:1/nowhere'}")
    away = commands.run("prices", "missing", "--config", file, folder=tmp_path)
    file.write_text("pricing: {m: {inptu: 1}}")
    faulty = commands.run("prices", "missing", "--config", file, folder=tmp_path)

    assert (empty.returncode, empty.stdout) == (0, "Every call whose usage is known has a cost.\n")
    assert away.returncode == 1
    assert "cannot be used" in away.stderr
    assert "s3cret" not in away.stderr
    assert faulty.returncode == 2
    assert "pricing.m.inptu (line 1): unknown setting" in faulty.stderr
