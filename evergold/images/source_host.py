"""Copying a session host: an ensure that takes it out of service, copies its OS disk, and brings it back as it was.

Promises: nobody is signed out but by the release rules; the pool's capacity floor holds; the host, how it was before, and how far it is
stand in its own tags, so that a run which is killed anywhere goes on, and whoever comes after it can bring the host back. The host
itself is never changed inside, never generalised, and never deleted: the image is made of the copy.

The pool's lease is held meanwhile, so that no rollout works beside it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from azure.mgmt.compute.models import Snapshot as DiskSnapshot
from azure.mgmt.compute.models import VirtualMachine

from evergold import tags
from evergold.azure import Azure, AzureFailure
from evergold.azure.compute import AttachedDisk, PurchasePlan
from evergold.azure.desktops import short_name
from evergold.azure.errors import raise_failed
from evergold.azure.ids import ResourceId, same
from evergold.config.models import ImageSet, SessionHostSource
from evergold.images.guest import RUN_AGAIN, StepFailure
from evergold.images.refresh import Refresh
from evergold.images.source import Copy, Loan, Next, SourceHost, Step, is_off, next_step, policy_of, way_back
from evergold.rollout import lease
from evergold.rollout.lease import Lease, LeaseHeldError
from evergold.rollout.model import Host, Policy, Snapshot
from evergold.rollout.observe import PoolWatch

log = logging.getLogger("evergold.images")

TICK_S = 60
PURPOSE = "source-host"  # in the tag of the snapshot
MESSAGE_TITLE = "Your desktop is about to be copied"
Hold = Callable[[str], Awaitable[str | None]]  # why a pool is held, or None
TAKES_AWAY = (Step.NOTE, Step.DRAIN, Step.WARN, Step.SIGN_OUT, Step.DEALLOCATE)
LOAN_TAGS = (tags.SOURCE_OF, tags.SOURCE_WARNED_AT, tags.SOURCE_WARNED_SESSIONS, tags.SOURCE_EMPTY_SINCE)


class SourceHostError(StepFailure):
    """A session host could not be copied, or could not be brought back; says how it was left."""


class HostLeftDownError(SourceHostError):
    """It was switched off to be copied, and does not come up again."""


@dataclass(frozen=True)
class Lender:
    """The host that is copied, and where."""

    azure: Azure
    image_set: ImageSet
    source: SessionHostSource
    host: SourceHost
    refresh: str
    policy: Policy

    @property
    def pool_id(self) -> ResourceId:
        """The host pool's resource id."""
        return ResourceId(
            str(self.azure.environment.subscription_id),
            self.source.resource_group,
            "Microsoft.DesktopVirtualization/hostPools",
            (self.source.pool,),
        )

    @property
    def watch(self) -> PoolWatch:
        """The pool's one watch."""
        source = self.source
        return PoolWatch(self.azure, source.resource_group, source.pool, source.hosts_resource_group)


def snapshot_name(refresh: Refresh) -> str:
    """The snapshot of the host's OS disk. Goes with the build machine."""
    return f"{refresh.build_name}-source"


# The ensures


async def ensure_source_copied(azure: Azure, image_set: ImageSet, refresh: Refresh, hold: Hold | None = None) -> None:
    """There is a snapshot of the source host's OS disk, and the host serves as it did. Nothing to do for other kinds of source.

    A hold is waited for; `hold` tells of the one that stands on a pool. Raises SourceHostError where its users did not leave within
    `source.wait_hours`, or it does not come back; LeaseHeldError while a rollout has the pool. Whatever is raised, the host is brought
    back first, as far as that can be done.
    """
    lender = _lender(azure, image_set, refresh)
    if lender is None:
        return
    group = image_set.build.resource_group
    built = await azure.compute.get_vm(group, refresh.vm_name, instance_view=False)
    if built is not None and (built.tags or {}).get(tags.REFRESH) == refresh.id:
        await ensure_source_returned(azure, image_set, refresh)  # the copy has become a machine
        return
    if await _copy(azure, group, refresh) == "done" and not await _is_on_loan(lender):
        await _release(lender)  # where a run died just before it did
        return
    held: Lease | None = None
    try:
        held = await lease.take(azure, lender.pool_id, refresh.id, _holder(refresh.id))
        await _copied(lender, refresh, held, hold)
        await _brought_back(lender, held)
    except HostLeftDownError:
        raise
    except (Exception, asyncio.CancelledError):
        await _brought_back(lender, held)
        raise


