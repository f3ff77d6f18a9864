"""The order of the line: authenticate → read → route → prepare → admit → record → forward → meter.

No stage knows another.
"""

from __future__ import annotations

from collections.abc import Sequence

from llm_one_api.errors import BadRequest, BodyTooLarge, GatewayError, Overloaded, UpstreamFailed, UpstreamTimeout
from llm_one_api.gateway.admit import Admit, Grant
from llm_one_api.gateway.authenticate import Authenticate
from llm_one_api.gateway.counts import Counting, Fill
from llm_one_api.gateway.endpoints import Endpoint
from llm_one_api.gateway.estimate import Estimator
from llm_one_api.gateway.forward import Answer, ClientLeft, Forward
from llm_one_api.gateway.limit_headers import with_standing
from llm_one_api.gateway.meter import Meter
from llm_one_api.gateway.prepare import Prepare
from llm_one_api.gateway.read import Read, Request
from llm_one_api.gateway.record import Entry, Record
from llm_one_api.gateway.reply import Reply
from llm_one_api.gateway.route import Route
from llm_one_api.gateway.watch import Visit, Watch
from llm_one_api.targets import Target
from llm_one_api.values import Call, Caller, Outcome

NOT_FOUND = 404
_ELSEWHERE = frozenset({401, 403, NOT_FOUND, 405})
"""What an upstream says of something that another one has made, or that it has no such endpoint, or refuses our key."""


class Line:
    """Carries calls, one at a time for each greenlet."""

    def __init__(
        self,
        *,
        authenticate: Authenticate,
        read: Read,
        route: Route,
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
        visit = self.watch.enter(call.client_fd, caller.on_client_gone)
        request: Request | None = None
        try:
            try:
                self._check_room()
                request = self.read(call, endpoint, visit)
                targets = self._targets(caller, endpoint, request)
                ready = self.prepare(call, endpoint, request, targets[0])
                grant = self.admit(call, caller, endpoint, request, targets[0])
                entry = self._open(call, caller, targets[0], grant, request)
            except GatewayError as error:
                model = request.model if request else None
                self.record.reject(call, caller, error, model=model, stream=bool(request and request.stream))
                raise
            try:
                entry.counting = self._counting(endpoint, request, ready.model)
                if len(targets) == 1:
                    answer = self.forward(ready, call.started, visit, entry)
                else:
                    answer = self._ask_all(targets, call, endpoint, request, visit, entry)
                if request.upload is not None:  # what stands behind its model has been read by now
                    entry.stream, entry.end_user = request.upload.streams, request.upload.end_user
                return with_standing(self.meter(answer, endpoint, entry, visit), grant.standing)
            except GatewayError as error:
                _close(entry, endpoint, error)
                error.standing = grant.standing
                raise
            except BaseException:
                entry.close("aborted", status=500, error="internal_error")
                raise
        except GatewayError as error:
            error.waited = visit.waited
            self.watch.leave(visit)
            raise
        except BaseException:
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

    def _targets(self, caller: Caller, endpoint: Endpoint, request: Request) -> Sequence[Target]:
        """Tell where the call goes: to the model's upstream, or where what it is about may have been made."""
        if endpoint.by_id:
            return self.route.everywhere(caller, endpoint.name)
        return (self.route(caller, request.model),)

    def _ask_all(
        self, targets: Sequence[Target], call: Call, endpoint: Endpoint, request: Request, visit: Visit, entry: Entry
    ) -> Answer:
        """Ask one upstream after the other, until one knows of it; if none does, "not found" tells the most."""
        held: Answer | None = None
        failed: GatewayError | None = None
        for target in targets:
            entry.upstream = target.upstream.name
            try:
                answer = self.forward(self.prepare(call, endpoint, request, target), call.started, visit, entry)
            except (UpstreamFailed, UpstreamTimeout) as error:
                failed = failed or error
                continue
            if held is not None and (answer.status not in _ELSEWHERE or answer.status == NOT_FOUND):
                held.abort()
                held = None
            if answer.status not in _ELSEWHERE:
                return answer
            if held is None:
                held = answer
            else:
                answer.abort()
        if held is not None:
            entry.upstream = held.upstream.name
            return held
        raise failed or UpstreamFailed("No upstream could be asked.")

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
