"""ARM's manners: requests, replies, errors, resource ids, lists in pages, and routes that do not mind letter case.

A service is a list of routes; a route's handler takes an `ArmRequest` and returns a `Reply` or raises an `ArmError`.
"""

import base64
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


class ArmError(Exception):
    """An answer that says no. `wrapped=False` leaves out the "error" envelope, as Compute's throttling does."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: dict[str, str] | None = None,
        details: list[Json] | None = None,
        target: str | None = None,
        wrapped: bool = True,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}
        body: Json = {"code": code, "message": message}
        if target is not None:
            body["target"] = target
        if details is not None:
            body["details"] = details
        self.body: Json = {"error": body} if wrapped else body


@dataclass(frozen=True)
class Reply:
    """A status, a JSON body (None: empty) and headers."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ArmRequest:
    """A request that has been let in: `params` from the route's path as they were written, `query` keys in lower case."""

    method: str
    path: str
    params: dict[str, str]
    query: dict[str, str]
    body: Json
    headers: dict[str, str]
    base_url: str
    caller: str

    def __getitem__(self, name: str) -> str:
        return self.params[name]

    @property
    def api_version(self) -> str:
        """The api-version asked for, or an empty text."""
        return self.query.get("api-version", "")

    def flag(self, name: str) -> bool:
        """Whether a query parameter says true."""
        return self.query.get(name.lower(), "").lower() == "true"


Handler = Callable[[ArmRequest], Reply]


@dataclass(frozen=True)
class Route:
    """A method and a path such as "/subscriptions/{subscription}/resourceGroups/{group}" to a handler.

    `bucket` names the Compute throttling bucket it spends (None: only ARM's own), and `action` the Azure action that the
    caller must be allowed (None: derived from the method and the path's types).
    """

    method: str
    path: str
    handler: Handler
    bucket: str | None = None
    action: str | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """The path as a pattern that does not mind case."""
        text = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path)
        return re.compile(f"^{text}/?$", re.IGNORECASE)

    @property
    def needed_action(self) -> str:
        """The Azure action this call needs, e.g. "Microsoft.Compute/virtualMachines/start/action"."""
        if self.action:
            return self.action
        after = self.path.rpartition("/providers/")[2].split("/")
        types = "/".join(part for part in after if not part.startswith("{"))
        verbs = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete", "POST": "action"}
        return f"{types}/{verbs[self.method]}"


def group_path(provider_path: str) -> str:
    """The full route path of a resource in a resource group: "Microsoft.Compute/disks/{name}"."""
    return f"/subscriptions/{{subscription}}/resourceGroups/{{group}}/providers/{provider_path}"


def resource_id(subscription: str, group: str, provider_path: str) -> str:
    """The id of a resource; `provider_path` such as "Microsoft.Compute/disks/d1"."""
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{provider_path}"


def not_found(type_and_name: str, group: str) -> ArmError:
    """404 as ARM writes it; `type_and_name` such as "Microsoft.Compute/snapshots/x"."""
    return ArmError(
        404,
        "ResourceNotFound",
        f"The Resource '{type_and_name}' under resource group '{group}' was not found. "
        "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
    )


def page(request: ArmRequest, items: Sequence[Any], size: int = 100) -> Reply:
    """A list reply of at most `size` items, with a nextLink that carries on where it ends."""
    token = request.query.get("$skiptoken", "")
    start = int(base64.urlsafe_b64decode(token)) if token else 0
    body: Json = {"value": list(items[start : start + size])}
    if start + size < len(items):
        skip = base64.urlsafe_b64encode(str(start + size).encode()).decode()
        query = "&".join(f"{k}={v}" for k, v in request.query.items() if k != "$skiptoken")
        body["nextLink"] = f"{request.base_url}{request.path}?{query}&$skiptoken={skip}"
    return Reply(200, body)


def same(left: str | None, right: str | None) -> bool:
    """Whether two ids are one: Azure's ids do not mind case."""
    return left is not None and right is not None and left.lower() == right.lower()


def compact(body: Any) -> bytes:
    """JSON as bytes."""
    return json.dumps(body, separators=(",", ":"), default=str).encode()
