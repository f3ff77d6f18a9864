"""One gateway for the session, whose models point to a port on which each test that needs one runs its upstream."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from llm_one_api.cli.own_gateway import OwnGateway, own_gateway
from llm_one_api.conformance.gateway import Gateway
from llm_one_api.conformance.models import config
from llm_one_api.conformance.run import Result, run
from llm_one_api.conformance.upstream import Upstream
from tests.harness.processes import free_port

KEY, DRAIN_KEY = "sk-conformance-admin-0001", "sk-conformance-drain-0002"


class Place:
    """The running gateway, and where its upstream has to be."""

    def __init__(self, running: OwnGateway, port: int) -> None:
        self.running = running
        self.address = f"127.0.0.1:{port}"
        self._port = port

    def gateway(self, url: str | None = None) -> Gateway:
        """Look at it from outside, or at what stands before it at *url*."""
        seen = Gateway(url or self.running.url, KEY, DRAIN_KEY, self.running.kill)
        seen.look()
        return seen

    @contextmanager
    def upstream(self) -> Iterator[Upstream]:
        """Run the upstream for the length of a block."""
        upstream = Upstream(socket.create_server(("127.0.0.1", self._port), backlog=256))
        try:
            yield upstream
        finally:
            upstream.close()


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    port = free_port()
    folder = tmp_path_factory.mktemp("gateway")
    sections = {**config(f"127.0.0.1:{port}", KEY, DRAIN_KEY), "server": {"workers": 1}}
    with own_gateway(folder, sections) as running:
        yield Place(running, port)


@pytest.fixture(scope="session")
def results(place: Place, request: pytest.FixtureRequest) -> dict[str, Result]:
    """Play all cases that this run of pytest asks about, together."""
    asked = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    cases = {params["case"].name: params["case"] for params in asked if "case" in params}
    with place.upstream() as upstream:
        return {result.case: result for result in run(cases.values(), place.gateway(), upstream)}
