"""Somebody with a token who sends plain requests to the simulated Azure, and moves its time by hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from simulator.cloud import Cloud
from simulator.kernel.clock import ManualClock
from simulator.scenario import Scenario, load

HOST = "azure.simulated"
API_VERSION = "2026-04-01"
POLL_S = 20


@dataclass(frozen=True)
class Answer:
    """What came back; header names in lower case."""

    status_code: int
    headers: dict[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode()

    def json(self) -> Any:
        """The body as data."""
        return json.loads(self.content)


class Caller:
    """A small world, changed as told (fields of `Scenario`), on a clock that stands still; and one who is signed in to it."""

    def __init__(self, audience: str = "https://management.azure.com", **changes: Any) -> None:
        self.scenario: Scenario = load("small").model_copy(update=changes, deep=True)
        self.clock = ManualClock(self.scenario.start)
        self.cloud = Cloud(self.scenario, self.clock)
        self._token = self.cloud.entra.token_for(self.scenario.clients[0].client_id, audience)

    def path(self, group: str, provider_path: str) -> str:
        """A resource's path."""
        return f"/subscriptions/{self.scenario.subscription_id}/resourceGroups/{group}/providers/{provider_path}"

    def send(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **query: str
    ) -> Answer:
        """Sends one request; `expand` and `filter` become $expand and $filter."""
        asked = {f"${name}" if name in ("expand", "filter") else name: value for name, value in query.items()}
        return self._exchange(method, path, {"api-version": API_VERSION, **asked}, body, headers or {})

    def wait(self, seconds: float) -> None:
        """Lets time pass."""
        self.clock.advance(seconds)

    def ended(self, answer: Answer, at_most: float = 7200) -> dict[str, Any]:
        """The last status of the operation that an answer has started."""
        for _ in range(int(at_most // POLL_S)):
            status: dict[str, Any] = self._follow(answer.headers["azure-asyncoperation"]).json()
            if status["status"] != "InProgress":
                return status
            self.wait(POLL_S)
        raise AssertionError(f"The operation goes on after {at_most} seconds.")

    def result(self, answer: Answer) -> Any:
        """What the operation that an answer has started brings back at its Location."""
        assert self.ended(answer)["status"] == "Succeeded"
        found = self._follow(answer.headers["location"])
        return found.json() if found.content else None

    def _follow(self, url: str) -> Answer:
        parts = urlsplit(url)
        return self._exchange("GET", parts.path, dict(parse_qsl(parts.query)), None, {})

    def _exchange(self, method: str, path: str, query: dict[str, str], body: Any, headers: dict[str, str]) -> Answer:
        sent = b"" if body is None else json.dumps(body).encode()
        named = {"host": HOST, "authorization": f"Bearer {self._token}", **headers}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "server": (HOST, 443),
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": urlencode(query).encode(),
            "headers": [(name.lower().encode(), value.encode()) for name, value in named.items()],
        }
        came: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": sent, "more_body": False}

        async def take(message: MutableMapping[str, Any]) -> None:
            came.append(message)

        asyncio.run(self.cloud.app(scope, receive, take))
        return Answer(
            came[0]["status"],
            {name.decode().lower(): value.decode() for name, value in came[0]["headers"]},
            b"".join(message.get("body", b"") for message in came[1:]),
        )
