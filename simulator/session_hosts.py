"""What the broker of Azure Virtual Desktop keeps: host pools, their session hosts, and the sessions on them, with their wire forms.

Ids and types are in lower case and every absent property is an explicit null, as the live service answers. Times are UTC.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from simulator.kernel.arm import Json

HEARTBEAT_S = 60
PERSONAL = "Personal"
AGENT_VERSION = "1.0.12183.900"
STACK_VERSION = "rdp-sxs250900500"
USABLE = ("Available", "NeedsAssistance")
SILENT = ("Shutdown", "Unavailable")  # statuses in which the agent is not heard
# The broker's health checks. A host with a fatal one failing is Unavailable; with another one, NeedsAssistance.
FATAL_CHECKS = ("DomainJoinedCheck", "DomainTrustCheck", "SxSStackListenerCheck", "AADJoinedHealthCheck")
CHECKS = (
    *FATAL_CHECKS,
    "UrlsAccessibleCheck",
    "MonitoringAgentCheck",
    "MetaDataServiceCheck",
    "AppAttachHealthCheck",
    "TURNRelayAccessHealthCheck",
)
DEFAULT_RDP = (
    "drivestoredirect:s:*;audiomode:i:0;videoplaybackmode:i:1;redirectclipboard:i:1;redirectprinters:i:1;devicestoredirect:s:*;"
    "redirectcomports:i:1;redirectsmartcards:i:1;usbdevicestoredirect:s:*;enablecredsspsupport:i:1;redirectwebauthn:i:1;"
    "use multimon:i:1;"
)
# What a PUT or PATCH of a host pool may set beside its size, its balancing, its tags and its token.
SETTINGS: Json = {
    "friendlyName": None,
    "description": None,
    "personalDesktopAssignmentType": None,
    "customRdpProperty": DEFAULT_RDP,
    "ring": None,
    "validationEnvironment": False,
    "vmTemplate": None,
    "ssoadfsAuthority": None,
    "ssoClientId": None,
    "ssoClientSecretKeyVaultPath": None,
    "ssoSecretType": None,
    "preferredAppGroupType": "Desktop",
    "startVMOnConnect": False,
    "publicNetworkAccess": "Enabled",
    "agentUpdate": None,
}


def wire_time(moment: datetime | None) -> str | None:
    """A time as the service writes it."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z") if moment else None


@dataclass(eq=False)
class Session:
    """A user's session on a host. `warnings` are the times at which its user was sent a message."""

    number: int
    user: str
    created: datetime
    state: str = "Active"
    warnings: list[datetime] = field(default_factory=list)


