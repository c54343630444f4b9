"""Azure Virtual Desktop: host pools, session hosts, user sessions, and the broker that puts people on hosts.

All of its operations are synchronous. Ids and types come back in lower case and every absent property is an explicit null, as the
live service answers. Assumed, because no source documents it: deleting a session host that has sessions without `force` is refused with 409; an agent that registers under the name of an existing session host object takes that object over.
"""

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from simulator.kernel.arm import ArmError, ArmRequest, Json, Reply, Route, group_path, page, resource_id
from simulator.news import (
    AgentInstalled,
    MachineDeleted,
    MachineRunning,
    MachineStopped,
    MachineStopping,
    SessionChanged,
)
from simulator.scenario import HostPool

if TYPE_CHECKING:
    from simulator.cloud import Cloud
    from simulator.machines import Machine

POOL = "Microsoft.DesktopVirtualization/hostPools/{pool}"
HOST = POOL + "/sessionHosts/{host}"
SESSION = HOST + "/userSessions/{session}"
HEARTBEAT_S = 60
AGENT_VERSION = "1.0.12183.900"
STACK_VERSION = "rdp-sxs250900500"
USABLE = ("Available", "NeedsAssistance")
CHECKS = (
    "DomainJoinedCheck",
    "DomainTrustCheck",
    "SxSStackListenerCheck",
    "UrlsAccessibleCheck",
    "MonitoringAgentCheck",
    "MetaDataServiceCheck",
)
DEFAULT_RDP = "drivestoredirect:s:*;audiomode:i:0;videoplaybackmode:i:1;redirectclipboard:i:1;redirectprinters:i:1;devicestoredirect:s:*;"


@dataclass
class Session:
    """A user's session on a host."""

    number: int
    user: str
    created: datetime
    state: str = "Active"
    warned_at: datetime | None = None


@dataclass
class SessionHost:
    """A session host: the broker's record of a VM."""

    pool: "Pool"
    name: str
    vm: str
    vm_id: str
    object_id: str
    status: str
    status_since: datetime
    allow_new_session: bool = True
    sessions: dict[int, Session] = field(default_factory=dict)
    beating_until: datetime | None = None  # no heartbeat after this; None while the agent runs
    update_state: str = "Succeeded"

    @property
    def id(self) -> str:
        """Its resource id."""
        return f"{self.pool.id}/sessionHosts/{self.name}"

    @property
    def usable(self) -> bool:
        """Whether the broker may give it a new session."""
        return self.allow_new_session and self.status in USABLE and len(self.sessions) < self.pool.max_sessions

    def last_heartbeat(self, now: datetime) -> datetime:
        """The last beat: agents beat once a minute while they run."""
        latest = now if self.beating_until is None else min(now, self.beating_until)
        passed = (latest - self.status_since).total_seconds()
        return latest - timedelta(seconds=passed % HEARTBEAT_S) if passed > 0 else latest

    def become(self, status: str, now: datetime) -> None:
        """Changes the status the broker shows."""
        if status != self.status:
            self.status, self.status_since = status, now

    def body(self, now: datetime) -> Json:
        """The resource as a GET shows it."""
        result = "HealthCheckSucceeded" if self.status in USABLE else "SessionHostShutdown"
        checks = [
            {
                "healthCheckName": name,
                "healthCheckResult": result,
                "additionalFailureDetails": {"message": "", "errorCode": 0, "lastHealthCheckDateTime": now.isoformat()},
            }
            for name in CHECKS
        ]
        return {
            "id": self.id.lower(),
            "name": f"{self.pool.name}/{self.name}",
            "type": "Microsoft.DesktopVirtualization/hostpools/sessionhosts",
            "properties": {
                "objectId": self.object_id,
                "lastHeartBeat": self.last_heartbeat(now).isoformat(),
                "sessions": len(self.sessions),
                "agentVersion": AGENT_VERSION,
                "allowNewSession": self.allow_new_session,
                "virtualMachineId": self.vm_id,
                "resourceId": self.vm.lower(),
                "assignedUser": None,
                "friendlyName": None,
                "status": self.status,
                "statusTimestamp": self.status_since.isoformat(),
                "osVersion": "10.0.26200.7171",
                "sxSStackVersion": STACK_VERSION,
                "updateState": self.update_state,
                "lastUpdateTime": self.status_since.isoformat(),
                "updateErrorMessage": "",
                "sessionHostHealthCheckResults": checks if self.status != "Upgrading" else [],
            },
        }