async def ensure_source_returned(azure: Azure, image_set: ImageSet, refresh: Refresh) -> None:
    """The source host of a refresh serves as it did before it was taken, whatever became of the copy."""
    lender = _lender(azure, image_set, refresh)
    if lender is None:
        return
    if await _is_on_loan(lender):
        await _brought_back(lender, None)
    else:
        await _release(lender)


async def return_left_hosts(azure: Azure, image_set: ImageSet) -> list[str]:
    """Brings back every host of the image set's source pool that a run which is gone has left out of service; returns their names.

    A run that lives holds the pool's lease: then nothing is done.
    """
    source = image_set.source
    if not isinstance(source, SessionHostSource):
        return []
    back = []
    for vm in await azure.compute.list_vms(source.hosts_resource_group):
        loan = Loan.read(vm.tags)
        if loan is None:
            continue
        lender = Lender(
            azure,
            image_set,
            source,
            SourceHost(vm.id, vm.vm_id),
            loan.refresh,
            policy_of(image_set, source),
        )
        pool = await azure.desktops.get_host_pool(source.resource_group, source.pool)
        held = lease.parse((pool.tags or {}).get(tags.LEASE)) if pool else None
        if held is not None and held.until > azure.clock.now():
            log.info("%s: left to refresh %s, which holds %s", vm.name, held.refresh, source.pool)
            continue
        try:
            await _brought_back(lender, None)
        except SourceHostError as failure:
            log.warning("%s", failure)
        else:
            back.append(vm.name or "")
    return back


async def ensure_copy_disk(
    azure: Azure, image_set: ImageSet, refresh: Refresh
) -> tuple[AttachedDisk, PurchasePlan | None]:
    """A disk made from the snapshot, for the build machine to boot from; and the plan that the host's image was bought under."""
    group, name = image_set.build.resource_group, f"{refresh.build_name}-os"
    snapshot = await _own_snapshot(azure, group, refresh)
    if snapshot is None or not snapshot.id:
        raise_failed(
            "copy the disk", snapshot_name(refresh), "ResourceNotFound", "There is no snapshot of the source host."
        )
    disk = await azure.disks.get_disk(group, name)
    if disk is not None and (disk.tags or {}).get(tags.REFRESH) != refresh.id:
        raise_failed("copy the disk", f"{group}/{name}", "NameTaken", "A disk of that name is there, and is not ours.")
    if disk is None or (disk.properties and disk.properties.provisioning_state) != "Succeeded":
        properties = snapshot.properties
        disk = await azure.disks.create_disk_from_snapshot(
            group,
            name,
            image_set.location,
            snapshot.id,
            refresh.tags,
            security_type=image_set.build.security_type,
            generation="V1" if properties and properties.hyper_v_generation == "V1" else "V2",
        )
    bought = (snapshot.tags or {}).get(tags.PLAN, "").split("|")
    return AttachedDisk(disk.id or ""), PurchasePlan(*bought) if len(bought) == 3 else None


# The loop


async def _copied(lender: Lender, refresh: Refresh, held: Lease, hold: Hold | None) -> None:
    """Look, decide, do one thing, again, until the disk is copied."""
    azure, waited = lender.azure, ""
    deadline = azure.clock.now() + timedelta(hours=lender.source.wait_hours)
    while True:
        held = await lease.keep(azure, lender.pool_id, held)
        step = await _tick(lender, refresh, hold)
        if step.step is Step.DONE:
            return
        if step.step is not Step.WAIT:
            continue
        if azure.clock.now() > deadline:
            raise SourceHostError(
                "copy",
                lender.host.name,
                f"After {lender.source.wait_hours} hours (source.wait_hours) it still waits for {step.reason}. It serves as before.",
                "Start the run again at a quieter time, choose release_method: immediate, or name another source.host.",
            )
        if step.reason != waited:
            log.info("%s: waiting for %s", lender.host.name, step.reason)
        waited = step.reason
        await azure.clock.sleep(TICK_S)


