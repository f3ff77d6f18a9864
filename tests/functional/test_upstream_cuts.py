"""A wire that is cut after any number of bytes, either way, with TLS and without: the other upstream answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from struct import pack

import pytest

from tests.harness.certificates import Authority
from tests.harness.failover import balanced, model
from tests.harness.gateway import Gateway
from tests.harness.upstream import CHAT, Conversation, Script, Upstream, chunk, json_answer, scripted

GOOD = CHAT.replace(b'"c1"', b'"other"')
OPEN_ENDED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + CHAT
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    + chunk(CHAT[:99])
    + chunk(CHAT[99:])
    + b"0\r\n\r\n"
)
EVERY = 17
"""Bytes from one cut to the next: the whole sweep stays short, and no field is spared."""


class Wire:
    """Leads to *port*; each connection is reset when so many bytes have passed, as `cuts` say: from us, from there."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]
        self.cuts: list[tuple[float, float]] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(10)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                cuts = self.cuts.pop(0) if self.cuts else (float("inf"), float("inf"))
                far = socket.create_connection(("127.0.0.1", self._to), timeout=20)
                for one, other, most in ((near, far, cuts[0]), (far, near, cuts[1])):
                    threading.Thread(target=_pass_on, args=(one, other, most), daemon=True).start()


def _pass_on(one: socket.socket, other: socket.socket, most: float) -> None:
    """Pass bytes from *one* to *other*; after *most* of them, or when either ends, reset both."""
    passed = 0
    with suppress(OSError):
        while passed < most and (piece := one.recv(int(min(65536, most - passed)))):
            other.sendall(piece)
            passed += len(piece)
    for sock in (one, other):
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
            sock.shutdown(socket.SHUT_RD)  # wakes up whoever waits for more of it
        sock.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[Upstream]:
    with scripted() as it:
        yield it


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[Upstream]:
    with scripted(authority.server("localhost"), "localhost") as it:
        yield it


@pytest.fixture(scope="module")
def wires(plain: Upstream, secure: Upstream) -> Iterator[dict[str, Wire]]:
    made = {"plain": Wire(plain.port), "TLS": Wire(secure.port)}
    yield made
    for wire in made.values():
        wire.close()


@pytest.fixture(scope="module")
def it(
    plain: Upstream, wires: dict[str, Wire], authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    with scripted() as other:
        other.answer(json_answer(200, GOOD))
        models = {
            "plain": model(f"http://127.0.0.1:{wires['plain'].port}/v1", other.url),
            "TLS": model(f"https://localhost:{wires['TLS'].port}/v1", other.url, ca_file=str(authority.file)),
            "direct": model(plain.url, other.url),
        }
        with balanced(tmp_path_factory.mktemp("cuts"), models) as it:
            yield it


def closes_after(data: bytes) -> Script:
    """End the connection in order, as a process that is killed does if it has read all."""

    def answer(talk: Conversation) -> None:
        if data:
            talk.send(data)
        talk._sock.shutdown(socket.SHUT_RDWR)

    return answer


@pytest.mark.parametrize("way", ["from us", "from there"])
@pytest.mark.parametrize("kind", ["plain", "TLS"])
def test_wherever_a_wire_is_cut_another_upstream_answers(
    it: Gateway, wires: dict[str, Wire], plain: Upstream, secure: Upstream, kind: str, way: str
) -> None:
    """With TLS the first thousands of bytes are the handshake's."""
    for upstream in (plain, secure):
        upstream.answer(json_answer(200, CHAT, b"Connection: close\r\n"))
    wire, forever = wires[kind], float("inf")
    seen: list[bytes] = []
    for at in range(0, 10_000, EVERY):
        wire.cuts = [(at, forever) if way == "from us" else (forever, at)]
        seen.append(it.post(model=kind).content)
        if seen[-1] == CHAT:
            break  # all of it has passed before the cut

    assert seen[:-1] == [GOOD] * (len(seen) - 1)
    assert seen[-1] == CHAT
    assert len(seen) > (40 if kind == "TLS" else 10)
    assert all(record.outcome == "success" for record in it.records())


@pytest.mark.parametrize("whole", [CHUNKED, OPEN_ENDED], ids=["in chunks", "to the end of the connection"])
def test_wherever_an_upstream_ends_a_connection_too_soon_another_answers(
    it: Gateway, plain: Upstream, whole: bytes
) -> None:
    head = whole.index(b"\r\n\r\n") + 4
    cuts = [at for at in range(0, len(whole), EVERY) if at != head or whole is CHUNKED]  # no body may be meant so
    plain.answer(*[closes_after(whole[:at]) for at in cuts], closes_after(whole))

    given = [it.post(model="direct").content for _ in cuts]
    last = it.post(model="direct").content

    assert given == [GOOD] * len(given)
    assert last == CHAT
