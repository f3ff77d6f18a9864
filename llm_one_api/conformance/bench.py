"""What a case works with: it sends calls, and says what must be true of them."""

from __future__ import annotations

import itertools
import json
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llm_one_api.conformance.case import Case, Unprovable
from llm_one_api.conformance.client import Ask, Line, Reply
from llm_one_api.conformance.gateway import Gateway, Record
from llm_one_api.conformance.judge import Finding, That, compare, compare_bytes, differences
from llm_one_api.conformance.models import UPSTREAM_KEY
from llm_one_api.conformance.scripts import CASE, Script
from llm_one_api.conformance.upstream import Account, Exchange, Upstream


@dataclass(eq=False)
class Call:
    """One call through the gateway, while it goes on and after it."""

    ask: Ask
    token: str
    key: str
    line: Line
    account: Account
    reply: Reply | None = None
    record: Record | None = None

    @property
    def script(self) -> Script:
        """What the upstream played in the end."""
        scripts = self.account.scripts
        return scripts[min(max(len(self.account.exchanges), 1), len(scripts)) - 1]

    @property
    def seen(self) -> Exchange:
        """The last request that the upstream saw. Raises LookupError."""
        if not self.account.exchanges:
            raise LookupError("the upstream saw no request")
        return self.account.exchanges[-1]

    @property
    def sent_json(self) -> Any:
        """The body of it, as JSON."""
        return json.loads(self.seen.body)

    def read(self, enough: Callable[[bytes], bool] = lambda _: False) -> Reply:
        """Read the answer to its end, or until *enough* of it is there."""
        self.reply = self.line.read(enough)
        return self.reply

    def hang_up(self, *, reset: bool = False) -> None:
        """Leave."""
        self.line.hang_up(reset=reset)

    def delivered(self) -> bytes:
        """Give the upstream's body, with the name of this exchange in it."""
        return self.script.body.replace(CASE, self.token.encode())