async def _tick(lender: Lender, refresh: Refresh, hold: Hold | None) -> Next:
    """One look at the pool and the copy, and what follows from it. What Azure refuses for now is to be waited for."""
    azure = lender.azure
    copy = await _copy(azure, lender.image_set.build.resource_group, refresh)
    snapshot = await lender.watch.look()
    if not snapshot.complete:
        return Next(Step.WAIT, f"a look at the pool that is whole ({snapshot.problem})")
    host = _host_in(snapshot, lender)
    step = next_step(snapshot, host, copy, lender.policy, azure.clock.now())
    if step.step in TAKES_AWAY and hold is not None and (held := await hold(lender.source.pool)):
        return Next(Step.WAIT, f"the hold to be lifted: {held}")
    try:
        await _do(lender, refresh, host, step)
    except AzureFailure as failure:
        if not failure.retryable:
            raise
        return Next(Step.WAIT, f"Azure, to {step.step} ({failure.code})")
    return step


async def _brought_back(lender: Lender, held: Lease | None) -> None:
    """The host serves as it did. Where it does not come up in time, drain mode is put back and the note stays, for the next try."""
    azure = lender.azure
    deadline = azure.clock.now() + timedelta(minutes=lender.image_set.checks.settle_timeout_minutes)
    while True:
        held = await _held_if_free(lender, held)
        step = await _tick_back(lender)
        if step.step is Step.DONE:
            await _release(lender)
            return
        if azure.clock.now() > deadline:
            await _left_down(lender, step)
        if step.step in (Step.WAIT, Step.START):
            await azure.clock.sleep(TICK_S)


async def _tick_back(lender: Lender) -> Next:
    """One look at the pool, and what follows from it for the way back."""
    snapshot = await lender.watch.look()
    if not snapshot.complete:
        return Next(Step.WAIT, f"a look at the pool that is whole ({snapshot.problem})")
    host = _host_in(snapshot, lender)
    step = way_back(host, lender.policy, lender.azure.clock.now())
    try:
        await _undo(lender, host, step)
    except AzureFailure as failure:
        if not failure.retryable:
            raise
        return Next(Step.WAIT, f"Azure, to {step.step} ({failure.code})")
    return step


async def _left_down(lender: Lender, step: Next) -> None:
    """Gives up for now: people are let on as before, once it comes up, and the note stays."""
    loan = Loan.read((await _own_vm(lender)).tags or {})
    if loan is not None:
        await _allow(lender, not loan.was_drained)
    await _release(lender)
    raise HostLeftDownError(
        "bring back",
        lender.host.name,
        f"It was switched off to be copied, and does not serve again: waiting for {step.reason}. Drain mode is as it was.",
        "Look at the machine in the portal, and start it. This run, started again, and the daily retire-hosts run try again too.",
    )


async def _undo(lender: Lender, host: Host, step: Next) -> None:
    """Does one step of the way back."""
    loan = Loan.read(host.tags)
    if step.step is Step.START:
        await lender.azure.compute.begin_start(lender.source.hosts_resource_group, host.name)
    elif step.step is Step.PUT_BACK and loan is not None:
        await _allow(lender, not loan.was_drained)
    elif step.step is Step.FORGET:
        await _tag(lender, {}, remove=LOAN_TAGS)
    if step.step not in (Step.WAIT, Step.DONE):
        log.info("%s: %s: %s", host.name, step.step, step.reason)


async def _do(lender: Lender, refresh: Refresh, host: Host, step: Next) -> None:
    """Does one step of the way out of service."""
    now = lender.azure.clock.now()
    if step.step is Step.NOTE:
        made = Loan(refresh.id, not host.allow_new_session, is_off(host), now)
        await _tag(lender, {tags.SOURCE_OF: made.value})
    elif step.step is Step.DRAIN:
        await _allow(lender, False)
    elif step.step is Step.WARN:
        await _warn(lender, host)
    elif step.step is Step.SIGN_OUT:
        await _sign_out(lender, step.sessions)
    elif step.step is Step.NOTE_EMPTY:
        await _tag(lender, {tags.SOURCE_EMPTY_SINCE: tags.format_time(now)})
    elif step.step is Step.FORGET_EMPTY:
        await _tag(lender, {}, remove=(tags.SOURCE_EMPTY_SINCE,))
    elif step.step is Step.DEALLOCATE:
        await _deallocate(lender, host)
    elif step.step is Step.SNAPSHOT:
        await _take_snapshot(lender, refresh)
    if step.step not in (Step.WAIT, Step.DONE):
        log.info("%s: %s: %s", host.name, step.step, step.reason)


