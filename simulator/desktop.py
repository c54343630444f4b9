"""Azure Virtual Desktop: the broker that puts people on hosts, and the agents on the hosts that it listens to.

A host exists for the broker from when its agent registers with a pool's token until somebody deletes the record; a VM that goes
away leaves its record behind. The broker knows a host by what its agent last said. So a host that was cut off looks available for a
while, and people who are sent there get nothing.

Image defects that agents show: "agent" (it never comes up), "silent" (it comes up, and then says nothing any more while the broker goes
on showing it as available), or the name of a health check that fails.

Assumed, because no source documents it:
- An agent that registers under the name of a session host that exists takes the record over: object id and drain mode stay, and the
  sessions that the record listed are no longer listed (they live on in the old VM, if that still runs).
- A host whose agent is no longer heard becomes Unavailable after three minutes.
- A host whose record was deleted stays away when it is started; its agent registers again with a new token, and tells of the sessions
  that there are. It has updated itself long ago, and is heard after the handshake.
"""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from simulator.desktop_api import POOLS, desktop_routes
from simulator.kernel.arm import Route, resource_id
from simulator.news import (
    AgentInstalled,
    MachineDeleted,
    MachineRunning,
    MachineStopping,
    PoolChanged,
    SessionChanged,
    SignInRefused,
)
from simulator.scenario import HostPool
from simulator.session_hosts import (
    AGENT_VERSION,
    CHECKS,
    FATAL_CHECKS,
    PERSONAL,
    STACK_VERSION,
    USABLE,
    Pool,
    Session,
    SessionHost,
)

if TYPE_CHECKING:
    from simulator.cloud import Cloud
    from simulator.machines import Machine

__all__ = ["AGENT_VERSION", "STACK_VERSION", "USABLE", "Desktop", "Pool", "Session", "SessionHost"]

HANDSHAKE_S = (15, 30)  # a new host is Unavailable so long
BOOT_S = (60, 120)  # from the machine's running to its agent's being heard
UNHEARD_S = 180
LOOK_AGAIN_S = 60  # how often an agent looks whether what failed has been mended
FALLS_SILENT_AFTER_S = 120


