"""The order of the line: authenticate → read → route → admit → record → forward → meter. No stage knows another."""

from __future__ import annotations

from llm_one_api.errors import GatewayError, Overloaded, UpstreamTimeout
from llm_one_api.gateway.admit import Admit
from llm_one_api.gateway.authenticate import Authenticate
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.forward import ClientLeft, Forward
from llm_one_api.gateway.meter import Meter
from llm_one_api.gateway.read import Request, read
from llm_one_api.gateway.record import Entry, Record
from llm_one_api.gateway.reply import Reply
from llm_one_api.gateway.route import Route
from llm_one_api.gateway.watch import Visit, Watch
from llm_one_api.values import Call, Outcome, Target


class Line:
    """Carries calls, one at a time for each greenlet."""

    def __init__(
        self, *, authenticate: Authenticate, route: Route, admit: Admit, record: Record, forward: Forward, watch: Watch
    ) -> None:
        """Join the stages."""
        self.authenticate = authenticate
        self.route = route
        self.admit = admit
        self.record = record
        self.forward = forward
        self.watch = watch
        self.meter = Meter(watch)

    def carry(self, call: Call, endpoint: Endpoint) -> Reply:
        """Take one call from the door to the upstream and back. Raises a GatewayError; what must be recorded is."""
        caller = self.authenticate(call.api_key)
        visit = self.watch.enter(call.client_fd)
        request: Request | None = None
        try:
            try:
                self._check_room()
                request = read(call, visit, timeout=self.watch.bounds.body_timeout)
                target = self.route(caller, request.asked.model)
                permit = self.admit(caller, target)
                entry = self.record.open(
                    call, caller, target, permit, stream=request.stream, end_user=request.asked.end_user
                )
            except GatewayError as error:
                model = request.asked.model if request else None
                self.record.reject(call, caller, error, model=model, stream=bool(request and request.stream))
                raise
            return self._send(call, endpoint, request, target, visit, entry)
        except GatewayError as error:
            error.waited = visit.waited
            self.watch.leave(visit)
            raise
        except BaseException:
            self.watch.leave(visit)
            raise

    def _send(
        self, call: Call, endpoint: Endpoint, request: Request, target: Target, visit: Visit, entry: Entry
    ) -> Reply:
        try:
            answer = self.forward(call, endpoint, request, target, visit, entry)
            return self.meter(answer, entry, visit)
        except GatewayError as error:
            entry.close(outcome_of(error), status=error.status, error=error.code)
            raise
        except BaseException:
            entry.close("aborted", status=500, error="internal_error")
            raise

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


def outcome_of(error: GatewayError) -> Outcome:
    """Tell how a call ended that was sent upstream and got no usable answer."""
    if isinstance(error, UpstreamTimeout):
        return "timeout"
    if isinstance(error, ClientLeft):
        return "client_gone"
    return "aborted" if isinstance(error, Overloaded) else "upstream_error"