# Single steps


async def _warn(lender: Lender, host: Host) -> None:
    """Tells everybody on the host, and any who came meanwhile; noted, with whom, only when a fresh list shows nobody untold.

    A list may be old or cut short, so that it alone proves nothing: only those who are noted are ever signed out.
    """
    rollout, source = lender.image_set.rollout, lender.source
    body = rollout.warning_message.format(
        minutes=rollout.warn_minutes, reason=f"An update of {lender.image_set.description or lender.image_set.name}"
    )
    told: set[str] = set()
    untold = {session.id for session in host.sessions} | await _sessions(lender)
    while untold:
        for session in sorted(untold):
            await lender.azure.desktops.send_message(
                source.resource_group, source.pool, host.name, session, MESSAGE_TITLE, body
            )
        told |= untold
        untold = await _sessions(lender) - told
    moment = tags.format_time(lender.azure.clock.now())
    await _tag(lender, {tags.SOURCE_WARNED_AT: moment, tags.SOURCE_WARNED_SESSIONS: tags.ids_value(told)})


async def _sign_out(lender: Lender, sessions: tuple[str, ...]) -> None:
    """Signs out those who have had their warning, if the note of it still stands."""
    _refuse_kept(vm := await _own_vm(lender))
    loan = Loan.read(vm.tags or {})
    if loan is None or loan.warned_at is None:
        return
    for session in sessions:
        if not tags.is_among(session, loan.warned_sessions):
            continue
        await lender.azure.desktops.sign_out(
            lender.source.resource_group, lender.source.pool, lender.host.name, session
        )


async def _deallocate(lender: Lender, host: Host) -> None:
    """Switches the host off, if the broker, asked now, shows it closed and empty."""
    _refuse_kept(await _own_vm(lender))
    source = lender.source
    seen = await lender.azure.desktops.get_session_host(source.resource_group, source.pool, host.name)
    if seen is None or seen.allow_new_session or seen.sessions or await _sessions(lender):
        log.info("%s: not switched off after all: the broker shows somebody on it, or lets people on", host.name)
        await _tag(lender, {}, remove=(tags.SOURCE_EMPTY_SINCE,))
        return
    await lender.azure.compute.begin_deallocate(source.hosts_resource_group, host.name)


async def _take_snapshot(lender: Lender, refresh: Refresh) -> None:
    vm = await _own_vm(lender)
    storage = vm.properties.storage_profile if vm.properties else None
    disk = storage.os_disk.managed_disk.id if storage and storage.os_disk and storage.os_disk.managed_disk else None
    if disk is None:
        raise SourceHostError("copy", lender.host.name, "It has no managed OS disk.", "Name another source.host.")
    named = {**refresh.tags, tags.PURPOSE: PURPOSE}
    if vm.plan is not None:
        named[tags.PLAN] = f"{vm.plan.publisher}|{vm.plan.product}|{vm.plan.name}"
    group, name = lender.image_set.build.resource_group, snapshot_name(refresh)
    await lender.azure.disks.create_snapshot(group, name, vm.location, disk, named)


# Parts


def _lender(azure: Azure, image_set: ImageSet, refresh: Refresh) -> Lender | None:
    host, source = SourceHost.parse(refresh.source), image_set.source
    if host is None:
        return None
    if not isinstance(source, SessionHostSource):
        raise SourceHostError(
            "copy",
            host.name,
            f"Refresh {refresh.id} began with this session host, and the image set names another kind of source now.",
            "Put `source` back as it was, or start a run that gives the refresh up.",
        )
    return Lender(azure, image_set, source, host, refresh.id, policy_of(image_set, source))