@dataclass(eq=False)
class SessionHost:
    """A session host: the broker's record of a VM.

    `removed`: the record is no longer in its pool, though the VM, and sessions on it, may still be there.
    """

    pool: "Pool"
    name: str
    vm: str
    vm_id: str
    object_id: str
    status: str
    status_since: datetime
    beating_since: datetime
    os_version: str
    allow_new_session: bool = True
    friendly_name: str | None = None
    sessions: dict[int, Session] = field(default_factory=dict)
    beating_until: datetime | None = None  # no heartbeat after this; None while the agent runs
    updating_until: datetime | None = None  # the agent's update of itself after it was installed
    updated: datetime | None = None
    failing: tuple[str, ...] = ()  # names of the health checks that fail
    removed: bool = False
    assigned_user: str = ""  # in a personal pool

    @property
    def id(self) -> str:
        """Its resource id."""
        return f"{self.pool.id}/sessionHosts/{self.name}"

    @property
    def usable(self) -> bool:
        """Whether the broker gives it new sessions."""
        return self.allow_new_session and self.status in USABLE and len(self.sessions) < self.pool.max_sessions

    @property
    def alive(self) -> bool:
        """Whether somebody can really work on it, whatever the broker believes: its status says so and its agent runs."""
        return self.status in USABLE and self.beating_until is None

    def last_heartbeat(self, now: datetime) -> datetime:
        """The last beat: agents beat once a minute while they run."""
        latest = now if self.beating_until is None else min(now, self.beating_until)
        passed = max((latest - self.beating_since).total_seconds(), 0)
        return self.beating_since + timedelta(seconds=passed - passed % HEARTBEAT_S)

    def become(self, status: str, now: datetime) -> None:
        """Changes the status that the broker shows."""
        if status != self.status:
            self.status, self.status_since = status, now

    @property
    def update_state(self) -> str:
        """How far the agent's update of itself is."""
        if self.updating_until is None:
            return "Succeeded"
        return "Started" if self.status == "Upgrading" else "Pending"

    def body(self, now: datetime) -> Json:
        """The resource as a GET shows it."""
        heartbeat = wire_time(self.last_heartbeat(now))
        return {
            "id": self.id.lower(),
            "name": f"{self.pool.name}/{self.name}",
            "type": "Microsoft.DesktopVirtualization/hostpools/sessionhosts",
            "properties": {
                "objectId": self.object_id,
                "lastHeartBeat": heartbeat,
                "sessions": len(self.sessions),
                "agentVersion": AGENT_VERSION,
                "allowNewSession": self.allow_new_session,
                "virtualMachineId": self.vm_id,
                "resourceId": self.vm.lower(),
                "assignedUser": self.assigned_user or None,
                "friendlyName": self.friendly_name,
                "status": self.status,
                "statusTimestamp": wire_time(self.status_since),
                "osVersion": self.os_version,
                "sxSStackVersion": STACK_VERSION,
                "updateState": self.update_state,
                "lastUpdateTime": wire_time(self.updated),
                "updateErrorMessage": None,
                "sessionHostHealthCheckResults": [self._check(name, heartbeat) for name in self._checks()],
            },
        }

    def _checks(self) -> tuple[str, ...]:
        return () if self.status == "Upgrading" else CHECKS

    def _check(self, name: str, at: str | None) -> Json:
        result, message, code = "HealthCheckSucceeded", "", 0
        if name in self.failing:
            result, message, code = "HealthCheckFailed", f"{name} failed on {self.name}.", -2147467259
        elif self.status in SILENT and not self.failing:
            result = "SessionHostShutdown"
        details = {"message": message, "errorCode": code, "lastHealthCheckDateTime": at}
        return {"healthCheckName": name, "healthCheckResult": result, "additionalFailureDetails": details}

    def session_body(self, session: Session) -> Json:
        """One of its sessions as a GET shows it."""
        return {
            "id": f"{self.id}/userSessions/{session.number}".lower(),
            "name": f"{self.pool.name}/{self.name}/{session.number}",
            "type": "Microsoft.DesktopVirtualization/hostpools/sessionhosts/usersessions",
            "properties": {
                "objectId": None,
                "userPrincipalName": session.user,
                "applicationType": "Desktop",
                "sessionState": session.state,
                "activeDirectoryUserName": None,
                "createTime": wire_time(session.created),
            },
        }


@dataclass(eq=False)
class Pool:
    """A host pool. `nominal_hosts` is how many hosts its scenario gives it (0 before they are there, and for one made later)."""

    id: str
    group: str
    name: str
    location: str
    load_balancer: str
    max_sessions: int
    object_id: str
    nominal_hosts: int = 0
    host_pool_type: str = "Pooled"
    hosts: dict[str, SessionHost] = field(default_factory=dict)  # by name in lower case
    tags: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=lambda: dict(SETTINGS))
    token: str | None = None
    token_expires: datetime | None = None
    tokens_made: int = 0
    next_session: int = 1

    @property
    def open_slots(self) -> int:
        """Session slots, taken or free, on hosts that really can take somebody now."""
        return self.max_sessions * sum(host.allow_new_session and host.alive for host in self.hosts.values())

    @property
    def session_count(self) -> int:
        """How many sessions the broker knows here, in whatever state."""
        return sum(len(host.sessions) for host in self.hosts.values())

    def valid_token(self, now: datetime) -> str | None:
        """The registration token, while it is good."""
        return self.token if self.token_expires is not None and self.token_expires > now else None

    def body(self, registration: Json | None = None) -> Json:
        """The resource as a GET shows it: the registration token is not in it. A write shows what it did to the token."""
        return {
            "id": self.id.lower(),
            "name": self.name,
            "type": "Microsoft.DesktopVirtualization/hostpools",
            "location": self.location,
            "tags": dict(self.tags) or None,
            "identity": None,
            "kind": None,
            "managedBy": None,
            "plan": None,
            "sku": None,
            "etag": None,
            "properties": {
                "objectId": self.object_id,
                "hostPoolType": self.host_pool_type,
                "maxSessionLimit": self.max_sessions,
                "loadBalancerType": self.load_balancer,
                "registrationInfo": registration,
                "applicationGroupReferences": [],
                "cloudPcResource": False,
                **self.settings,
            },
        }
