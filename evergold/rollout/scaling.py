"""A pool's scaling plan is suspended while its hosts are being replaced, and put back on every way out.

Autoscale overwrites drain mode and switches hosts off by its own rules, so it and a rollout would work against each other. The plan is
switched off for this pool only (`scalingPlanEnabled` of its reference); the other pools that share it are not concerned. What it had
switched off is switched on when the planner says so, ahead of the plan's ramp-up: nobody else would in the morning. A note in the pool's
tags, written first, says that the plan was suspended here: so the next run puts back what a run that died has left.

A plan has no ETag, and its references are written as one list. Two rollouts that share a plan could undo each other's change: each reads
back what it wrote, and looks again every few minutes.

New hosts bear the plan's exclusion tag from their creation until they are opened, since a canary waits for its approval while no rollout
suspends the plan. Source: learn.microsoft.com, "Autoscale scaling plans and example scenarios".
"""

import asyncio
import logging
from collections.abc import Collection

from azure.mgmt.desktopvirtualization.models import ScalingPlan

from evergold import tags
from evergold.azure import AzureFailure
from evergold.azure.desktops import short_name
from evergold.azure.errors import raise_failed
from evergold.azure.ids import same
from evergold.rollout.act import Place, tag_host
from evergold.rollout.hosts import is_noted_drained, wakes_anew
from evergold.rollout.model import Host, Snapshot
from evergold.rollout.quiet import Schedule
from evergold.rollout.schedules import schedules_of

log = logging.getLogger("evergold.rollout")

WRITES = 5
READ_BACK_AFTER_S = 5


async def exclusion_tag(place: Place) -> str:
    """The tag by which the pool's scaling plan leaves a host alone; "" where it has none."""
    for plan in await _plans(place):
        if plan.exclusion_tag:
            return plan.exclusion_tag
        if _is_enabled(plan, place):
            log.warning(
                "%s: the scaling plan %s has no exclusion tag. It may open a canary to users while its approval is waited for: set one.",
                *(place.pool.name, plan.name),
            )
    return ""


async def schedules_for(place: Place, snapshot: Snapshot) -> tuple[Schedule, ...]:
    """The schedules by which a scaling plan looks after the pool, or did before a rollout suspended it; none where none does."""
    suspended = snapshot.pool.tags.get(tags.SCALING)
    plans = [plan for plan in await _plans(place) if _is_enabled(plan, place) or same(plan.id, suspended)]
    return tuple(schedule for plan in plans for schedule in schedules_of(plan))


async def suspend(place: Place) -> tuple[Schedule, ...]:
    """No scaling plan switches the pool's hosts. Done twice it changes nothing. Returns the schedules of the plan, if there is one."""
    plans = await _plans(place)
    for plan in plans:
        if _is_enabled(plan, place):
            await place.azure.desktops.update_host_pool_tags(
                place.pool.resource_group, place.pool.name, {tags.SCALING: plan.id or ""}
            )
            await _set(place, plan, enabled=False)
            log.info("%s: the scaling plan %s is suspended for this pool", place.pool.name, plan.name)
    return tuple(schedule for plan in plans for schedule in schedules_of(plan))


async def wake(place: Place, snapshot: Snapshot, names: Collection[str]) -> None:
    """What the suspended plan had switched off, and the planner wants to be on, is on its way to serving."""
    await asyncio.gather(*(_start(place, host) for host in snapshot.hosts if host.name in names))


async def put_back(place: Place) -> None:
    """The plan that was suspended here looks after the pool again. One that cannot be put back is told, with what to do.

    Raises AzureFailure where it may be tried again; done twice it changes nothing.
    """
    group, name = place.pool.resource_group, place.pool.name
    try:
        pool = await place.azure.desktops.get_host_pool(group, name)
        suspended = (pool.tags or {}).get(tags.SCALING) if pool is not None else None
        if suspended is None:
            return
        # Asked for by its id: a list of plans may lack it, and would leave the pool without one.
        plan = await place.azure.desktops.get_scaling_plan(suspended)
        if plan is not None and _is_assigned(plan, place) and not _is_enabled(plan, place):
            await _set(place, plan, enabled=True)
            log.info("%s: the scaling plan %s looks after this pool again", name, plan.name)
        await place.azure.desktops.update_host_pool_tags(group, name, {}, remove=(tags.SCALING,))
    except AzureFailure as failure:
        log.error(
            "%s: its scaling plan could not be enabled again: %s Start the rollout again, or enable the plan by hand.",
            name,
            failure,
        )
        if failure.retryable:
            raise


async def _plans(place: Place) -> list[ScalingPlan]:
    return await place.azure.desktops.list_scaling_plans(place.pool.resource_group, place.pool.name)


def _is_assigned(plan: ScalingPlan, place: Place) -> bool:
    return any(same(each.host_pool_arm_path, str(place.pool_id)) for each in plan.host_pool_references or [])


def _is_enabled(plan: ScalingPlan, place: Place) -> bool:
    return any(
        same(each.host_pool_arm_path, str(place.pool_id)) and each.scaling_plan_enabled
        for each in plan.host_pool_references or []
    )


async def _set(place: Place, plan: ScalingPlan, *, enabled: bool) -> None:
    """Writes it, and reads it back: whoever shares the plan may have written at the same moment."""
    for _ in range(WRITES):
        await place.azure.desktops.enable_scaling_plan(plan.id or "", str(place.pool_id), enabled=enabled)
        await place.azure.clock.sleep(READ_BACK_AFTER_S)
        now = await place.azure.desktops.get_scaling_plan(plan.id or "")
        if now is None or _is_enabled(now, place) is enabled:
            return
    what = "enable" if enabled else "suspend"
    raise_failed(
        f"{what} the scaling plan", plan.name or "", "NotSo", f"It was written {WRITES} times, and reads otherwise."
    )


async def _start(place: Place, host: Host) -> None:
    """A plan drains what it switches off: it is opened too, if nobody else had drained it. Noted first: it has long been silent."""
    pool, name, now = place.pool, short_name(host.session_host_name or host.name), place.azure.clock.now()
    try:
        if wakes_anew(host, now):
            await tag_host(place, host, {tags.WOKEN_AT: tags.format_time(now)})
        if not host.allow_new_session and not is_noted_drained(host):
            await place.azure.desktops.set_allow_new_session(pool.resource_group, pool.name, name, True)
        await place.azure.compute.begin_start(place.hosts_group, host.name)
        log.info("%s: switched on: its scaling plan, which had switched it off, is suspended", host.name)
    except AzureFailure as failure:
        log.warning("%s: could not be switched on, and will be tried again: %s", host.name, failure)