def _holder(refresh: str) -> str:
    return f"{refresh}-source"


async def _release(lender: Lender) -> None:
    """Gives the pool's lease back, where it is this copy's."""
    held = Lease(lender.refresh, _holder(lender.refresh), lender.azure.clock.now())
    await lease.release(lender.azure, lender.pool_id, held)


async def _copy(azure: Azure, group: str, refresh: Refresh) -> Copy:
    snapshot = await _own_snapshot(azure, group, refresh)
    if snapshot is None or _state(snapshot) == "Failed":
        return "none"
    percent = snapshot.properties.completion_percent if snapshot.properties else None
    return "done" if _state(snapshot) == "Succeeded" and percent in (None, 100) else "under way"


def _state(snapshot: DiskSnapshot) -> str:
    return (snapshot.properties.provisioning_state if snapshot.properties else None) or ""


async def _own_snapshot(azure: Azure, group: str, refresh: Refresh) -> DiskSnapshot | None:
    name = snapshot_name(refresh)
    snapshot = await azure.disks.get_snapshot(group, name)
    if snapshot is not None and (snapshot.tags or {}).get(tags.REFRESH) != refresh.id:
        raise_failed("take the snapshot", f"{group}/{name}", "NameTaken", "A snapshot of that name is not ours.")
    return snapshot


async def _own_vm(lender: Lender) -> VirtualMachine:
    """The host's VM, having made sure that it is the very one that was chosen."""
    vm = await lender.azure.compute.get_vm(lender.source.hosts_resource_group, lender.host.name, instance_view=False)
    guid = (vm.properties.vm_id if vm is not None and vm.properties else None) or ""
    if vm is None or not same(vm.id, lender.host.resource_id) or guid.lower() != lender.host.vm_id.lower():
        raise SourceHostError(
            "copy",
            lender.host.name,
            "It is not the machine that was chosen any more.",
            "Start a new run that gives this refresh up; it chooses again.",
        )
    return vm


def _refuse_kept(vm: VirtualMachine) -> None:
    if tags.KEEP in (vm.tags or {}):
        raise SourceHostError(
            "copy",
            vm.name or "",
            f"Somebody has tagged it {tags.KEEP} meanwhile, so it is not touched any more.",
            "Ask them; then start the run again, or give the refresh up.",
        )


async def _is_on_loan(lender: Lender) -> bool:
    """Whether the host was taken out of service; by whatever refresh, since the note says how it was before anybody took it."""
    vm = await lender.azure.compute.get_vm(lender.source.hosts_resource_group, lender.host.name, instance_view=False)
    return vm is not None and Loan.read(vm.tags or {}) is not None


async def _held_if_free(lender: Lender, held: Lease | None) -> Lease | None:
    """The pool's lease, where nobody else has it: a host is brought back all the same."""
    try:
        if held is None:
            return await lease.take(lender.azure, lender.pool_id, lender.refresh, _holder(lender.refresh))
        return await lease.keep(lender.azure, lender.pool_id, held)
    except LeaseHeldError as other:
        log.info("%s is brought back beside another run: %s", lender.host.name, other)
        return held


def _host_in(snapshot: Snapshot, lender: Lender) -> Host:
    host = next((each for each in snapshot.hosts if each.name.casefold() == lender.host.name.casefold()), None)
    if host is None or host.vm_id.lower() != lender.host.vm_id.lower():
        raise SourceHostError(
            "copy",
            lender.host.name,
            "It is not in its pool any more, or is another machine.",
            RUN_AGAIN,
        )
    return host


async def _sessions(lender: Lender) -> set[str]:
    source = lender.source
    listed = await lender.azure.desktops.list_user_sessions_on(source.resource_group, source.pool, lender.host.name)
    return {short_name(session.name) for session in listed}


async def _allow(lender: Lender, allow: bool) -> None:
    source = lender.source
    await lender.azure.desktops.set_allow_new_session(source.resource_group, source.pool, lender.host.name, allow)


async def _tag(lender: Lender, values: dict[str, str], remove: tuple[str, ...] = ()) -> None:
    await lender.azure.compute.update_vm_tags(lender.source.hosts_resource_group, lender.host.name, values, remove)
