"""Observing a host pool: a handful of lists, whatever its size, put together into one snapshot.

Five reads a look: the pool, its session hosts, its user sessions, the virtual machines of the hosts' resource group, and
what those are doing. They serve every step that waits for something in the pool.

Promise: a snapshot that is `complete` comes from reads that all succeeded, and that agree with each other and with our own clock. One
that is not says why, and nothing destructive may follow from it. A failure that may pass by itself makes an incomplete snapshot; one
that needs a person (no permission, no such pool) is raised, since looking again would not help.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from azure.mgmt.desktopvirtualization.models import HostPool, SessionHost, SessionHostHealthCheckReport, UserSession

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.azure.compute import ListedVm, VmStatus
from evergold.azure.desktops import host_of, short_name
from evergold.azure.enums import text_of
from evergold.azure.errors import raise_failed
from evergold.azure.ids import key, same
from evergold.rollout.frozen import frozen_into_any
from evergold.rollout.model import Host, Pool, Session, Snapshot

log = logging.getLogger("evergold.rollout")
T = TypeVar("T")
# What is timed by our clock is minutes: the shortest notice is cut by no more than this.
CLOCK_SKEW = timedelta(minutes=2)


@dataclass(frozen=True)
class Reads:
    """What Azure said in one look."""

    pool: HostPool
    session_hosts: list[SessionHost]
    sessions: list[UserSession]
    vms: list[ListedVm]
    statuses: Mapping[str, VmStatus]


class PoolWatch:
    """The one watch of a host pool: `look` as often as a tick needs it.

    `resource_group` and `pool` name the host pool; `hosts_group` is where its virtual machines are.
    """

    def __init__(self, azure: Azure, resource_group: str, pool: str, hosts_group: str) -> None:
        self._azure = azure
        self._resource_group = resource_group
        self._pool = pool
        self._hosts_group = hosts_group

    async def look(self) -> Snapshot:
        """The pool as it is now, or an incomplete snapshot that says which read failed."""
        taken_at = self._azure.clock.now()
        try:
            reads = await self._read()
        except AzureFailure as failure:
            if not failure.retryable:
                raise
            log.warning("The look at host pool %s failed, and will be taken again: %s", self._pool, failure)
            return Snapshot.incomplete(taken_at, str(failure))
        hosts = tuple(sorted(_hosts(reads), key=lambda host: host.name.casefold()))
        problems = [*_strangers(reads), *_clock_is_behind(hosts, self._azure.clock.now())]
        return Snapshot(
            taken_at=taken_at,
            pool=_pool(reads.pool),
            hosts=hosts,
            complete=not problems,
            problem="; ".join(problems),
            taken_names=_taken_names(reads, hosts),
        )

    async def _read(self) -> Reads:
        """All reads at once; if one fails, the others are let run out first, so that none outlives the look."""
        desktops, compute = self._azure.desktops, self._azure.compute
        pool, session_hosts, sessions, vms, statuses = await asyncio.gather(
            _kept(desktops.get_host_pool(self._resource_group, self._pool)),
            _kept(desktops.list_session_hosts(self._resource_group, self._pool)),
            _kept(desktops.list_user_sessions(self._resource_group, self._pool)),
            _kept(compute.list_vms(self._hosts_group)),
            _kept(compute.list_statuses()),
        )
        found = _value(pool)
        if found is None:
            raise_failed(
                "read the host pool", f"{self._resource_group}/{self._pool}", "NotFound", "There is no such host pool."
            )
        return Reads(found, _value(session_hosts), _value(sessions), _value(vms), _value(statuses))


async def _kept(read: Awaitable[T]) -> T | AzureFailure:
    try:
        return await read
    except AzureFailure as failure:
        return failure


def _value(result: T | AzureFailure) -> T:
    if isinstance(result, AzureFailure):
        raise result
    return result


def _hosts(reads: Reads) -> Iterable[Host]:
    """Every VM that belongs to the pool, registered or not, and every registration whose VM was not found.

    One that is not registered belongs to it by its own tag, or because the last rollout of the pool has frozen it.
    """
    sessions = _sessions_by_host(reads.sessions)
    frozen = frozen_into_any(reads.pool.tags or {})
    unmatched = {key(host.resource_id or host.name or ""): host for host in reads.session_hosts}
    for vm in reads.vms:
        registration = unmatched.get(key(vm.id))
        if registration is not None and _same_machine(vm, registration):
            del unmatched[key(vm.id)]
        else:
            registration = None
        host = _host(vm, registration, reads.statuses.get(key(vm.id)), sessions)
        ours = same(vm.tags.get(tags.POOL), reads.pool.id) or (frozen is not None and frozen.has(host))
        if registration is not None or ours:
            yield host
    names = {vm.name.casefold() for vm in reads.vms}
    for registration in unmatched.values():
        host = _host(None, registration, None, sessions)
        # Two hosts of one name would be mistaken for each other further on.
        yield replace(host, name=f"{host.name} (left behind)") if host.name.casefold() in names else host


def _taken_names(reads: Reads, hosts: Iterable[Host]) -> tuple[str, ...]:
    """Names of the virtual machines there that are no hosts of the pool: another pool's, or anybody's."""
    ours = {host.name.casefold() for host in hosts}
    return tuple(sorted(vm.name for vm in reads.vms if vm.name.casefold() not in ours))


def _same_machine(vm: ListedVm, host: SessionHost) -> bool:
    """Whether a registration is this very VM's, and not that of an earlier one with the same name."""
    registered = host.virtual_machine_id
    return not registered or vm.vm_id.casefold() == registered.casefold()


