"""The order of the line: authenticate → read → route → balance → prepare → admit → record → forward → meter.

No stage knows another.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from llm_one_api.errors import BadRequest, BodyTooLarge, GatewayError, Overloaded, UpstreamFailed, UpstreamTimeout
from llm_one_api.gateway.admit import Admit, Grant
from llm_one_api.gateway.answer import Answer, ClientLeft, Turn
from llm_one_api.gateway.authenticate import Authenticate
from llm_one_api.gateway.balance import Balance
from llm_one_api.gateway.counts import Counting, Fill
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.estimate import Estimator
from llm_one_api.gateway.forward import Forward
from llm_one_api.gateway.limit_headers import with_standing
from llm_one_api.gateway.meter import Meter
from llm_one_api.gateway.prepare import Outgoing, Prepare, Unsupported
from llm_one_api.gateway.read import Read, Request
from llm_one_api.gateway.record import Entry, Record
from llm_one_api.gateway.reply import Reply
from llm_one_api.gateway.route import Route
from llm_one_api.gateway.tour import Tour
from llm_one_api.gateway.watch import Visit, Watch
from llm_one_api.targets import Target
from llm_one_api.values import Call, Caller, Outcome


class Way(Protocol):
    """A call's way over upstreams: a `Trip` over those of its model, or a `Tour` of all that there are."""

    @property
    def target(self) -> Target:
        """Where the call goes now."""

    @property
    def charged(self) -> Target:
        """The same, as its record and its limits have it."""

    @property
    def turn(self) -> Turn:
        """Its turn there."""

    @property
    def may_move(self) -> bool:
        """Whether somebody else may be asked, should this upstream fail."""

    def judge(self, answer: Answer, *, again: bool) -> Answer | None:
        """Give what is to be passed on; None: `target` is to be asked now. *again*: the call can be sent once more."""

    def failed(self, error: GatewayError, *, again: bool) -> Answer | None:
        """Do the same where there was no usable answer. Raises a GatewayError if nothing can be passed on."""

    def end(self) -> None:
        """Note that the call is over without an answer."""