class Bench:
    """For one case: collects what is not as it must be, and goes on."""

    def __init__(self, case: Case, gateway: Gateway, upstream: Upstream) -> None:
        """Begin with nothing found."""
        self.case = case
        self.gateway = gateway
        self.findings: list[Finding] = []
        self.doubts: list[str] = []
        """Why something could not be judged."""
        self.calls: list[Call] = []
        self._upstream = upstream
        self._number = itertools.count(1)

    # -- calling --

    def line(self) -> Line:
        """Open a connection, for calls that one process is to answer."""
        return Line(self.gateway.url)

    def call(self, ask: Ask, *scripts: Script, **more: Any) -> Call:
        """Send a request, to be answered with *scripts*, and read the whole answer."""
        call = self.begin(ask, *scripts, **more)
        call.read()
        return call

    def begin(
        self,
        ask: Ask,
        *scripts: Script,
        key: str | None = None,
        line: Line | None = None,
        headers: Mapping[str, str] | None = None,
        pieces: Callable[[Call, bytes], Iterable[bytes]] | None = None,
    ) -> Call:
        """Send a request, and do not wait for the answer. *pieces* sends the body in its own time."""
        if ask.model is not None and ask.model not in self.gateway.models:
            raise Unprovable(f"the model {ask.model} is not configured")
        name = re.sub(r"[^a-z0-9]+", "-", self.case.name)
        token = f"case-{name}-{secrets.token_hex(8)}"
        key = self.gateway.key if key is None else key
        line = line or Line(self.gateway.url)
        call = Call(ask, token, key, line, self._upstream.open(token, scripts))
        self.calls.append(call)
        body = ask.body.replace(CASE, token.encode())
        path = ask.path.replace(CASE.decode(), token)
        head = {"Authorization": f"Bearer {key}", "X-Request-Id": token, **ask.headers, **(headers or {})}
        head = {name: value for name, value in head.items() if value}
        if ask.method == "POST":
            head["Content-Length"] = str(len(body))
        line.again()
        line.send(ask.method, path, head, pieces(call, body) if pieces else (body,))
        return call

    # -- judging --

    def holds(
        self, call: Call, *, body: bytes | That | None = None, clean: bool = True, requests: int = 1, **record: Any
    ) -> None:
        """Check all there is: what the caller got, what was recorded, what the upstream saw.

        What is not said is as the script says: its bytes, its usage, its outcome.
        """
        self.gets(call, body=body, clean=clean)
        self.records(call, **record)
        self.reaches(call, requests)

    def gets(
        self, call: Call, *, status: int | That | None = None, body: bytes | That | None = None, clean: bool = True
    ) -> None:
        """Check what the caller got."""
        reply = call.reply
        if reply is None:
            self.check("reply", "an answer", "none was read")
            return
        self.check("reply.status", call.script.status if status is None else status, reply.status)
        self.check("reply ended cleanly", clean, reply.clean)
        if isinstance(body, That):
            self.check("reply.body", body, reply.body)
        else:
            self.findings += compare_bytes("reply.body", call.delivered() if body is None else body, reply.body)

    def records(self, call: Call, **fields: Any) -> None:
        """Check the record; what is not said is as the script and the request say."""
        if self.gateway.hidden:
            self.doubt(self.gateway.hidden)
            return
        expected = {**self._by_script(call), **fields}
        found = self.gateway.settled(
            call.reply.request_id if call.reply else None,
            call.token,
            call.key,
            lambda record: not list(differences(expected, record)),
        )
        call.record = found
        if found is None:
            self.check("record", "one within the time", "none")
            return
        self.findings += differences(expected, found)
        self._check_times(found)

    def reaches(self, call: Call, requests: int = 1, **headers: str | That | None) -> Exchange | None:
        """Check what the upstream saw: how many requests, in whose name; *headers* in snake case."""
        exchanges = call.account.exchanges
        self.check("requests that the upstream saw", requests, len(exchanges))
        for exchange in exchanges:
            seen = exchange.raw_head + exchange.body
            self.check("the caller's key upstream", False, call.key.encode() in seen)
            if call.ask.model is not None:
                self.check("the upstream's own key upstream", True, UPSTREAM_KEY.encode() in exchange.raw_head)
            for name, value in headers.items():
                self.check(f"upstream saw {name}", value, exchange.headers.get(name.replace("_", "-")))
        return exchanges[-1] if exchanges else None

    def check(self, what: str, expected: Any, found: Any) -> None:
        """Note it if *found* is not as *expected*."""
        self.findings += compare(what, expected, found)

    def doubt(self, reason: str) -> None:
        """Note that something cannot be judged."""
        if reason not in self.doubts:
            self.doubts.append(reason)

    # -- what must hold of every call --

    def _by_script(self, call: Call) -> dict[str, Any]:
        script, ask = call.script, call.ask
        usage = script.usage
        expected: dict[str, Any] = {
            "outcome": script.outcome,
            "status": call.reply.status if call.reply else None,
            "stream": ask.stream,
            "usage": usage,
            "usage_source": "none" if usage is None else "reported",
            "usage_faults": [],
            "client_request_id": call.token,
        }
        if script.usage_raw is not None:
            expected["usage_raw"] = script.usage_raw
        if ask.model is not None:
            expected["model"] = ask.model
            expected["upstream"] = ask.model
        if script.outcome == "success":
            expected.update(
                error=None,
                response_model=script.model,
                finish_reason=script.finish_reason,
                service_tier=script.service_tier,
            )
        exchanges = call.account.exchanges
        if exchanges:
            expected["attempts"] = That(
                f"{len(exchanges)} attempts, as the upstream saw", lambda tries: len(tries) == len(exchanges)
            )
            if exchanges[-1].status is not None:
                expected["provider_request_id"] = f"up-{call.token}"
        return expected

    def _check_times(self, record: Record) -> None:
        """Check that the times agree with each other; of a call that was aborted they are not known."""
        if record.get("outcome") == "aborted":
            return
        duration, ttft = record.get("duration"), record.get("ttft")
        self.check("record.duration", That("a number from 0", lambda seconds: seconds >= 0), duration)
        if ttft is not None:
            self.check(
                "record.ttft", That(f"at most the duration, {duration}", lambda seconds: seconds <= duration), ttft
            )
