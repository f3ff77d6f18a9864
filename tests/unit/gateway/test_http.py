"""The HTTP client, as far as it needs no socket."""

from __future__ import annotations

import gevent

from llm_one_api.gateway.http import LONGEST_TURN, Connection


class Endless:
    """What TLS is to the client: records that are there at once, and no end of them."""

    def __init__(self) -> None:
        self.said = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

    def recv_into(self, buffer: bytearray, size: int) -> int:
        said, self.said = self.said, b"data: 1\n\n"
        buffer[: len(said)] = said
        return len(said)


def test_who_sends_without_end_lets_others_have_their_turn() -> None:
    turns: list[int] = []

    def another() -> None:
        while True:
            turns.append(1)
            gevent.sleep(0)

    running = gevent.spawn(another)
    connection = Connection(Endless())
    connection.read_head()
    for _ in range(10 * LONGEST_TURN):
        connection.read()
    running.kill()

    assert 8 <= len(turns) <= 12
