"""Azure's bad weather on the wire: throttling, errors, lost connections and answers, delays, and lists that are old or cut short.

Each call's fate is thrown by dice of the storm's seed, in the order in which the calls come, until a time; after that everything is
answered as it should be. A write may have had its effect whatever its caller is told.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from azure.core.exceptions import ServiceRequestError, ServiceResponseError, ServiceResponseTimeoutError

from tests.support.simulated import Killed, Wire

STALE = timedelta(seconds=65)  # about a minute, so that the look before the last one can be served again
# What may show the past: lists, and what the broker says of a host. Pools and machines that are read by name are as they are: they
# bear the tags by which rollouts keep out of each other's way.
LAGS = re.compile(r"/(virtualMachines|userSessions|sessionHosts(/[^/]+)?)$", re.IGNORECASE)
MACHINE = re.compile(r"/virtualMachines/[^/]+$", re.IGNORECASE)
READ_TIMEOUT_S = 200
LATENCY_S = (0.02, 0.4)
ERRORS = (
    (500, "InternalServerError"),
    (502, "BadGateway"),
    (503, "ServerTimeout"),
    (503, "ServiceUnavailable"),
    (504, "GatewayTimeout"),
)


@dataclass(frozen=True)
class Climate:
    """How often, as a share of the calls, each kind of trouble strikes; throttling by spells, as (start, end) in seconds."""

    error: float = 0.0
    lost: float = 0.0
    lost_after: float = 0.0
    timeout: float = 0.0
    slow: float = 0.0
    stale: float = 0.0
    partial: float = 0.0
    no_quota: float = 0.0
    throttled: tuple[tuple[float, float], ...] = ()


@dataclass
class Message:
    """An answer as ASGI messages."""

    status: int
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""

    async def take(self, message: Any) -> None:
        """Takes in one message of an answer."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
        else:
            self.body += message.get("body", b"")

    async def send(self, send: Any) -> None:
        """Sends it on."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Weather:
    """Between the product's clients and the wire to their Azure."""

    def __init__(
        self, wire: Wire, climate: Climate, seed: str, now: Callable[[], datetime], until: datetime, *, logs: bool
    ) -> None:
        self._wire, self._climate, self._now, self._until, self._logs = wire, climate, now, until, logs
        self._dice = random.Random(f"weather:{seed}")
        self._began = now()
        self._seen: dict[str, tuple[datetime, Message]] = {}
        self._trace = hashlib.sha256()
        self.writes_until_death: int | None = None
        self.dead = False

    @property
    def digest(self) -> str:
        """Of every call so far, its time and its answer's status: the same for the same run."""
        return self._trace.hexdigest()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serves one call, or does not: a process that is dead sends none, and one that dies learns of no answer."""
        if self.dead:
            raise Killed("this process is dead")
        status = "lost"
        try:
            answer = await self._answer(scope, receive)
            status = str(answer.status)
        finally:
            self._trace.update(f"{self._now().isoformat()} {scope['method']} {scope['path']} {status}\n".encode())
        await answer.send(send)

    async def _answer(self, scope: Any, receive: Any) -> Message:
        # Tokens come over another service, which has good weather.
        if self._now() >= self._until or not scope["path"].startswith(("/subscriptions", "/v1/", "/v1.0/")):
            return await self._served(scope, receive)
        await asyncio.sleep(self._dice.uniform(*LATENCY_S))
        self._strike_before(scope)
        if (refusal := self._refusal(scope)) is not None:
            return refusal
        if (old := self._old(scope)) is not None:
            return old
        await self._dawdle()
        answer = await self._served(scope, receive)
        await self._strike_after()
        await self._dawdle()
        return self._cut_short(scope, answer)

    async def _served(self, scope: Any, receive: Any) -> Message:
        if scope["path"].startswith("/v1/") and not self._logs:
            return _log_answer(await receive(), self._now())
        answer = Message(0)
        await self._wire(scope, receive, answer.take)
        if scope["method"] == "GET" and answer.status == 200:
            self._seen[_key(scope)] = self._now(), answer
        if scope["method"] != "GET" and self.writes_until_death is not None:
            self.writes_until_death -= 1
            if self.writes_until_death <= 0:
                self.writes_until_death, self.dead = None, True
                raise Killed(f"died after {scope['method']} {scope['path']}")
        return answer

    def _happens(self, share: float) -> bool:
        return share > 0 and self._dice.random() < share

    def _strike_before(self, scope: Any) -> None:
        if self._happens(self._climate.lost):
            kind = self._dice.choice((ServiceRequestError, ServiceResponseError))
            raise kind(f"{scope['method']}: connection lost before anything was done")

    async def _strike_after(self) -> None:
        if self._happens(self._climate.timeout):
            await asyncio.sleep(READ_TIMEOUT_S)
            raise ServiceResponseTimeoutError("no answer came, and yet it was done")
        if self._happens(self._climate.lost_after):
            raise ServiceResponseError("connection lost when it had been done")

    def _refusal(self, scope: Any) -> Message | None:
        passed = (self._now() - self._began).total_seconds()
        if any(start <= passed < end for start, end in self._climate.throttled) and self._happens(0.7):
            wait = self._dice.choice((1, 3, 10, 30))
            return _error(429, "TooManyRequests", "Too many requests have been received.", retry_after=wait)
        if self._happens(self._climate.error):
            status, code = self._dice.choice(ERRORS)
            return _error(status, code, "The service has trouble. Please retry.")
        if scope["method"] == "PUT" and MACHINE.search(scope["path"]) and self._happens(self._climate.no_quota):
            text = (
                "Operation could not be completed as it results in exceeding approved standardDSv5Family Cores quota."
            )
            return _error(409, "OperationNotAllowed", text)
        return None

    def _old(self, scope: Any) -> Message | None:
        if scope["method"] != "GET" or not LAGS.search(scope["path"]) or not self._happens(self._climate.stale):
            return None
        at, answer = self._seen.get(_key(scope), (self._began - STALE * 2, Message(0)))
        return answer if self._now() - at <= STALE else None

    def _cut_short(self, scope: Any, answer: Message) -> Message:
        if scope["method"] != "GET" or answer.status != 200 or not self._happens(self._climate.partial):
            return answer
        body = json.loads(answer.body)
        if not isinstance(body.get("value"), list):
            return answer
        body["value"] = [item for item in body["value"] if self._dice.random() < 0.6]
        headers = [(name, value) for name, value in answer.headers if name != b"content-length"]
        return Message(200, headers, json.dumps(body).encode())

    async def _dawdle(self) -> None:
        if self._happens(self._climate.slow):
            await asyncio.sleep(self._dice.uniform(1, 90))


def _log_answer(asked: Any, now: datetime) -> Message:
    """That a host has been heard of, and people get in: the real log tables cost more than all the rest, and are there in some storms."""
    moment = now.isoformat()
    rows: dict[str, dict[str, tuple[str, Any]]] = {
        "Heartbeat": {"_ResourceId": ("string", ""), "LastSeen": ("datetime", moment), "Beats": ("long", 1)},
        "WVDAgentHealthStatus": {
            "SessionHostName": ("string", ""),
            "TimeGenerated": ("datetime", moment),
            "Status": ("string", "Available"),
            "AgentVersion": ("string", "1.0"),
            "LastHeartBeat": ("datetime", moment),
        },
        "let Tried = WVDConnections": {
            "SessionHost": ("string", "pil-001"),
            "Attempts": ("long", 5),
            "Failures": ("long", 0),
            "Code": ("string", ""),
        },
    }
    row = next(columns for line, columns in rows.items() if f"\n{line}\n" in json.loads(asked["body"])["query"])
    columns = [{"name": name, "type": kind} for name, (kind, _) in row.items()]
    table = {"name": "PrimaryResult", "columns": columns, "rows": [[value for _, value in row.values()]]}
    return Message(200, [(b"content-type", b"application/json")], json.dumps({"tables": [table]}).encode())


def _key(scope: Any) -> str:
    return f"{scope['path']}?{scope['query_string'].decode()}"


def _error(status: int, code: str, message: str, *, retry_after: int | None = None) -> Message:
    headers = [(b"content-type", b"application/json")]
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    return Message(status, headers, json.dumps({"error": {"code": code, "message": message}}).encode())