def _host(
    vm: ListedVm | None,
    registration: SessionHost | None,
    status: VmStatus | None,
    sessions: Mapping[str, tuple[Session, ...]],
) -> Host:
    name = short_name(registration.name) if registration else ""
    on_it = sessions.get(name.casefold(), ()) if registration else ()
    return Host(
        name=(vm.name if vm else None) or short_name(registration.resource_id if registration else "") or name,
        vm_resource_id=(vm.id if vm else None) or (registration.resource_id if registration else None) or "",
        vm_id=(vm.vm_id if vm else None) or (registration.virtual_machine_id if registration else None) or "",
        image_version_id=vm.image if vm else None,
        power=status.power if status else "unknown",
        provisioning_state=vm.provisioning if vm else "Unknown",
        created_at=vm.created_at if vm else None,
        tags=dict(vm.tags) if vm else {},
        registered=registration is not None,
        session_host_name=name or None,
        status=text_of(registration.status) if registration else None,
        allow_new_session=bool(registration and registration.allow_new_session),
        # The broker's own count may lag behind its list, or the list behind the count: the higher is the safer.
        session_count=max(registration.sessions or 0, len(on_it)) if registration else 0,
        last_heartbeat=registration.last_heart_beat if registration else None,
        health_checks=_failing_checks(registration) if registration else (),
        sessions=on_it,
        assigned_user=(registration.assigned_user or "") if registration else "",
        agent_ready=status.agent_ready if status else None,
        problem=status.error if status else "",
        etag=vm.etag if vm else "",
    )


def _sessions_by_host(sessions: Iterable[UserSession]) -> dict[str, tuple[Session, ...]]:
    by_host: dict[str, tuple[Session, ...]] = {}
    for session in sessions:
        host = host_of(session).casefold()
        by_host[host] = (*by_host.get(host, ()), _session(session))
    return by_host


def _session(session: UserSession) -> Session:
    return Session(
        id=short_name(session.name),
        user=session.user_principal_name or session.active_directory_user_name or "",
        state=text_of(session.session_state) or "Unknown",
        created_at=session.create_time,
    )


def _pool(pool: HostPool) -> Pool:
    return Pool(
        resource_id=pool.id or "",
        max_session_limit=pool.max_session_limit or 0,
        load_balancer_type=text_of(pool.load_balancer_type),
        host_pool_type=text_of(pool.host_pool_type),
        tags=dict(pool.tags or {}),
    )


def _failing_checks(host: SessionHost) -> tuple[str, ...]:
    reports: list[SessionHostHealthCheckReport] = host.session_host_health_check_results or []
    return tuple(
        text_of(report.health_check_name)
        for report in reports
        if text_of(report.health_check_result) == "HealthCheckFailed"
    )


def _clock_is_behind(hosts: Iterable[Host], now: datetime) -> Iterator[str]:
    """A heartbeat from the future: every notice to users and every pause would be mistimed by as much."""
    heard = [host.last_heartbeat for host in hosts if host.registered and host.last_heartbeat is not None]
    ahead = max(heard, default=now) - now
    if ahead > CLOCK_SKEW:
        minutes = -(-ahead.total_seconds() // 60)
        yield f"this machine's clock is {minutes:.0f} minutes behind Azure's, and no time can be told by it: set it right"


def _strangers(reads: Reads) -> Iterable[str]:
    """Sessions on hosts that are not in the list of hosts: the two lists are from different moments."""
    known = {short_name(host.name).casefold() for host in reads.session_hosts}
    for session in reads.sessions:
        if host_of(session).casefold() not in known:
            yield f"the broker lists a session on {host_of(session)}, and no such session host"