@dataclass
class Pool:
    """A host pool."""

    id: str
    group: str
    name: str
    location: str
    load_balancer: str
    max_sessions: int
    object_id: str
    nominal_hosts: int
    hosts: dict[str, SessionHost] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    token: str | None = None
    token_expires: datetime | None = None
    next_session: int = 1

    def body(self) -> Json:
        """The resource as a GET shows it: the registration token is not in it."""
        return {
            "id": self.id.lower(),
            "name": self.name,
            "type": "Microsoft.DesktopVirtualization/hostpools",
            "location": self.location,
            "tags": dict(self.tags),
            "identity": None,
            "kind": None,
            "managedBy": None,
            "plan": None,
            "sku": None,
            "etag": None,
            "properties": {
                "objectId": self.object_id,
                "friendlyName": None,
                "description": None,
                "hostPoolType": "Pooled",
                "personalDesktopAssignmentType": None,
                "customRdpProperty": DEFAULT_RDP,
                "maxSessionLimit": self.max_sessions,
                "loadBalancerType": self.load_balancer,
                "ring": None,
                "validationEnvironment": False,
                "registrationInfo": None,
                "vmTemplate": None,
                "applicationGroupReferences": [],
                "ssoadfsAuthority": None,
                "ssoClientId": None,
                "ssoClientSecretKeyVaultPath": None,
                "ssoSecretType": None,
                "preferredAppGroupType": "Desktop",
                "startVMOnConnect": False,
                "cloudPcResource": False,
                "publicNetworkAccess": "Enabled",
                "agentUpdate": None,
            },
        }


