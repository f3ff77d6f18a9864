"""What tests of connections share: pools that keep none beyond a test, authorities, upstreams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from llm_one_api.gateway.http import Connection
from llm_one_api.gateway.pool import Origin, Pool
from tests.harness.certificates import Authority
from tests.harness.upstream import Upstream, scripted

MakePool = Callable[..., Pool]
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    """Makes pools by URL."""
    made: list[Pool] = []

    def make(url: str, *args: Any, **kwargs: Any) -> Pool:
        made.append(Pool(Origin.of(url), *args, **kwargs))
        return made[-1]

    yield make
    for pool in made:
        pool.retire()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def plain() -> Iterator[Upstream]:
    with scripted() as one:
        yield one


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[Upstream]:
    with scripted(authority.server("localhost"), "localhost") as one:
        yield one


def ask(connection: Connection, head: bytes = GET, body: bytes = b"", *, send: bool = True) -> bytes:
    """Carry one call over *connection*, and close it if that fails."""
    try:
        if send:
            connection.send(head, body)
        connection.read_head()
        pieces = []
        while piece := connection.read():
            pieces.append(piece)
    except BaseException:
        connection.close()
        raise
    return b"".join(pieces)
