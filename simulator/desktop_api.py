"""The management API of Azure Virtual Desktop: host pools, registration tokens, session hosts, user sessions, messages.

All of its operations are synchronous. Errors read "ActivityId: ... Error: ...". Facts from the Azure REST API reference and from
recorded answers. Assumed, because no source documents it: deleting a session host that has sessions without `force` is refused
with 409, and the code of an error is its HTTP status.
"""

import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, group_path, not_found, page, resource_id
from simulator.news import UserWarned
from simulator.session_hosts import SETTINGS, Pool, Session, SessionHost, wire_time

if TYPE_CHECKING:
    from simulator.desktop import Desktop

POOLS = "Microsoft.DesktopVirtualization/hostPools"
SHORTEST_TOKEN, LONGEST_TOKEN = timedelta(hours=1), timedelta(days=30)
UNLIMITED = 999_999  # maxSessionLimit where none is given
Item = TypeVar("Item")


def desktop_routes(desktop: "Desktop") -> list[Route]:
    """Host pools, session hosts and user sessions."""
    api = DesktopApi(desktop)
    pools = group_path(POOLS)
    pool = pools + "/{pool}"
    host = pool + "/sessionHosts/{host}"
    session = host + "/userSessions/{session}"
    return [
        Route("GET", f"/subscriptions/{{subscription}}/providers/{POOLS}", api.list_pools),
        Route("GET", pools, api.list_pools),
        Route("GET", pool, api.get_pool),
        Route("PUT", pool, api.put_pool),
        Route("PATCH", pool, api.patch_pool),
        Route("POST", pool + "/retrieveRegistrationToken", api.retrieve_token),
        Route("POST", pool + "/listRegistrationTokens", api.list_tokens),
        Route("GET", pool + "/sessionHosts", api.list_hosts),
        Route("GET", pool + "/userSessions", api.list_pool_sessions),
        Route("GET", host, api.get_host),
        Route("PATCH", host, api.patch_host),
        Route("DELETE", host, api.delete_host),
        Route("GET", host + "/userSessions", api.list_sessions),
        Route("GET", session, api.get_session),
        Route("DELETE", session, api.delete_session),
        Route("POST", session + "/disconnect", api.disconnect),
        Route("POST", session + "/sendMessage", api.send_message),
    ]


