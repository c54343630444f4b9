"""Microsoft Graph's manners: tokens for Graph alone, its permissions, pages by @odata.nextLink, its throttling and its errors.

The services behind it (`graph_devices`, `cloud_pcs`) are lists of `GraphRoute`; this makes routes of them that the gate serves. Read off
learn.microsoft.com: "Paging Microsoft Graph data", "Microsoft Graph error responses", "Service-specific throttling limits". No limit
is published for Cloud PCs: Intune's are played for everything.
"""

import base64
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route
from simulator.kernel.throttle import Bucket

if TYPE_CHECKING:
    from simulator.cloud import Cloud

PAGE = 100
# Requests in 20 seconds for one application in one tenant: "Service-specific throttling limits", Intune.
PERIOD_S = 20
ANY_LIMIT = 1000
WRITE_LIMIT = 100
REAL_HOSTS = ("https://graph.microsoft.com", "https://graph.microsoft.us", "https://microsoftgraph.chinacloudapi.cn")


class GraphError(ArmError):
    """An answer of Graph that says no."""

    def __init__(self, status: int, code: str, message: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, code, message, headers=headers)


@dataclass(frozen=True)
class GraphRoute:
    """A method and a path with its version ("/v1.0/devices/{id}") to a handler; `permission` is what the application must have."""

    method: str
    path: str
    permission: str
    handler: Callable[[ArmRequest], Reply]


class Graph:
    """What every call of Graph goes through."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._answered = 0

    def routes(self) -> list[Route]:
        """Routes for the gate, which leaves permissions to Graph."""
        offered = [*self._cloud.devices.routes(), *self._cloud.cloud_pc_api.routes()]
        return [Route(each.method, each.path, self._guarded(each), action="Microsoft.Graph/any") for each in offered]

    def _guarded(self, route: GraphRoute) -> Callable[[ArmRequest], Reply]:
        def answer(request: ArmRequest) -> Reply:
            try:
                self._let_in(route, request)
                return route.handler(request)
            except ArmError as error:
                error.body["error"]["innerError"] = self._inner(error)
                raise

        return answer

    def _let_in(self, route: GraphRoute, request: ArmRequest) -> None:
        audience = self._cloud.entra.audience(request.headers)
        if audience.rstrip("/") not in (*REAL_HOSTS, request.base_url):
            raise GraphError(401, "InvalidAuthenticationToken", "Access token validation failure. Invalid audience.")
        if not self._cloud.management.allows(request.caller, route.permission, request.path):
            raise GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
        self._spend(request.caller, "any", ANY_LIMIT)
        if request.method != "GET":
            self._spend(request.caller, "write", WRITE_LIMIT)

    def _spend(self, caller: str, kind: str, limit: int) -> None:
        now = self._cloud.world.now
        bucket = self._buckets.setdefault((caller, kind), Bucket(limit, limit / PERIOD_S, limit, now))
        if wait := bucket.take(now):
            raise GraphError(
                429, "TooManyRequests", "Please retry again later.", headers={"retry-after": f"{max(wait, 1):.3f}"}
            )

    def _inner(self, error: ArmError) -> Json:
        self._answered += 1
        number = uuid.UUID(int=self._cloud.world.chance("graph request", self._answered).getrandbits(128), version=4)
        inner: Json = {
            "date": f"{self._cloud.world.now:%Y-%m-%dT%H:%M:%S}",
            "request-id": str(number),
            "client-request-id": str(number),
        }
        return inner | ({"code": "429", "status": "429"} if error.status == 429 else {})


def collection(request: ArmRequest, items: Sequence[Json], kind: str) -> Reply:
    """A page of the items that fit the request's $filter, with a link to the next. `kind` is the metadata's path, "devices"."""
    wanted = [item for item in items if _fits(request.query.get("$filter", ""), item)]
    size = min(int(request.query.get("$top", PAGE)), PAGE)
    token = request.query.get("$skiptoken", "")
    start = int(base64.urlsafe_b64decode(token)) if token else 0
    version = request.path.strip("/").partition("/")[0]
    body: Json = {"@odata.context": f"{request.base_url}/{version}/$metadata#{kind}"}
    body["value"] = wanted[start : start + size]
    if start + size < len(wanted):
        skip = base64.urlsafe_b64encode(str(start + size).encode()).decode()
        kept = "&".join(f"{key}={value}" for key, value in request.query.items() if key != "$skiptoken")
        body["@odata.nextLink"] = f"{request.base_url}{request.path}?{kept}{'&' if kept else ''}$skiptoken={skip}"
    return Reply(200, body)


def _fits(condition: str, item: Json) -> bool:
    """Whether an item fits a $filter of comparisons `property eq 'text'` joined by `and`."""
    for part in condition.split(" and ") if condition else []:
        match = re.fullmatch(r"\s*(\w+) eq '((?:[^']|'')*)'\s*", part)
        if match is None:
            raise GraphError(400, "Request_UnsupportedQuery", f"Unsupported or invalid query filter clause: '{part}'.")
        if str(item.get(match[1]) or "").lower() != match[2].replace("''", "'").lower():
            return False
    return True


def not_there(what: str) -> GraphError:
    """The 404 of a directory object or a device that is not there."""
    return GraphError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{what}' does not exist or one of its queried reference-property objects are not present.",
    )
