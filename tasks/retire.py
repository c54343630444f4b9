"""Deleting what is past its time, as the Prefect UI shows it."""

import logging
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from evergold import holds
from evergold.azure import Azure
from evergold.config.models import ImageSet, Pool
from evergold.images.leftovers import remove_leftovers
from evergold.images.retention import retire_images
from evergold.images.source_host import return_left_hosts
from evergold.rollout.observe import PoolWatch
from evergold.rollout.retire import delete, expired, why_kept

log = logging.getLogger("evergold.rollout")


@task(name="retire hosts", task_run_name="retire hosts of {pool.name}", cache_policy=NO_CACHE)
async def retire_hosts_of(azure: Azure, pool: Pool, dry_run: bool) -> list[dict[str, Any]]:
    """The pool's retained hosts whose time is up are gone. Returns a row for each retained host: what became of it, and why."""
    group = pool.hosts.resource_group
    snapshot = await PoolWatch(azure, pool.resource_group, pool.name, group).look()
    over = expired(snapshot, azure.clock.now())
    held = await holds.standing(pool.name)
    rows = []
    for host in snapshot.hosts if snapshot.complete else ():
        if host.registered:
            continue
        reason = why_kept(host.tags, host.power, azure.clock.now())
        if reason is None and held:
            reason = f"held: {held}"
        elif host in over and not dry_run:
            reason = await delete(azure, group, host)
        outcome = "kept" if reason else "would be deleted" if dry_run else "deleted"
        rows.append({"host pool": pool.name, "host": host.name, "outcome": outcome, "why": reason or "its time is up"})
    log.info("%s: %d hosts deleted, %d kept", pool.name, sum(r["outcome"] == "deleted" for r in rows), len(rows))
    return rows


@task(name="bring back copied hosts", cache_policy=NO_CACHE)
async def return_left_hosts_of(azure: Azure, image_set: ImageSet) -> None:
    """A session host that a run, killed or cancelled, had taken out of service to copy it serves again as it did before."""
    for name in await return_left_hosts(azure, image_set):
        log.info("%s serves again as before", name)


@task(name="remove failed builds", cache_policy=NO_CACHE)
async def remove_failed_builds(azure: Azure, image_set: ImageSet, dry_run: bool) -> list[dict[str, Any]]:
    """Build machines that were kept to be looked at are gone once their time is up. Returns a row for each, with what became of it."""
    outcomes = await remove_leftovers(azure, image_set, dry_run=dry_run)
    return [
        {"refresh": left.refresh.id, "left": ", ".join(left.names), "outcome": outcome} for left, outcome in outcomes
    ]


@task(name="retire images", cache_policy=NO_CACHE)
async def retire_images_of(
    azure: Azure, image_set: ImageSet, neighbours: list[ImageSet], dry_run: bool
) -> list[dict[str, Any]]:
    """Versions, snapshots and managed images that nothing needs any more are gone. Returns a row for each: what became of it, and why."""
    fates = await retire_images(azure, image_set, neighbours, holds.standing, dry_run=dry_run)
    gone = "would be deleted" if dry_run else "deleted"
    rows = [
        {
            "kind": fate.thing.kind,
            "name": fate.thing.name,
            "version": fate.thing.version,
            "outcome": "kept" if fate.kept else gone,
            "why": fate.reason,
        }
        for fate in fates
    ]
    log.info("%s: %d %s, %d kept", image_set.name, sum(not f.kept for f in fates), gone, sum(f.kept for f in fates))
    return rows
