"""A few lines of Azure for the tests of our own client code: tokens, and whatever a test scripts.

Not the simulator: it knows nothing, and answers what it is told. It notes each request with the virtual time at which it
came, so that a test can say how long something waited.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from evergold.azure import Azure
from evergold.clock import LoopClock, run_virtual
from evergold.config.models import Environment
from tests.support.asgi_transport import AsgiTransport
from tests.support.moments import EPOCH

T = TypeVar("T")
SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"
TENANT = "00000000-0000-4000-8000-000000000002"
WORKSPACE = "00000000-0000-4000-8000-000000000003"
ARM = "https://arm.example"
LOGS = "https://logs.example"
SECRET_VARIABLE = "EVERGOLD_TEST_SECRET"
METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD"]

Handler = Callable[["Seen"], Any]


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; `at` is seconds since the epoch of the test."""

    at: float
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    json: Any


def answer(body: Any = None, status: int = 200, **headers: str) -> Response:
    """A response; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status_code=status, headers=named) if body is None else JSONResponse(body, status, named)


def refusal(status: int, code: str, message: str = "No.", **headers: str) -> Response:
    """An error as Azure Resource Manager words it."""
    return answer({"error": {"code": code, "message": message}}, status, **headers)


class TinyAzure:
    """Answers by method and path suffix; several answers to one question are given in turn, the last for ever."""

    def __init__(self, clock: LoopClock) -> None:
        self.clock = clock
        self.seen: list[Seen] = []
        self.tokens: list[Seen] = []
        self._scripts: list[tuple[str, str, list[Any]]] = []
        self.app = Starlette(routes=[Route("/{path:path}", self._serve, methods=METHODS)])

    def on(self, method: str, suffix: str, *answers: Any) -> None:
        """Script the answers to requests whose path ends in `suffix` (in any case).

        Each is a body (200), a Response, an exception to raise, or a function of what was seen to any of these. Of two
        scripts that fit, the later one counts.
        """
        self._scripts.insert(0, (method, suffix.casefold(), list(answers)))

    def requests(self, method: str, suffix: str = "") -> list[Seen]:
        """What has arrived so far."""
        return [
            seen for seen in self.seen if seen.method == method and seen.path.casefold().endswith(suffix.casefold())
        ]

    async def _serve(self, request: Request) -> Response:
        body = await request.body()
        is_json = "json" in request.headers.get("content-type", "")
        seen = Seen(
            at=(self.clock.now() - EPOCH).total_seconds(),
            method=request.method,
            path=unquote(request.url.path),
            query=dict(request.query_params),
            headers=dict(request.headers),
            json=await request.json() if body and is_json else body.decode(),
        )
        if seen.path.endswith("/oauth2/v2.0/token"):
            self.tokens.append(seen)
            scripted = self._scripted(seen)
            return await self._play(scripted, seen) if scripted else answer(TOKEN)
        self.seen.append(seen)
        return await self._play(self._scripted(seen), seen)

    def _scripted(self, seen: Seen) -> list[Any] | None:
        for method, suffix, answers in self._scripts:
            if method == seen.method and seen.path.casefold().endswith(suffix):
                return answers
        return None

    async def _play(self, answers: list[Any] | None, seen: Seen) -> Response:
        if not answers:
            return refusal(404, "ResourceNotFound", f"The Resource '{seen.path}' was not found.")
        scripted = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(scripted) and not isinstance(scripted, (Response, type)):
            scripted = scripted(seen)
        if isinstance(scripted, Exception):
            raise scripted
        return scripted if isinstance(scripted, Response) else answer(scripted)


TOKEN = {
    "token_type": "Bearer",
    "expires_in": 86400,
    "ext_expires_in": 86400,
    "access_token": "header.claims.signature",
}


def environment() -> Environment:
    """An environment that points at a `TinyAzure`."""
    return Environment.model_validate(
        {
            "name": "tiny",
            "cloud": "custom",
            "endpoints": {
                "resource_manager": ARM,
                "resource_manager_scope": f"{ARM}/.default",
                "authority": "https://login.example",
                "log_analytics": LOGS,
                "graph": "https://graph.example",
            },
            "credential": {
                "kind": "client_secret",
                "tenant_id": TENANT,
                "client_id": SUBSCRIPTION,
                "secret_variable": SECRET_VARIABLE,
            },
            "subscription_id": SUBSCRIPTION,
            "log_analytics_workspace_id": WORKSPACE,
        }
    )


def with_azure(body: Callable[[Azure, TinyAzure], Awaitable[T]]) -> T:
    """Run a test's body in virtual time, with the real clients talking to a `TinyAzure`."""

    async def main(clock: LoopClock) -> T:
        tiny = TinyAzure(clock)
        async with Azure.connect(environment(), transport=AsgiTransport(tiny.app), clock=clock) as azure:
            return await body(azure, tiny)

    return run_virtual(main, EPOCH)
