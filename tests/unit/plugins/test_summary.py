"""The block of the founding document."""

from __future__ import annotations

from llm_one_api.plugins.summary import Figures, block

FOUNDING = """\
============================================================
📊 内存统计插件 - 最终统计数据
============================================================
总请求数: 150

模型: gpt-3.5-turbo
  ├─ 总请求数: 120
  ├─ 输入 Token (prompt): 6,500
  ├─ 输出 Token (completion): 18,000
  ├─ 总 Token: 24,500
  ├─ 总耗时: 180.50s
  ├─ 平均 Token/请求: 204.2
  └─ 平均耗时/请求: 1.50s

模型: gpt-4
  ├─ 总请求数: 30
  ├─ 输入 Token (prompt): 2,100
  ├─ 输出 Token (completion): 5,500
  ├─ 总 Token: 7,600
  ├─ 总耗时: 75.30s
  ├─ 平均 Token/请求: 253.3
  └─ 平均耗时/请求: 2.51s

============================================================"""

GPT_35 = Figures(
    requests=120, prompt_tokens=6500, completion_tokens=18000, total_tokens=24500, total_known=120,
    duration_us=180_500_000, duration_known=120,
)  # fmt: skip
GPT_4 = Figures(
    requests=30, prompt_tokens=2100, completion_tokens=5500, total_tokens=7600, total_known=30,
    duration_us=75_300_000, duration_known=30,
)  # fmt: skip


def test_the_block_is_the_founding_documents_to_the_character() -> None:
    assert block([("gpt-3.5-turbo", GPT_35), ("gpt-4", GPT_4)]) == FOUNDING


def test_what_is_unknown_is_a_dash_and_no_zero() -> None:
    lines = block([("m", Figures(requests=3))]).splitlines()

    assert lines[5:13] == [
        "模型: m",
        "  ├─ 总请求数: 3",
        "  ├─ 输入 Token (prompt): -",
        "  ├─ 输出 Token (completion): -",
        "  ├─ 总 Token: -",
        "  ├─ 总耗时: -",
        "  ├─ 平均 Token/请求: -",
        "  └─ 平均耗时/请求: -",
    ]


def test_averages_are_over_the_calls_that_tell() -> None:
    figures = Figures(requests=10, total_tokens=100, total_known=4, duration_us=9_000_000, duration_known=6)

    text = block([("m", figures)])

    assert "平均 Token/请求: 25.0" in text
    assert "平均耗时/请求: 1.50s" in text


def test_known_to_be_zero_is_zero() -> None:
    text = block([("m", Figures(requests=1, completion_tokens=0, total_tokens=0, total_known=1))])

    assert "输出 Token (completion): 0\n" in text
    assert "平均 Token/请求: 0.0\n" in text


def test_a_model_whose_name_has_line_breaks_cannot_write_lines_of_its_own() -> None:
    text = block([("x\n总请求数: 1000000\u2028", Figures(requests=1))])

    assert "模型: x\\n总请求数: 1000000\\u2028\n" in text
