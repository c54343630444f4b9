"""The way in for every Azure call: token, route, permission, fault, throttle, handler, journal. One ASGI application.

The world is brought up to its clock's time before anything else, so a handler always sees the present.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from email.utils import format_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from simulator.kernel.arm import ArmError, ArmRequest, Reply, Route, compact
from simulator.kernel.faults import ConnectionLostError, Faults
from simulator.kernel.journal import Journal
from simulator.kernel.throttle import Throttle
from simulator.kernel.world import World

# What a caller may do: a function of (caller, action, path) that says yes or no.
Allows = Callable[[str, str, str], bool]
# Tells who is calling from the request's headers, or raises the 401.
Identify = Callable[[dict[str, str]], str]
READS = ("GET", "HEAD")
PATHS_REMEMBERED = 4096


@dataclass(frozen=True)
class Asked:
    """A caller is allowed to write, and what it asked for is about to happen. `path` as it was written."""

    caller: str
    method: str
    path: str


@dataclass(frozen=True)
class Answered:
    """What was asked for has been `done`, or was refused."""

    caller: str
    method: str
    path: str
    done: bool


class Gate:
    """Answers the routes of all services."""

    def __init__(
        self,
        world: World,
        routes: Iterable[Route],
        *,
        identify: Identify,
        allows: Allows,
        known_subscriptions: Sequence[str],
        faults: Faults,
        journal: Journal,
    ) -> None:
        self.world = world
        self._routes = [(route, route.pattern) for route in routes]
        self._find = lru_cache(maxsize=PATHS_REMEMBERED)(
            self._find_anew
        )  # clients ask for the same things all the time
        self._identify = identify
        self._allows = allows
        self._subscriptions = {s.lower() for s in known_subscriptions}
        self.faults = faults
        self.journal = journal
        self.throttle = Throttle(world)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        request = Request(scope, receive)
        raw = await request.body()
        self.world.catch_up()
        asked = json.loads(raw) if raw else None
        try:
            reply = self._answer(request, asked)
        except ConnectionLostError:
            await send({"type": "http.disconnect"})
            raise
        body = compact(reply.body) if reply.body is not None else b""
        self.journal.write(_exchange(request, reply, self.world), raw, body)
        content = {"content-type": "application/json; charset=utf-8"} if body else {}
        content["date"] = format_datetime(self.world.now, usegmt=True)
        await Response(body, reply.status, headers={**reply.headers, **content})(scope, receive, send)

    def _answer(self, request: Request, asked: Any) -> Reply:
        try:
            headers = {k.lower(): v for k, v in request.headers.items()}
            caller = self._identify(headers)
            method, path = request.method, request.url.path
            fault = self.faults.hits(method, path)
            if fault is not None and not (fault.after or fault.lacks):
                raise fault.strike()
            reply = self._handle(method, path, request, asked, caller)
            if fault is None:
                return reply
            if fault.lacks:
                return Reply(reply.status, {**reply.body, "value": fault.cut_short(reply.body["value"])}, reply.headers)
            raise fault.strike()
        except ArmError as error:
            return Reply(error.status, error.body, error.headers)

    def _handle(self, method: str, path: str, request: Request, asked: Any, caller: str) -> Reply:
        route, params = self._find(method, path)
        subscription = params.get("subscription", "")
        if subscription and subscription.lower() not in self._subscriptions:
            raise ArmError(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
        if not self._allows(caller, route.needed_action, path):
            raise ArmError(
                403,
                "AuthorizationFailed",
                f"The client '{caller}' with object id '{caller}' does not have authorization to perform action "
                f"'{route.needed_action}' over scope '{path}' or the scope is invalid. If access was recently granted, "
                "please refresh your credentials.",
            )
        limits: dict[str, str] = {}
        if subscription:
            limits = self.throttle.spend(method, subscription.lower(), caller, route.bucket, path.lower())
        query = {k.lower(): v for k, v in request.query_params.items()}
        if subscription and "api-version" not in query:
            raise ArmError(
                400,
                "MissingApiVersionParameter",
                "The api-version query parameter (?api-version=) is required for all requests.",
            )
        base_url = f"{request.url.scheme}://{request.url.netloc}"
        headers = {k.lower(): v for k, v in request.headers.items()}
        arm_request = ArmRequest(
            method, path, params, query, asked if isinstance(asked, dict) else {}, headers, base_url, caller
        )
        reply = route.handler(arm_request) if method in READS else self._write(route, arm_request)
        return Reply(reply.status, reply.body, {**limits, **reply.headers})

    def _write(self, route: Route, request: ArmRequest) -> Reply:
        who_what_where = request.caller, request.method, request.path
        self.world.tell(Asked(*who_what_where))
        done = False
        try:
            reply = route.handler(request)
            done = True
            return reply
        finally:
            self.world.tell(Answered(*who_what_where, done))

    def _find_anew(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        other_method = False
        for route, pattern in self._routes:
            if match := pattern.match(path):
                if route.method == method:
                    return route, {k: unquote(v) for k, v in match.groupdict().items()}
                other_method = True
        if other_method:
            raise ArmError(405, "MethodNotAllowed", f"The request method '{method}' is not supported here.")
        raise ArmError(
            404,
            "InvalidResourceType",
            f"The resource type could not be found for '{path}': the simulator does not play it.",
        )


def _exchange(request: Request, reply: Reply, world: World) -> dict[str, Any]:
    sent = {k.lower(): v for k, v in request.headers.items() if "authorization" not in k.lower()}
    return {
        "method": request.method,
        "url": str(request.url),
        "status": reply.status,
        "headers": reply.headers,
        "request_headers": sent,
        "at": world.now.isoformat(),
    }
