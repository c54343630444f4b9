"""What the log tables are made from: when each machine ran, what the broker knew of each host, and what happened to sessions.

Kept for a day of virtual time. All of it is heard as news from the services.
"""

import uuid
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from simulator.news import (
    AgentInstalled,
    MachineDeleted,
    MachineRunning,
    MachineStopped,
    MachineStopping,
    PoolChanged,
    SessionChanged,
    SignInRefused,
)

if TYPE_CHECKING:
    from simulator.cloud import Cloud
    from simulator.session_hosts import Pool, SessionHost

KEPT = timedelta(hours=24)
TIDY_EVERY_S = 3600
CONNECTING_S = (2, 9)  # from Started to Connected
# Code, symbol, message and source of a row in WVDErrors
CUT_OFF = (14, "UnexpectedNetworkDisconnect", "The connection to the session host was lost.", "Client")
NO_HOST = (
    -2146233088,
    "ConnectionFailedNoHealthyRdshAvailable",
    "Could not find any SessionHost available in specified pool.",
    "RDBroker",
)

# What the log of a host with the defect "sign-in" tells of everybody who tries
NOT_LET_IN = (
    -2147467259,
    "ConnectionFailedUserSIDInformationMismatch",
    "The user could not be signed in on the session host.",
    "RDStack",
)