class Desktop:
    """The broker and its records."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self.pools: dict[str, Pool] = {}
        world = cloud.world
        world.listen(AgentInstalled, self._agent_installed)
        world.listen(MachineRunning, self._machine_running)
        world.listen(MachineStopping, self._machine_stopping)
        world.listen(MachineStopped, self._machine_stopped)
        world.listen(MachineDeleted, self._machine_deleted)

    def populate(self) -> None:
        """Makes the scenario's pools with their hosts, which run and have long been registered."""
        for given in self._cloud.scenario.host_pools:
            pool = self._add_pool(given)
            for number in range(1, given.hosts + 1):
                self._add_host_of(given, pool, f"{given.host_prefix}-{number:03d}")

    def routes(self) -> list[Route]:
        """Host pools, session hosts, user sessions, and the empty list of scaling plans."""
        pool, host, session = group_path(POOL), group_path(HOST), group_path(SESSION)
        everywhere = "/subscriptions/{subscription}/providers/Microsoft.DesktopVirtualization/hostPools"
        return [
            Route("GET", everywhere, self._list_pools),
            Route("GET", group_path("Microsoft.DesktopVirtualization/hostPools"), self._list_pools),
            Route("GET", pool, self._get_pool),
            Route("PATCH", pool, self._patch_pool),
            Route("POST", pool + "/retrieveRegistrationToken", self._retrieve_token),
            Route("POST", pool + "/listRegistrationTokens", self._list_tokens),
            Route("GET", pool + "/sessionHosts", self._list_hosts),
            Route("GET", pool + "/userSessions", self._list_pool_sessions),
            Route("GET", pool + "/scalingPlans", lambda request: page(request, [])),
            Route("GET", host, self._get_host),
            Route("PATCH", host, self._patch_host),
            Route("DELETE", host, self._delete_host),
            Route("GET", host + "/userSessions", self._list_sessions),
            Route("GET", session, self._get_session),
            Route("DELETE", session, self._delete_session),
            Route("POST", session + "/disconnect", self._disconnect),
            Route("POST", session + "/sendMessage", self._send_message),
        ]

    # What the world does

    def hosts(self) -> list[SessionHost]:
        """Every session host."""
        return [host for pool in self.pools.values() for host in pool.hosts.values()]

    def host_of_vm(self, vm: str) -> SessionHost | None:
        """The session host that a VM is."""
        return next((host for host in self.hosts() if host.vm.lower() == vm.lower()), None)

    def sign_in(self, pool: Pool, user: str) -> SessionHost | None:
        """Gives a user a desktop: their own session where they have one, else a new one by the pool's load balancing."""
        for host in pool.hosts.values():
            for session in host.sessions.values():
                if session.user == user and host.status in USABLE:
                    session.state = "Active"
                    self._tell(host, session, "Active", "came back")
                    return host
        usable = sorted((host for host in pool.hosts.values() if host.usable), key=lambda host: host.name)
        if not usable:
            return None
        depth = pool.load_balancer == "DepthFirst"
        best = max(usable, key=lambda h: len(h.sessions)) if depth else min(usable, key=lambda h: len(h.sessions))
        session = Session(pool.next_session, user, self._cloud.world.now)
        pool.next_session += 1
        best.sessions[session.number] = session
        self._tell(best, session, "Active", "signed in")
        return best

    def leave(self, pool: Pool, user: str, *, disconnect: bool = False) -> None:
        """A user signs out by themselves, or only disconnects."""
        for host in pool.hosts.values():
            for session in list(host.sessions.values()):
                if session.user != user:
                    continue
                if disconnect:
                    session.state = "Disconnected"
                    self._tell(host, session, "Disconnected", "went for a while")
                else:
                    del host.sessions[session.number]
                    self._tell(host, session, "SignedOut", "left")

    def _tell(self, host: SessionHost, session: Session, state: str, why: str) -> None:
        self._cloud.world.tell(SessionChanged(host.pool.name, host.name, session.user, session.number, state, why))

    def takes_token(self, token: str) -> bool:
        """Whether some pool would register a host that shows this token now."""
        return self._pool_of_token(token) is not None

    def _pool_of_token(self, token: str) -> Pool | None:
        now = self._cloud.world.now
        return next(
            (p for p in self.pools.values() if p.token == token and p.token_expires and p.token_expires > now), None
        )

    # Agents

    def _agent_installed(self, news: AgentInstalled) -> None:
        machine, now = self._cloud.compute.find(news.vm), self._cloud.world.now
        pool = next(
            (p for p in self.pools.values() if p.token == news.token and p.token_expires and p.token_expires > now),
            None,
        )
        if machine is None or pool is None:
            return  # INVALID_REGISTRATION_TOKEN in the guest's event log; the broker never hears of it
        broken = "agent" in machine.contents.defects
        machine.change(registered_in=pool.id, avd_agent_version=AGENT_VERSION)
        self._register(pool, machine, "Unavailable" if broken else "Upgrading")

        def updated_itself() -> None:
            host = self.host_of_vm(machine.id)
            if host is not None and host.status == "Upgrading" and machine.is_running:
                host.become("Available", self._cloud.world.now)

        dice = self._cloud.world.chance("agent", machine.vm_id)
        self._cloud.world.after(dice.uniform(*self._cloud.scenario.durations.agent_first_update), updated_itself)

    def _register(self, pool: Pool, machine: "Machine", status: str) -> SessionHost:
        guid = str(uuid.UUID(int=self._cloud.world.chance("host", machine.vm_id).getrandbits(128), version=4))
        host = SessionHost(pool, machine.name, machine.id, machine.vm_id, guid, status, self._cloud.world.now)
        pool.hosts[machine.name.lower()] = host
        return host

    def _machine_running(self, news: MachineRunning) -> None:
        host = self.host_of_vm(news.vm)
        machine = self._cloud.compute.find(news.vm)
        if host is None or machine is None:
            return

        def available() -> None:
            if machine.is_running:
                host.beating_until = None
                host.become("Available", self._cloud.world.now)

        self._cloud.world.after(
            self._cloud.world.chance("boot", news.vm, self._cloud.world.now).uniform(60, 120), available
        )

    def _machine_stopping(self, news: MachineStopping) -> None:
        host = self.host_of_vm(news.vm)
        if host is None:
            return
        host.beating_until = self._cloud.world.now
        for session in list(host.sessions.values()):
            del host.sessions[session.number]
            self._tell(host, session, "CutOff", "the machine was stopped under them")
        if news.clean:
            host.become("Shutdown", self._cloud.world.now)

    def _machine_stopped(self, news: MachineStopped) -> None:
        host = self.host_of_vm(news.vm)
        if host is not None and host.status != "Shutdown":
            host.become("Unavailable", self._cloud.world.now)

    def _machine_deleted(self, news: MachineDeleted) -> None:
        host = self.host_of_vm(news.vm)
        if host is not None:
            host.become("Unavailable", self._cloud.world.now)

    # Populating

    def _add_pool(self, given: HostPool) -> Pool:
        path = f"Microsoft.DesktopVirtualization/hostPools/{given.name}"
        guid = str(uuid.UUID(int=self._cloud.world.chance("pool", given.name).getrandbits(128), version=4))
        pool = Pool(
            resource_id(self._cloud.scenario.subscription_id, given.resource_group, path),
            given.resource_group,
            given.name,
            given.location,
            given.load_balancer,
            given.max_sessions,
            guid,
            given.hosts,
        )
        self.pools[pool.id.lower()] = pool
        return pool

    def _add_host_of(self, given: HostPool, pool: Pool, name: str) -> None:
        version = self._cloud.galleries.version_named(given.image_version)
        now = self._cloud.world.now
        machine = self._cloud.compute.place(
            self._cloud.scenario.subscription_id,
            given.resource_group,
            name,
            given.location,
            given.vm_size,
            self._cloud.network.subnet_id(given.subnet),
            version.contents.changed(
                image_state="IMAGE_STATE_COMPLETE",
                generalized=False,
                entra_joined=True,
                registered_in=pool.id,
                avd_agent_version=AGENT_VERSION,
            ),
            {"id": version.id},
            {},
            now - timedelta(days=30),
        )
        host = self._register(pool, machine, "Available")
        host.status_since = now - timedelta(days=1)

    # Requests

    def _pool(self, request: ArmRequest) -> Pool:
        path = f"Microsoft.DesktopVirtualization/hostPools/{request['pool']}"
        found = self.pools.get(resource_id(request["subscription"], request["group"], path).lower())
        if found is None:
            raise ArmError(
                404,
                "ResourceNotFound",
                f"The Resource '{path}' under resource group '{request['group']}' was not found. "
                "For more details please go to https://aka.ms/ARMResourceNotFoundFix",
            )
        return found

    def _host(self, request: ArmRequest) -> SessionHost:
        found = self._pool(request).hosts.get(request["host"].lower())
        if found is None:
            raise self._error(404, "404", "SessionHost not found")
        return found

    def _session(self, request: ArmRequest) -> tuple[SessionHost, Session]:
        host = self._host(request)
        number = request["session"]
        session = host.sessions.get(int(number)) if number.isdigit() else None
        if session is None:
            raise self._error(404, "404", "User session ID not found")
        return host, session

    def _error(self, status: int, code: str, text: str) -> ArmError:
        activity = uuid.UUID(
            int=self._cloud.world.chance("activity", self._cloud.world.now, text).getrandbits(128), version=4
        )
        return ArmError(status, code, f"ActivityId: {activity} Error: {text}")

    def _list_pools(self, request: ArmRequest) -> Reply:
        group = request.params.get("group", "").lower()
        return page(request, [p.body() for p in self.pools.values() if group in ("", p.group.lower())])

    def _get_pool(self, request: ArmRequest) -> Reply:
        return Reply(200, self._pool(request).body())

    def _patch_pool(self, request: ArmRequest) -> Reply:
        pool = self._pool(request)
        properties = request.body.get("properties") or {}
        body_info: Json | None = None
        if info := properties.get("registrationInfo"):
            body_info = self._renew_token(pool, info)
        if "tags" in request.body:
            pool.tags = dict(request.body["tags"] or {})
        if "maxSessionLimit" in properties:
            pool.max_sessions = int(properties["maxSessionLimit"])
        body = pool.body()
        body["properties"]["registrationInfo"] = body_info
        return Reply(200, body)

    def _renew_token(self, pool: Pool, info: Json) -> Json:
        operation = info.get("registrationTokenOperation", "Update")
        if operation == "Delete":
            pool.token = pool.token_expires = None
        elif operation == "Update":
            expires = datetime.fromisoformat(info["expirationTime"])
            now = self._cloud.world.now
            if not now + timedelta(hours=1) <= expires <= now + timedelta(days=30):
                raise self._error(400, "400", "ExpirationTime value must be between one hour and 30 days from now")
            token = self._cloud.world.chance("registration", pool.id, now).getrandbits(256)
            pool.token, pool.token_expires = f"{token:064x}", expires
        expires_text = pool.token_expires.isoformat() if pool.token_expires else None
        return {"expirationTime": expires_text, "token": None, "registrationTokenOperation": operation}

    def _retrieve_token(self, request: ArmRequest) -> Reply:
        pool = self._pool(request)
        valid = pool.token_expires is not None and pool.token_expires > self._cloud.world.now
        body = {
            "expirationTime": pool.token_expires.isoformat() if pool.token_expires and valid else None,
            "token": pool.token if valid else None,
            "registrationTokenOperation": "None",
        }
        return Reply(200, body)

    def _list_tokens(self, request: ArmRequest) -> Reply:
        body = self._retrieve_token(request).body
        values = [{"expirationTime": body["expirationTime"], "token": body["token"]}] if body["token"] else []
        return Reply(200, {"value": values})

    def _list_hosts(self, request: ArmRequest) -> Reply:
        now = self._cloud.world.now
        return page(request, [host.body(now) for host in self._pool(request).hosts.values()], _page_size(request))

    def _get_host(self, request: ArmRequest) -> Reply:
        return Reply(200, self._host(request).body(self._cloud.world.now))

    def _patch_host(self, request: ArmRequest) -> Reply:
        host = self._host(request)
        properties = request.body.get("properties") or {}
        if "allowNewSession" in properties:
            host.allow_new_session = bool(properties["allowNewSession"])
        return Reply(200, host.body(self._cloud.world.now))

    def _delete_host(self, request: ArmRequest) -> Reply:
        pool = self._pool(request)
        host = pool.hosts.get(request["host"].lower())
        if host is None:
            return Reply(204)
        if host.sessions and not request.flag("force"):
            raise self._error(409, "409", "Session host has existing user sessions")
        del pool.hosts[request["host"].lower()]
        return Reply(200)

    def _session_body(self, host: SessionHost, session: Session) -> Json:
        return {
            "id": f"{host.id}/userSessions/{session.number}".lower(),
            "name": f"{host.pool.name}/{host.name}/{session.number}",
            "type": "Microsoft.DesktopVirtualization/hostpools/sessionhosts/usersessions",
            "properties": {
                "objectId": None,
                "userPrincipalName": session.user,
                "applicationType": "Desktop",
                "sessionState": session.state,
                "activeDirectoryUserName": None,
                "createTime": session.created.isoformat(),
            },
        }

    def _list_pool_sessions(self, request: ArmRequest) -> Reply:
        hosts = self._pool(request).hosts.values()
        bodies = [self._session_body(host, session) for host in hosts for session in host.sessions.values()]
        return page(request, bodies, _page_size(request))

    def _list_sessions(self, request: ArmRequest) -> Reply:
        host = self._host(request)
        return page(request, [self._session_body(host, s) for s in host.sessions.values()], _page_size(request))

    def _get_session(self, request: ArmRequest) -> Reply:
        return Reply(200, self._session_body(*self._session(request)))

    def _delete_session(self, request: ArmRequest) -> Reply:
        host, session = self._session(request)
        del host.sessions[session.number]
        self._cloud.truth.signed_out(host, session)
        self._tell(host, session, "SignedOut", "was signed out by force")
        return Reply(200)

    def _disconnect(self, request: ArmRequest) -> Reply:
        host, session = self._session(request)
        session.state = "Disconnected"
        self._tell(host, session, "Disconnected", "was disconnected by force")
        return Reply(200)

    def _send_message(self, request: ArmRequest) -> Reply:
        _, session = self._session(request)
        if session.warned_at is None:
            session.warned_at = self._cloud.world.now
        return Reply(200)


def _page_size(request: ArmRequest) -> int:
    return int(request.query.get("pagesize", "1000"))