class Desktop:
    """The broker and its records."""

    def __init__(self, cloud: "Cloud") -> None:
        self._cloud = cloud
        self.world = cloud.world
        self.pools: dict[str, Pool] = {}
        self._agents: dict[str, SessionHost] = {}  # by the VM's id: whose agent has registered, removed since or not
        self._desks: dict[tuple[str, str], tuple[SessionHost, Session]] = {}  # by pool id and user
        self.world.listen(AgentInstalled, self._agent_installed)
        self.world.listen(MachineRunning, self._machine_running)
        self.world.listen(MachineStopping, self._machine_stopping)
        self.world.listen(MachineDeleted, self._machine_deleted)

    def populate(self) -> None:
        """Makes the scenario's pools with their hosts, which run and have long been registered."""
        for given in self._cloud.scenario.host_pools:
            pool = self.add_pool(given.resource_group, given.name, given.location, given)
            for number in range(1, given.hosts + 1):
                self._add_host(given, pool, f"{given.host_prefix}-{number:03d}")
            pool.nominal_hosts = given.hosts
            self.tell_changed(pool)

    def routes(self) -> list[Route]:
        """The management API."""
        return desktop_routes(self)

    # What the world asks

    def hosts(self) -> list[SessionHost]:
        """Every session host."""
        return [host for pool in self.pools.values() for host in pool.hosts.values()]

    def host_of_vm(self, vm: str) -> SessionHost | None:
        """The session host that a VM is."""
        host = self._agents.get(vm.lower())
        return host if host is not None and not host.removed else None

    def takes_token(self, token: str) -> bool:
        """Whether some pool would register a host that shows this token now."""
        return self._pool_of_token(token) is not None

    def _pool_of_token(self, token: str) -> Pool | None:
        now = self.world.now
        return next((pool for pool in self.pools.values() if token and pool.valid_token(now) == token), None)

    # People

    def sign_in(self, pool: Pool, user: str) -> Session | None:
        """Gives a user a desktop: their own session where they have one, else a new one by the pool's load balancing.

        None where no host takes them, or where the one they are sent to is dead.
        """
        host, session = self._desks.get((pool.id, user), (None, None))
        if host is None or session is None or host.removed:
            host, session = self._host_for(pool, user), None
        if host is None or not host.alive:
            self.world.tell(SignInRefused(pool.name, user))
            return None
        if session is not None:
            session.state = "Active"
            self._tell(host, session, "Active", "came back")
            return session
        session = Session(pool.next_session, user, self.world.now)
        pool.next_session += 1
        host.sessions[session.number] = session
        if pool.host_pool_type == PERSONAL:
            host.assigned_user = user
        self._desks[pool.id, user] = host, session
        self._tell(host, session, "Active", "signed in")
        return session

    def _host_for(self, pool: Pool, user: str) -> SessionHost | None:
        """In a personal pool their own host, whatever its state, or the first that is nobody's: it is assigned to them."""
        own = next((host for host in pool.hosts.values() if host.assigned_user == user), None)
        if own is not None:
            return own if own.usable else None
        usable = (host for host in pool.hosts.values() if host.usable and not host.assigned_user)
        sign = -1 if pool.load_balancer == "DepthFirst" else 1
        return min(usable, key=lambda host: (sign * len(host.sessions), host.name), default=None)

    def leave(self, pool: Pool, user: str, *, disconnect: bool = False) -> None:
        """A user signs out by themselves, or only disconnects."""
        host, session = self._desks.get((pool.id, user), (None, None))
        if host is None or session is None:
            return
        if disconnect:
            session.state = "Disconnected"
            self._tell(host, session, "Disconnected", "went for a while")
        else:
            self._end(host, session, "SignedOut", "left")

    def sign_out_by_force(self, host: SessionHost, session: Session) -> None:
        """Somebody else ends a user's session."""
        self._end(host, session, "SignedOut", "was signed out by force")

    def disconnect_by_force(self, host: SessionHost, session: Session) -> None:
        """Somebody else disconnects a user."""
        session.state = "Disconnected"
        self._tell(host, session, "Disconnected", "was disconnected by force")

    def _end(self, host: SessionHost, session: Session, state: str, why: str) -> None:
        host.sessions.pop(session.number, None)
        key = host.pool.id, session.user
        if key in self._desks and self._desks[key][1] is session:
            del self._desks[key]
        session.state = state
        self._tell(host, session, state, why)

    def _tell(self, host: SessionHost, session: Session, state: str, why: str) -> None:
        self.world.tell(
            SessionChanged(
                host.pool.name, host.name, session.user, session.number, state, why, warnings=tuple(session.warnings)
            )
        )

    def tell_changed(self, pool: Pool) -> None:
        """Lets the world know that a pool may have more or less room."""
        self.world.tell(PoolChanged(pool.name))

    # Agents

    def _agent_installed(self, news: AgentInstalled) -> None:
        machine, pool = self._cloud.compute.find(news.vm), self._pool_of_token(news.token)
        if machine is None or pool is None:
            return  # event 3277, INVALID_REGISTRATION_TOKEN, in the guest; the broker never hears of it
        known = self._agents.get(machine.id.lower())
        if known is not None and not known.removed:
            return  # registered already: a second installation changes nothing
        if known is None and machine.contents.registered_in is not None:
            return  # an agent from an image: it believes that it is registered, with another machine's identity
        machine.change(registered_in=pool.id, avd_agent_version=AGENT_VERSION)
        host = self._register(pool, machine, "Unavailable")
        dice = self.world.chance("agent", machine.vm_id)
        update = dice.uniform(*self._cloud.scenario.durations.agent_first_update)
        handshake = dice.uniform(*HANDSHAKE_S)
        if known is None:
            host.updating_until = self.world.now + timedelta(seconds=handshake + update)
        if "agent" in machine.contents.defects:
            host.beating_until = self.world.now
        else:
            self._while_up(host, machine, handshake, lambda: self._come_up(host, machine))
        self.tell_changed(pool)

    def _come_up(self, host: SessionHost, machine: "Machine") -> None:
        """The agent is heard; it updates itself first where it is new."""
        now = self.world.now
        if host.beating_until is not None:
            host.beating_since, host.beating_until = now, None
        if host.updating_until is not None and now < host.updating_until:
            host.become("Upgrading", now)
            left = (host.updating_until - now).total_seconds()
            self._while_up(host, machine, left, lambda: self._updated(host, machine))
        else:
            self._examine(host, machine)
        self.tell_changed(host.pool)

    def _updated(self, host: SessionHost, machine: "Machine") -> None:
        host.updating_until, host.updated = None, self.world.now
        self._examine(host, machine)

    def _examine(self, host: SessionHost, machine: "Machine") -> None:
        self._judge(host, machine)
        self.tell_changed(host.pool)

    def _judge(self, host: SessionHost, machine: "Machine") -> None:
        """The agent's health checks decide the status; while some fail, it looks again."""
        contents = machine.contents
        joined = () if contents.entra_joined else ("AADJoinedHealthCheck",)
        host.failing = (*joined, *(name for name in CHECKS if name in contents.defects))
        fatal = any(name in FATAL_CHECKS for name in host.failing)
        host.become("Unavailable" if fatal else "NeedsAssistance" if host.failing else "Available", self.world.now)
        if host.failing:
            self._while_up(host, machine, LOOK_AGAIN_S, lambda: self._examine(host, machine))
        elif "silent" in contents.defects:
            self._while_up(host, machine, FALLS_SILENT_AFTER_S, lambda: self.fall_silent(host))

    def fall_silent(self, host: SessionHost) -> None:
        """A host's agent says nothing any more, and nobody can work there; the broker does not notice."""
        host.beating_until = self.world.now
        self.tell_changed(host.pool)

    def _while_up(self, host: SessionHost, machine: "Machine", seconds: float, then: Callable[[], None]) -> None:
        """Does something later, if the machine has run without a break until then and the broker still knows the host."""
        boot = machine.booted_at

        def if_up() -> None:
            if machine.is_running and machine.booted_at == boot and not host.removed:
                then()

        self.world.after(seconds, if_up)

    def _register(self, pool: Pool, machine: "Machine", status: str) -> SessionHost:
        guid = str(uuid.UUID(int=self.world.chance("host", machine.vm_id).getrandbits(128), version=4))
        now, build = self.world.now, machine.contents.os_build
        host = SessionHost(
            pool, machine.name, machine.id, machine.vm_id, guid, status, now, now, f"10.0.{build}", updated=now
        )
        same_name, same_vm = pool.hosts.get(machine.name.lower()), self._agents.get(machine.id.lower())
        if same_name is not None:
            same_name.removed = True
            host.object_id, host.allow_new_session = same_name.object_id, same_name.allow_new_session
        if same_vm is not None and same_vm.pool is pool:
            host.sessions = same_vm.sessions
            self._desks.update({(pool.id, session.user): (host, session) for session in host.sessions.values()})
        pool.hosts[machine.name.lower()] = self._agents[machine.id.lower()] = host
        return host

    def remove(self, host: SessionHost) -> None:
        """Takes a record out of its pool. Sessions that it lists go on in the VM, unknown to the broker."""
        host.removed = True
        del host.pool.hosts[host.name.lower()]
        self.tell_changed(host.pool)

    # Machines

    def _machine_running(self, news: MachineRunning) -> None:
        host, machine = self.host_of_vm(news.vm), self._cloud.compute.find(news.vm)
        if host is None or machine is None or "agent" in machine.contents.defects:
            return
        host.os_version = f"10.0.{machine.contents.os_build}"
        seconds = self.world.chance("boot", machine.vm_id, machine.booted_at).uniform(*BOOT_S)
        self._while_up(host, machine, seconds, lambda: self._come_up(host, machine))

    def _machine_stopping(self, news: MachineStopping) -> None:
        host = self._agents.get(news.vm.lower())
        if host is None:
            return
        for session in list(host.sessions.values()):
            self._end(host, session, "CutOff", "the machine was stopped under them")
        if host.beating_until is None:
            host.beating_until = self.world.now
            if news.clean:
                host.become("Shutdown", self.world.now)
            else:
                self._miss(host)
        self.tell_changed(host.pool)

    def _machine_deleted(self, news: MachineDeleted) -> None:
        host = self._agents.pop(news.vm.lower(), None)
        if host is not None and host.status != "Shutdown":
            self._miss(host)

    def _miss(self, host: SessionHost) -> None:
        """A host that said nothing when it went is found missing a while later."""
        silent_since = host.beating_until

        def unheard() -> None:
            if host.beating_until == silent_since and host.status != "Shutdown":
                host.become("Unavailable", self.world.now)
                self.tell_changed(host.pool)

        self.world.after(UNHEARD_S, unheard)

    # Populating

    def add_pool(self, group: str, name: str, location: str, given: HostPool | None = None) -> Pool:
        """Makes a host pool: as a scenario gives it, or an empty one."""
        pool = Pool(
            resource_id(self._cloud.scenario.subscription_id, group, f"{POOLS}/{name}"),
            group,
            name,
            location,
            given.load_balancer if given else "BreadthFirst",
            given.max_sessions if given else 1,
            str(uuid.UUID(int=self.world.chance("pool", group, name).getrandbits(128), version=4)),
        )
        self.pools[pool.id.lower()] = pool
        return pool

    def _add_host(self, given: HostPool, pool: Pool, name: str) -> None:
        version = self._cloud.galleries.version_named(given.image_version)
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
            self._long_ago(30),
        )
        if given.static_addresses and (card := self._cloud.network.find(machine.nic)) is not None:
            card.static = True
        host = self._register(pool, machine, "Available")
        host.status_since = host.beating_since = host.updated = self._long_ago(1)
        self._judge(host, machine)

    def _long_ago(self, days: float) -> datetime:
        return self.world.now - timedelta(days=days)
