"""Server-sent events as they are in the wild: however they are cut and written, bytes and figures stay the same."""

from __future__ import annotations

from collections.abc import Iterable

from llm_one_api.conformance.bench import Bench
from llm_one_api.conformance.case import case
from llm_one_api.conformance.scripts import DONE, Pause, Step, cut
from llm_one_api.conformance.shapes.openai import (
    ASK_STREAM,
    ASK_USAGE,
    BEGUN,
    ENDED,
    USAGE_EVENT,
    chunk,
    stream_of,
)

ALL = b"".join((*ENDED, USAGE_EVENT, DONE))
WITHOUT = b"".join((*ENDED, DONE))


def wild(name: str, says: str, steps: Iterable[Step], *, without: bytes | None = None) -> None:
    """Make two cases of a stream: for a caller who asked for usage, and for one who did not (and gets *without*)."""
    script = stream_of(*steps)

    @case(f"sse/{name}", says)
    def asked(bench: Bench) -> None:
        bench.holds(bench.call(ASK_USAGE, script))

    if without is not None:

        @case(f"sse/{name}-on-behalf", f"{says} So it is where usage was asked for on the caller's behalf.")
        def on_behalf(bench: Bench) -> None:
            bench.holds(bench.call(ASK_STREAM, script), body=without)


def spaced(data: bytes, size: int, seconds: float) -> list[Step]:
    """Cut *data*, with a pause after each piece, so that each arrives by itself."""
    return [step for piece in cut(data, size) for step in (piece, Pause(seconds=seconds))]


wild("every-byte", "A stream may be cut at every byte.", cut(ALL, 1), without=WITHOUT)
wild(
    "odd-cuts", "A stream may be cut anywhere, each piece arriving by itself.", spaced(ALL, 37, 0.004), without=WITHOUT
)
wild("all-at-once", "Many events may come in one piece.", [ALL], without=WITHOUT)
wild("crlf", "Lines may end in CR LF.", [ALL.replace(b"\n", b"\r\n")], without=WITHOUT.replace(b"\n", b"\r\n"))
wild(
    "crlf-cut",
    "A CR may arrive before its LF.",
    spaced(ALL.replace(b"\n", b"\r\n"), 61, 0.004),
    without=WITHOUT.replace(b"\n", b"\r\n"),
)
wild("cr", "Lines may end in CR alone.", [ALL.replace(b"\n", b"\r")], without=WITHOUT.replace(b"\n", b"\r"))
wild(
    "no-space",
    "`data:` needs no space behind it.",
    [ALL.replace(b"data: ", b"data:")],
    without=WITHOUT.replace(b"data: ", b"data:"),
)
wild(
    "comments",
    "Comments may stand anywhere, alone and inside an event.",
    [b": waiting\n\n", *BEGUN, b": still here\n" + ENDED[-1], b":\n\n", USAGE_EVENT, DONE],
    without=b": waiting\n\n" + b"".join(BEGUN) + b": still here\n" + ENDED[-1] + b":\n\n" + DONE,
)
wild(
    "other-fields",
    "Events may have ids, names and retry times.",
    [b"retry: 3000\n\n", *(b"id: 7\nevent: message\n" + each for each in (*ENDED, USAGE_EVENT)), DONE],
    without=b"retry: 3000\n\n" + b"".join(b"id: 7\nevent: message\n" + each for each in ENDED) + DONE,
)
wild(
    "no-blank-line-at-the-end",
    "The last event may lack its blank line.",
    [*ENDED, USAGE_EVENT, DONE.rstrip(b"\n")],
    without=b"".join(ENDED) + DONE.rstrip(b"\n"),
)
wild(
    "no-newline-after-usage",
    "Usage may stand in the last event, without a blank line.",
    [*ENDED, USAGE_EVENT.rstrip(b"\n")],
)
CHINESE = chunk({"content": "你好，世界 👋🏽 é"})
wild(
    "utf-8-cut",
    "A character may be cut in the middle.",
    [*spaced(CHINESE, 1, 0.0005), ALL],
    without=CHINESE + WITHOUT,
)
wild(
    "bom",
    "A byte order mark may stand in front.",
    [b"\xef\xbb\xbf" + BEGUN[0], ALL],
    without=b"\xef\xbb\xbf" + BEGUN[0] + WITHOUT,
)
BIG = chunk({"content": "0123456789abcdef" * (4 * 2**20 // 16)})
wild("event-of-4-mb", "One event may have 4 MB.", [BEGUN[0], *cut(BIG, 65536), ALL], without=BEGUN[0] + BIG + WITHOUT)
wild(
    "4-mb-and-usage-at-once",
    "What ends a large event may come with the events behind it.",
    [BEGUN[0], BIG[:-100], BIG[-100:] + ALL],
    without=BEGUN[0] + BIG + WITHOUT,
)
MANY = b"".join(chunk({"content": f"{number} "}) for number in range(2000))
wild("two-thousand-events", "Two thousand events may come as fast as they can.", [MANY, ALL], without=MANY + WITHOUT)
wild(
    "split-data",
    "The data of one event may stand in several lines.",
    [*BEGUN, ENDED[-1], USAGE_EVENT.replace(b',"choices"', b',\ndata: "choices"'), DONE],
    without=WITHOUT,
)
wild(
    "after-done",
    "What comes after `[DONE]` passes, and counts for nothing.",
    [ALL, b": bye\n\n"],
)