@dataclass
class Life:
    """A machine's time on earth: `runs` are (on, off) with None while it still runs."""

    id: str
    vm_id: str
    name: str
    group: str
    subscription: str
    address: str
    edition: str
    logs: bool
    runs: list[tuple[datetime, datetime | None]] = field(default_factory=list)

    def running(self, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
        """The parts of a time span in which it ran."""
        for on, off in self.runs:
            begin, stop = max(on, start), min(off or end, end)
            if begin < stop:
                yield begin, stop

    def off(self, now: datetime) -> None:
        """Ends the run that is under way."""
        if self.runs and self.runs[-1][1] is None:
            self.runs[-1] = (self.runs[-1][0], now)


@dataclass(frozen=True)
class HostState:
    """What the broker knows of a session host at one time."""

    pool_id: str
    pool: str
    host: str
    vm: str
    vm_id: str
    status: str
    allow_new_session: bool
    active: int
    inactive: int
    since: datetime
    failing: tuple[str, ...]


@dataclass(frozen=True)
class Happening:
    """One row that something caused: the table's own columns; `source` is the id of the resource that it is about."""

    at: datetime
    table: str
    source: str
    columns: dict[str, Any]


class History:
    """The last day of the world, as far as logs tell of it."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self._lives: dict[str, Life] = {}  # by VM id (the GUID): names are used again
        self._current: dict[str, Life] = {}  # by resource id
        self._hosts: dict[tuple[str, str], list[tuple[datetime, HostState | None]]] = {}
        self._connections: dict[tuple[str, int], str] = {}
        self.happenings: deque[Happening] = deque()
        world = cloud.world
        world.listen(MachineRunning, self._machine_running)
        world.listen(MachineStopping, lambda news: self._machine_off(news.vm))
        world.listen(MachineStopped, lambda news: self._machine_off(news.vm))
        world.listen(MachineDeleted, lambda news: self._machine_off(news.vm))
        world.listen(SessionChanged, self._session_changed)
        world.listen(PoolChanged, lambda news: self._look(self._pool(news.pool)))
        world.listen(SignInRefused, self._sign_in_refused)
        world.listen(AgentInstalled, self._agent_installed)
        world.after(0, self._begin)

    def lives(self) -> list[Life]:
        """Every machine that ran within the day."""
        return list(self._lives.values())

    def life_of(self, vm_id: str) -> Life | None:
        """The machine with this VM id."""
        return self._lives.get(vm_id)

    def hosts(self) -> Iterator[list[tuple[datetime, HostState | None]]]:
        """For each session host, what the broker knew of it and since when; None: no longer registered."""
        yield from self._hosts.values()

    def state_at(self, states: list[tuple[datetime, HostState | None]], at: datetime) -> HostState | None:
        """The one of a host's states that held at a time."""
        place = bisect_right(states, at, key=lambda each: each[0])
        return states[place - 1][1] if place else None

    # Machines

    def _machine_running(self, news: MachineRunning) -> None:
        machine = self._cloud.compute.find(news.vm)
        if machine is None:
            return
        life = self._lives.get(machine.vm_id)
        if life is None:
            card = self._cloud.network.find(machine.nic)
            life = Life(
                machine.id,
                machine.vm_id,
                machine.name,
                machine.group,
                machine.subscription,
                card.address if card else "",
                machine.contents.edition,
                "logs" not in machine.contents.defects,
            )
            self._lives[machine.vm_id] = self._current[machine.id.lower()] = life
        life.off(self._cloud.world.now)
        life.runs.append((machine.booted_at or self._cloud.world.now, None))

    def _machine_off(self, vm: str) -> None:
        if life := self._current.get(vm.lower()):
            life.off(self._cloud.world.now)

    # Hosts

    def _begin(self) -> None:
        """Sees the hosts that were there before anything happened, and begins to forget what is old."""
        for pool in self._cloud.desktop.pools.values():
            self._look(pool)
        self._forget(self._cloud.world.now - KEPT)
        self._cloud.world.after(TIDY_EVERY_S, self._begin)

    def _look(self, pool: "Pool") -> None:
        for name, host in pool.hosts.items():
            self._note((pool.name, name), _state_of(host))
        for key in [key for key in self._hosts if key[0] == pool.name and key[1] not in pool.hosts]:
            self._note(key, None)

    def _look_at(self, pool: "Pool", host: "SessionHost | None") -> None:
        """At one host only: sessions come and go all the time, and change nothing on the others."""
        if host is not None:
            self._note((pool.name, host.name.lower()), _state_of(host))

    def _pool(self, name: str) -> "Pool":
        return next(pool for pool in self._cloud.desktop.pools.values() if pool.name == name)

    def _note(self, key: tuple[str, str], state: HostState | None) -> None:
        states = self._hosts.setdefault(key, [])
        before = states[-1][1] if states else None
        if before == state:
            return
        at = self._cloud.world.now
        if state is not None and (before is None or before.status != state.status):
            at = max(state.since, states[-1][0]) if states else state.since
        states.append((at, state))
        if state is not None and (before is None or before.vm_id != state.vm_id):
            life = self._lives.get(state.vm_id)
            columns = {"SessionHostName": state.host, "SessionHostIPAddress": life.address if life else ""}
            columns["CorrelationId"] = self._guid("registration", state.pool_id, state.vm_id)
            self.happenings.append(Happening(at, "WVDHostRegistrations", state.pool_id, columns))

    def _forget(self, before: datetime) -> None:
        while self.happenings and self.happenings[0].at < before:
            self.happenings.popleft()
        gone = [k for k, life in self._lives.items() if all(off and off < before for _, off in life.runs)]
        for vm_id in gone:
            life = self._lives.pop(vm_id)
            if self._current.get(life.id.lower()) is life:
                del self._current[life.id.lower()]
        for states in self._hosts.values():
            while len(states) > 1 and states[1][0] < before:
                states.pop(0)
        for key in [k for k, states in self._hosts.items() if states[-1][1] is None and states[-1][0] < before]:
            del self._hosts[key]

    # Sessions

    def _session_changed(self, news: SessionChanged) -> None:
        pool = self._pool(news.pool)
        key, host = (pool.id, news.session), pool.hosts.get(news.host.lower())
        columns = self._connection(news, host)
        if news.state == "Active":
            self._connections[key] = columns["CorrelationId"] = self._guid(pool.id, news.session, self._cloud.world.now)
            self._connect(pool.id, news, columns, lets_in=not self._has_defect(host, "sign-in"))
        elif correlation := self._connections.pop(key, None):
            columns["CorrelationId"] = correlation
            self._happen("WVDConnections", pool.id, columns | {"State": "Completed"})
            if news.state == "CutOff":
                self._happen("WVDErrors", pool.id, _error(news.user, correlation, *CUT_OFF))
        self._look_at(pool, host)

    def _sign_in_refused(self, news: SignInRefused) -> None:
        pool = self._pool(news.pool)
        correlation = self._guid("refused", pool.id, news.user, self._cloud.world.now)
        self._happen("WVDErrors", pool.id, _error(news.user, correlation, *NO_HOST))

    def _connect(self, pool_id: str, news: SessionChanged, columns: dict[str, Any], *, lets_in: bool) -> None:
        wait = self._cloud.world.chance("connecting", columns["CorrelationId"]).uniform(*CONNECTING_S)
        checkpoint = {
            "CorrelationId": columns["CorrelationId"],
            "UserName": news.user,
            "ActivityType": "Connection",
            "Source": "RDBroker",
            "Name": "LoadBalancedNewConnection",
            "Parameters": {"LoadBalanceOutcome": "NewSession" if news.why == "signed in" else "Disconnected"},
        }
        self._happen("WVDCheckpoints", pool_id, checkpoint)
        self._happen("WVDConnections", pool_id, columns | {"State": "Started"})
        if lets_in:
            self._happen("WVDConnections", pool_id, columns | {"State": "Connected"}, wait)
        else:
            self._happen("WVDErrors", pool_id, _error(news.user, columns["CorrelationId"], *NOT_LET_IN), wait)

    def _has_defect(self, host: "SessionHost | None", defect: str) -> bool:
        machine = self._cloud.compute.find(host.vm) if host else None
        return machine is not None and defect in machine.contents.defects

    def _connection(self, news: SessionChanged, host: "SessionHost | None") -> dict[str, Any]:
        life = self._lives.get(host.vm_id) if host else None
        return {
            "UserName": news.user,
            "ClientOS": "Windows 11 Enterprise",
            "ClientVersion": "2.0.758.0",
            "ClientType": "com.microsoft.rdc.windows.msrdc.x64",
            "ConnectionType": "Desktop",
            "ResourceAlias": "SessionDesktop",
            "SessionHostName": news.host,
            "SessionHostPoolType": "Pooled",
            "SessionHostAzureVmId": host.vm_id if host else "",
            "SessionHostIPAddress": life.address if life else "",
            "SessionHostSessionId": str(news.session),
            "SessionHostJoinType": "Azure AD",
            "GatewayRegion": "westeurope",
            "TransportType": "UDP",
        }

    def _agent_installed(self, news: AgentInstalled) -> None:
        """The agent's complaint in the Windows event log when its token is not, or no longer, good for any pool."""
        now, machine = self._cloud.world.now, self._cloud.compute.find(news.vm)
        good = any(
            pool.token == news.token and pool.token_expires is not None and pool.token_expires > now
            for pool in self._cloud.desktop.pools.values()
        )
        if machine is None or good:
            return
        columns = {
            "Source": "WVD-Agent",
            "EventLog": "Application",
            "Computer": machine.name,
            "EventLevel": 1,
            "EventLevelName": "Error",
            "EventID": 3277,
            "RenderedDescription": "INVALID_REGISTRATION_TOKEN",
        }
        self._happen("Event", machine.id, columns)

    def _happen(self, table: str, source: str, columns: dict[str, Any], after_s: float = 0) -> None:
        at = self._cloud.world.now + timedelta(seconds=after_s)
        self.happenings.append(Happening(at, table, source, columns))

    def _guid(self, *names: object) -> str:
        return str(uuid.UUID(int=self._cloud.world.chance("log", *names).getrandbits(128), version=4))


def _state_of(host: "SessionHost") -> HostState:
    active = sum(session.state == "Active" for session in host.sessions.values())
    return HostState(
        host.pool.id,
        host.pool.name,
        host.name,
        host.vm,
        host.vm_id,
        host.status,
        host.allow_new_session,
        active,
        len(host.sessions) - active,
        host.status_since,
        host.failing,
    )


def _error(user: str, correlation: str, code: int, symbol: str, message: str, source: str) -> dict[str, Any]:
    return {
        "CorrelationId": correlation,
        "UserName": user,
        "ActivityType": "Connection",
        "Source": source,
        "Code": code,
        "CodeSymbolic": symbol,
        "Message": message,
        "ServiceError": False,
        "Operation": "ClientRDPConnect",
    }
