"""Long-running operations: what an Azure-AsyncOperation header points at.

An operation starts, takes its time in virtual seconds, and ends by calling its `finish`, which returns the result's body (or
None) or raises an `ArmError`: then the operation is Failed with that error, over HTTP 200, as in Azure.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulator.kernel.arm import ArmError, ArmRequest, Reply, Route
from simulator.kernel.world import World

# First-poll hints read off live Azure; 0 stands for "no Retry-After sent" (clients then use their own cadence).
RETRY_AFTER_S = {"operations": 10, "DiskOperations": 2, "capsOperations": 30}


@dataclass
class Operation:
    """One long-running operation. `family` is the last but one part of its URL: operations, DiskOperations or capsOperations."""

    name: str
    family: str
    provider: str
    subscription: str
    location: str
    started: datetime
    ended: datetime | None = None
    status: str = "InProgress"
    output: Any = None
    error: dict[str, Any] | None = None
    on_settled: list[Callable[["Operation"], None]] = field(default_factory=list)

    def url(self, request: ArmRequest) -> str:
        """Where to poll it."""
        path = f"/subscriptions/{self.subscription}/providers/{self.provider}/locations/{self.location}/{self.family}/{self.name}"
        return f"{request.base_url}{path}?p={self.name}&api-version={request.api_version}"

    def headers(self, request: ArmRequest, *, location: bool, retry_after_s: int | None = None) -> dict[str, str]:
        """Azure-AsyncOperation, Location where asked for, and Retry-After where the family sends one."""
        found = {"azure-asyncoperation": self.url(request), "azure-asyncnotification": "Enabled"}
        if location:
            found["location"] = self.url(request) + "&monitor=true"
        wait = RETRY_AFTER_S.get(self.family, 0) if retry_after_s is None else retry_after_s
        if wait:
            found["retry-after"] = str(wait)
        return found


class Operations:
    """All operations of the world, and the routes at which they are polled."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._all: dict[str, Operation] = {}

    def start(
        self,
        subscription: str,
        location: str,
        seconds: float,
        finish: Callable[[], Any],
        *,
        family: str = "operations",
        provider: str = "Microsoft.Compute",
    ) -> Operation:
        """Starts an operation that ends `seconds` from now by calling `finish`."""
        name = str(uuid.UUID(int=self.world.chance("operation", len(self._all)).getrandbits(128), version=4))
        operation = Operation(name, family, provider, subscription, location, self.world.now)
        self._all[name] = operation
        self.world.after(seconds, lambda: self._settle(operation, finish))
        return operation

    def _settle(self, operation: Operation, finish: Callable[[], Any]) -> None:
        try:
            operation.output = finish()
            operation.status = "Succeeded"
        except ArmError as error:
            operation.status = "Failed"
            operation.error = {"code": error.code, "message": error.message}
        operation.ended = self.world.now
        for settled in operation.on_settled:
            settled(operation)

    def routes(self) -> list[Route]:
        """One polling route a family."""
        return [
            Route(
                "GET",
                f"/subscriptions/{{subscription}}/providers/{provider}/locations/{{location}}/{family}/{{operation}}",
                self.poll,
                bucket=bucket,
                action=f"{provider}/locations/{family}/read",
            )
            for provider, family, bucket in (
                ("Microsoft.Compute", "operations", "GetOperation"),
                ("Microsoft.Compute", "DiskOperations", "GetOperation"),
                ("Microsoft.Compute", "capsOperations", "GetOperationStatus"),
                ("Microsoft.Network", "operations", None),
            )
        ]

    def poll(self, request: ArmRequest) -> Reply:
        """The operation's status; with monitor=true its result, as the Location header promises."""
        operation = self._all.get(request["operation"])
        if operation is None:
            raise ArmError(404, "NotFound", "The entity was not found in this Azure location.")
        if request.flag("monitor"):
            return self._monitor(operation, request)
        body: dict[str, Any] = {
            "startTime": operation.started.isoformat(),
            "status": operation.status,
            "name": operation.name,
        }
        if operation.ended is not None:
            body["endTime"] = operation.ended.isoformat()
        if operation.error is not None:
            body["error"] = operation.error
        if operation.output is not None:
            body["properties"] = {"output": operation.output}
        waiting = {} if operation.ended else {"retry-after": str(RETRY_AFTER_S.get(operation.family) or 30)}
        return Reply(200, body, waiting)

    def _monitor(self, operation: Operation, request: ArmRequest) -> Reply:
        if operation.ended is None:
            return Reply(202, None, operation.headers(request, location=True))
        if operation.error is not None:
            raise ArmError(409, operation.error["code"], operation.error["message"])
        return Reply(200, operation.output) if operation.output is not None else Reply(204)