class Line:
    """Carries calls, one at a time for each greenlet."""

    def __init__(
        self,
        *,
        authenticate: Authenticate,
        read: Read,
        route: Route,
        balance: Balance,
        prepare: Prepare,
        admit: Admit,
        record: Record,
        estimator: Estimator,
        forward: Forward,
        watch: Watch,
    ) -> None:
        """Join the stages."""
        self.authenticate = authenticate
        self.read = read
        self.route = route
        self.balance = balance
        self.prepare = prepare
        self.admit = admit
        self.record = record
        self.estimator = estimator
        self.forward = forward
        self.watch = watch
        self.meter = Meter(watch)

    def carry(self, call: Call, endpoint: Endpoint) -> Reply:
        """Take one call from the door to the upstream and back. Raises a GatewayError; what must be recorded is."""
        caller = self.authenticate(call.api_key, call.peer)
        visit = self.watch.enter(call.client_fd, caller.on_client_gone, caller.key)
        request: Request | None = None
        way: Way | None = None
        try:
            try:
                self._check_room()
                request = self.read(call, endpoint, visit)
                way = self._way(call.started, caller, endpoint, request, visit)
                ready = self._make_ready(way, call, endpoint, request)
                grant = self.admit(call, caller, endpoint, request, way.charged)
                entry = self._open(call, caller, way.charged, grant, request)
            except GatewayError as error:
                model = request.model if request else None
                self.record.reject(call, caller, error, model=model, stream=bool(request and request.stream))
                raise
            try:
                entry.counting = self._counting(endpoint, request, ready.model)
                reply = self._ask(way, ready, call, endpoint, request, visit, entry)
                return with_standing(reply, grant.standing)
            except GatewayError as error:
                _close(entry, endpoint, error)
                error.standing = grant.standing
                raise
            except BaseException:
                entry.close("aborted", status=500, error="internal_error")
                raise
        except BaseException as error:
            if way is not None:
                way.end()
            if isinstance(error, GatewayError):
                error.waited = visit.waited
            self.watch.leave(visit)
            raise
        finally:
            if request is not None and request.upload is not None:
                request.upload.close()

    def _open(self, call: Call, caller: Caller, target: Target, grant: Grant, request: Request) -> Entry:
        """Open the record of a call that may be made. If that cannot be, it is not made, and holds nothing."""
        try:
            return self.record.open(call, caller, target, grant, stream=request.stream, end_user=request.end_user)
        except BaseException:
            grant.cancel()
            raise

    def _way(self, started: float, caller: Caller, endpoint: Endpoint, request: Request, visit: Visit) -> Way:
        """Choose where the call goes: to the model's upstreams, or where what it is about may have been made."""
        if endpoint.by_id:
            return Tour(self.route.everywhere(caller, endpoint))
        route = self.route(caller, request.model)
        fallbacks = partial(self.route.fallbacks, caller, route)
        again = request.upload is None  # a form passes once
        return self.balance(route, fallbacks, endpoint, visit, started=started, again=again)

    def _ask(
        self, way: Way, ready: Outgoing, call: Call, endpoint: Endpoint, request: Request, visit: Visit, entry: Entry
    ) -> Reply:
        """Ask one upstream after the other, until there is an answer to be passed on."""
        upload = request.upload
        while True:
            try:
                answer = self.forward(ready, call.started, visit, entry, way.turn)
                if upload is not None:  # what stands behind its model has been read by now
                    entry.stream, entry.end_user = upload.streams, upload.end_user
                found = way.judge(answer, again=upload is None or not upload.passed)
                if found is answer:
                    return self.meter(answer, endpoint, entry, visit, wait=way.may_move)
            except (UpstreamFailed, UpstreamTimeout) as error:
                entry.spoils(error.code)
                found = way.failed(error, again=upload is None or not upload.passed)
            if found is not None:  # one from before tells more
                entry.goes_to(way.target)
                entry.provider_request_id = found.provider_request_id
                return self.meter(found, endpoint, entry, visit)
            ready = self._make_ready(way, call, endpoint, request)
            entry.goes_to(way.target)

    def _make_ready(self, way: Way, call: Call, endpoint: Endpoint, request: Request) -> Outgoing:
        """Make the request ready for the first upstream on its way that can be told what was asked."""
        while True:
            try:
                return self.prepare(call, endpoint, request, way.target)
            except Unsupported as error:
                way.failed(error, again=True)

    def _counting(self, endpoint: Endpoint, request: Request, model: str) -> Counting | None:
        if not endpoint.counts and not endpoint.counts_output:
            return None
        return self.estimator.begin(model, endpoint.counts, request.body)

    def _check_room(self) -> None:
        bounds = self.watch.bounds
        if self.watch.draining:
            raise Overloaded("The gateway is being stopped. Try again.", code="shutting_down", retry_after=1)
        if self.watch.active > bounds.max_streams:
            raise Overloaded(
                f"The gateway is carrying all the calls it can ({bounds.max_streams} a process). Try again.",
                code="too_many_calls",
                retry_after=1,
            )


def _close(entry: Entry, endpoint: Endpoint, error: GatewayError) -> None:
    """Close the record of a call that got no usable answer. Who left may be billed for what was asked."""
    outcome = outcome_of(error)
    left = outcome == "client_gone" and endpoint.counts
    count = Fill(kind="partial", output=endpoint.counts_output) if left else None
    entry.close(outcome, status=error.status, error=error.code, count=count)


def outcome_of(error: GatewayError) -> Outcome:
    """Tell how a call ended that was sent upstream and got no usable answer."""
    if isinstance(error, UpstreamTimeout):
        return "timeout"
    if isinstance(error, ClientLeft) or error.code == "body_truncated":
        return "client_gone"
    if isinstance(error, BadRequest | BodyTooLarge):
        return "rejected"  # of the rest of a form
    return "aborted" if isinstance(error, Overloaded) else "upstream_error"