class DesktopApi:
    """The handlers."""

    def __init__(self, desktop: "Desktop") -> None:
        self._desktop = desktop
        self._world = desktop.world
        self._errors = 0

    # Finding

    def _pool(self, request: ArmRequest) -> Pool:
        path = f"{POOLS}/{request['pool']}"
        found = self._desktop.pools.get(resource_id(request["subscription"], request["group"], path).lower())
        if found is None:
            raise not_found(path, request["group"])
        return found

    def _host(self, request: ArmRequest) -> SessionHost:
        found = self._pool(request).hosts.get(request["host"].lower())
        if found is None:
            raise self._error(404, "SessionHost not found")
        return found

    def _session(self, request: ArmRequest) -> tuple[SessionHost, Session]:
        host, number = self._host(request), request["session"]
        session = host.sessions.get(int(number)) if number.isascii() and number.isdigit() else None
        if session is None:
            raise self._error(404, "User session ID not found")
        return host, session

    def _error(self, status: int, text: str) -> ArmError:
        self._errors += 1
        activity = uuid.UUID(int=self._world.chance("activity", self._errors).getrandbits(128), version=4)
        return ArmError(status, str(status), f"ActivityId: {activity} Error: {text}")

    # Host pools

    def list_pools(self, request: ArmRequest) -> Reply:
        """Those of a resource group, or of the subscription."""
        group = request.params.get("group", "").lower()
        pools = [pool for pool in self._desktop.pools.values() if group in ("", pool.group.lower())]
        return _listed(request, pools, Pool.body)

    def get_pool(self, request: ArmRequest) -> Reply:
        """One host pool, without its token."""
        return Reply(200, self._pool(request).body())

    def put_pool(self, request: ArmRequest) -> Reply:
        """Makes a host pool, or sets one that exists to what the body says; its hosts stay."""
        properties = request.body.get("properties") or {}
        for needed in ("hostPoolType", "loadBalancerType", "preferredAppGroupType"):
            if not properties.get(needed):
                raise self._error(400, f"{needed} is required")
        identity = resource_id(request["subscription"], request["group"], f"{POOLS}/{request['pool']}")
        pool, status = self._desktop.pools.get(identity.lower()), 200
        if pool is None:
            status, location = 201, request.body.get("location", "")
            pool = self._desktop.add_pool(request["group"], request["pool"], location)
        pool.host_pool_type = properties["hostPoolType"]
        complete = {"maxSessionLimit": UNLIMITED, **SETTINGS, **properties}
        body = self._set(pool, {"tags": {}, **request.body, "properties": complete})
        return Reply(status, body, {"location": body["id"]} if status == 201 else {})

    def patch_pool(self, request: ArmRequest) -> Reply:
        """Changes what the body names. Tags are replaced as a whole."""
        return Reply(200, self._set(self._pool(request), request.body))

    def _set(self, pool: Pool, body: Json) -> Json:
        properties = body.get("properties") or {}
        info = properties.get("registrationInfo")
        registration = self._renew_token(pool, info) if info else None
        if "tags" in body:
            pool.tags = dict(body["tags"] or {})
        pool.max_sessions = int(properties.get("maxSessionLimit") or pool.max_sessions)
        pool.load_balancer = properties.get("loadBalancerType") or pool.load_balancer
        pool.settings.update({name: properties[name] for name in SETTINGS if name in properties})
        self._desktop.tell_changed(pool)
        return pool.body(registration)

    # Registration tokens

    def _renew_token(self, pool: Pool, info: Json) -> Json:
        """A new token takes the place of the old one; hosts that are registered do not mind."""
        operation = info.get("registrationTokenOperation") or "Update"
        if operation == "Delete":
            pool.token = pool.token_expires = None
        elif operation == "Update":
            pool.token_expires = self._expiry(info)
            pool.tokens_made += 1
            pool.token = f"{self._world.chance('registration', pool.id, pool.tokens_made).getrandbits(256):064x}"
        return {
            "expirationTime": wire_time(pool.token_expires),
            "token": None,
            "registrationTokenOperation": operation,
        }

    def _expiry(self, info: Json) -> datetime:
        try:
            expires = datetime.fromisoformat(info["expirationTime"])
            left = expires - self._world.now
        except (KeyError, TypeError, ValueError):
            raise self._error(400, "ExpirationTime is not a valid time with a time zone") from None
        if not SHORTEST_TOKEN <= left <= LONGEST_TOKEN:
            raise self._error(400, "ExpirationTime value must be between one hour and 30 days from now")
        return expires

    def retrieve_token(self, request: ArmRequest) -> Reply:
        """The token, if there is one that is still good: the only way to see it."""
        pool = self._pool(request)
        token = pool.valid_token(self._world.now)
        expires = wire_time(pool.token_expires) if token else None
        return Reply(200, {"expirationTime": expires, "token": token, "registrationTokenOperation": "None"})

    def list_tokens(self, request: ArmRequest) -> Reply:
        """The same as a list of one or none."""
        pool = self._pool(request)
        token = pool.valid_token(self._world.now)
        return Reply(
            200, {"value": [{"expirationTime": wire_time(pool.token_expires), "token": token}] if token else []}
        )

    # Session hosts

    def list_hosts(self, request: ArmRequest) -> Reply:
        """Every session host of a pool."""
        return _listed(request, list(self._pool(request).hosts.values()), lambda host: host.body(self._world.now))

    def get_host(self, request: ArmRequest) -> Reply:
        """One session host."""
        return Reply(200, self._host(request).body(self._world.now))

    def patch_host(self, request: ArmRequest) -> Reply:
        """Drain mode, the friendly name, and whose it is."""
        host = self._host(request)
        properties = request.body.get("properties") or {}
        if properties.get("allowNewSession") is not None:
            host.allow_new_session = bool(properties["allowNewSession"])
        if "assignedUser" in properties:
            host.assigned_user = properties["assignedUser"] or ""
        if "friendlyName" in properties:
            host.friendly_name = properties["friendlyName"]
        self._desktop.tell_changed(host.pool)
        return Reply(200, host.body(self._world.now))

    def delete_host(self, request: ArmRequest) -> Reply:
        """Takes the record out of the pool. With `force` also where there are sessions: nobody is signed out by it."""
        host = self._pool(request).hosts.get(request["host"].lower())
        if host is None:
            return Reply(204)
        if host.sessions and not request.flag("force"):
            raise self._error(409, f"Session host {host.name} has {len(host.sessions)} user sessions; use force")
        self._desktop.remove(host)
        return Reply(200)

    # User sessions

    def list_pool_sessions(self, request: ArmRequest) -> Reply:
        """Every session of a pool, in whatever state."""
        hosts = self._pool(request).hosts.values()
        sessions = [(host, session) for host in hosts for session in host.sessions.values()]
        return _listed(request, sessions, lambda each: each[0].session_body(each[1]))

    def list_sessions(self, request: ArmRequest) -> Reply:
        """The sessions of one host."""
        host = self._host(request)
        return _listed(request, list(host.sessions.values()), host.session_body)

    def get_session(self, request: ArmRequest) -> Reply:
        """One session."""
        host, session = self._session(request)
        return Reply(200, host.session_body(session))

    def delete_session(self, request: ArmRequest) -> Reply:
        """Signs a user out."""
        self._desktop.sign_out_by_force(*self._session(request))
        return Reply(200)

    def disconnect(self, request: ArmRequest) -> Reply:
        """Disconnects a user; the session stays."""
        self._desktop.disconnect_by_force(*self._session(request))
        return Reply(200)

    def send_message(self, request: ArmRequest) -> Reply:
        """Shows a user a message."""
        host, session = self._session(request)
        session.warnings.append(self._world.now)
        self._world.tell(UserWarned(host.pool.name, host.name, session.user, session.number))
        return Reply(200)


def _listed(request: ArmRequest, items: Sequence[Item], body: Callable[[Item], Json]) -> Reply:
    """One page of items, by the service's own paging parameters; only what is on the page is written out."""
    wanted: Sequence[Any] = items
    if request.flag("isDescending"):
        wanted = wanted[::-1]
    reply = page(request, wanted[_number(request, "initialskip", 0) :], _number(request, "pagesize", 1000) or 1000)
    return Reply(200, {**reply.body, "value": [body(item) for item in reply.body["value"]]})


def _number(request: ArmRequest, name: str, otherwise: int) -> int:
    text = request.query.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else otherwise
